//! `proximal sft`, `proximal dpo`: a trainer on the keys of its configuration.
use std::process::ExitCode;

use anyhow::Result;
use proximal::checkpoint::Stop;
use proximal::config::{Config, Parsed, Trainer, parse};
use proximal::train::Summary;

#[derive(clap::Args)]
pub struct Args {
    /// --config run.toml and --key value; `--help` lists the keys
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "KEYS")]
    keys: Vec<String>,
}

/// Runs `trainer` and says what came of it.
pub fn run<K: Trainer>(args: Args, trainer: impl FnOnce(&Config<K>, &Stop) -> Result<Summary>) -> Result<ExitCode> {
    let config = match parse::<K>(args.keys)? {
        Parsed::Help(text) => {
            print!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Parsed::Run(config) => config,
    };
    let summary = trainer(&config, &Stop::on_signals()?)?;
    if config.switches.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        let gib = summary
            .peak_memory
            .map(|b| format!(", peak memory {:.2} GiB", b as f64 / (1u64 << 30) as f64));
        println!(
            "{} of {} steps, loss {}, {:.0} tokens/s{}: {}",
            summary.steps,
            summary.total_steps,
            summary.loss.map_or("-".into(), |l| format!("{l:.4}")),
            summary.tokens_per_second,
            gib.unwrap_or_default(),
            summary.output_dir.display()
        );
    }
    Ok(if summary.stopped {
        super::interrupted()
    } else {
        ExitCode::SUCCESS
    })
}
