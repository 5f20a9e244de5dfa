#![cfg_attr(rustfmt, rustfmt_skip)] // sixty lines, to be read at a glance
//! The kernel in a runtime of your own: you own the data, the loop and the schedule; it owns the mathematics.
//! `cargo run --release -p cpu-backend --example own_loop`
use cpu_backend::{Cpu, OutOfMemory};
use kernel::batch::Batch;
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::objective::sft::SftLoss;
use kernel::optim::{Decay, Hyper, Learner};
use kernel::params::{Kind, ValueHead};
use kernel::random::{normal, philox};
use kernel::transformer::{Cotangent, Keep};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (b, text) = (Cpu::oracle(), b"a language model learns one sentence by heart");
    let rope = Rope { theta: 1e4, scaling: RopeScaling::None };
    let config = Config {
        vocab: 128, hidden: 32, intermediate: 64, layers: 2, heads: 4, kv_heads: 2, head_dim: 8, rms_eps: 1e-6,
        rope, bias: Bias::default(), head: Head::Tied, max_positions: 64,
    };
    let mut n = 0;
    let mut learner = Learner::load(&b, config, ValueHead::None, 64, Keep::Everything, |spec, out| {
        for x in out {
            n += 1;
            *x = if spec.kind == Kind::Matrix { 0.1 * normal(philox(0, [n, 0, 0, 0])) } else { 1.0 };
        }
        Ok::<_, OutOfMemory>(())
    })?;
    let mut batch = Batch::new(128);
    batch.completion(None, &text.map(u32::from))?;
    let hyper = Hyper {
        learning_rate: 1e-2, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decay: Decay::Matrices, max_grad_norm: 1.0,
    };
    for step in 0..30 {
        learner.zero_grads(&b);
        let logp = learner.score(&b, &batch, 1.0)?.logp.clone();
        // An objective is a function on slices: put your own here.
        let (mut dlogp, mask) = (logp.clone(), vec![1.0; logp.len()]);
        let loss = SftLoss::Nll.loss(&mut dlogp, &logp, &mask, logp.len() as f64);
        learner.backward(&b, Cotangent { dlogp: &dlogp, dentropy: &[], dvalue: &[] })?;
        let norm = learner.update(&b, &hyper)?;
        println!("step {step:2}  loss {loss:.4}  |g| {norm:.3}");
    }
    Ok(())
}
