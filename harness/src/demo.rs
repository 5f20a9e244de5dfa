//! The whole system in miniature: a tiny model and its tokenizer made from nothing, trained on sums, asked before and
//! after, saved as a folder. Every step goes through the code that real models go through.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use cpu_backend::{Cpu, Settings};
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::mat::Use;
use kernel::params::{Kind, Params, ValueHead};
use kernel::random::{normal, philox};
use kernel::transformer::Model;
use model_qwen2::Error;
use model_qwen2::config::{Family, HfConfig};
use model_qwen2::tensors::Dtype;
use model_qwen2::tokenizer::{Tokenize, chatml_bytes};
use serde::Serialize;
use serde_json::{Value, json};

use crate::assets::Assets;
use crate::checkpoint::Stop;
use crate::config::SftConfig;
use crate::data::{self, DatasetConfig, Split, permutation};
use crate::eval::{Answering, evaluate};
use crate::sft;

/// A trainer's metric before and after, for one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Seed of the weights, the data and its order.
    pub seed: u64,
    /// Metric of the untrained model.
    pub before: f64,
    /// Metric of the trained model.
    pub after: f64,
    /// Training and both evaluations.
    pub seconds: f64,
    /// The trained model's folder.
    pub model: PathBuf,
}

/// Numbers to add are below this.
const BELOW: u64 = 50;

/// Problems held out for the evaluation.
const HELD_OUT: usize = 200;

/// Trains and evaluates in `folder`, which gets `base/`, `train.jsonl`, `test.jsonl`, `sft/` and the answers before and
/// after. Errors: the folder's, and whatever the trainer's would be.
pub fn sft(folder: &Path, seed: u64, stop: &Stop) -> Result<Outcome> {
    let begin = Instant::now();
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let (base, trained) = (folder.join("base"), folder.join("sft"));
    make_model(&base, seed)?;
    let problems = make_data(folder, seed)?;
    let before = accuracy(&base, &problems.test, &folder.join("before.jsonl"))?;
    let config = config(&base, &trained, &problems.train, seed)?;
    let done = sft::run(&config, stop)?;
    anyhow::ensure!(
        !done.stopped,
        "stopped by a signal; {} is not finished",
        trained.display()
    );
    let after = accuracy(&trained, &problems.test, &folder.join("after.jsonl"))?;
    Ok(Outcome {
        seed,
        before,
        after,
        seconds: begin.elapsed().as_secs_f64(),
        model: trained,
    })
}

fn config(base: &Path, output: &Path, train: &Path, seed: u64) -> Result<SftConfig> {
    let mut config = SftConfig::default();
    let s = &mut config.shared;
    s.model_name_or_path = base.into();
    s.output_dir = output.into();
    let mut dataset = toml::Table::new();
    dataset.insert("path".into(), train.display().to_string().into());
    s.dataset = Some(dataset.into());
    s.learning_rate = 3e-3;
    s.per_device_train_batch_size = 64;
    s.num_train_epochs = 30.0;
    s.warmup_ratio = Some(0.05);
    s.gradient_checkpointing = false;
    s.logging_steps = crate::config::Steps::Count(100);
    s.save_strategy = crate::config::Strategy::No;
    s.seed = seed;
    config.validate()?;
    Ok(config)
}

/// A Qwen2-shaped model of random weights with a byte tokenizer.
fn make_model(folder: &Path, seed: u64) -> Result<()> {
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

struct Problems {
    train: PathBuf,
    test: PathBuf,
}

/// All sums of two numbers, shuffled; the held-out ones are not among those trained on.
fn make_data(folder: &Path, seed: u64) -> Result<Problems> {
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
    });
    format!("{row}\n")
}

/// Share of the problems in `test` that the model answers exactly, greedily; the answers go to `output`.
fn accuracy(model: &Path, test: &Path, output: &Path) -> Result<f64> {
    let assets = Assets::open(model, None)?;
    let (dataset, _) = data::load(&DatasetConfig::new(test), Path::new(""), Split::Eval)?;
    let b = Cpu::<f32>::new(Settings::detect()?);
    let kernel = assets.folder.config.kernel.clone();
    let context = kernel.max_positions;
    let model = Model::load(&b, kernel, ValueHead::None, context, Use::Inference, |spec, out| {
        anyhow::Ok(assets.folder.fill(spec, out)?)
    })?;
    let how = Answering {
        max_new_tokens: 8,
        batch: 64,
        ..Answering::default()
    };
    if output.exists() {
        fs::remove_file(output).map_err(Error::io(output, "remove"))?;
    }
    evaluate(&b, &model, &assets, &dataset, &how, output, &Stop::default(), |_, _| {})?;
    let text = fs::read_to_string(output).map_err(Error::io(output, "read"))?;
    let rows: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| output.display().to_string())?;
    let right = rows
        .iter()
        .filter(|r| r.get("answer").is_some_and(|a| r.get("reference") == Some(a)))
        .count();
    Ok(right as f64 / rows.len().max(1) as f64)
}
