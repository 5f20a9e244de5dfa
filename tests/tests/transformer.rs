//! The whole model's gradients: finite differences, prefix trees, checkpointing, threads.
#![allow(clippy::unwrap_used)]

use cpu_backend::{Cpu, Isa, Settings};
use half::bf16;
use kernel::backend::{Decode, Memory, Vector};
use kernel::batch::Batch;
use kernel::config::Config;
use kernel::optim::Learner;
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep, Scores};
use tests::host::Rng;
use tests::whole::{Ask, CONTEXT, biased, every_backend, learner, tied, tokens};

/// Prompts with completions; the lengths cross the blocks and tiles of the fast backends.
struct Group {
    prompt: Vec<u32>,
    completions: Vec<Vec<u32>>,
}

fn groups(vocab: usize) -> Vec<Group> {
    let group = |g: usize, prompt: usize, lengths: &[usize]| Group {
        prompt: tokens(&format!("prompt {g}"), prompt, vocab),
        completions: lengths
            .iter()
            .enumerate()
            .map(|(i, &n)| tokens(&format!("completion {g} {i}"), n, vocab))
            .collect(),
    };
    vec![group(0, 5, &[4, 1, 7]), group(1, 37, &[3, 35]), group(2, 1, &[9])]
}

/// Each prompt once, its completions after it.
fn tree(vocab: usize) -> Batch {
    let mut batch = Batch::new(vocab);
    for g in groups(vocab) {
        let prompt = batch.segment(None, &g.prompt).unwrap();
        for completion in &g.completions {
            batch.completion(Some(prompt), completion).unwrap();
        }
    }
    batch
}

/// Each completion with a prompt of its own; the same predictions in the same order.
fn unshared(vocab: usize) -> Batch {
    let mut batch = Batch::new(vocab);
    for g in groups(vocab) {
        for completion in &g.completions {
            let all = [g.prompt.as_slice(), completion].concat();
            batch.sequence(&all, |t| t >= g.prompt.len()).unwrap();
        }
    }
    batch
}

/// Cotangents of log-probs, entropies and values, of either sign.
fn weights(n: usize) -> [Vec<f64>; 3] {
    ["logp", "entropy", "value"].map(|name| {
        let mut rng = Rng::new(name);
        (0..n).map(|_| rng.normal()).collect()
    })
}

/// sum of the weighted scores.
fn objective<R: Real>(scores: &Scores<R>) -> f64 {
    let [logp, entropy, value] = weights(scores.logp.len());
    let dot = |w: &[f64], x: &[R]| -> f64 { w.iter().zip(x).map(|(w, x)| w * x.to_f64()).sum() };
    dot(&logp, &scores.logp) + dot(&entropy, &scores.entropy) + dot(&value, &scores.value)
}

const TEMPERATURE: f64 = 1.25;

struct Outcome<R> {
    scores: Scores<R>,
    gradients: Vec<(String, Vec<R>)>,
}

/// Scores, and the gradient of [`objective`].
fn differentiate<B: Decode + Vector>(b: &B, learner: &mut Learner<B>, batch: &Batch) -> Outcome<B::Real> {
    learner.zero_grads(b);
    let scores = learner.score(b, batch, TEMPERATURE).unwrap().clone();
    let [dlogp, dentropy, dvalue] =
        weights(scores.logp.len()).map(|w| w.into_iter().map(B::Real::from_f64).collect::<Vec<_>>());
    let cotangent = Cotangent {
        dlogp: &dlogp,
        dentropy: &dentropy,
        dvalue: &dvalue,
    };
    learner.backward(b, cotangent).unwrap();
    let specs = learner.specs().iter().zip(learner.grads.iter());
    let gradients = specs
        .map(|(spec, grad)| {
            let mut host = vec![B::Real::ZERO; grad.len()];
            b.download(&mut host, grad).unwrap();
            (spec.name.clone(), host)
        })
        .collect();
    Outcome { scores, gradients }
}

/// |a - b| / |b| in L2.
fn distance<R: Real, S: Real>(a: &[R], b: &[S]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a.to_f64() - b.to_f64()));
    difference / norm(&mut b.iter().map(|b| b.to_f64())).max(f64::MIN_POSITIVE)
}

/// Central differences of the objective at some entries of every parameter: those of the largest gradients and others.
#[test]
fn the_gradient_is_that_of_finite_differences() {
    for config in [biased(), tied()] {
        let b = Cpu::<f64>::oracle();
        let mut learner = learner(&b, config.clone(), Keep::Everything);
        let batch = tree(config.vocab);
        let gradients = differentiate(&b, &mut learner, &batch).gradients;
        let h = 1e-5;
        for (i, (name, gradient)) in gradients.iter().enumerate() {
            let mut rng = Rng::new(name);
            let largest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
            let mut entries = vec![largest.unwrap()];
            entries.extend((0..3).map(|_| rng.below(gradient.len())));
            let scale = gradient[entries[0]].abs();
            assert!(scale > 0.0, "{name}: the gradient is zero");
            let mut weights = vec![0.0; gradient.len()];
            b.download(&mut weights, learner.masters().unwrap().at(i)).unwrap();
            let mut put = |weights: &[f64]| {
                b.upload(learner.masters_mut().unwrap().at_mut(i), weights).unwrap();
                learner.prepare(&b);
                objective(learner.score(&b, &batch, TEMPERATURE).unwrap())
            };
            for entry in entries {
                let mut at = |x: f64| {
                    let mut moved = weights.clone();
                    moved[entry] += x;
                    put(&moved)
                };
                let difference = (at(h) - at(-h)) / (2.0 * h);
                let error = (difference - gradient[entry]).abs();
                // The rounding of a difference of sums of a few hundred over 2h, and the third derivative times h^2.
                assert!(
                    error <= 1e-6 * scale.max(1.0),
                    "{name}[{entry}]: {difference} by differences, {} by backward",
                    gradient[entry]
                );
            }
            put(&weights);
        }
    }
}

#[test]
fn recomputation_changes_no_bit() {
    struct Recompute;
    impl Ask for Recompute {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            for config in [biased(), tied()] {
                let batch = tree(config.vocab);
                let [kept, redone] = [Keep::Everything, Keep::Inputs]
                    .map(|keep| differentiate(b, &mut learner(b, config.clone(), keep), &batch));
                assert_eq!(kept.scores, redone.scores, "{name}");
                assert_eq!(kept.gradients, redone.gradients, "{name}");
            }
        }
    }
    every_backend(&Recompute);
}

/// A workspace that has served a larger batch serves a smaller one as a new one would.
#[test]
fn a_used_workspace_changes_no_bit() {
    struct Reuse;
    impl Ask for Reuse {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            let config = biased();
            for keep in [Keep::Everything, Keep::Inputs] {
                let mut small = Batch::new(config.vocab);
                small.sequence(&tokens("small", 11, config.vocab), |_| true).unwrap();
                let fresh = differentiate(b, &mut learner(b, config.clone(), keep), &small);
                let mut used = learner(b, config.clone(), keep);
                differentiate(b, &mut used, &tree(config.vocab));
                let again = differentiate(b, &mut used, &small);
                assert_eq!(fresh.scores, again.scores, "{name}");
                assert_eq!(fresh.gradients, again.gradients, "{name}");
            }
        }
    }
    every_backend(&Reuse);
}

/// The forward pass bit by bit on every backend; gradients are sums in another order, so within rounding.
#[test]
fn a_prefix_tree_equals_the_unshared_sequences() {
    struct Share;
    impl Ask for Share {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            for config in [biased(), tied()] {
                let (tree, unshared) = (tree(config.vocab), unshared(config.vocab));
                assert!(tree.tokens() < unshared.tokens());
                assert_eq!(tree.targets(), unshared.targets());
                let mut learner = learner(b, config, Keep::Everything);
                let a = differentiate(b, &mut learner, &tree);
                let z_tree = learner.logits(b, tree.predictions()).unwrap();
                let c = differentiate(b, &mut learner, &unshared);
                let z_unshared = learner.logits(b, tree.predictions()).unwrap();
                assert_eq!(a.scores, c.scores, "{name}");
                assert_eq!(z_tree, z_unshared, "{name}");
                let tolerance = match name.split(' ').next() {
                    Some("f64") => 1e-12,
                    Some("f32") => 1e-5,
                    // Activations' gradients are rounded to 8 bits on the way, in one order or the other.
                    _ => 3e-2,
                };
                for ((tensor, x), (_, y)) in a.gradients.iter().zip(&c.gradients) {
                    let d = distance(x, y);
                    assert!(d <= tolerance, "{name}: {tensor} differs by {d:e}");
                }
            }
        }
    }
    every_backend(&Share);
}

/// Trees of any shape, up to 12 segments of up to 40 rows, each asked for one prediction at its end.
#[test]
fn any_tree_equals_its_paths() {
    fn check<B: Decode + Vector>(b: &B, shape: &[(u8, u8)], tolerance: f64) {
        let config = tied();
        let vocab = config.vocab;
        let (mut tree, mut unshared) = (Batch::new(vocab), Batch::new(vocab));
        let mut paths: Vec<Vec<u32>> = Vec::new();
        for (i, &(parent, len)) in shape.iter().take(12).enumerate() {
            // No parent for the first, and for one of i + 1 of the others.
            let parent = (parent as usize % (i + 1)).checked_sub(1);
            let mut path = parent.map_or(Vec::new(), |p| paths[p].clone());
            // So that a path of twelve fits the context.
            let room = (CONTEXT - 1 - path.len()).div_ceil(2);
            let text = tokens(&format!("segment {i}"), 1 + len as usize % room.min(40), vocab);
            tree.segment(parent, &text).unwrap();
            path.extend(text);
            paths.push(path);
        }
        for (i, path) in paths.iter().enumerate() {
            let target = (7 * i % vocab) as u32;
            tree.completion(Some(i), &[target]).unwrap();
            let sequence = [path.as_slice(), &[target]].concat();
            unshared.sequence(&sequence, |t| t == path.len()).unwrap();
        }
        let mut learner = learner(b, config, Keep::Inputs);
        let a = differentiate(b, &mut learner, &tree);
        let c = differentiate(b, &mut learner, &unshared);
        assert_eq!(a.scores, c.scores);
        for ((tensor, x), (_, y)) in a.gradients.iter().zip(&c.gradients) {
            let d = distance(x, y);
            assert!(d <= tolerance, "{tensor} differs by {d:e}");
        }
    }
    fn holds(shape: Vec<(u8, u8)>) -> bool {
        if !shape.is_empty() {
            check(&Cpu::<f64>::oracle(), &shape, 1e-12);
            let settings = Settings::detect().unwrap();
            check(&Cpu::<f32>::new(settings), &shape, 1e-5);
            check(&Cpu::<bf16>::new(settings), &shape, 5e-2);
        }
        true
    }
    quickcheck::QuickCheck::new()
        .tests(30)
        .quickcheck(holds as fn(Vec<(u8, u8)>) -> bool);
}

/// The lower precisions compute the oracle's numbers, as well as they can.
#[test]
fn every_precision_computes_the_same_model() {
    struct Same(Outcome<f64>, Config);
    impl Ask for Same {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            let found = differentiate(
                b,
                &mut learner(b, self.1.clone(), Keep::Everything),
                &tree(self.1.vocab),
            );
            let tolerance = match name.split(' ').next() {
                Some("f64") => 0.0,
                Some("f32") => 1e-5,
                _ => 1e-1,
            };
            for ((tensor, x), (_, y)) in found.gradients.iter().zip(&self.0.gradients) {
                let d = distance(x, y);
                assert!(d <= tolerance, "{name}: {tensor} differs by {d:e}");
            }
            for (x, y) in [
                (&found.scores.logp, &self.0.scores.logp),
                (&found.scores.entropy, &self.0.scores.entropy),
                (&found.scores.value, &self.0.scores.value),
            ] {
                assert!(
                    distance(x, y) <= tolerance,
                    "{name}: scores differ by {:e}",
                    distance(x, y)
                );
            }
        }
    }
    for config in [biased(), tied()] {
        let b = Cpu::<f64>::oracle();
        let expected = differentiate(
            &b,
            &mut learner(&b, config.clone(), Keep::Everything),
            &tree(config.vocab),
        );
        every_backend(&Same(expected, config));
    }
}

/// One thread or two, alone or among others: the same bits, scores and gradients.
#[test]
fn threads_change_no_bit() {
    fn check<B: Decode + Vector>(one: &B, two: &B, name: &str) {
        for config in [biased(), tied()] {
            let [a, c] = [one, two]
                .map(|b| differentiate(b, &mut learner(b, config.clone(), Keep::Inputs), &tree(config.vocab)));
            assert_eq!(a.scores, c.scores, "{name}");
            assert_eq!(a.gradients, c.gradients, "{name}");
        }
    }
    for isa in Isa::available() {
        for threads in [2, 3] {
            let [one, more] = [1, threads].map(|threads| Settings { threads, isa });
            check(&Cpu::<f32>::new(one), &Cpu::<f32>::new(more), &format!("f32 {isa:?}"));
            check(
                &Cpu::<bf16>::new(one),
                &Cpu::<bf16>::new(more),
                &format!("bf16 {isa:?}"),
            );
        }
    }
}
