//! The demo's model and data: a tiny model of random weights, and sums of two numbers.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::params::{Kind, Params, ValueHead};
use kernel::random::{normal, philox};
use model_qwen2::Error;
use model_qwen2::config::{Family, HfConfig};
use model_qwen2::tensors::Dtype;
use model_qwen2::tokenizer::{Tokenize, chatml_bytes};
use serde_json::json;

use crate::data::permutation;

/// Numbers to add are below this.
const BELOW: u64 = 50;

/// Problems held out for the evaluation.
const HELD_OUT: usize = 200;

/// The column with the sum, for rewards.
pub const TRUTH: &str = "sum";

/// A Qwen2-shaped model of random weights with a byte tokenizer.
pub fn make_model(folder: &Path, seed: u64) -> Result<()> {
    let tokenizer = chatml_bytes(0..=127)?;
    let kernel = Config {
        vocab: tokenizer.vocab_size().next_multiple_of(8),
        hidden: 64,
        intermediate: 192,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        rms_eps: 1e-6,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        },
        bias: Bias {
            qkv: true,
            ..Bias::default()
        },
        head: Head::Tied,
        max_positions: 256,
    };
    let specs = Params::specs(&kernel, ValueHead::None);
    let config = HfConfig {
        kernel,
        family: Family::Qwen2,
        dtype: Some(Dtype::F32),
        eos_token_ids: tokenizer.eos().map(|t| t.id).into_iter().collect(),
        bos_token_id: None,
        pad_token_id: tokenizer.pad().map(|t| t.id),
        initializer_range: 0.02,
    };
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let list: Vec<_> = specs.iter().collect();
    model_qwen2::folder::save(folder, &config, None, &specs, Dtype::F32, |i| {
        let spec = list[i];
        // Weights of deviation 1 / sqrt(inputs) keep the signal's size through the layers.
        let deviation = 1.0 / (spec.shape.1 as f64).sqrt();
        let number = |j: usize| deviation * normal(philox(seed, [i as u32, j as u32, 0, 0]));
        Ok((0..spec.shape.0 * spec.shape.1)
            .map(|j| match (spec.kind, spec.name.ends_with("bias")) {
                (Kind::Matrix, _) => number(j) as f32,
                (Kind::Vector, true) => 0.0,
                (Kind::Vector, false) => 1.0,
            })
            .collect())
    })?;
    Ok(tokenizer.save(folder)?)
}

/// Files of problems.
pub struct Problems {
    /// To learn from.
    pub train: PathBuf,
    /// Held out.
    pub test: PathBuf,
}

/// All sums of two numbers, shuffled; the held-out ones are not among those trained on.
pub fn make_data(folder: &Path, seed: u64) -> Result<Problems> {
    let order = permutation(seed, 0, (BELOW * BELOW) as usize);
    let lines: Vec<String> = order
        .iter()
        .map(|&i| problem(i as u64 / BELOW, i as u64 % BELOW))
        .collect();
    let (test, train) = lines.split_at(HELD_OUT);
    let write = |name: &str, lines: &[String]| {
        let path = folder.join(name);
        fs::write(&path, lines.concat()).map_err(Error::io(&path, "write"))?;
        anyhow::Ok(path)
    };
    Ok(Problems {
        train: write("train.jsonl", train)?,
        test: write("test.jsonl", test)?,
    })
}

fn problem(a: u64, b: u64) -> String {
    let message = |role: &str, content: String| json!([{ "role": role, "content": content }]);
    let row = json!({
        "prompt": message("user", format!("{a}+{b}")),
        "completion": message("assistant", (a + b).to_string()),
        TRUTH: (a + b).to_string(),
    });
    format!("{row}\n")
}
