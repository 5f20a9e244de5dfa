//! `proximal generate`.
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use kernel::backend::{Decode, Vector};
use kernel::mat::Use;
use kernel::params::ValueHead;
use kernel::transformer::Model;
use model_qwen2::folder::Folder;
use model_qwen2::generate::{Event, Generator, Record, Request, Settings};
use model_qwen2::tensors::Element;
use model_qwen2::tokenizer::{Decoding, TextStream};
use proximal::assets::Assets;
use proximal::data::Turns;
use proximal::device::{Device, Job, Place};
use proximal::eval::prompt_ids;
use serde_json::{Map, Value, json};

use super::sampling::SamplingArgs;
use super::{DeviceArg, Precision, on_device};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model
    #[arg(long)]
    model: PathBuf,
    /// What to ask, or with --raw the text to continue
    #[arg(long)]
    prompt: String,
    /// Continue the prompt as plain text, without the chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// System message
    #[arg(long)]
    system: Option<String>,
    /// Tokens at most
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print the prompt's and the answer's token ids and the time as JSON instead
    #[arg(long)]
    json: bool,
    /// Compute precision
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    /// What computes [default: cpu]
    #[arg(long, value_enum)]
    device: Option<DeviceArg>,
    /// Threads; all cores unless set
    #[arg(long)]
    threads: Option<usize>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    on_device(args.device, Some(args.dtype), args.threads, Generate(args))?;
    Ok(ExitCode::SUCCESS)
}

/// A model for generation alone, with room for `context` tokens at most.
pub fn load_model<B: Decode + Vector>(b: &B, folder: &Folder, context: usize) -> Result<Model<B>>
where
    B::Real: Element,
{
    let config = folder.config.kernel.clone();
    let context = context.min(config.max_positions);
    Model::load(b, config, ValueHead::None, context, Use::Inference, |spec, out| {
        anyhow::Ok(folder.fill(spec, out)?)
    })
}

struct Generate<'a>(&'a Args);

impl Job for Generate<'_> {
    type Output = ();

    fn run<B: Device>(self, b: &B, _: &Place) -> Result<()> {
        let args = self.0;
        // Reading a tokenizer takes as long as a third of the weights.
        let (assets, model) = std::thread::scope(|scope| {
            let assets = scope.spawn(|| Assets::open(&args.model, None));
            let model = Folder::open(&args.model)
                .map_err(Into::into)
                .and_then(|folder| load_model(b, &folder, 1));
            (assets.join(), model)
        });
        let assets = assets.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut model = model?;
        assets.notes.iter().for_each(|note| eprintln!("warning: {note}"));
        let prompt = prompt_ids(&assets, &turns(args), Map::new())?;
        let context = prompt.len() + args.max_new_tokens;
        model.set_context(b, context.min(model.config.max_positions))?;
        let settings = Settings {
            sampling: args.sampling.sampling()?,
            seed: args.sampling.seed(),
            stop: assets.stop_tokens(),
            stop_when: None,
            record: Record::Nothing,
            batch: 1,
            cache_rows: prompt.len() + args.max_new_tokens,
        };
        let mut generator = Generator::new(b, &model, settings)?;
        let prompt_tokens = prompt.len();
        let begin = Instant::now();
        generator.submit(Request {
            id: 0,
            completions: 1,
            prompt: prompt.clone(),
            max_new_tokens: args.max_new_tokens,
        });
        let mut stream = TextStream::new(&assets.tokenizer, Decoding::SkipSpecials);
        let mut all = Vec::new();
        let mut first = None;
        while generator.pending() > 0 {
            for event in generator.step(b, &model)? {
                match event {
                    Event::Token { token, .. } => {
                        first.get_or_insert_with(|| begin.elapsed().as_secs_f64());
                        if !args.json {
                            print!("{}", stream.push(token)?);
                            std::io::stdout().flush()?;
                        }
                    }
                    Event::Done(completion) => all = completion.tokens,
                    Event::Refused { reason, .. } => bail!("{reason}"),
                }
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        if args.json {
            let text = model_qwen2::tokenizer::Tokenize::decode(&assets.tokenizer, &all, Decoding::SkipSpecials)?;
            let first = first.unwrap_or(seconds);
            let report = json!({
                "text": text,
                "prompt_tokens": prompt,
                "tokens": all,
                "prefill_seconds": first,
                "decode_tokens_per_second": (all.len().saturating_sub(1)) as f64 / (seconds - first).max(1e-9),
            });
            println!("{report:#}");
            return Ok(());
        }
        println!("{}", stream.finish()?);
        let first = first.unwrap_or(seconds);
        let rate = all.len().saturating_sub(1) as f64 / (seconds - first).max(1e-9);
        eprintln!(
            "{prompt_tokens} tokens read in {first:.2} s, {} written at {rate:.1} a second",
            all.len()
        );
        Ok(())
    }
}

fn turns(args: &Args) -> Turns {
    if args.raw {
        return Turns::Text(args.prompt.clone());
    }
    let message = |role: &str, content: &str| {
        let mut m: Map<String, Value> = Map::new();
        m.insert("role".into(), role.into());
        m.insert("content".into(), content.into());
        m
    };
    let system = args.system.as_deref().map(|s| message("system", s));
    Turns::Messages(system.into_iter().chain([message("user", &args.prompt)]).collect())
}
