#![no_std]
#![no_main]
//! Takes training steps of a tiny Qwen2 with nothing but `kernel` and the oracle backend: no std, no C library, its own
//! entry point, panic handler and allocator. Exits 0 when the loss fell, 1 when not, 2 on a panic.
//!
//! Linux on x86-64, because the entry point and the two system calls are written for it.
extern crate alloc;

mod runtime;

use core::fmt::Write;

use cpu_backend::Cpu;
use kernel::batch::Batch;
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::objective::sft::SftLoss;
use kernel::optim::{Decay, Hyper, Learner};
use kernel::params::{Kind, ValueHead};
use kernel::random::{normal, philox};
use kernel::transformer::{Cotangent, Keep};

fn config() -> Config {
    Config {
        vocab: 16,
        hidden: 8,
        intermediate: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        rms_eps: 1e-6,
        rope: Rope {
            theta: 1e4,
            scaling: RopeScaling::None,
        },
        bias: Bias {
            qkv: true,
            ..Bias::default()
        },
        head: Head::Tied,
        max_positions: 16,
    }
}

/// Forty steps on one sentence; the losses.
fn train() -> Result<[f64; 40], cpu_backend::OutOfMemory> {
    let b = Cpu::oracle();
    let mut draw = 0;
    let mut learner = Learner::load(&b, config(), ValueHead::None, 16, Keep::Everything, |spec, out| {
        for x in out {
            draw += 1;
            *x = match spec.kind {
                Kind::Matrix => 0.2 * normal(philox(1, [draw, 0, 0, 0])),
                Kind::Vector => 1.0,
            };
        }
        Ok::<_, cpu_backend::OutOfMemory>(())
    })?;
    let mut batch = Batch::new(16);
    if batch.completion(None, &[3, 1, 4, 1, 5, 9, 2, 6]).is_err() {
        panic!("the sentence does not fit the vocabulary");
    }
    let hyper = Hyper {
        learning_rate: 1e-2,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        decay: Decay::Matrices,
        max_grad_norm: 1.0,
    };
    let mut losses = [0.0; 40];
    for loss in &mut losses {
        learner.zero_grads(&b);
        let logp = learner.score(&b, &batch, 1.0)?.logp.clone();
        let (mut dlogp, mask) = (logp.clone(), alloc::vec![1.0; logp.len()]);
        *loss = SftLoss::Nll.loss(&mut dlogp, &logp, &mask, logp.len() as f64);
        let cotangent = Cotangent {
            dlogp: &dlogp,
            dentropy: &[],
            dvalue: &[],
        };
        learner.backward(&b, cotangent)?;
        if let Err(e) = learner.update(&b, &hyper) {
            panic!("{e}");
        }
    }
    Ok(losses)
}

/// Called by the entry point.
#[unsafe(no_mangle)]
extern "C" fn run() -> ! {
    let losses = match train() {
        Ok(losses) => losses,
        Err(e) => panic!("{e}"),
    };
    let fell = losses[39] < 0.5 * losses[0];
    let _ = writeln!(
        runtime::Stdout,
        "no_std training: loss {:.4} -> {:.4} in 40 steps: {}",
        losses[0],
        losses[39],
        if fell { "ok" } else { "FAILED" }
    );
    runtime::exit(if fell { 0 } else { 1 })
}
