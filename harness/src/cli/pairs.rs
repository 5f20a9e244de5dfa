//! `proximal pairs`.
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use model_qwen2::Error;
use proximal::assets::Assets;
use proximal::checkpoint::Stop;
use proximal::data::{self, Dataset, DatasetConfig, Split};
use proximal::device::{Device, Job, Place};
use proximal::eval::Answering;
use proximal::pairs::{History, Making, Rewriting, Rewritten, Rule, Summary, make};
use serde::Deserialize;

use super::generate::load_model;
use super::sampling::SamplingArgs;
use super::{DeviceArg, Precision, on_device};

#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with the keys below (underscores for dashes), a [dataset] and a [sampling] table; flags win over it
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of the model that answers
    #[arg(long)]
    model: Option<PathBuf>,
    /// File or folder of prompts; in the TOML file a table says more
    #[arg(long)]
    dataset: Option<String>,
    /// JSON lines to write; what is there already is gone on with
    #[arg(long)]
    output: Option<PathBuf>,
    /// FROM=TO: replaces a text in each answer; may be given more than once
    #[arg(long, value_name = "FROM=TO")]
    replace: Vec<String>,
    /// PATTERN=TO: replaces the matches of a regular expression, after all --replace
    #[arg(long, value_name = "PATTERN=TO")]
    regex: Vec<String>,
    /// A program of yours, split at white space, that rewrites after these: it reads {"prompt": …, "answer": "…"}, a line
    /// for each answer, and writes the new answer, a JSON string, or null to drop it
    #[arg(long)]
    command: Option<String>,
    /// Seconds that the command may take for an answer [default: 60]
    #[arg(long)]
    command_timeout: Option<f64>,
    /// The side that the rewritten answer is on; the model's own is on the other [default: chosen]
    #[arg(long, value_enum)]
    rewritten: Option<Rewritten>,
    /// Ask a dialogue with all its turns up to the last human one, not with that one alone
    #[arg(long)]
    history: bool,
    /// Tokens in an answer, at most [default: 256]
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Answers made side by side [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// GiB of KV cache [default: 1]
    #[arg(long)]
    kv_cache_gib: Option<f64>,
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
    #[serde(default)]
    replace: Vec<String>,
    #[serde(default)]
    regex: Vec<String>,
    command: Option<String>,
    command_timeout: Option<f64>,
    rewritten: Option<Rewritten>,
    #[serde(default)]
    history: bool,
    max_new_tokens: Option<usize>,
    batch_size: Option<u32>,
    kv_cache_gib: Option<f64>,
    chat_template_path: Option<PathBuf>,
    dtype: Option<Precision>,
    device: Option<DeviceArg>,
    threads: Option<usize>,
    #[serde(default)]
    sampling: SamplingArgs,
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
        let list = |flags: Vec<String>, file| if flags.is_empty() { file } else { flags };
        Ok(Self {
            model: args.model.or(file.model),
            dataset: args.dataset.map(DatasetConfig::new).or(file.dataset),
            output: args.output.or(file.output),
            replace: list(args.replace, file.replace),
            regex: list(args.regex, file.regex),
            command: args.command.or(file.command),
            command_timeout: args.command_timeout.or(file.command_timeout),
            rewritten: args.rewritten.or(file.rewritten),
            history: args.history || file.history,
            max_new_tokens: args.max_new_tokens.or(file.max_new_tokens),
            batch_size: args.batch_size.or(file.batch_size),
            kv_cache_gib: args.kv_cache_gib.or(file.kv_cache_gib),
            chat_template_path: args.chat_template_path.or(file.chat_template_path),
            dtype: args.dtype.or(file.dtype),
            device: args.device.or(file.device),
            threads: args.threads.or(file.threads),
            sampling: args.sampling.over(file.sampling),
        })
    }

    fn rewriting(&self) -> Result<Rewriting> {
        let texts = self.replace.iter().map(|text| Rule::replace(text).context("--replace"));
        let patterns = self.regex.iter().map(|text| Rule::pattern(text).context("--regex"));
        let rules: Vec<_> = texts.chain(patterns).collect::<Result<_>>()?;
        let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let command = self.command.as_ref().map(words);
        if command.as_ref().is_some_and(Vec::is_empty) {
            bail!("--command: expected a program, found nothing");
        }
        if rules.is_empty() && command.is_none() {
            bail!("--replace, --regex or --command: expected a rule that rewrites the answers, found none");
        }
        let seconds = self.command_timeout.unwrap_or(60.0);
        if !(seconds > 0.0 && seconds <= 86_400.0) {
            bail!("--command-timeout: expected a number of seconds above 0, at most a day, found {seconds}");
        }
        Ok(Rewriting::new(rules, command, Duration::from_secs_f64(seconds)))
    }

    fn answering(&self) -> Result<Answering> {
        let gib = self.kv_cache_gib.unwrap_or(1.0);
        if !(gib.is_finite() && gib > 0.0) {
            bail!("--kv-cache-gib: expected a number above 0, found {gib}");
        }
        Ok(Answering {
            sampling: self.sampling.sampling()?,
            seed: self.sampling.seed(),
            max_new_tokens: self.max_new_tokens.unwrap_or(256),
            batch: self.batch_size.unwrap_or(8) as usize,
            cache_bytes: (gib * (1u64 << 30) as f64) as usize,
        })
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    let keys = Keys::read(args)?;
    let answering = keys.answering()?;
    let rewriting = keys.rewriting()?;
    let Some(model) = &keys.model else {
        bail!("--model: expected the folder of a model, found nothing");
    };
    let Some(section) = &keys.dataset else {
        bail!("--dataset: expected a file of prompts, found nothing");
    };
    let Some(output) = &keys.output else {
        bail!("--output: expected a file for the pairs, found nothing");
    };
    let assets = Assets::open(model, keys.chat_template_path.as_deref())?;
    assets.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    let (dataset, report) = data::load(section, Path::new(""), Split::Train)?;
    report.warnings().iter().for_each(|w| eprintln!("warning: {w}"));
    let work = Pairs {
        assets: &assets,
        dataset,
        output,
        rewriting,
        keys: &keys,
        answering,
    };
    let summary = on_device(keys.device, keys.dtype, keys.threads, work)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        say(&summary, output);
    }
    Ok(if summary.stopped {
        super::interrupted()
    } else {
        ExitCode::SUCCESS
    })
}

fn say(s: &Summary, output: &Path) {
    let rate = s.tokens as f64 / s.seconds.max(1e-9);
    println!(
        "{} pairs of {} prompts ({} were there before), {} tokens at {rate:.1} a second: {}",
        s.pairs,
        s.prompts,
        s.resumed,
        s.tokens,
        output.display()
    );
    for (n, what) in [
        (s.equal, "answers dropped: the rewriting left them as they were"),
        (s.left_out, "answers dropped by the command"),
        (s.cut, "answers ended at max_new_tokens"),
    ] {
        if n > 0 {
            println!("{n} {what}");
        }
    }
    if let Some(reason) = &s.reason {
        println!("{} prompts have no answer (first: {reason})", s.unanswered);
    }
}

struct Pairs<'a> {
    assets: &'a Assets,
    dataset: Dataset,
    output: &'a Path,
    rewriting: Rewriting,
    keys: &'a Keys,
    answering: Answering,
}

impl Job for Pairs<'_> {
    type Output = Summary;

    fn run<B: Device>(self, b: &B, _: &Place) -> Result<Summary> {
        let model = load_model(b, &self.assets.folder, usize::MAX)?;
        let mut rewriting = self.rewriting;
        let how = Making {
            answering: self.answering,
            rewriting: &mut rewriting,
            rewritten: self.keys.rewritten.unwrap_or_default(),
            history: match self.keys.history {
                true => History::Keep,
                false => History::Leave,
            },
        };
        let bar = ProgressBar::new(self.dataset.items.len() as u64);
        let style = "{bar:30} {pos}/{len} prompts, {msg}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let stop = Stop::on_signals()?;
        let done = make(
            b,
            &model,
            self.assets,
            &self.dataset,
            how,
            self.output,
            &stop,
            |done, s| {
                bar.set_position(done as u64);
                bar.set_message(format!("{} pairs", s.pairs));
            },
        );
        bar.finish_and_clear();
        rewriting.notes().iter().for_each(|note| eprintln!("warning: {note}"));
        done
    }
}
