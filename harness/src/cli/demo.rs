//! `proximal demo`.
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use proximal::checkpoint::Stop;
use proximal::demo::{self, Metric, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// Folder for the models, data and answers; new or empty
    #[arg(long, default_value = "proximal-demo")]
    output: PathBuf,
    /// One run for each seed
    #[arg(long, num_args = 1.., default_values_t = [0])]
    seeds: Vec<u64>,
    /// Start anew in a folder that is not empty
    #[arg(long)]
    overwrite: bool,
    /// Print the outcomes as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.output.exists() {
        let marker = args.output.join("train.jsonl");
        let ours = args
            .seeds
            .iter()
            .any(|s| args.output.join(format!("seed-{s}/train.jsonl")).exists())
            || marker.exists();
        let empty = std::fs::read_dir(&args.output)?.next().is_none();
        match (empty, args.overwrite && ours) {
            (true, _) => {}
            (false, true) => std::fs::remove_dir_all(&args.output)?,
            (false, false) => bail!(
                "{}: --output: expected a new or empty folder (--overwrite replaces an earlier demo), found files",
                args.output.display()
            ),
        }
    }
    let stop = Stop::on_signals()?;
    let mut outcomes = Vec::new();
    for &seed in &args.seeds {
        if !args.json {
            println!("seed {seed}: a model of random weights learns to add two numbers, by five trainers");
        }
        let folder = args.output.join(format!("seed-{seed}"));
        outcomes.extend(demo::run(&folder, seed, &stop, |o| {
            eprintln!("{}: {:.1} s", o.trainer, o.seconds);
        })?);
    }
    if args.json {
        let of = |trainer: &str| -> Vec<&Outcome> { outcomes.iter().filter(|o| o.trainer == trainer).collect() };
        let trainers: Vec<_> = outcomes
            .iter()
            .take(outcomes.len() / args.seeds.len())
            .map(|o| serde_json::json!({ "trainer": o.trainer, "metric": o.metric, "seeds": of(o.trainer) }))
            .collect();
        let report = serde_json::json!({ "trainers": trainers });
        println!("{report:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\ntrainer  seed  metric    before   after  KL to start  seconds");
    for o in &outcomes {
        println!(
            "{:7}  {:4}  {:8}  {:5.1}%  {:5.1}%  {:11.3}  {:7.1}",
            o.trainer,
            o.seed,
            match o.metric {
                Metric::Accuracy => "accuracy",
                Metric::Reward => "reward",
            },
            100.0 * o.before,
            100.0 * o.after,
            o.kl,
            o.seconds
        );
    }
    println!("accuracy: the likeliest answer is right; reward: a drawn answer is. On 200 held-out sums.");
    println!("SFT began with random weights, the others with a model that SFT had half taught.");
    if let Some(o) = outcomes.first() {
        let model = o.model.display();
        println!("\nThe trained models are Hugging Face folders. Ask one:");
        println!("  proximal generate --model {model} --prompt \"12+34\"");
        println!("Train it further, or train your own model, on your own data:");
        println!("  proximal sft --model {model} --dataset your.jsonl --output_dir out");
    }
    Ok(ExitCode::SUCCESS)
}
