//! A Hugging Face model folder: config.json and weights, in and out.
use std::path::{Path, PathBuf};

use kernel::params::{Kind, Params, Spec, ValueHead};

use crate::config::{GenerationConfig, HfConfig};
use crate::tensors::{self, DEFAULT_SHARD_BYTES, Dtype, Element, Tensors};
use crate::{Error, Result};

/// A model folder, opened: its configuration read, its weights mapped and checked against it.
pub struct Folder {
    path: PathBuf,
    /// config.json.
    pub config: HfConfig,
    /// generation_config.json, where there is one.
    pub generation: Option<GenerationConfig>,
    /// Whether there is a value head beside the language model.
    pub value_head: ValueHead,
    /// What the files call the value head.
    value_name: &'static str,
    tensors: Tensors,
}

impl Folder {
    /// Opens `path`. Errors: a file that is missing or broken; a parameter that is missing or of another shape; a tensor
    /// that the model does not have.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let config = HfConfig::open(&path)?;
        let tensors = Tensors::open(&path)?;
        let value_head = match (tensors.contains("v_head.weight"), tensors.contains("v_head.bias")) {
            (false, _) => ValueHead::None,
            (true, false) => ValueHead::Weight,
            (true, true) => ValueHead::WeightAndBias,
        };
        Self::check(path, config, tensors, value_head, "v_head")
    }

    /// Opens a sequence classifier of one label (`Qwen2ForSequenceClassification`, `LlamaForSequenceClassification`), such as
    /// a reward model: its `score.weight` (1, C) is the value head. Errors: as [`Folder::open`].
    pub fn open_classifier(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let config = HfConfig::open_classifier(&path)?;
        let tensors = Tensors::open(&path)?;
        Self::check(path, config, tensors, ValueHead::Weight, "score")
    }

    fn check(
        path: PathBuf,
        config: HfConfig,
        tensors: Tensors,
        value_head: ValueHead,
        value_name: &'static str,
    ) -> Result<Self> {
        let generation = GenerationConfig::open(&path)?;
        let specs = Params::specs(&config.kernel, value_head);
        let names: Vec<String> = specs.iter().map(|spec| file_name(spec, value_name)).collect();
        for (spec, name) in specs.iter().zip(&names) {
            tensors.get(name, &file_shape(spec))?;
        }
        let unexpected = tensors.unexpected(|name| names.iter().any(|n| n == name));
        if let Some(name) = unexpected.first() {
            return Err(Error::invalid(
                &path,
                format!("tensor {name}"),
                "the parameters that config.json describes",
                format!("{} more", unexpected.len()),
            ));
        }
        Ok(Self {
            path,
            config,
            generation,
            value_head,
            value_name,
            tensors,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one parameter; for [`Model::load`](kernel::transformer::Model::load). Errors: a number that is not finite.
    pub fn fill<T: Element>(&self, spec: &Spec, out: &mut [T]) -> Result<()> {
        let name = file_name(spec, self.value_name);
        self.tensors.get(&name, &file_shape(spec))?.read_into(out)
    }

    /// Tokens that end a text, from both configuration files.
    pub fn eos_token_ids(&self) -> Vec<u32> {
        let mut ids = self.config.eos_token_ids.clone();
        ids.extend(self.generation.iter().flat_map(|g| g.eos_token_ids.iter().copied()));
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The name on disk; `value` is that of the value head.
fn file_name(spec: &Spec, value: &str) -> String {
    match spec.name.strip_prefix("v_head.") {
        Some(part) => format!("{value}.{part}"),
        None => spec.name.clone(),
    }
}

/// A vector is of one dimension on disk.
fn file_shape(spec: &Spec) -> Vec<usize> {
    match spec.kind {
        Kind::Matrix => vec![spec.shape.0, spec.shape.1],
        Kind::Vector => vec![spec.shape.1],
    }
}

/// How parameters are stored on disk, in the canonical order.
pub fn file_specs(specs: &Params<Spec>, dtype: Dtype) -> Vec<tensors::Spec> {
    specs
        .iter()
        .map(|s| tensors::Spec {
            name: s.name.clone(),
            shape: file_shape(s),
            dtype,
        })
        .collect()
}

/// Writes config.json, generation_config.json and the weights into `folder`, which transformers loads as it is. `read`
/// gives the numbers of the i-th parameter; one is in memory at a time.
pub fn save<T: Element>(
    folder: &Path,
    config: &HfConfig,
    generation: Option<&GenerationConfig>,
    specs: &Params<Spec>,
    dtype: Dtype,
    mut read: impl FnMut(usize) -> Result<Vec<T>>,
) -> Result<()> {
    let specs = file_specs(specs, dtype);
    let mut i = 0;
    tensors::save_tensors(folder, &specs, DEFAULT_SHARD_BYTES, |_, sink| {
        let values = read(i)?;
        i += 1;
        sink.put(&values)
    })?;
    let config = HfConfig {
        dtype: Some(dtype),
        ..config.clone()
    };
    config.save(folder)?;
    match generation {
        Some(g) => g.save(folder),
        None => GenerationConfig::from_config(&config).save(folder),
    }
}
