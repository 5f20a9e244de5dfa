//! The commands. Each is a thin shell: it reads its arguments, calls the library, prints what came of it.
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "proximal", version, about = "Post-training of language models, from first principles")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check gradient cases on disk against this code's numbers
    Verify(verify::Args),
}

/// Runs the command line. 0: done; 1: the answer is no; 2: could not be done, the reason is on standard error.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Verify(args) => verify::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
