//! Whole models to ask things of: two configurations with random weights, on every backend.
use cpu_backend::{Cpu, Isa, Settings};
use half::bf16;
use kernel::backend::{Decode, Memory, Ops, Tangent, Vector};
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::mat::Use;
use kernel::optim::{Learner, Storage};
use kernel::params::{Spec, ValueHead};
use kernel::real::Real;
use kernel::transformer::{Keep, Model};

use crate::host::Rng;
use crate::tiny;

/// Queries in groups, biases everywhere, a head of its own, a head_dim that is not C / H.
pub fn biased() -> Config {
    Config {
        vocab: 53,
        hidden: 24,
        intermediate: 40,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        bias: Bias {
            qkv: true,
            output: true,
            mlp: true,
        },
        head: Head::Untied,
        ..tiny::config()
    }
}

/// Llama's: no bias, the embedding as head, scaled rotary frequencies.
pub fn tied() -> Config {
    Config {
        vocab: 50,
        hidden: 16,
        intermediate: 24,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        bias: Bias::default(),
        head: Head::Tied,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::Linear { factor: 2.0 },
        },
        ..tiny::config()
    }
}

/// Longest sequence.
pub const CONTEXT: usize = 96;

fn fill<B: Memory>(spec: &Spec, out: &mut [B::Real]) -> Result<(), B::Error> {
    for (out, x) in out.iter_mut().zip(tiny::numbers(spec)) {
        *out = B::Real::from_f64(x);
    }
    Ok(())
}

/// A learner with a value head.
pub fn learner<B: Ops + Vector>(b: &B, config: Config, keep: Keep) -> Learner<B> {
    learner_as(b, config, keep, Storage::Full)
}

/// The same, its values and moments kept as `storage` says.
pub fn learner_as<B: Ops + Vector>(b: &B, config: Config, keep: Keep, storage: Storage) -> Learner<B> {
    let learner = Learner::load_as(b, config, ValueHead::WeightAndBias, CONTEXT, keep, storage, fill::<B>);
    learner.expect("memory for a tiny model")
}

/// A model of the same weights.
pub fn model<B: Decode>(b: &B, config: Config, usage: Use) -> Model<B> {
    let model = Model::load(b, config, ValueHead::None, CONTEXT, usage, fill::<B>);
    model.expect("memory for a tiny model")
}

/// n tokens, the same for the same name.
pub fn tokens(name: &str, n: usize, vocab: usize) -> Vec<u32> {
    Rng::new(name).index(n, vocab)
}

/// Something asked of every backend.
pub trait Ask {
    /// Asks it; `name` begins with the precision.
    fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str);
}

/// Asks it of the oracle, and of both precisions on every instruction set with one thread and two.
pub fn every_backend(ask: &impl Ask) {
    ask.ask(&Cpu::<f64>::oracle(), "f64");
    for isa in Isa::available() {
        for threads in [1, 2] {
            let settings = Settings { threads, isa };
            ask.ask(&Cpu::<f32>::new(settings), &format!("f32 {isa:?} {threads}"));
            ask.ask(&Cpu::<bf16>::new(settings), &format!("bf16 {isa:?} {threads}"));
        }
    }
}
