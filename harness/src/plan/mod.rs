//! How much memory a run takes: arithmetic, by the code's own allocators over a backend that only counts.
//!
//! Counted: what the trainer allocates on its device by shape. Not counted: the working memory of single operations (the head's
//! chunk of logits: a fixed budget) and of one decode step, a driver's own memory, and what an allocator loses to alignment.
mod ledger;

use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::mat::Use;
use kernel::params::{Params, Spec, ValueHead};
use kernel::transformer::{Keep, Model, Workspace};

use crate::dtype::Dtype;
use ledger::Ledger;

/// What a trainer holds beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Inference: working weights only.
    Generate,
    /// Supervised fine-tuning.
    Sft,
    /// DPO, with the reference in memory.
    Dpo,
    /// GRPO or RLOO, with a KL to a reference.
    Grpo,
    /// PPO with a value head, with a reference.
    Ppo,
    /// TRPO: four vectors of the size of the gradient, and a direction.
    Trpo,
}

impl Method {
    /// All, in the order of the table.
    pub const ALL: [Self; 6] = [Self::Generate, Self::Sft, Self::Dpo, Self::Grpo, Self::Ppo, Self::Trpo];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Sft => "sft",
            Self::Dpo => "dpo",
            Self::Grpo => "grpo",
            Self::Ppo => "ppo",
            Self::Trpo => "trpo",
        }
    }

    /// What it has beside the policy unless its configuration says otherwise.
    pub fn beside(self) -> Beside {
        Beside {
            reference: match self {
                Self::Dpo | Self::Grpo | Self::Ppo => Reference::Frozen,
                Self::Generate | Self::Sft | Self::Trpo => Reference::None,
            },
            critic: match self {
                Self::Ppo => Critic::Head,
                _ => Critic::None,
            },
            sampler: Sampler::Policy,
        }
    }
}

/// The models beside the policy. Each is counted as one of the policy's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// What the policy is compared with.
    pub reference: Reference,
    /// What values come from.
    pub critic: Critic,
    /// What completions are drawn from.
    pub sampler: Sampler,
}

/// A model that completions are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// The policy.
    Policy,
    /// A copy of it whose blocks have integers of eight bits.
    Int8,
}

/// A reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// None.
    None,
    /// One that stays as it is: working weights.
    Frozen,
    /// One that follows the policy: f32 masters too.
    Moving,
}

/// A critic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Critic {
    /// None.
    None,
    /// A head of the policy.
    Head,
    /// A model in training of its own.
    Model,
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Compute precision.
    pub dtype: Dtype,
    /// That of values and moments as the optimizer keeps them. Those of bf16 have no masters beside the weights.
    pub masters: Dtype,
    /// What the forward pass keeps.
    pub keep: Keep,
    /// Tokens of the largest micro-batch.
    pub rows: usize,
    /// Longest sequence.
    pub context: usize,
    /// Rows of the KV cache, where the method generates.
    pub cache_rows: usize,
    /// The models beside the policy.
    pub beside: Beside,
}

/// Bytes by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Name and bytes, zeros left out.
    pub parts: Vec<(&'static str, u64)>,
}

impl MemoryPlan {
    /// For a model and a method.
    pub fn new(config: &Config, method: Method, sizes: &Sizes) -> Self {
        let Beside {
            reference,
            critic,
            sampler,
        } = sizes.beside;
        let head = match critic {
            Critic::Head => ValueHead::Weight,
            Critic::None | Critic::Model => ValueHead::None,
        };
        let training = method != Method::Generate;
        let usage = if training { Use::Training } else { Use::Inference };
        let weights_as = |head, usage| {
            counted(sizes.dtype, |l| {
                Model::zeros(l, config.clone(), head, sizes.context, usage).map(drop)
            })
        };
        let weights = |head| weights_as(head, usage);
        let numbers = |head| -> u64 { Params::specs(config, head).iter().map(count).sum() };
        let accs = |n: u64| if training { n * 4 * numbers(head) } else { 0 };
        // Bytes of masters and moments a parameter.
        let (master, moments) = match sizes.masters {
            Dtype::Bf16 => (0, 4),
            Dtype::F32 | Dtype::F64 => (4, 8),
        };
        let kept = |bytes: u64| if training { bytes * numbers(head) } else { 0 };
        let (vectors, directions) = if method == Method::Trpo { (4, 1) } else { (0, 0) };
        let keep = if training { sizes.keep } else { Keep::Nothing };
        let generates = !matches!(method, Method::Sft | Method::Dpo);
        let kv = 2 * config.layers * config.kv_heads * config.head_dim * sizes.dtype.bytes();
        let none = ValueHead::None;
        let scored = weights(none) + activations(config, none, Keep::Nothing, sizes);
        let parts = [
            ("working weights", weights(head)),
            ("f32 masters", kept(master)),
            ("gradients", accs(1)),
            ("moments", kept(moments)),
            (
                "reference",
                match reference {
                    Reference::None => 0,
                    Reference::Frozen => scored,
                    Reference::Moving => scored + 4 * numbers(none),
                },
            ),
            (
                "critic",
                match critic {
                    Critic::None | Critic::Head => 0,
                    Critic::Model => {
                        let head = ValueHead::Weight;
                        weights(head) + (master + 4 + moments) * numbers(head) + activations(config, head, keep, sizes)
                    }
                },
            ),
            (
                "int8 sampler",
                match sampler {
                    Sampler::Policy => 0,
                    Sampler::Int8 => weights_as(none, Use::Int8),
                },
            ),
            ("conjugate gradients", accs(vectors) + directions * weights(head)),
            ("activations", activations(config, head, keep, sizes)),
            ("KV cache", if generates { (kv * sizes.cache_rows) as u64 } else { 0 }),
        ];
        Self {
            parts: parts.into_iter().filter(|part| part.1 > 0).collect(),
        }
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.1).sum()
    }

    /// The largest micro-batch, in tokens, with which a run takes at most `bytes`; none where not even one of one token does.
    pub fn largest_batch(config: &Config, method: Method, sizes: &Sizes, bytes: u64) -> Option<usize> {
        let of = |rows| Self::new(config, method, &Sizes { rows, ..*sizes }).total();
        let (one, two) = (of(1), of(2));
        // Linear in the rows: every activation has a row for each.
        let row = (two - one).max(1);
        (one <= bytes).then(|| ((bytes - one) / row + 1) as usize)
    }
}

fn count(spec: &Spec) -> u64 {
    (spec.shape.0 * spec.shape.1) as u64
}

fn activations(config: &Config, head: ValueHead, keep: Keep, sizes: &Sizes) -> u64 {
    let model = Model::zeros(&Ledger::new(sizes.dtype), config.clone(), head, 1, Use::Training);
    let Ok(model) = model;
    counted(sizes.dtype, |l| {
        Workspace::new(l, &model, keep, sizes.rows, sizes.rows).map(drop)
    })
}

/// The bytes that `work` allocates.
fn counted(dtype: Dtype, work: impl FnOnce(&Ledger) -> Result<(), ledger::Never>) -> u64 {
    let ledger = Ledger::new(dtype);
    let Ok(()) = work(&ledger);
    ledger.bytes()
}

/// Qwen2.5-0.5B's config.json.
pub fn qwen_0_5b() -> Config {
    qwen(896, 4864, 24, 14, 2, 151_936, Head::Tied)
}

/// Qwen2.5-7B's config.json.
pub fn qwen_7b() -> Config {
    qwen(3584, 18_944, 28, 28, 4, 152_064, Head::Untied)
}

fn qwen(
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    head: Head,
) -> Config {
    Config {
        vocab,
        hidden,
        intermediate,
        layers,
        heads,
        kv_heads,
        head_dim: hidden / heads,
        rms_eps: 1e-6,
        rope: Rope {
            theta: 1e6,
            scaling: RopeScaling::None,
        },
        bias: Bias {
            qkv: true,
            ..Bias::default()
        },
        head,
        max_positions: 32_768,
    }
}

#[cfg(test)]
mod tests;
