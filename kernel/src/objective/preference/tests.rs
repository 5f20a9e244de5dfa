extern crate std;
use std::vec;
use std::vec::Vec;

use quickcheck::quickcheck;

use super::*;
use crate::objective::testing::{Tokens, assert_gradient};

const ALL: [PairLoss; 15] = [
    PairLoss::Sigmoid,
    PairLoss::Hinge,
    PairLoss::Ipo,
    PairLoss::SigmoidNorm,
    PairLoss::ExoPair,
    PairLoss::NcaPair,
    PairLoss::BcoPair,
    PairLoss::Robust,
    PairLoss::SppoHard,
    PairLoss::Aot,
    PairLoss::AotUnpaired,
    PairLoss::ApoZero,
    PairLoss::ApoDown,
    PairLoss::Discopop,
    PairLoss::Sft,
];
const DIVERGENCES: [Divergence; 5] = [
    Divergence::ReverseKl,
    Divergence::ForwardKl,
    Divergence::JsDivergence,
    Divergence::AlphaDivergence(0.5),
    Divergence::AlphaDivergence(1.0),
];

fn one(loss: PairLoss) -> Preference {
    Preference {
        terms: vec![(loss, 1.0)],
        label_smoothing: 0.1,
        ..Preference::default()
    }
}

/// A step of pairs, each completion with its own columns.
struct Step {
    logp: [Vec<Vec<f64>>; 2],
    reference: [Vec<Vec<f64>>; 2],
    mask: [Vec<Vec<f64>>; 2],
}

impl Step {
    fn new(pairs: &[(Tokens, Tokens)]) -> Self {
        let columns = |f: &dyn Fn(&Tokens) -> Vec<f64>| {
            [
                pairs.iter().map(|p| f(&p.0)).collect(),
                pairs.iter().map(|p| f(&p.1)).collect(),
            ]
        };
        Self {
            logp: columns(&Tokens::logp),
            reference: columns(&Tokens::reference),
            mask: columns(&Tokens::mask),
        }
    }

    fn whole(&self) -> Whole {
        Whole {
            pairs: self.mask[0].len() as f64,
            chosen_tokens: self.mask[0].iter().flatten().sum::<f64>().max(1.0),
        }
    }

    /// Loss and gradient at `at`: all log-probs, pair after pair, chosen first.
    fn loss(&self, p: &Preference, at: &[f64]) -> (f64, Vec<f64>) {
        let mut rest = at;
        let mut logp = [vec![], vec![]];
        for i in 0..self.mask[0].len() {
            for (k, logp) in logp.iter_mut().enumerate() {
                let (head, tail) = rest.split_at(self.mask[k][i].len());
                logp.push(head);
                rest = tail;
            }
        }
        let side = |k: usize, i: usize| Side {
            logp: logp[k][i],
            reference: &self.reference[k][i],
            mask: &self.mask[k][i],
            log_sum_sq: &[],
        };
        let pairs = self.mask[0].len();
        let sums: Vec<Sums> = (0..pairs).map(|i| p.sums(&side(0, i), &side(1, i))).collect();
        let matched = match_up(&sums);
        let (mut loss, mut gradient) = (0.0, vec![]);
        for (i, matched) in matched.into_iter().enumerate() {
            let mut d = [0, 1].map(|k| vec![f64::NAN; self.mask[k][i].len()]);
            let [a, b] = &mut d;
            loss += p.loss([a, b], &side(0, i), &side(1, i), matched, self.whole()).loss;
            gradient.extend(d.concat());
        }
        (loss, gradient)
    }

    fn at(&self) -> Vec<f64> {
        (0..self.mask[0].len())
            .flat_map(|i| [self.logp[0][i].clone(), self.logp[1][i].clone()].concat())
            .collect()
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    fn agree(pairs: Vec<(Tokens, Tokens)>) {
        let step = Step::new(&pairs[..pairs.len().min(3)]);
        for loss in ALL {
            for divergence in DIVERGENCES {
                for ld_alpha in [None, Some(0.3)] {
                    let p = Preference {
                        divergence,
                        ld_alpha,
                        ..one(loss)
                    };
                    if p.check().is_ok() {
                        let (_, d) = step.loss(&p, &step.at());
                        assert!(d.iter().all(|d| d.is_finite()), "{p:?}: {d:?}");
                        assert_gradient(&std::format!("{p:?}"), |x| step.loss(&p, x).0, &step.at(), &d);
                    }
                }
            }
        }
    }
    quickcheck(agree as fn(Vec<(Tokens, Tokens)>));
}

#[test]
fn a_mix_is_the_weighted_sum() {
    fn agree(pairs: Vec<(Tokens, Tokens)>) -> bool {
        let step = Step::new(&pairs);
        let mixed = Preference {
            terms: vec![(PairLoss::Sigmoid, 0.7), (PairLoss::Sft, 0.2), (PairLoss::Aot, -1.5)],
            ..one(PairLoss::Sigmoid)
        };
        let whole = step.loss(&mixed, &step.at());
        let parts = mixed
            .terms
            .iter()
            .map(|&(loss, w)| (w, step.loss(&one(loss), &step.at())));
        let (mut loss, mut d) = (whole.0, whole.1);
        let mut size = loss.abs();
        for (w, part) in parts {
            loss -= w * part.0;
            size += part.0.abs();
            d.iter_mut().zip(part.1).for_each(|(d, x)| *d -= w * x);
        }
        loss.abs() <= 1e-12 * (1.0 + size) && d.iter().all(|d| d.abs() < 1e-12)
    }
    quickcheck(agree as fn(Vec<(Tokens, Tokens)>) -> bool);
}

/// torchtune's test of its DPOLoss.
#[test]
#[allow(clippy::approx_constant)] // It is log 2, but as torchtune states it.
fn torchtunes_numbers() {
    let policy = [[-0.5f64, -10.0, -1.0], [-0.1, -30.0, -21.0]];
    let reference = [[-0.5, -10.1, -0.1], [-0.1, -20.1, -0.1]];
    for (i, expected) in [0.693147, 0.313262, 0.126928].into_iter().enumerate() {
        let side = |k: usize| Side {
            logp: &policy[k][i..=i],
            reference: &reference[k][i..=i],
            mask: &[1.0],
            log_sum_sq: &[],
        };
        let (mut a, mut b) = ([0.0], [0.0]);
        let whole = Whole {
            pairs: 1.0,
            chosen_tokens: 1.0,
        };
        let found = Preference::default().loss([&mut a, &mut b], &side(0), &side(1), Matched::default(), whole);
        assert!((found.loss - expected).abs() < 1e-6);
        assert!((found.rewards[0] - 0.1 * (policy[0][i] - reference[0][i])).abs() < 1e-15);
        assert_eq!(found.logps, [policy[0][i], policy[1][i]]);
    }
}

#[test]
fn wpo_weighs_by_both_likelihoods() {
    let side = |logp: &'static [f64], log_sum_sq: &'static [f64]| Side {
        logp,
        reference: &[-1.0, -1.0],
        mask: &[1.0, 1.0],
        log_sum_sq,
    };
    let (c, r) = (side(&[-0.5, -2.0], &[-0.7, -0.9]), side(&[-1.5, -0.1], &[-1.0, -0.2]));
    let whole = Whole {
        pairs: 2.0,
        chosen_tokens: 2.0,
    };
    let run = |weighting| {
        let p = Preference {
            weighting,
            ..one(PairLoss::Hinge)
        };
        let (mut a, mut b) = ([0.0f64; 2], [0.0; 2]);
        (
            p.loss([&mut a, &mut b], &c, &r, Matched::default(), whole).loss,
            a[0],
            b[1],
        )
    };
    let (plain, weighted) = (run(Weighting::None), run(Weighting::Wpo));
    let w = ((-2.5f64 + 1.6) / 2.0 + (-1.6 + 1.2) / 2.0).exp();
    for (a, b) in [(plain.0, weighted.0), (plain.1, weighted.1), (plain.2, weighted.2)] {
        assert!((a * w - b).abs() < 1e-15 && a != 0.0);
    }
}

#[test]
fn masked_tokens_are_never_read() {
    let broken = [-1.0f64, f64::NAN, f64::NEG_INFINITY];
    let side = Side {
        logp: &broken,
        reference: &broken,
        mask: &[1.0, 0.0, 0.0],
        log_sum_sq: &broken,
    };
    let (mut a, mut b) = ([9.0f64; 3], [9.0; 3]);
    let whole = Whole {
        pairs: 1.0,
        chosen_tokens: 1.0,
    };
    let found = Preference::default().loss([&mut a, &mut b], &side, &side, Matched::default(), whole);
    assert!((found.loss - 2.0f64.ln()).abs() < 1e-15);
    assert_eq!((a, b), ([-0.05, 0.0, 0.0], [0.05, 0.0, 0.0]));
}

#[test]
fn settings_that_exclude_each_other() {
    let field = |p: Preference| p.check().map_err(|e| e.field);
    let zero = |loss| Preference {
        label_smoothing: 0.0,
        ..one(loss)
    };
    for loss in ALL {
        assert_eq!(field(one(loss)), Ok(()));
    }
    assert_eq!(field(zero(PairLoss::ExoPair)), Err("label_smoothing"));
    let half = Preference {
        label_smoothing: 0.5,
        ..one(PairLoss::Robust)
    };
    assert_eq!(field(half), Err("label_smoothing"));
    let negative = Preference {
        beta: -1.0,
        ..one(PairLoss::Sigmoid)
    };
    assert_eq!(field(negative), Err("beta"));
    for loss in [PairLoss::NcaPair, PairLoss::ApoDown, PairLoss::Aot] {
        let divergence = Preference {
            divergence: Divergence::JsDivergence,
            ..one(loss)
        };
        assert_eq!(field(divergence), Err("f_divergence_type"));
    }
    let weighted = Preference {
        weighting: Weighting::Wpo,
        ..one(PairLoss::Aot)
    };
    assert_eq!(field(weighted), Err("use_weighting"));
}
