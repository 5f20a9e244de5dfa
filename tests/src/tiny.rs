//! Model folders of a few thousand numbers, with the byte tokenizer of the demo.
use std::fs;
use std::path::Path;

use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::params::{Kind, Params, Spec, ValueHead};
use model_qwen2::config::{Family, HfConfig};
use model_qwen2::tensors::Dtype;
use model_qwen2::tokenizer::{Tokenize, chatml_bytes};

use crate::host::Rng;

/// Grouped queries, biases on q, k and v, an untied head, two layers.
pub fn config() -> Config {
    Config {
        vocab: 136,
        hidden: 32,
        intermediate: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        rms_eps: 1e-6,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        },
        bias: Bias {
            qkv: true,
            ..Bias::default()
        },
        head: Head::Untied,
        max_positions: 128,
    }
}

/// The numbers of a parameter, drawn by its name: matrices of deviation 1 / sqrt(inputs), norms about 1, biases about 0.
pub fn numbers(spec: &Spec) -> Vec<f64> {
    let mut rng = Rng::new(&spec.name);
    let deviation = match spec.kind {
        Kind::Matrix => 1.0 / (spec.shape.1 as f64).sqrt(),
        Kind::Vector => 0.1,
    };
    let mean = f64::from(u8::from(spec.kind == Kind::Vector && spec.name.ends_with("weight")));
    (0..spec.shape.0 * spec.shape.1)
        .map(|_| mean + deviation * rng.normal())
        .collect()
}

/// Writes a model folder of [`config`] with random weights and a tokenizer of one token a byte.
pub fn write(folder: &Path) {
    write_config(folder, config());
}

/// The same with `vocab` tokens.
pub fn write_sized(folder: &Path, vocab: usize) {
    write_config(folder, Config { vocab, ..config() });
}

fn write_config(folder: &Path, config: Config) {
    let tokenizer = chatml_bytes(0..=127).expect("a tokenizer");
    let specs = Params::specs(&config, ValueHead::None);
    let hf = HfConfig {
        kernel: config,
        family: Family::Qwen2,
        dtype: Some(Dtype::F32),
        eos_token_ids: tokenizer.eos().map(|t| t.id).into_iter().collect(),
        bos_token_id: None,
        pad_token_id: tokenizer.pad().map(|t| t.id),
        initializer_range: 0.02,
    };
    fs::create_dir_all(folder).expect("a folder");
    let list: Vec<_> = specs.iter().collect();
    let save = model_qwen2::folder::save(folder, &hf, None, &specs, Dtype::F32, |i| Ok(numbers(list[i])));
    save.expect("a model folder");
    tokenizer.save(folder).expect("a tokenizer's files");
}
