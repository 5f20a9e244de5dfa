//! `proximal eval`.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kernel::backend::{Decode, Vector};
use model_qwen2::Error;
use model_qwen2::tensors::Element;
use proximal::assets::Assets;
use proximal::checkpoint::Stop;
use proximal::data::{self, Dataset, DatasetConfig, Split};
use proximal::eval::{Answering, Summary, ask, evaluate};
use serde::Deserialize;

use super::generate::load_model;
use super::sampling::SamplingArgs;
use super::{Precision, Work, on_cpu};

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
    max_new_tokens: Option<usize>,
    batch_size: Option<u32>,
    kv_cache_gib: Option<f64>,
    #[serde(default)]
    questions: Vec<String>,
    chat_template_path: Option<PathBuf>,
    dtype: Option<Precision>,
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
        Ok(Self {
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
            threads: args.threads.or(file.threads),
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
    let assets = Assets::open(model, keys.chat_template_path.as_deref())?;
    assets.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    let data = match (&keys.dataset, &keys.output) {
        (Some(section), Some(output)) => {
            let (dataset, report) = data::load(section, Path::new(""), Split::Eval)?;
            report.warnings().iter().for_each(|w| eprintln!("warning: {w}"));
            Some((dataset, output.as_path()))
        }
        (Some(_), None) => bail!("--output: expected a file for the answers, found nothing"),
        (None, _) if keys.questions.is_empty() => {
            bail!("--dataset or --questions: expected one of them, found neither")
        }
        (None, _) => None,
    };
    let work = Eval {
        assets: &assets,
        data,
        questions: &keys.questions,
        how,
    };
    let (summary, answers) = on_cpu(keys.dtype.unwrap_or_default(), keys.threads, work)?;
    if json {
        let answers: Vec<_> = keys.questions.iter().zip(&answers).collect();
        let report = serde_json::json!({ "summary": summary, "questions": answers });
        println!("{report:#}");
    } else {
        for (question, answer) in keys.questions.iter().zip(&answers) {
            println!("Q: {question}\nA: {answer}\n");
        }
        if let (Some(s), Some(output)) = (&summary, &keys.output) {
            let rate = s.tokens as f64 / s.seconds.max(1e-9);
            println!(
                "{} rows ({} were there before, {} errors), {} tokens at {rate:.1} a second: {}",
                s.rows,
                s.resumed,
                s.errors,
                s.tokens,
                output.display()
            );
        }
    }
    let stopped = summary.is_some_and(|s| s.stopped);
    Ok(if stopped {
        super::interrupted()
    } else {
        ExitCode::SUCCESS
    })
}

struct Eval<'a> {
    assets: &'a Assets,
    data: Option<(Dataset, &'a Path)>,
    questions: &'a [String],
    how: Answering,
}

impl Work for Eval<'_> {
    type Output = (Option<Summary>, Vec<String>);

    fn run<B: Decode + Vector>(self, b: &B) -> Result<Self::Output>
    where
        B::Real: Element,
    {
        // Prompts are tokenised later; whatever the model was made for is let in.
        let model = load_model(b, self.assets, usize::MAX)?;
        let mut summary = None;
        if let Some((dataset, output)) = &self.data {
            let bar = ProgressBar::new(dataset.items.len() as u64);
            let style = "{bar:30} {pos}/{len} rows, {msg}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            let stop = Stop::on_signals()?;
            let done = evaluate(b, &model, self.assets, dataset, &self.how, output, &stop, |_, s| {
                bar.set_position(s.rows as u64);
                bar.set_message(format!("{:.1} tokens/s", s.tokens as f64 / s.seconds.max(1e-9)));
            });
            bar.finish_and_clear();
            let done = done?;
            if done.stopped {
                return Ok((Some(done), Vec::new()));
            }
            summary = Some(done);
        }
        let answers = ask(b, &model, self.assets, self.questions, &self.how)?;
        Ok((summary, answers))
    }
}
