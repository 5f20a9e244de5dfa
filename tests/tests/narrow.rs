//! Training with nothing but gradients in f32: with parameters and moments in bf16, rounded stochastically.
#![allow(clippy::unwrap_used)]

use cpu_backend::{Cpu, Settings};
use half::bf16;
use kernel::batch::Batch;
use kernel::optim::{Decay, Hyper, Kept, Learner, Storage};
use kernel::transformer::{Cotangent, Keep};
use tests::whole::{CONTEXT, learner_as, tied, tokens};

type Backend = Cpu<bf16>;

const STEPS: u64 = 60;

/// Steps so small that to nearest hardly a parameter of size 0.1 would move.
fn hyper() -> Hyper {
    Hyper {
        learning_rate: 1e-5,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        decay: Decay::Matrices,
        max_grad_norm: 1.0,
    }
}

fn batch() -> Batch {
    let ids = tokens("narrow", CONTEXT, tied().vocab);
    let mut batch = Batch::new(tied().vocab);
    batch.sequence(&ids, |_| true).unwrap();
    batch
}

/// The mean loss before each step.
fn train(b: &Backend, learner: &mut Learner<Backend>, after: impl Fn(&mut Learner<Backend>)) -> Vec<f64> {
    let batch = batch();
    let n = batch.predictions();
    let dlogp = vec![-1.0 / n as f32; n];
    let step = |_| {
        learner.zero_grads(b);
        let logp = &learner.score(b, &batch, 1.0).unwrap().logp;
        let loss = -logp.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let cotangent = Cotangent {
            dlogp: &dlogp,
            dentropy: &[],
            dvalue: &[],
        };
        learner.backward(b, cotangent).unwrap();
        learner.update(b, &hyper()).unwrap();
        after(learner);
        loss
    };
    (0..STEPS).map(step).collect()
}

fn values(b: &Backend, learner: &Learner<Backend>) -> Vec<f64> {
    let count = learner.specs().iter().count();
    let all = (0..count).flat_map(|i| learner.read(b, Kept::Value, i).unwrap());
    all.map(f64::from).collect()
}

/// The way that `b` went, along the way that `a` went: 1 where it is the same.
fn along(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / dot(a, a)
}

#[test]
fn small_steps_train_as_f32_masters_do_and_to_nearest_they_do_not() {
    let b = Backend::new(Settings::detect().unwrap());
    let moved = |storage, after: &dyn Fn(&mut Learner<Backend>)| {
        let mut learner = learner_as(&b, tied(), Keep::Everything, storage);
        let before = values(&b, &learner);
        let losses = train(&b, &mut learner, after);
        let way: Vec<f64> = values(&b, &learner).iter().zip(&before).map(|(x, y)| x - y).collect();
        (losses, way)
    };
    let (losses, full) = moved(Storage::Full, &|_| ());
    let (_, nearest) = moved(Storage::Full, &|learner| {
        for i in 0..learner.specs().iter().count() {
            let value = learner.read(&b, Kept::Value, i).unwrap();
            let rounded: Vec<f32> = value.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
            learner.write(&b, Kept::Value, i, &rounded).unwrap();
        }
    });
    let seeds = 8;
    let narrow: Vec<_> = (0..seeds)
        .map(|seed| moved(Storage::Narrow { seed }, &|_| ()))
        .collect();
    let shares: Vec<f64> = narrow.iter().map(|(_, way)| along(&full, way)).collect();
    let mean = shares.iter().sum::<f64>() / seeds as f64;
    let variance = shares.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (seeds - 1) as f64;
    let allowed = 4.0 * (variance / seeds as f64).sqrt();
    assert!(
        (mean - 1.0).abs() < allowed && allowed < 0.1,
        "{mean} of the way, allowed {allowed}"
    );
    let lost = along(&full, &nearest);
    assert!(lost < 0.2, "to nearest it goes {lost} of the way");
    let fall = |losses: &[f64]| losses[0] - losses[losses.len() - 1];
    for (found, _) in &narrow {
        let share = fall(found) / fall(&losses);
        assert!(
            (0.8..1.25).contains(&share),
            "the loss falls by {share} of what it does with f32 masters"
        );
    }
}
