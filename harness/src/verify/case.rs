//! case.json and the files beside it.
use std::path::{Path, PathBuf};

use model_qwen2::folder::Folder;
use model_qwen2::tensors::Tensors;
use model_qwen2::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::sequence::{Sequence, check_for};
use super::settings::{Objective, keys};

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
        let objective = Objective::read(&file, &document.objective, config)?;
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
            s.check(&file, i, folder.config.kernel.vocab)?;
        }
        check_for(&file, &objective, &document.sequences, document.value_head)?;
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

fn check_value_head(file: &Path, asked: bool, folder: &Folder) -> Result<()> {
    let there = folder.value_head != kernel::params::ValueHead::None;
    if asked && !there {
        let expected = "v_head.weight in the model folder";
        return Err(Error::invalid(file, "value_head", expected, "no such tensor"));
    }
    Ok(())
}
