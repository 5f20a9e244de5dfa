//! A trust region's step on a transformer: what it promises, what it leaves alone, and that nothing is left of a step that
//! was not taken.
#![allow(clippy::unwrap_used)]

use cpu_backend::{Cpu, Settings as CpuSettings};
use kernel::backend::{Decode, Memory, Tangent, Vector};
use kernel::batch::Batch;
use kernel::objective::trpo::surrogate_loss;
use kernel::optim::Learner;
use kernel::real::Real;
use kernel::transformer::{Accs, Keep, Scores};
use kernel::trust_region::{LearnerWork, LineSearch, Outcome, Piece, Report, Settings, learner_step};
use tests::host::Rng;
use tests::whole::{Ask, biased, every_backend, learner, tied, tokens};

const TEMPERATURE: f64 = 0.9;

/// A step's data: the pieces, and of each the advantages and the log-probs of the policy before, as a rollout keeps them.
struct Data<R> {
    pieces: Vec<Piece<R>>,
    advantage: Vec<Vec<R>>,
    old: Vec<Vec<R>>,
}

fn data<B: Decode + Tangent + Vector>(b: &B, learner: &mut Learner<B>, vocab: usize) -> Data<B::Real> {
    let mut rng = Rng::new("advantages");
    let lengths = [(5, vec![4, 9, 7]), (3, vec![6, 2]), (8, vec![5])];
    let mut batches = Vec::new();
    for (g, (prompt, lengths)) in lengths.iter().enumerate() {
        let mut batch = Batch::new(vocab);
        let prompt = batch
            .segment(None, &tokens(&format!("prompt {g}"), *prompt, vocab))
            .unwrap();
        for (i, &n) in lengths.iter().enumerate() {
            let completion = tokens(&format!("completion {g} {i}"), n, vocab);
            batch.completion(Some(prompt), &completion).unwrap();
        }
        batches.push(batch);
    }
    let mask = |i: usize| if i % 4 == 2 { 0.0 } else { 1.0 };
    let tokens: f64 = batches
        .iter()
        .map(|b| (0..b.predictions()).map(mask).sum::<f64>())
        .sum();
    let mut data = Data {
        pieces: Vec::new(),
        advantage: Vec::new(),
        old: Vec::new(),
    };
    for batch in batches {
        let n = batch.predictions();
        data.old
            .push(learner.score(b, &batch, TEMPERATURE).unwrap().logp.clone());
        data.advantage
            .push((0..n).map(|_| B::Real::from_f64(rng.normal())).collect());
        let weight: Vec<B::Real> = (0..n).map(|i| B::Real::from_f64(mask(i) / tokens)).collect();
        data.pieces.push(Piece {
            batch,
            fisher: weight.clone(),
            weight,
        });
    }
    data
}

impl<R: Real> Data<R> {
    /// A piece's share of the loss.
    fn loss(&self, i: usize, scores: &Scores<R>, dlogp: &mut [R]) -> f64 {
        // The weight of a token is its mask over the number of tokens.
        let weighted = self.advantage[i].iter().zip(&self.pieces[i].weight);
        let advantage: Vec<R> = weighted.map(|(&a, &w)| a * w).collect();
        let mask = vec![R::ONE; advantage.len()];
        surrogate_loss(dlogp, &scores.logp, Some(&self.old[i]), &advantage, &mask, 1.0)
    }
}

fn take<B: Decode + Tangent + Vector>(
    b: &B,
    learner: &mut Learner<B>,
    data: &Data<B::Real>,
    settings: &Settings,
) -> Report {
    let mut work = LearnerWork::new(b, learner).unwrap();
    let loss = |i: usize, scores: &Scores<B::Real>, dlogp: &mut [B::Real]| data.loss(i, scores, dlogp);
    learner_step(b, learner, &mut work, &data.pieces, TEMPERATURE, loss, settings).unwrap()
}

fn bits<B: Memory>(b: &B, x: &Accs<B>) -> Vec<Vec<u64>> {
    let one = |x: &kernel::mat::Mat<B::Acc>| {
        let mut host = vec![B::Real::ZERO; x.len()];
        b.download(&mut host, x).unwrap();
        host.iter().map(|x| x.to_f64().to_bits()).collect()
    };
    x.iter().map(one).collect()
}

/// log p of the whole vocabulary at each prediction of every piece.
fn log_p<B: Decode + Tangent + Vector>(b: &B, learner: &mut Learner<B>, data: &Data<B::Real>) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    for piece in &data.pieces {
        learner.score(b, &piece.batch, TEMPERATURE).unwrap();
        let z = learner.logits(b, piece.batch.predictions()).unwrap();
        for row in z.chunks(learner.model.config.vocab) {
            let row: Vec<f64> = row.iter().map(|z| z.to_f64()).collect();
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + row.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
            rows.push(row.iter().map(|z| z - lse).collect());
        }
    }
    rows
}

struct Step;

impl Ask for Step {
    fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str) {
        if name.starts_with("bf16") {
            return;
        }
        for (config, keep) in [(biased(), Keep::Inputs), (tied(), Keep::Everything)] {
            let mut learner = learner(b, config.clone(), keep);
            let data = data(b, &mut learner, config.vocab);
            let settings = Settings {
                cg_damping: 1e-3,
                ..Settings::default()
            };
            let (before, old) = (bits(b, learner.masters().unwrap()), log_p(b, &mut learner, &data));
            let report = take(b, &mut learner, &data, &settings);
            assert_eq!(report.outcome, Outcome::Moved, "{name}: {report:?}");
            assert!(report.surrogate > report.surrogate_before && report.kl_old_new <= settings.max_kl);
            assert!(report.kl_old_new > 0.2 * settings.max_kl, "{name}: {report:?}");
            assert!(report.cg_iters == 10 && report.cg_residual < 1.0, "{name}: {report:?}");

            // The weights that are there now have the surrogate and the divergence that the report says.
            let new = log_p(b, &mut learner, &data);
            let weight = data.pieces.iter().flat_map(|p| &p.weight);
            let advantage = data.advantage.iter().flatten();
            let targets = data.pieces.iter().flat_map(|p| p.batch.targets());
            let (mut kl, mut surrogate) = (0.0, 0.0);
            for ((((p, q), w), a), &y) in old.iter().zip(&new).zip(weight).zip(advantage).zip(targets) {
                kl += w.to_f64() * p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                surrogate += w.to_f64() * a.to_f64() * (q[y as usize] - p[y as usize]).exp();
            }
            assert!((kl / report.kl_old_new - 1.0).abs() < 1e-3, "{name}: {kl} {report:?}");
            assert!(
                (surrogate - report.surrogate).abs() < 1e-5,
                "{name}: {surrogate} {report:?}"
            );

            // The value head is not in the trust region; every other parameter has moved.
            let after = bits(b, learner.masters().unwrap());
            let specs: Vec<_> = learner.specs().iter().map(|s| s.name.clone()).collect();
            for ((before, after), spec) in before.iter().zip(&after).zip(&specs) {
                assert_eq!(before == after, spec.starts_with("v_head"), "{name}: {spec}");
            }
            assert_eq!(learner.steps, 0);
        }
    }
}

#[test]
fn a_step_does_what_its_report_says() {
    every_backend(&Step);
}

/// Any number of threads: the same bits.
#[test]
fn threads_change_no_bit_of_a_step() {
    let run = |threads| {
        let b = Cpu::<f32>::new(CpuSettings {
            threads,
            ..CpuSettings::detect().unwrap()
        });
        let mut learner = learner(&b, biased(), Keep::Inputs);
        let data = data(&b, &mut learner, biased().vocab);
        let report = take(&b, &mut learner, &data, &Settings::default());
        (report, bits(&b, learner.masters().unwrap()))
    };
    assert_eq!(run(1), run(2));
}

struct Refused;

impl Ask for Refused {
    fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str) {
        let config = tied();
        let mut learner = learner(b, config.clone(), Keep::Everything);
        let mut data = data(b, &mut learner, config.vocab);
        let before = bits(b, learner.masters().unwrap());
        let scores = |learner: &mut Learner<B>| learner.score(b, &data.pieces[0].batch, TEMPERATURE).unwrap().clone();
        let scored = scores(&mut learner);
        let settings = Settings::default();
        let mut work = LearnerWork::new(b, &learner).unwrap();
        // After the gradient's pass over the pieces, a loss that nothing improves.
        let mut calls = 0;
        let loss = |i: usize, scores: &Scores<B::Real>, dlogp: &mut [B::Real]| {
            calls += 1;
            let loss = data.loss(i, scores, dlogp);
            if calls > data.pieces.len() { 1e3 } else { loss }
        };
        let report = learner_step(b, &mut learner, &mut work, &data.pieces, TEMPERATURE, loss, &settings);
        // bf16 is not precise enough to promise that conjugate gradients get anywhere; but nothing is left of them.
        if !name.starts_with("bf16") {
            let report = report.unwrap();
            assert_eq!(
                (report.outcome, report.line_search_steps),
                (Outcome::Rejected, 10),
                "{name}"
            );
            assert_eq!((report.step_size, report.kl_old_new), (0.0, 0.0));
        }
        assert_eq!(bits(b, learner.masters().unwrap()), before, "{name}");
        assert_eq!(scores(&mut learner), scored, "{name}");

        data.advantage.iter_mut().flatten().for_each(|a| *a = B::Real::ZERO);
        let report = take(b, &mut learner, &data, &settings);
        assert_eq!(report.outcome, Outcome::NoGradient, "{name}");
        assert_eq!(bits(b, learner.masters().unwrap()), before, "{name}");
    }
}

#[test]
fn a_step_that_is_not_taken_leaves_every_bit() {
    every_backend(&Refused);
}

/// Pieces without a share in F are left out of it, and of nothing else: the same step as with a share of zero.
#[test]
fn the_fisher_matrix_may_be_of_a_part() {
    let b = Cpu::<f64>::oracle();
    let run = |fisher: fn(&mut [Piece<f64>])| {
        let mut learner = learner(&b, tied(), Keep::Inputs);
        let mut data = data(&b, &mut learner, tied().vocab);
        fisher(&mut data.pieces);
        let report = take(&b, &mut learner, &data, &Settings::default());
        (report, bits(&b, learner.masters().unwrap()))
    };
    let none = run(|p| p[1..].iter_mut().for_each(|p| p.fisher.clear()));
    let zero = run(|p| {
        p[1..]
            .iter_mut()
            .for_each(|p| p.fisher.iter_mut().for_each(|w| *w = 0.0))
    });
    let all = run(|_| ());
    assert_eq!(none, zero);
    assert_ne!(none.1, all.1);
    assert_eq!(none.0.outcome, Outcome::Moved);
    assert_eq!(none.0.surrogate_before, all.0.surrogate_before);
}

/// Without damping and without a search, a small step has the KL of the region to third order: F is the KL's curvature in
/// the direction of the step as in any other, and the direction solves the system.
#[test]
fn a_natural_gradient_step_has_the_kl_of_the_region() {
    let b = Cpu::<f64>::oracle();
    let mut learner = learner(&b, biased(), Keep::Everything);
    let data = data(&b, &mut learner, biased().vocab);
    let settings = Settings {
        max_kl: 1e-6,
        cg_damping: 1e-9,
        line_search: LineSearch::None,
        ..Settings::default()
    };
    let report = take(&b, &mut learner, &data, &settings);
    assert!((report.kl_old_new / 1e-6 - 1.0).abs() < 0.02, "{report:?}");
}

/// Steps on the same tokens make the good ones likelier and the bad ones less likely.
#[test]
fn ten_steps_move_the_log_probs_with_the_advantages() {
    let b = Cpu::<f32>::new(CpuSettings::detect().unwrap());
    let mut learner = learner(&b, tied(), Keep::Inputs);
    let mut data = data(&b, &mut learner, tied().vocab);
    let gain = |learner: &mut Learner<Cpu<f32>>, data: &Data<f32>| -> f64 {
        let mut sum = 0.0;
        for (i, piece) in data.pieces.iter().enumerate() {
            let logp = &learner.score(&b, &piece.batch, TEMPERATURE).unwrap().logp;
            let terms = logp.iter().zip(&data.advantage[i]).zip(&piece.weight);
            sum += terms.map(|((l, a), w)| f64::from(l * a * w)).sum::<f64>();
        }
        sum
    };
    let first = gain(&mut learner, &data);
    let mut last = first;
    for step in 0..10 {
        let report = take(&b, &mut learner, &data, &Settings::default());
        assert_eq!(report.outcome, Outcome::Moved, "{step}: {report:?}");
        for (i, piece) in data.pieces.iter().enumerate() {
            data.old[i] = learner.score(&b, &piece.batch, TEMPERATURE).unwrap().logp.clone();
        }
        let now = gain(&mut learner, &data);
        assert!(now > last, "{step}: {last} to {now}");
        last = now;
    }
    assert!(last > first + 0.3, "{first} to {last}");
}
