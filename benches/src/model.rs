//! Sizes of real models.
use kernel::backend::Heads;

/// A model's sizes.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// Its linear layers, (out, in).
    pub linear: &'static [(usize, usize)],
    /// H, K, D.
    pub heads: Heads,
    /// C.
    pub hidden: usize,
    /// F.
    pub intermediate: usize,
    /// V.
    pub vocab: usize,
}

/// SmolLM2-135M and Qwen2.5-0.5B.
pub const MODELS: [Model; 2] = [
    Model {
        name: "smollm2-135m",
        linear: &[(576, 576), (192, 576), (1536, 576), (576, 1536)],
        heads: Heads {
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
        },
        hidden: 576,
        intermediate: 1536,
        vocab: 49152,
    },
    Model {
        name: "qwen2.5-0.5b",
        linear: &[(896, 896), (128, 896), (4864, 896), (896, 4864)],
        heads: Heads {
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
        },
        hidden: 896,
        intermediate: 4864,
        vocab: 151_936,
    },
];
