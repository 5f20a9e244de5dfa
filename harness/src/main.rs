//! The `proximal` binary: arguments in, the library's work, an exit status out.
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
