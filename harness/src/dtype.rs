//! Compute precision.
use model_qwen2::tensors;

/// What the model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// The oracle: plain loops, for checks on small models.
    F64,
    /// Single precision.
    F32,
    /// bfloat16 activations and working weights, f32 masters and sums.
    Bf16,
}

impl Dtype {
    /// "f64", "f32", "bf16".
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// How a model computed in this is stored.
    pub fn stored(self) -> tensors::Dtype {
        match self {
            Self::F64 => tensors::Dtype::F64,
            Self::F32 => tensors::Dtype::F32,
            Self::Bf16 => tensors::Dtype::Bf16,
        }
    }
}
