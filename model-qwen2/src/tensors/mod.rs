//! Weights on disk: `model.safetensors`, or `model.safetensors.index.json` and its shards.
//!
//! [`Tensors`] maps the files into memory, checks every header against the file before anything is read, and
//! converts on the way out. [`save_tensors`] streams: one tensor in memory at a time, each file complete and
//! synced before it takes its name.

mod atomic;
mod element;
mod header;
mod mapped;
mod read;
mod write;

pub use atomic::{new_folder, write_atomic, write_json};
pub use element::Element;
pub(crate) use mapped::map;
pub use read::{Tensors, View};
pub use write::{DEFAULT_SHARD_BYTES, Sink, Spec, save_tensors, write_safetensors};

use std::fmt;

/// The one-file name of a model's weights.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index of a sharded model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// How a floating-point number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 8 bytes, IEEE.
    F64,
    /// 4 bytes, IEEE.
    F32,
    /// 2 bytes, IEEE half.
    F16,
    /// 2 bytes, the upper half of an `F32`.
    Bf16,
}

impl Dtype {
    const ALL: [Self; 4] = [Self::F64, Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name in config.json: "float32".
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The dtype of a name in config.json, with or without "torch." before it.
    pub fn from_torch_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        Self::ALL.into_iter().find(|dtype| dtype.torch_name() == name)
    }

    fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.to_safetensors() == dtype)
    }

    fn to_safetensors(self) -> safetensors::Dtype {
        match self {
            Self::F64 => safetensors::Dtype::F64,
            Self::F32 => safetensors::Dtype::F32,
            Self::F16 => safetensors::Dtype::F16,
            Self::Bf16 => safetensors::Dtype::BF16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.torch_name())
    }
}

#[cfg(test)]
mod tests;
