//! The numbers that fix a transformer's shape and mathematics.

/// Shape and constants of a Qwen2 or Llama-family transformer. The field names of design.md: C hidden, L layers,
/// H heads, K kv heads, D head_dim, F intermediate, V vocab.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// V, rows of the embedding.
    pub vocab: usize,
    /// C, width of the residual stream.
    pub hidden: usize,
    /// F, width of the feed-forward layer.
    pub intermediate: usize,
    /// L, blocks.
    pub layers: usize,
    /// H, query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// K, key and value heads.
    pub kv_heads: usize,
    /// D, width of one head; even. Need not be C / H.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Which projections of attention and the feed-forward layer carry a bias.
    pub bias: Bias,
    /// Whether the output head has weights of its own.
    pub head: Head,
    /// Positions the model was made for; longer sequences are an error of the caller.
    pub max_positions: usize,
}

/// Rotary position embedding: the base, and how its frequencies are scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// How the frequencies are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// Scaling of the rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as the base gives them.
    None,
    /// Positions divided by `factor` (transformers' `linear`).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3's interpolation by wavelength (transformers' `llama3`).
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are divided by `factor`.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of the pre-training.
        original_max_positions: f64,
    },
}

/// Which linear layers of a block carry a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bias {
    /// On q, k and v (Qwen2; Llama with `attention_bias`).
    pub qkv: bool,
    /// On the attention's output projection (Llama with `attention_bias`).
    pub output: bool,
    /// On gate, up and down (Llama with `mlp_bias`).
    pub mlp: bool,
}

/// The output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding, transposed (`tie_word_embeddings`).
    Tied,
    /// Weights of its own (`lm_head.weight`).
    Untied,
}
