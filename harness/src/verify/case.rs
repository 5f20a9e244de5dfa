//! case.json and the files beside it.
use std::path::{Path, PathBuf};

use kernel::objective::sft::SftLoss;
use model_qwen2::folder::Folder;
use model_qwen2::tensors::Tensors;
use model_qwen2::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A case, read and checked.
pub struct Case {
    /// Its folder.
    pub path: PathBuf,
    /// The model.
    pub folder: Folder,
    /// What is computed.
    pub objective: Objective,
    /// AdamW steps to take on the same data, where the reference has some.
    pub optimizer: Option<Optimizer>,
    /// Divides the logits.
    pub temperature: f64,
    /// The data.
    pub sequences: Vec<Sequence>,
    /// The reference numbers.
    pub expected: Tensors,
}

/// What is computed from the log-probs.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// Nothing: log-probs, entropies and values only.
    Logprobs,
    /// Supervised fine-tuning.
    Sft(SftLoss),
}

/// Prompt and completion, with what the objectives ask of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Tokens before; may be empty.
    pub prompt: Vec<u32>,
    /// Tokens to be predicted: all of them, but for the first where there is no prompt.
    pub completion: Vec<u32>,
    /// 0 or 1 for each prediction.
    #[serde(default)]
    pub mask: Option<Vec<u8>>,
}

impl Sequence {
    /// Tokens that are predicted.
    pub fn predictions(&self) -> usize {
        self.completion.len() - self.prompt.is_empty() as usize
    }

    /// 1.0 where the token counts.
    pub fn weights(&self) -> Vec<f64> {
        match &self.mask {
            Some(mask) => mask.iter().map(|&m| m as f64).collect(),
            None => vec![1.0; self.predictions()],
        }
    }
}

/// Settings of torch.optim.AdamW and of clipping.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Learning rate, constant.
    pub learning_rate: f64,
    /// Decays of the moments.
    #[serde(default = "betas")]
    pub betas: (f64, f64),
    /// Epsilon.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Decoupled weight decay, on every parameter.
    #[serde(default)]
    pub weight_decay: f64,
    /// Clipping; none where unset.
    #[serde(default)]
    pub max_grad_norm: Option<f64>,
}

fn betas() -> (f64, f64) {
    (0.9, 0.999)
}

fn eps() -> f64 {
    1e-8
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    objective: String,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default = "one")]
    temperature: f64,
    #[serde(default)]
    value_head: bool,
    sequences: Vec<Sequence>,
}

fn one() -> f64 {
    1.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SftKeys {
    #[serde(default)]
    loss_type: LossType,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LossType {
    #[default]
    Nll,
    Dft,
}

impl Case {
    /// Reads the case in `path`. Errors: a file is missing or broken, a key unknown, a number out of range.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("case.json");
        let text = std::fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let mut document: Document =
            serde_json::from_str(&text).map_err(|e| Error::invalid(&file, "JSON", "a case", e.to_string()))?;
        let optimizer = match document.config.remove("optimizer") {
            Some(value) => Some(keys(&file, "config.optimizer", value)?),
            None => None,
        };
        let config = Value::Object(document.config);
        let objective = match document.objective.as_str() {
            "logprobs" => {
                keys::<NoKeys>(&file, "config", config)?;
                Objective::Logprobs
            }
            "sft" => Objective::Sft(match keys::<SftKeys>(&file, "config", config)?.loss_type {
                LossType::Nll => SftLoss::Nll,
                LossType::Dft => SftLoss::Dft,
            }),
            other => {
                return Err(Error::invalid(
                    &file,
                    "objective",
                    "\"logprobs\" or \"sft\" (the others come with their trainers)",
                    format!("\"{other}\""),
                ));
            }
        };
        let folder = Folder::open(path.join("model"))?;
        check_value_head(&file, document.value_head, &folder)?;
        if !(document.temperature.is_finite() && document.temperature > 0.0) {
            let found = document.temperature.to_string();
            return Err(Error::invalid(&file, "temperature", "a positive number", found));
        }
        if document.sequences.is_empty() {
            return Err(Error::invalid(&file, "sequences", "at least one sequence", "none"));
        }
        for (i, s) in document.sequences.iter().enumerate() {
            check_sequence(&file, i, s, folder.config.kernel.vocab)?;
        }
        Ok(Self {
            path: path.to_owned(),
            objective,
            optimizer,
            temperature: document.temperature,
            sequences: document.sequences,
            expected: Tensors::open_file(path.join("expected.safetensors"))?,
            folder,
        })
    }

    /// The longest sequence's tokens.
    pub fn context(&self) -> usize {
        let lengths = self.sequences.iter().map(|s| s.prompt.len() + s.completion.len());
        lengths.max().unwrap_or(0)
    }

    /// Sum of all masks: the divisor of token means.
    pub fn weight(&self) -> f64 {
        self.sequences.iter().flat_map(Sequence::weights).sum()
    }
}

fn keys<T: DeserializeOwned>(file: &Path, field: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::invalid(file, field, "known keys", e.to_string()))
}

fn check_value_head(file: &Path, asked: bool, folder: &Folder) -> Result<()> {
    let there = folder.value_head != kernel::params::ValueHead::None;
    if asked && !there {
        let expected = "v_head.weight in the model folder";
        return Err(Error::invalid(file, "value_head", expected, "no such tensor"));
    }
    Ok(())
}

fn check_sequence(file: &Path, i: usize, s: &Sequence, vocab: usize) -> Result<()> {
    let invalid = |field: &str, expected: String, found: String| {
        Err(Error::invalid(file, format!("sequences[{i}].{field}"), expected, found))
    };
    if s.completion.is_empty() {
        return invalid("completion", "at least one token".into(), "none".into());
    }
    for (field, ids) in [("prompt", &s.prompt), ("completion", &s.completion)] {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return invalid(field, format!("ids below the vocabulary of {vocab}"), id.to_string());
        }
    }
    if let Some(mask) = &s.mask {
        let n = s.predictions();
        if mask.len() != n {
            return invalid("mask", format!("{n} numbers"), mask.len().to_string());
        }
        if let Some(m) = mask.iter().find(|&&m| m > 1) {
            return invalid("mask", "0 or 1".into(), m.to_string());
        }
    }
    Ok(())
}
