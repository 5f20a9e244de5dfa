extern crate std;
use std::vec;
use std::vec::Vec;

use quickcheck::quickcheck;

use super::*;
use crate::objective::testing::{Tokens, assert_gradient};

const RATIO: [GroupLoss; 6] = [
    GroupLoss::Grpo,
    GroupLoss::Bnpo,
    GroupLoss::DrGrpo {
        max_completion_length: 9.0,
    },
    GroupLoss::Dapo,
    GroupLoss::Luspo,
    GroupLoss::Sapo {
        positive: 1.0,
        negative: 1.05,
    },
];
const REINFORCE: [GroupLoss; 2] = [GroupLoss::Cispo, GroupLoss::Vespo];
const WHOLE: Whole = Whole {
    completions: 3.0,
    tokens: 17.0,
    entropy_threshold: f64::NEG_INFINITY,
    entropy_tokens: 17.0,
};

/// Owned columns of a completion.
struct Columns {
    logp: Vec<f64>,
    mask: Vec<f64>,
    advantage: Vec<f64>,
    entropy: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    sampler: Vec<f64>,
}

impl Columns {
    fn new(t: &Tokens) -> Self {
        Self {
            logp: t.logp(),
            mask: t.mask(),
            advantage: t.advantage(),
            entropy: t.entropy(),
            old: t.old(),
            reference: t.reference(),
            sampler: t.column(|t| t.sampler),
        }
    }
    fn at<'a>(&'a self, logp: &'a [f64], entropy: &'a [f64]) -> Completion<'a, f64> {
        Completion {
            logp,
            mask: &self.mask,
            advantage: &self.advantage,
            entropy,
            old: Some(&self.old),
            reference: Some(&self.reference),
            sampler: Some(&self.sampler),
        }
    }
}

fn settings() -> Vec<GroupPolicy> {
    let mut all = vec![];
    for level in [Level::Token, Level::Sequence] {
        for kl_correction in [KlCorrection::None, KlCorrection::Ratio] {
            for (beta, delta) in [(0.0, None), (0.3, Some(1.6))] {
                all.push(GroupPolicy {
                    beta,
                    delta,
                    level,
                    kl_correction,
                    epsilon_high: 0.28,
                    entropy_coef: 0.2,
                    off_policy_mask_threshold: Some(0.3137),
                    correction: match (beta > 0.0, kl_correction) {
                        (true, KlCorrection::None) => Correction::TokenTruncate { cap: 1.05 },
                        (true, KlCorrection::Ratio) => Correction::TokenMask { cap: 1.05 },
                        (false, KlCorrection::None) => Correction::SequenceTruncate { cap: 1.05 },
                        (false, KlCorrection::Ratio) => Correction::SequenceMask { cap: 1.8 },
                    },
                    ..GroupPolicy::default()
                });
            }
        }
    }
    all
}

fn run(p: &GroupPolicy, c: &Completion<'_, f64>, whole: Whole) -> (Outcome, Vec<f64>, Vec<f64>) {
    let mut d = [vec![f64::NAN; c.logp.len()], vec![f64::NAN; c.logp.len()]];
    let [a, b] = &mut d;
    let out = p.loss(a, b, c, whole);
    let [a, b] = d;
    (out, a, b)
}

#[test]
fn gradients_agree_with_finite_differences() {
    fn agree(tokens: Tokens) {
        let c = Columns::new(&tokens);
        let whole = Whole {
            entropy_threshold: 1.0,
            ..WHOLE
        };
        for loss in RATIO {
            for setting in settings() {
                let p = GroupPolicy { loss, ..setting };
                p.check().unwrap();
                let (_, d, dh) = run(&p, &c.at(&c.logp, &c.entropy), whole);
                let what = std::format!("{p:?}");
                assert_gradient(&what, |x| run(&p, &c.at(x, &c.entropy), whole).0.loss, &c.logp, &d);
                let above = c.entropy.iter().all(|h| (h - 1.0).abs() > 1e-3);
                if above {
                    assert_gradient(&what, |h| run(&p, &c.at(&c.logp, h), whole).0.loss, &c.entropy, &dh);
                }
            }
        }
    }
    quickcheck(agree as fn(Tokens));
}

/// cispo and vespo weigh logp with a detached number: the loss is linear in logp with the slopes that are given.
#[test]
fn detached_weights() {
    fn agree(tokens: Tokens) {
        let c = Columns::new(&tokens);
        for loss in REINFORCE {
            for level in [Level::Token, Level::Sequence] {
                let p = GroupPolicy {
                    loss,
                    level,
                    epsilon_high: 3.0,
                    ..GroupPolicy::default()
                };
                let (out, d, _) = run(&p, &c.at(&c.logp, &[]), WHOLE);
                let linear: f64 = d.iter().zip(&c.logp).zip(&c.mask).map(|((d, l), m)| m * d * l).sum();
                assert!((out.loss - linear).abs() <= 1e-12 * (1.0 + linear.abs()), "{p:?}");
                assert!(d.iter().all(|d| d.is_finite()));
            }
        }
    }
    quickcheck(agree as fn(Tokens));
}

#[test]
fn vespo_is_one_on_policy_and_its_formula_off_it() {
    let p = GroupPolicy {
        loss: GroupLoss::Vespo,
        ..GroupPolicy::default()
    };
    let c = |old: &'static [f64], advantage: &'static [f64]| Completion {
        logp: &[-1.0, -2.0],
        mask: &[1.0, 1.0],
        advantage,
        entropy: &[],
        old: Some(old),
        reference: None,
        sampler: None,
    };
    let phi = |c| {
        run(
            &p,
            &c,
            Whole {
                completions: 1.0,
                ..WHOLE
            },
        )
        .0
        .phi
    };
    assert!((phi(c(&[-1.0, -2.0], &[1.0, 1.0])) - 1.0).abs() < 1e-15);
    let w = 0.3f64.exp();
    assert!((phi(c(&[-1.1, -2.2], &[1.0, 1.0])) - (3.0 + 2.0 * 0.3 - 3.0 * w).exp()).abs() < 1e-14);
    assert!((phi(c(&[-1.1, -2.2], &[-1.0, -1.0])) - (2.0 + 3.0 * 0.3 - 2.0 * w).exp()).abs() < 1e-14);
}

#[test]
fn no_old_is_the_detached_policy() {
    fn agree(tokens: Tokens) -> bool {
        let c = Columns::new(&tokens);
        RATIO.into_iter().chain(REINFORCE).all(|loss| {
            settings().into_iter().all(|setting| {
                let correction = Correction::TokenTruncate { cap: 1.05 };
                let p = GroupPolicy {
                    loss,
                    correction,
                    ..setting
                };
                let given = Completion {
                    old: Some(&c.logp),
                    ..c.at(&c.logp, &c.entropy)
                };
                let absent = Completion { old: None, ..given };
                run(&p, &given, WHOLE) == run(&p, &absent, WHOLE)
            })
        })
    }
    quickcheck(agree as fn(Tokens) -> bool);
}

/// On-policy the losses are -A under each one's reduction. Two completions, of 1 and of 3 tokens.
#[test]
fn reductions() {
    let whole = Whole {
        completions: 2.0,
        tokens: 4.0,
        entropy_threshold: f64::NEG_INFINITY,
        entropy_tokens: 4.0,
    };
    let lens = [(1, 2.0), (3, -1.0)];
    for (loss, expected) in [
        (GroupLoss::Grpo, -0.5),
        (GroupLoss::Bnpo, 0.25),
        (GroupLoss::Dapo, 0.25),
        (
            GroupLoss::DrGrpo {
                max_completion_length: 5.0,
            },
            0.1,
        ),
        (GroupLoss::Luspo, 0.5),
        (
            GroupLoss::Sapo {
                positive: 1.0,
                negative: 1.0,
            },
            -1.0,
        ),
    ] {
        let p = GroupPolicy {
            loss,
            ..GroupPolicy::default()
        };
        let total: f64 = lens
            .iter()
            .map(|&(n, a)| {
                // A masked token in front: it must not count.
                let mask: Vec<f64> = (0..=n).map(|t| (t > 0) as u8 as f64).collect();
                let (logp, advantage) = (vec![-1.0; n + 1], vec![a; n + 1]);
                let c = Completion {
                    logp: &logp,
                    mask: &mask,
                    advantage: &advantage,
                    entropy: &[],
                    old: None,
                    reference: None,
                    sampler: None,
                };
                run(&p, &c, whole).0.loss
            })
            .sum();
        assert!((total - expected).abs() < 1e-15, "{loss:?}: {total}");
    }
}

#[test]
fn clipped_parts() {
    let c = Completion {
        logp: &[0.0, 0.5, -0.5, 0.5, f64::NAN],
        mask: &[1.0, 1.0, 1.0, 1.0, 0.0],
        advantage: &[1.0, 1.0, -1.0, -1.0, 1.0],
        entropy: &[],
        old: Some(&[0.0; 5]),
        reference: None,
        sampler: None,
    };
    let whole = Whole { tokens: 8.0, ..WHOLE };
    let (out, d, _) = run(&GroupPolicy::default(), &c, whole);
    assert_eq!((out.low, out.high, out.own), (0.125, 0.125, Some([0.25, 0.25])));
    assert_eq!((d[1], d[2], d[4]), (0.0, 0.0, 0.0));
    assert!(d[0] < 0.0 && d[3] > 0.0);
    // delta holds the branch that has no clip.
    let p = GroupPolicy {
        delta: Some(1.3),
        ..GroupPolicy::default()
    };
    assert_eq!(run(&p, &c, whole).1[3], 0.0);
}

#[test]
fn extremes_in_f32_are_never_nan() {
    fn fine(tokens: Tokens) -> bool {
        let narrow = |f: fn(&crate::objective::testing::Token) -> f64| -> Vec<f32> {
            tokens.column(f).into_iter().map(|x| x as f32).collect()
        };
        let (logp, mask, advantage) = (narrow(|t| t.logp), narrow(|t| t.mask), narrow(|t| t.advantage));
        let (old, reference, entropy) = (narrow(|t| t.old), narrow(|t| t.reference), narrow(|t| t.entropy));
        RATIO.into_iter().chain(REINFORCE).all(|loss| {
            settings().into_iter().all(|setting| {
                let c = Completion {
                    logp: &logp,
                    mask: &mask,
                    advantage: &advantage,
                    entropy: &entropy,
                    old: Some(&old),
                    reference: Some(&reference),
                    sampler: None,
                };
                let (mut d, mut dh) = (vec![0.0; logp.len()], vec![0.0; logp.len()]);
                let out = GroupPolicy { loss, ..setting }.loss(&mut d, &mut dh, &c, WHOLE);
                out.loss.is_finite() && d.iter().chain(&dh).all(|x: &f32| !x.is_nan())
            })
        })
    }
    quickcheck(fine as fn(Tokens) -> bool);
}

#[test]
fn thresholds_as_torch_quantile() {
    let mut h = [0.4, 0.1, 0.3, 0.2];
    assert_eq!(entropy_threshold(&mut h, 1.0), f64::NEG_INFINITY);
    assert!((entropy_threshold(&mut h, 0.5) - 0.25).abs() < 1e-15);
    assert!((entropy_threshold(&mut h, 0.2) - 0.34).abs() < 1e-15);
    assert_eq!(entropy_threshold(&mut h, 0.0), 0.4);
    assert_eq!(entropy_threshold(&mut [], 0.5), f64::INFINITY);
}

#[test]
fn advantages_of_groups() {
    let run = |rewards: &[Option<f64>], scale| {
        let mut a = vec![f64::NAN; rewards.len()];
        group_advantages(&mut a, rewards, scale);
        a
    };
    assert_eq!(run(&[Some(1.0), Some(3.0)], Scale::None), [-1.0, 1.0]);
    let scaled = 1.0 / (2.0f64.sqrt() + 1e-4);
    assert_eq!(run(&[Some(1.0), None, Some(3.0)], Scale::Group), [-scaled, 0.0, scaled]);
    assert_eq!(run(&[Some(1.0), Some(3.0)], Scale::Batch { std: 0.9999 }), [-1.0, 1.0]);
    assert_eq!(run(&[Some(7.0)], Scale::Group), [0.0]);
    assert_eq!(run(&[None, Some(7.0)], Scale::None), [0.0, 0.0]);
    assert_eq!(run(&[Some(7.0); 4], Scale::Group), [0.0; 4]);
    assert_eq!(run(&[], Scale::Group), [0.0; 0]);
    assert_eq!(reward_std(&[Some(1.0), None, Some(3.0)]), 2.0f64.sqrt());
    assert_eq!(reward_std(&[Some(1.0), None]), 0.0);
}

#[test]
fn settings_out_of_range() {
    let field = |p: GroupPolicy| p.check().map_err(|e| e.field);
    let p = GroupPolicy::default();
    assert_eq!(field(p), Ok(()));
    assert_eq!(field(GroupPolicy { beta: f64::NAN, ..p }), Err("beta"));
    assert_eq!(field(GroupPolicy { epsilon: -0.1, ..p }), Err("epsilon"));
    assert_eq!(field(GroupPolicy { delta: Some(0.0), ..p }), Err("delta"));
    let q = GroupPolicy {
        top_entropy_quantile: 1.5,
        ..p
    };
    assert_eq!(field(q), Err("top_entropy_quantile"));
    let loss = GroupLoss::DrGrpo {
        max_completion_length: 0.0,
    };
    assert_eq!(field(GroupPolicy { loss, ..p }), Err("max_completion_length"));
    let loss = GroupLoss::Vespo;
    for correction in [
        Correction::SequenceMask { cap: 2.0 },
        Correction::SequenceTruncate { cap: 2.0 },
    ] {
        assert_eq!(field(GroupPolicy { loss, correction, ..p }), Err("loss_type"));
    }
    for correction in [
        Correction::TokenMask { cap: 2.0 },
        Correction::TokenTruncate { cap: 2.0 },
    ] {
        assert_eq!(field(GroupPolicy { loss, correction, ..p }), Ok(()));
    }
    let correction = Correction::TokenMask { cap: 0.0 };
    assert_eq!(field(GroupPolicy { correction, ..p }), Err("importance_sampling_cap"));
}

/// The weights by TRL 1.16's lines: exp of the difference, of tokens or summed over the completion; clamp, or masked_fill with 0.
#[test]
fn corrections_are_trls_weights_on_the_policy_term_alone() {
    let (logp, mask) = ([-1.0, -2.0, -0.5, -3.0], [1.0, 1.0, 0.0, 1.0]);
    let (old, sampler) = ([-1.1, -2.3, -0.6, -2.9], [-1.5, -2.0, -9.0, -3.0]);
    let c = Completion {
        logp: &logp,
        mask: &mask,
        advantage: &[0.7; 4],
        entropy: &[],
        old: Some(&old),
        reference: Some(&[-1.2, -1.9, -0.4, -2.5]),
        sampler: Some(&sampler),
    };
    let whole = Whole {
        entropy_threshold: f64::NEG_INFINITY,
        ..WHOLE
    };
    // exp(0.4), exp(-0.3), exp(0.1); exp of their sum, 0.2.
    let [a, b, d, sum] = [0.4f64, -0.3, 0.1, 0.2].map(f64::exp);
    let cap = 1.15;
    for (correction, weights) in [
        (Correction::TokenTruncate { cap }, [cap, b, d]),
        (Correction::TokenMask { cap }, [0.0, b, d]),
        (Correction::SequenceTruncate { cap }, [cap; 3]),
        (Correction::SequenceMask { cap }, [0.0; 3]),
        (Correction::TokenTruncate { cap: f64::INFINITY }, [a, b, d]),
        (Correction::TokenMask { cap: f64::INFINITY }, [a, b, d]),
        (Correction::SequenceTruncate { cap: f64::INFINITY }, [sum; 3]),
        (Correction::SequenceMask { cap: 1.3 }, [sum; 3]),
    ] {
        let of = |beta, correction| {
            let p = GroupPolicy {
                beta,
                correction,
                ..GroupPolicy::default()
            };
            run(&p, &c, whole)
        };
        let near = |x: f64, y: f64| (x - y).abs() < 1e-14 * (1.0 + y.abs());
        let mut seen = vec![];
        correction.weights(&c, |w| seen.push(w));
        let each = if correction.is_of_sequences() {
            &weights[..1]
        } else {
            &weights[..]
        };
        assert!(
            seen.len() == each.len() && seen.iter().zip(each).all(|(x, y)| near(*x, *y)),
            "{correction:?}: {seen:?}"
        );
        let (policy, plain) = (of(0.0, correction).1, of(0.0, Correction::None).1);
        let ([with_kl, only_kl], loss) = (
            [correction, Correction::None].map(|k| of(0.3, k).1),
            of(0.3, correction).0.loss,
        );
        let mut want = of(0.3, Correction::None).0.loss - of(0.0, Correction::None).0.loss;
        for (t, weight) in [0, 1, 3].into_iter().zip(weights) {
            assert!(near(policy[t], weight * plain[t]), "{correction:?}, token {t}");
            assert!(
                near(with_kl[t] - policy[t], only_kl[t] - plain[t]),
                "{correction:?}, token {t}: the KL"
            );
            let w: f64 = logp[t] - old[t];
            want -= weight * w.exp().min(1.2) * 0.7 / whole.tokens;
        }
        assert!(near(loss, want), "{correction:?}: {loss}, {want}");
    }
}
