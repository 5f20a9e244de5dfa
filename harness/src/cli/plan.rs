//! `proximal plan`.
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use kernel::config::Config;
use kernel::transformer::Keep;
use model_qwen2::folder::Folder;
use proximal::dtype::Dtype;
use proximal::plan::{MemoryPlan, Method, Sizes, qwen_0_5b, qwen_7b};

use super::Precision;

const GIB: f64 = (1u64 << 30) as f64;

#[derive(Clone, Copy, ValueEnum)]
enum MethodArg {
    Generate,
    Sft,
    Dpo,
    Grpo,
    Ppo,
    Trpo,
}

#[derive(clap::Args)]
pub struct Args {
    /// Folder of a model; Qwen2.5-0.5B and 7B unless set (no folder is needed for these)
    #[arg(long)]
    model: Option<PathBuf>,
    /// What is to be done; everything unless set
    #[arg(long, value_enum)]
    method: Option<MethodArg>,
    /// Compute precision; TRPO is always in f32
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Precision,
    /// Precision of master weights and moments; bf16 goes with bf16, not with TRPO
    #[arg(long, value_enum, default_value = "f32")]
    master_dtype: Precision,
    /// Tokens of the largest micro-batch
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Positions in the KV cache, where the method generates
    #[arg(long, default_value_t = 16384)]
    cache_tokens: u32,
    /// Keep all activations instead of computing them again in the backward pass
    #[arg(long)]
    no_gradient_checkpointing: bool,
    /// GB of the devices to look at
    #[arg(long, num_args = 1.., default_values_t = [24, 40, 80])]
    memory: Vec<u32>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let models: Vec<(String, Config)> = match &args.model {
        Some(path) => vec![(path.display().to_string(), Folder::open(path)?.config.kernel)],
        None => vec![("Qwen2.5-0.5B".into(), qwen_0_5b()), ("Qwen2.5-7B".into(), qwen_7b())],
    };
    println!(
        "Arithmetic by shapes, nothing was run: {} tokens in a micro-batch, {} in the KV cache, activations {}.",
        args.tokens,
        args.cache_tokens,
        match args.keep() {
            Keep::Inputs => "computed again in the backward pass",
            _ => "kept",
        }
    );
    println!(
        "Not counted: the chunk of logits of the head and other working memory of single operations and of a decode step, and the driver's own memory."
    );
    for (name, config) in &models {
        for method in args.methods() {
            args.print(name, config, method);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn keep(&self) -> Keep {
        if self.no_gradient_checkpointing {
            Keep::Everything
        } else {
            Keep::Inputs
        }
    }

    fn methods(&self) -> Vec<Method> {
        match self.method {
            None => Method::ALL.to_vec(),
            Some(MethodArg::Generate) => vec![Method::Generate],
            Some(MethodArg::Sft) => vec![Method::Sft],
            Some(MethodArg::Dpo) => vec![Method::Dpo],
            Some(MethodArg::Grpo) => vec![Method::Grpo],
            Some(MethodArg::Ppo) => vec![Method::Ppo],
            Some(MethodArg::Trpo) => vec![Method::Trpo],
        }
    }

    fn print(&self, name: &str, config: &Config, method: Method) {
        let dtype = match method {
            Method::Trpo => Dtype::F32,
            _ => self.dtype.into(),
        };
        let masters = match dtype {
            Dtype::Bf16 => self.master_dtype.into(),
            _ => Dtype::F32,
        };
        let tokens = self.tokens as usize;
        let sizes = Sizes {
            dtype,
            masters,
            keep: self.keep(),
            rows: tokens,
            context: tokens,
            cache_rows: self.cache_tokens as usize,
            beside: method.beside(),
        };
        let plan = MemoryPlan::new(config, method, &sizes);
        println!("\n{name}, {}, {}:", method.name(), dtype.name());
        for (part, bytes) in &plan.parts {
            println!("  {part:20} {:8.2} GiB", *bytes as f64 / GIB);
        }
        println!("  {:20} {:8.2} GiB", "in all", plan.total() as f64 / GIB);
        for gb in &self.memory {
            let bytes = u64::from(*gb) * 1_000_000_000;
            let verdict = match MemoryPlan::largest_batch(config, method, &sizes, bytes) {
                None => "does not fit".to_owned(),
                Some(most) if most < tokens => format!("does not fit; a micro-batch of {most} tokens does"),
                Some(most) => format!("fits, up to {most} tokens in a micro-batch"),
            };
            println!("  {gb:3} GB: {verdict}");
        }
    }
}
