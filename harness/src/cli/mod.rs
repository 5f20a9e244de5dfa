//! The commands. Each is a thin shell: it reads its arguments, calls the library, prints what came of it.
mod convert;
mod demo;
mod eval;
mod generate;
mod pairs;
mod plan;
mod sampling;
mod train;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use proximal::config::DeviceKind;
use proximal::device::{Job, Target};
use proximal::dtype::Dtype;

#[derive(Parser)]
#[command(
    name = "proximal",
    version,
    about = "Post-training of language models, from first principles"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a tiny model made in memory with all five trainers, in a few minutes
    Demo(demo::Args),
    /// Fine-tune a model on answers
    #[command(disable_help_flag = true)]
    Sft(train::Args),
    /// Train a model on pairs of a better and a worse answer
    #[command(disable_help_flag = true)]
    Dpo(train::Args),
    /// Train a model on its own answers, each compared with others to the same prompt
    #[command(disable_help_flag = true)]
    Grpo(train::Args),
    /// The same by REINFORCE, each answer against the mean of the others
    #[command(disable_help_flag = true)]
    Rloo(train::Args),
    /// Train a model on its own answers with a critic and clipped steps
    #[command(disable_help_flag = true)]
    Ppo(train::Args),
    /// Train a model on its own answers within a trust region
    #[command(disable_help_flag = true)]
    Trpo(train::Args),
    /// Answer one prompt
    Generate(generate::Args),
    /// Answer every prompt of a dataset, into JSON lines; goes on where it stopped
    Eval(eval::Args),
    /// Make preference pairs: answer prompts and rewrite the answers; goes on where it stopped
    Pairs(pairs::Args),
    /// Make a Hugging Face folder of a GGUF file
    Convert(convert::Args),
    /// How much memory a run takes, by arithmetic
    Plan(plan::Args),
    /// Check gradient cases on disk against this code's numbers
    Verify(verify::Args),
}

/// Runs the command line. 0: done; 1: the answer is no; 2: could not be done, the reason is on standard error; 130: ended
/// early by a signal, everything saved.
pub fn run() -> ExitCode {
    let result = match Cli::parse_from(std::env::args_os().map(dashed)).command {
        Command::Demo(args) => demo::run(&args),
        Command::Sft(args) => train::run(args, proximal::sft::run),
        Command::Dpo(args) => train::run(args, proximal::dpo::run),
        Command::Grpo(args) => train::run(args, proximal::grpo::run_grpo),
        Command::Rloo(args) => train::run(args, proximal::grpo::run_rloo),
        Command::Ppo(args) => train::run(args, proximal::ppo::run),
        Command::Trpo(args) => train::run(args, proximal::trpo::run),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(args),
        Command::Pairs(args) => pairs::run(args),
        Command::Convert(args) => convert::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// A flag's name with dashes for underscores: configuration files have the one, flags may have either. Below a dot are names
/// of the user's.
fn dashed(argument: OsString) -> OsString {
    let Some(flag) = argument.to_str().filter(|a| a.starts_with("--")) else {
        return argument;
    };
    let end = flag.find(['.', '=']).unwrap_or(flag.len());
    (flag[..end].replace('_', "-") + &flag[end..]).into()
}

/// The status of a run that a signal ended early.
fn interrupted() -> ExitCode {
    ExitCode::from(130)
}

/// Compute precision, as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    /// Plain loops in double precision, for checks on small models
    F64,
    /// Single precision
    #[default]
    F32,
    /// bfloat16 with f32 sums
    Bf16,
}

impl From<Precision> for Dtype {
    fn from(p: Precision) -> Self {
        match p {
            Precision::F64 => Self::F64,
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// What computes, as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeviceArg {
    /// The CPU
    #[default]
    Cpu,
    /// An NVIDIA GPU
    Cuda,
}

impl From<DeviceArg> for DeviceKind {
    fn from(d: DeviceArg) -> Self {
        match d {
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Cuda => Self::Cuda,
        }
    }
}

/// Runs `job` on the device of `--device`, `--dtype` and `--threads`.
fn on_device<J: Job>(
    device: Option<DeviceArg>,
    precision: Option<Precision>,
    threads: Option<usize>,
    job: J,
) -> Result<J::Output> {
    Target::new(device.unwrap_or_default().into(), threads)?.run(precision.unwrap_or_default().into(), job)
}
