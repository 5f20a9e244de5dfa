//! GGUF import: tensors, metadata, tokenizer.
//!
//! [`Gguf`] is the container (versions 2 and 3, little-endian, memory-mapped), [`config`] and [`tokenizer`] read what is
//! in it, [`convert`] makes a Hugging Face folder of it. Weights come out as the quantised file has them, not as the
//! release it was made from.

mod config;
mod file;
mod names;
mod quant;
mod tokenizer;

pub use config::config;
pub use file::{Gguf, Tensor, Value};
pub use names::gguf_name;
pub use quant::Kind;
pub use tokenizer::{TokenizerFiles, tokenizer};

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{GenerationConfig, HfConfig, tensor_shapes};
use crate::error::{Error, Result};
use crate::tensors::{Dtype, Spec, new_folder, save_tensors, write_json};

/// What [`convert`] wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The model's config.json.
    pub config: HfConfig,
    /// Tensors in it.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
}

/// Writes the GGUF file `path` as a Hugging Face folder that transformers loads: config.json, generation_config.json,
/// the tokenizer's three files, and the weights as `dtype` in files of at most `shard_bytes`. `folder` must be new or
/// empty. Nothing is written before all but the tensors' content is checked.
pub fn convert(path: impl AsRef<Path>, folder: impl AsRef<Path>, dtype: Dtype, shard_bytes: u64) -> Result<Converted> {
    let gguf = Gguf::open(path)?;
    let mut config = config(&gguf)?;
    config.dtype = Some(dtype);
    let files = tokenizer(&gguf)?;
    let specs = specs(&gguf, &config, dtype)?;

    let folder = new_folder(folder)?;
    save_tensors(&folder, &specs, shard_bytes, |spec, sink| {
        sink.put(&read(&gguf, &config, spec)?)
    })?;
    write_json(folder.join("tokenizer.json"), &files.tokenizer)?;
    write_json(folder.join("tokenizer_config.json"), &files.config)?;
    write_json(folder.join("special_tokens_map.json"), &files.special_tokens)?;
    GenerationConfig::from_config(&config).save(&folder)?;
    config.save(&folder)?;
    let parameters = specs.iter().map(Spec::len).sum();
    Ok(Converted {
        config,
        tensors: specs.len(),
        parameters,
    })
}

/// The tensors to write, after it is sure that the file has each of them, in its shape, and no other.
fn specs(gguf: &Gguf, config: &HfConfig, dtype: Dtype) -> Result<Vec<Spec>> {
    let invalid = |name: &str, expected: String, found: String| {
        Error::invalid(gguf.path(), format!("tensor {name}"), expected, found)
    };
    let mut unread: BTreeSet<&str> = gguf.tensors().map(|(name, _)| name).collect();
    unread.remove(config::ROPE_FACTORS);
    let mut specs = Vec::new();
    for (name, shape) in tensor_shapes(&config.kernel) {
        let own = gguf_name(&name).unwrap_or_default();
        match gguf.tensor(&own) {
            None => {
                return Err(invalid(&own, format!("shape {shape:?}"), "no such tensor".into()));
            }
            Some(tensor) if tensor.shape != shape => {
                return Err(invalid(&own, format!("shape {shape:?}"), format!("{:?}", tensor.shape)));
            }
            Some(_) => unread.remove(own.as_str()),
        };
        specs.push(Spec { name, shape, dtype });
    }
    match unread.first() {
        Some(name) => Err(invalid(
            name,
            format!("no such tensor in a {}", config.family.model_type()),
            "it".into(),
        )),
        None => Ok(specs),
    }
}

/// The numbers of a Hugging Face tensor.
fn read(gguf: &Gguf, config: &HfConfig, spec: &Spec) -> Result<Vec<f32>> {
    let data = gguf.read(&gguf_name(&spec.name).unwrap_or_default(), &spec.shape)?;
    Ok(
        match names::interleaved_heads(&spec.name, config.family, &config.kernel) {
            Some(heads) => names::uninterleave(&data, spec.shape[0], heads),
            None => data,
        },
    )
}

#[cfg(test)]
mod tests;
