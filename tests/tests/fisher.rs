//! The Fisher matrix of a model, as a matrix: symmetric, positive, the variance of the logits' change, the curvature of the
//! KL. Each planted bug is found by a check that is named here, so that none of the checks is there for show.
#![allow(clippy::unwrap_used)]

use cpu_backend::Cpu;
use kernel::backend::{Decode, Memory, Tangent, Vector};
use kernel::batch::Batch;
use kernel::config::Config;
use kernel::mat::Mat;
use kernel::optim::Learner;
use kernel::real::Real;
use kernel::transformer::{Accs, Keep};
use tests::host::Rng;
use tests::mutant::{Bug, Mutant};
use tests::whole::{Ask, biased, every_backend, learner, tied, tokens};

const TEMPERATURE: f64 = 1.3;

/// Prompts with completions; the lengths cross the tiles of the fast backends. `pieces` cut it into micro-batches.
fn batches(vocab: usize) -> Vec<Batch> {
    let group = |g: usize, prompt: usize, lengths: &[usize]| {
        let mut batch = Batch::new(vocab);
        let prompt = batch
            .segment(None, &tokens(&format!("prompt {g}"), prompt, vocab))
            .unwrap();
        for (i, &n) in lengths.iter().enumerate() {
            let completion = tokens(&format!("completion {g} {i}"), n, vocab);
            batch.completion(Some(prompt), &completion).unwrap();
        }
        batch
    };
    vec![group(0, 5, &[4, 1, 7]), group(1, 37, &[3, 35]), group(2, 1, &[9])]
}

/// The same in one batch.
fn whole(vocab: usize) -> Batch {
    let mut all = Batch::new(vocab);
    for (g, (prompt, lengths)) in [(5, vec![4, 1, 7]), (37, vec![3, 35]), (1, vec![9])].iter().enumerate() {
        let prompt = all
            .segment(None, &tokens(&format!("prompt {g}"), *prompt, vocab))
            .unwrap();
        for (i, &n) in lengths.iter().enumerate() {
            all.completion(Some(prompt), &tokens(&format!("completion {g} {i}"), n, vocab))
                .unwrap();
        }
    }
    all
}

/// The weight of prediction i: some are masked, none is the next one's.
fn weight(i: usize) -> f64 {
    if i % 5 == 3 {
        0.0
    } else {
        (1.0 + (i % 7) as f64) / 100.0
    }
}

fn zeros<B: Vector + Tangent>(b: &B, learner: &Learner<B>) -> Accs<B> {
    let one = |s: &kernel::params::Spec| b.acc(s.shape.0, s.shape.1);
    learner.specs().try_map(one, one).unwrap()
}

/// A direction by name, in which each parameter moves by a like share of itself.
fn direction<B: Vector + Tangent>(b: &B, learner: &Learner<B>, name: &str) -> Accs<B> {
    let mut v = zeros(b, learner);
    for (v, spec) in v.iter_mut().zip(learner.specs().iter()) {
        let mut rng = Rng::new(&format!("{name} {}", spec.name));
        let deviation = 0.3 / (spec.shape.1 as f64).sqrt();
        let host: Vec<B::Real> = (0..v.len())
            .map(|_| B::Real::from_f64(deviation * rng.normal()))
            .collect();
        b.upload(v, &host).unwrap();
    }
    v
}

/// F v of these batches.
fn product<B: Vector + Tangent>(b: &B, learner: &mut Learner<B>, batches: &[Batch], v: &Accs<B>) -> Accs<B> {
    let mut prepared = learner.model.direction(b).unwrap();
    learner.model.prepare_direction(b, &mut prepared, v);
    let (mut out, mut done) = (zeros(b, learner), 0);
    for batch in batches {
        learner.score(b, batch, TEMPERATURE).unwrap();
        let n = batch.predictions();
        let weight: Vec<B::Real> = (done..done + n).map(|i| B::Real::from_f64(weight(i))).collect();
        learner.fisher(b, &mut out, &prepared, &weight).unwrap();
        done += n;
    }
    out
}

fn download<B: Memory>(b: &B, x: &Accs<B>) -> Vec<f64> {
    let one = |x: &Mat<B::Acc>| {
        let mut host = vec![B::Real::ZERO; x.len()];
        b.download(&mut host, x).unwrap();
        host.into_iter().map(Real::to_f64).collect::<Vec<_>>()
    };
    x.iter().flat_map(one).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    (dot(&difference, &difference) / dot(b, b)).sqrt()
}

/// The oracle's model moved by h along v, asked for the logits of `batch`.
struct Truth {
    b: Cpu<f64>,
    learner: Learner<Cpu<f64>>,
    start: Vec<f64>,
}

impl Truth {
    fn new(config: Config) -> Self {
        let b = Cpu::oracle();
        let learner = learner(&b, config, Keep::Everything);
        let start = download(&b, learner.masters().unwrap());
        Self { b, learner, start }
    }

    fn place(&mut self, h: f64, v: &[f64]) {
        let mut at = 0;
        for m in self.learner.masters_mut().unwrap().iter_mut() {
            let n = m.len();
            let moved: Vec<f64> = (at..at + n).map(|i| self.start[i] + h * v[i]).collect();
            self.b.upload(m, &moved).unwrap();
            at += n;
        }
        self.learner.prepare(&self.b);
    }

    fn logits(&mut self, batch: &Batch, h: f64, v: &[f64]) -> Vec<f64> {
        self.place(h, v);
        self.learner.score(&self.b, batch, TEMPERATURE).unwrap();
        self.learner.logits(&self.b, batch.predictions()).unwrap()
    }

    /// sum weight Var_p(z_dot), z_dot the change of the logits along v, by differences.
    fn variance(&mut self, batch: &Batch, v: &[f64]) -> f64 {
        let (h, vocab) = (1e-5, self.learner.model.config.vocab);
        let [z, plus, minus] = [0.0, h, -h].map(|h| self.logits(batch, h, v));
        let mut sum = 0.0;
        for i in 0..batch.predictions() {
            let row = i * vocab..(i + 1) * vocab;
            let max = z[row.clone()].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let p: Vec<f64> = z[row.clone()].iter().map(|z| (z - max).exp()).collect();
            let total: f64 = p.iter().sum();
            let z_dot: Vec<f64> = row.map(|j| (plus[j] - minus[j]) / (2.0 * h)).collect();
            let mean = dot(&p, &z_dot) / total;
            let square: f64 = p.iter().zip(&z_dot).map(|(p, z)| p * (z - mean) * (z - mean)).sum();
            sum += weight(i) * square / total;
        }
        sum
    }

    /// sum weight (KL(model || model + h v) + KL(model || model - h v)) / h^2.
    fn curvature(&mut self, batch: &Batch, v: &[f64]) -> f64 {
        let h = 1e-3;
        self.logits(batch, 0.0, v);
        let hidden = self.learner.hidden(&self.b).unwrap();
        let mut head = self.learner.model.direction(&self.b).unwrap();
        self.learner
            .model
            .prepare_direction(&self.b, &mut head, self.learner.masters().unwrap());
        let head = head.head.as_ref().unwrap_or(&head.embed);
        let (mut kl, mut sum) = (Vec::new(), 0.0);
        for h in [h, -h] {
            self.place(h, v);
            self.learner.score(&self.b, batch, TEMPERATURE).unwrap();
            self.learner.kl(&self.b, &mut kl, &hidden, head).unwrap();
            sum += kl.iter().enumerate().map(|(i, x)| weight(i) * x).sum::<f64>();
        }
        sum / (h * h)
    }
}

/// A property that a Fisher matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// <u, F v> = <v, F u>.
    Symmetry,
    /// <v, F v> >= 0, and the Cauchy-Schwarz inequality.
    Positive,
    /// <v, F v> = sum weight Var_p(z_dot).
    Variance,
    /// <v, F v> = the second difference of the KL.
    Curvature,
}

/// The checks that F, with this bug, does not pass.
fn failing(bug: Bug, config: &Config) -> Vec<Check> {
    let (b, batch) = (Mutant::new(bug), whole(config.vocab));
    let mut learner = learner(&b, config.clone(), Keep::Everything);
    let mut truth = Truth::new(config.clone());
    let [u, v] = ["u", "v"].map(|name| direction(&b, &learner, name));
    let [fu, fv] = [&u, &v].map(|x| {
        // A new mutant each time: it is armed by the end of its forward pass.
        let b = Mutant::new(bug);
        let fx = product(&b, &mut learner, std::slice::from_ref(&batch), x);
        download(&b, &fx)
    });
    let [u, v] = [&u, &v].map(|x| download(&b, x));
    let (uu, uv, vu, vv) = (dot(&u, &fu), dot(&u, &fv), dot(&v, &fu), dot(&v, &fv));
    let scale = (uu.abs() * vv.abs()).sqrt();
    let near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * scale;
    let checks = [
        (Check::Symmetry, near(uv, vu, 1e-11)),
        (
            Check::Positive,
            uu > 0.0 && vv > 0.0 && uv.abs() <= scale * (1.0 + 1e-12),
        ),
        (Check::Variance, near(vv, truth.variance(&batch, &v), 1e-7)),
        (Check::Curvature, near(vv, truth.curvature(&batch, &v), 1e-4)),
    ];
    checks
        .into_iter()
        .filter(|(_, holds)| !holds)
        .map(|(check, _)| check)
        .collect()
}

#[test]
fn the_fisher_matrix_is_symmetric_positive_a_variance_and_the_curvature_of_the_kl() {
    for config in [biased(), tied()] {
        assert_eq!(failing(Bug::None, &config), []);
    }
}

/// Each bug is found, and by which check. The last column is why symmetry alone is not enough: without <p, z_dot> the
/// head's curvature is diag p, as symmetric and as positive as the right one.
#[test]
fn planted_bugs_are_found() {
    for config in [biased(), tied()] {
        for (bug, by, blind) in [
            (
                Bug::AttentionMean,
                vec![Check::Symmetry, Check::Variance, Check::Curvature],
                vec![],
            ),
            (
                Bug::HeadMean,
                vec![Check::Variance, Check::Curvature],
                vec![Check::Symmetry, Check::Positive],
            ),
            (
                Bug::RopeInverse,
                vec![Check::Symmetry, Check::Variance, Check::Curvature],
                vec![],
            ),
            (
                Bug::GroupedMean,
                vec![Check::Symmetry, Check::Variance, Check::Curvature],
                vec![],
            ),
            (
                Bug::NormScale,
                vec![Check::Symmetry, Check::Variance, Check::Curvature],
                vec![],
            ),
        ] {
            let failing = failing(bug, &config);
            assert!(by.iter().all(|c| failing.contains(c)), "{bug:?}: only {failing:?}");
            assert!(blind.iter().all(|c| !failing.contains(c)), "{bug:?}: {failing:?}");
        }
    }
}

/// Recomputation and a second product at the same scores change no bit; micro-batches change the order of a sum.
#[test]
fn pieces_add_up_and_recomputation_changes_nothing() {
    struct Pieces;
    impl Ask for Pieces {
        fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str) {
            for config in [biased(), tied()] {
                let all = [whole(config.vocab)];
                let of = |keep, batches: &[Batch]| {
                    let mut learner = learner(b, config.clone(), keep);
                    let v = direction(b, &learner, "v");
                    let fv = product(b, &mut learner, batches, &v);
                    download(b, &fv)
                };
                let kept = of(Keep::Everything, &all);
                assert_eq!(kept, of(Keep::Inputs, &all), "{name}");
                let pieces = of(Keep::Inputs, &batches(config.vocab));
                let tolerance = match name.split(' ').next() {
                    Some("f64") => 1e-12,
                    Some("f32") => 1e-5,
                    // Roundings of activations depend on no row beside; sums of weights' gradients are in f32.
                    _ => 1e-2,
                };
                let d = distance(&pieces, &kept);
                assert!(d <= tolerance, "{name}: {d:e}");
                assert!(dot(&kept, &kept) > 0.0, "{name}");
            }
        }
    }
    every_backend(&Pieces);
}

#[test]
fn a_second_product_needs_no_second_forward_pass() {
    struct Again;
    impl Ask for Again {
        fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str) {
            for keep in [Keep::Everything, Keep::Inputs] {
                let (config, batch) = (tied(), whole(tied().vocab));
                let mut learner = learner(b, config, keep);
                let v = direction(b, &learner, "v");
                let first = product(b, &mut learner, std::slice::from_ref(&batch), &v);
                let mut prepared = learner.model.direction(b).unwrap();
                learner.model.prepare_direction(b, &mut prepared, &v);
                let mut second = zeros(b, &learner);
                let weight: Vec<B::Real> = (0..batch.predictions()).map(|i| B::Real::from_f64(weight(i))).collect();
                learner.fisher(b, &mut second, &prepared, &weight).unwrap();
                assert_eq!(download(b, &first), download(b, &second), "{name} {keep:?}");
            }
        }
    }
    every_backend(&Again);
}

/// The lower precisions compute the oracle's product, as well as they can.
#[test]
fn every_precision_computes_the_same_product() {
    struct Same(Vec<f64>, Config);
    impl Ask for Same {
        fn ask<B: Decode + Tangent + Vector>(&self, b: &B, name: &str) {
            let mut learner = learner(b, self.1.clone(), Keep::Everything);
            let v = direction(b, &learner, "v");
            let fv = product(b, &mut learner, &[whole(self.1.vocab)], &v);
            let tolerance = match name.split(' ').next() {
                Some("f64") => 0.0,
                Some("f32") => 1e-5,
                _ => 1e-1,
            };
            let d = distance(&download(b, &fv), &self.0);
            assert!(d <= tolerance, "{name}: {d:e}");
        }
    }
    for config in [biased(), tied()] {
        let b = Cpu::<f64>::oracle();
        let mut learner = learner(&b, config.clone(), Keep::Everything);
        let v = direction(&b, &learner, "v");
        let expected = product(&b, &mut learner, &[whole(config.vocab)], &v);
        every_backend(&Same(download(&b, &expected), config));
    }
}
