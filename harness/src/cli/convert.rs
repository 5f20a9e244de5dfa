//! `proximal convert`.
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use model_qwen2::gguf;
use model_qwen2::tensors::DEFAULT_SHARD_BYTES;
use proximal::dtype::Dtype;

use super::Precision;

#[derive(clap::Args)]
pub struct Args {
    /// A GGUF file of a Llama or Qwen2 model
    gguf: PathBuf,
    /// The folder to write; new or empty
    folder: PathBuf,
    /// How to store the weights
    #[arg(
        long,
        value_enum,
        default_value = "bf16",
        hide_possible_values = true,
        value_name = "f64|f32|bf16"
    )]
    dtype: Precision,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let stored = Dtype::from(args.dtype).stored();
    let done = gguf::convert(&args.gguf, &args.folder, stored, DEFAULT_SHARD_BYTES)?;
    println!(
        "{}: {} parameters in {} tensors, as {}",
        args.folder.display(),
        done.parameters,
        done.tensors,
        args.dtype_name()
    );
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn dtype_name(&self) -> &'static str {
        Dtype::from(self.dtype).name()
    }
}
