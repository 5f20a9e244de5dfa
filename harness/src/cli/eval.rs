//! `proximal eval`.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use model_qwen2::Error;
use proximal::assets::Assets;
use proximal::checkpoint::Stop;
use proximal::config::Value as _;
use proximal::data::{self, Dataset, DatasetConfig, Split};
use proximal::device::{Device, Job, Place};
use proximal::eval::{Answering, Evaluation, Summary, ask};
use proximal::reward::{BadKey, RewardConfig, Rewards, Setup};
use serde::Deserialize;
use serde_json::json;
use toml::Value as Toml;

use super::generate::load_model;
use super::sampling::SamplingArgs;
use super::{DeviceArg, Precision, on_device};

#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with the keys below (underscores for dashes), a [dataset] and a [sampling] table; flags win over it
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of the model
    #[arg(long)]
    model: Option<PathBuf>,
    /// File or folder of prompts; in the TOML file a table says more
    #[arg(long)]
    dataset: Option<String>,
    /// JSON lines to write; what is there already is gone on with
    #[arg(long)]
    output: Option<PathBuf>,
    /// Tokens in an answer, at most [default: 3000]
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Answers made side by side [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// GiB of KV cache [default: 1]
    #[arg(long)]
    kv_cache_gib: Option<f64>,
    /// Questions to ask beside the dataset, or instead of one
    #[arg(long, num_args = 1..)]
    questions: Vec<String>,
    /// Chat template to use instead of the model's own: a Jinja file, or a folder with a tokenizer that has one
    #[arg(long)]
    chat_template_path: Option<PathBuf>,
    /// Compute precision [default: f32]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// What computes [default: cpu]
    #[arg(long, value_enum)]
    device: Option<DeviceArg>,
    /// Threads; all cores unless set
    #[arg(long)]
    threads: Option<usize>,
    /// Score each answer: names of reward functions, with commas or spaces between; in the TOML file tables say more
    #[arg(long, alias = "reward_funcs", num_args = 1.., value_name = "NAMES")]
    reward_funcs: Vec<String>,
    /// A weight for each reward function [default: 1]
    #[arg(long, alias = "reward_weights", num_args = 1.., allow_negative_numbers = true, value_name = "NUMBERS")]
    reward_weights: Vec<String>,
    /// Folder of another model to put beside the first: it answers the same rows
    #[arg(long)]
    compare: Option<PathBuf>,
    /// JSON lines of the other model's answers [default: that of --output with .compare before its ending]
    #[arg(long, alias = "compare_output")]
    compare_output: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// The keys of the TOML file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    model: Option<PathBuf>,
    dataset: Option<DatasetConfig>,
    output: Option<PathBuf>,
    max_new_tokens: Option<usize>,
    batch_size: Option<u32>,
    kv_cache_gib: Option<f64>,
    #[serde(default)]
    questions: Vec<String>,
    chat_template_path: Option<PathBuf>,
    dtype: Option<Precision>,
    device: Option<DeviceArg>,
    threads: Option<usize>,
    reward_funcs: Option<toml::Value>,
    reward_weights: Option<toml::Value>,
    compare: Option<PathBuf>,
    compare_output: Option<PathBuf>,
    #[serde(default)]
    sampling: SamplingArgs,
    /// Where the reward functions were given.
    #[serde(skip)]
    rewards_from: PathBuf,
}

impl Keys {
    /// The file's keys with the flags over them.
    fn read(args: Args) -> Result<Self> {
        let file: Self = match &args.config {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
                toml::from_str(&text).with_context(|| path.display().to_string())?
            }
        };
        let from_file = args.reward_funcs.is_empty() && args.reward_weights.is_empty();
        Ok(Self {
            rewards_from: match args.config {
                Some(path) if from_file => path,
                _ => "command line".into(),
            },
            model: args.model.or(file.model),
            dataset: args.dataset.map(DatasetConfig::new).or(file.dataset),
            output: args.output.or(file.output),
            max_new_tokens: args.max_new_tokens.or(file.max_new_tokens),
            batch_size: args.batch_size.or(file.batch_size),
            kv_cache_gib: args.kv_cache_gib.or(file.kv_cache_gib),
            questions: if args.questions.is_empty() {
                file.questions
            } else {
                args.questions
            },
            chat_template_path: args.chat_template_path.or(file.chat_template_path),
            dtype: args.dtype.or(file.dtype),
            device: args.device.or(file.device),
            threads: args.threads.or(file.threads),
            reward_funcs: Toml::from_words(&args.reward_funcs).or(file.reward_funcs),
            reward_weights: Toml::from_words(&args.reward_weights).or(file.reward_weights),
            compare: args.compare.or(file.compare),
            compare_output: args.compare_output.or(file.compare_output),
            sampling: args.sampling.over(file.sampling),
        })
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    let keys = Keys::read(args)?;
    let gib = keys.kv_cache_gib.unwrap_or(1.0);
    if !(gib.is_finite() && gib > 0.0) {
        bail!("--kv-cache-gib: expected a number above 0, found {gib}");
    }
    let how = Answering {
        sampling: keys.sampling.sampling()?,
        seed: keys.sampling.seed(),
        max_new_tokens: keys.max_new_tokens.unwrap_or(3000),
        batch: keys.batch_size.unwrap_or(8) as usize,
        cache_bytes: (gib * (1u64 << 30) as f64) as usize,
    };
    let Some(model) = &keys.model else {
        bail!("--model: expected the folder of a model, found nothing");
    };
    let assets = open_model(model, &keys)?;
    let mut data = match (&keys.dataset, &keys.output) {
        (Some(section), Some(output)) => {
            let (dataset, report) = data::load(section, Path::new(""), Split::Eval)?;
            report.warnings().iter().for_each(|w| eprintln!("warning: {w}"));
            let rewards = keys.rewards(&dataset, &how)?;
            Some(Data {
                dataset,
                output: output.clone(),
                rewards,
                stop: None,
            })
        }
        (Some(_), None) => bail!("--output: expected a file for the answers, found nothing"),
        (None, _) if keys.questions.is_empty() => {
            bail!("--dataset or --questions: expected one of them, found neither")
        }
        (None, _) => {
            for (name, given) in [
                ("--reward-funcs", keys.reward_funcs.is_some()),
                ("--compare", keys.compare.is_some()),
            ] {
                if given {
                    bail!("{name}: expected a --dataset with it, found none");
                }
            }
            None
        }
    };
    let other = match &keys.compare {
        Some(other) => Some((open_model(other, &keys)?, keys.compare_output()?)),
        None => None,
    };
    let work = Eval {
        assets: &assets,
        data: data.as_mut(),
        questions: &keys.questions,
        how,
    };
    let (summary, answers) = on_device(keys.device, keys.dtype, keys.threads, work)?;
    let mut stopped = summary.as_ref().is_some_and(|s| s.stopped);
    let mut compared = None;
    if let (Some((assets, output)), Some(data), false) = (&other, &mut data, stopped) {
        data.output.clone_from(output);
        let work = Eval {
            assets,
            data: Some(data),
            questions: &[],
            how,
        };
        compared = on_device(keys.device, keys.dtype, keys.threads, work)?.0;
        stopped = compared.as_ref().is_some_and(|s| s.stopped);
    }
    let difference = compared.as_ref().filter(|other| !other.stopped).and_then(|other| {
        let scores = summary.as_ref()?.rewards.as_ref()?;
        Some(scores.against(other.rewards.as_ref()?))
    });
    if json {
        let answers: Vec<_> = keys.questions.iter().zip(&answers).collect();
        let mut report = json!({ "summary": summary, "questions": answers });
        if keys.compare.is_some() {
            report["compare"] = json!(compared);
            report["difference"] = json!(difference);
        }
        println!("{report:#}");
    } else {
        for (question, answer) in keys.questions.iter().zip(&answers) {
            println!("Q: {question}\nA: {answer}\n");
        }
        if let (Some(summary), Some(output)) = (&summary, &keys.output) {
            print(summary, output, model);
        }
        if let (Some(summary), Some((_, output)), Some(model)) = (&compared, &other, &keys.compare) {
            print(summary, output, model);
        }
        if let Some(d) = difference {
            println!(
                "reward above that of the other: {}; better {}, worse {}",
                d.mean, d.better, d.worse
            );
        }
    }
    Ok(if stopped {
        super::interrupted()
    } else {
        ExitCode::SUCCESS
    })
}

fn open_model(folder: &Path, keys: &Keys) -> Result<Assets> {
    let assets = Assets::open(folder, keys.chat_template_path.as_deref())?;
    assets.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    Ok(assets)
}

impl Keys {
    /// The reward functions, their columns there. Errors name the place where they were given.
    fn rewards(&self, dataset: &Dataset, how: &Answering) -> Result<Option<Rewards>> {
        self.open_rewards(dataset, how).map_err(|error| match error.downcast() {
            Ok(BadKey { key, expected, found }) => Error::invalid(&self.rewards_from, key, expected, found).into(),
            Err(error) => error,
        })
    }

    fn open_rewards(&self, dataset: &Dataset, how: &Answering) -> Result<Option<Rewards>> {
        let Some(funcs) = &self.reward_funcs else {
            if self.reward_weights.is_some() {
                bail!("reward_weights: expected reward_funcs with it, found none");
            }
            return Ok(None);
        };
        let funcs = RewardConfig::list("reward_funcs", funcs)?;
        let weights = self.reward_weights.as_ref();
        let weights = weights
            .map(|weights| RewardConfig::weights("reward_weights", weights))
            .transpose()?;
        let setup = Setup {
            max_completion_length: how.max_new_tokens,
            threads: self.threads,
        };
        let rewards = Rewards::open(&funcs, weights.as_deref(), &setup)?;
        rewards.check_columns(&dataset.columns())?;
        Ok(Some(rewards))
    }

    /// Where the other model's answers go.
    fn compare_output(&self) -> Result<PathBuf> {
        let own = self.output.clone().unwrap_or_default();
        let output = self.compare_output.clone().unwrap_or_else(|| {
            let ending = own.extension().unwrap_or_default().to_string_lossy();
            own.with_extension(format!("compare.{ending}").trim_end_matches('.'))
        });
        if output == own {
            bail!(
                "--compare-output: expected another file than --output, found {}",
                own.display()
            );
        }
        Ok(output)
    }
}

/// What one model came to.
fn print(s: &Summary, output: &Path, model: &Path) {
    let rate = s.tokens as f64 / s.seconds.max(1e-9);
    println!(
        "{} rows ({} were there before, {} errors), {} tokens at {rate:.1} a second: {}",
        s.rows,
        s.resumed,
        s.errors,
        s.tokens,
        output.display()
    );
    if let Some(rewards) = &s.rewards {
        for (name, mean) in rewards.means() {
            println!("{}: {name} {mean}", model.display());
        }
    }
}

struct Data {
    dataset: Dataset,
    output: PathBuf,
    rewards: Option<Rewards>,
    /// Of the first model that answers, and then of the other.
    stop: Option<Stop>,
}

struct Eval<'a> {
    assets: &'a Assets,
    data: Option<&'a mut Data>,
    questions: &'a [String],
    how: Answering,
}

impl Job for Eval<'_> {
    type Output = (Option<Summary>, Vec<String>);

    fn run<B: Device>(self, b: &B, _: &Place) -> Result<Self::Output> {
        // Prompts are tokenised later; whatever the model was made for is let in.
        let model = load_model(b, &self.assets.folder, usize::MAX)?;
        let mut summary = None;
        if let Some(data) = self.data {
            let bar = ProgressBar::new(data.dataset.items.len() as u64);
            let style = "{bar:30} {pos}/{len} rows, {msg}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            let stop = match data.stop.take() {
                Some(stop) => stop,
                None => Stop::on_signals()?,
            };
            let stop = &*data.stop.insert(stop);
            let evaluation = Evaluation {
                dataset: &data.dataset,
                how: &self.how,
                output: &data.output,
                rewards: data.rewards.as_mut(),
                stop,
            };
            let done = evaluation.run(b, &model, self.assets, |_, s| {
                bar.set_position(s.rows as u64);
                bar.set_message(format!("{:.1} tokens/s", s.tokens as f64 / s.seconds.max(1e-9)));
            });
            bar.finish_and_clear();
            let done = done?;
            done.notes.iter().for_each(|note| eprintln!("warning: {note}"));
            if done.stopped {
                return Ok((Some(done), Vec::new()));
            }
            summary = Some(done);
        }
        let answers = ask(b, &model, self.assets, self.questions, &self.how)?;
        Ok((summary, answers))
    }
}
