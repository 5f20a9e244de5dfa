extern crate std;
use std::vec;
use std::vec::Vec;

use quickcheck::quickcheck;

use super::*;
use crate::objective::kl::Estimator;
use crate::objective::testing::{Tokens, assert_gradient};

const PPO: Ppo = Ppo {
    cliprange: 0.2,
    cliprange_value: 0.15,
    vf_coef: 0.3,
    ent_coef: 0.01,
};

#[test]
fn gradients_agree_with_finite_differences() {
    fn agree(t: Tokens) {
        let (mask, n) = (t.mask(), t.weight());
        let (logp, old, advantage) = (t.logp(), t.old(), t.advantage());
        let policy = |x: &[f64], d: &mut [f64]| PPO.policy(d, x, Some(&old), &advantage, &mask, n).loss;
        let mut d = vec![f64::NAN; logp.len()];
        policy(&logp, &mut d);
        assert_gradient("policy", |x| policy(x, &mut vec![0.0; x.len()]), &logp, &d);

        let (value, old, returns) = (
            t.column(|t| t.value),
            t.column(|t| t.old_value),
            t.column(|t| t.returns),
        );
        for old in [None, Some(&old[..])] {
            let loss = |x: &[f64], d: &mut [f64]| 0.3 * PPO.value(d, x, old, &returns, &mask, n).loss;
            loss(&value, &mut d);
            // With no old values nothing is clipped: the loss at another value has another clip.
            if old.is_some() {
                assert_gradient("value", |x| loss(x, &mut vec![0.0; x.len()]), &value, &d);
            } else {
                let expected = value
                    .iter()
                    .zip(&returns)
                    .zip(&mask)
                    .map(|((v, r), m)| 0.3 * m * (v - r) / n);
                assert!(d.iter().zip(expected).all(|(d, e)| (d - e).abs() < 1e-15));
            }
        }
        let h = t.entropy();
        let loss = |x: &[f64], d: &mut [f64]| -0.01 * PPO.entropy(d, x, &mask, n);
        loss(&h, &mut d);
        assert_gradient("entropy", |x| loss(x, &mut vec![0.0; x.len()]), &h, &d);
    }
    quickcheck(agree as fn(Tokens));
}

#[test]
fn pieces_sum_to_the_whole() {
    fn agree(t: Tokens, at: usize) -> bool {
        let (mask, n) = (t.mask(), t.weight());
        let (logp, old, advantage) = (t.logp(), t.old(), t.advantage());
        let len = logp.len();
        let run = |from: usize, to: usize| {
            let mut d = vec![0.0; to - from];
            let r = from..to;
            let out = PPO.policy(
                &mut d,
                &logp[r.clone()],
                Some(&old[r.clone()]),
                &advantage[r.clone()],
                &mask[r],
                n,
            );
            (out.loss, d)
        };
        let at = at % (len + 1);
        let (whole, a, b) = (run(0, len), run(0, at), run(at, len));
        whole.1 == [a.1, b.1].concat() && (whole.0 - a.0 - b.0).abs() <= 1e-12 * (1.0 + a.0.abs() + b.0.abs())
    }
    quickcheck(agree as fn(Tokens, usize) -> bool);
}

/// What torchtune's test_ppo_loss.py should say (it has a relative tolerance of 1e6).
#[test]
fn clipping_known_by_hand() {
    let run = |ell: f64, a: f64| PPO.policy(&mut [0.0], &[ell], Some(&[0.0]), &[a], &[1.0], 1.0);
    assert!((run(-1.0, 1.0).loss + 0.36788).abs() < 1e-5);
    assert!((run(0.1, 1.0).loss + 1.10517).abs() < 1e-5);
    assert_eq!((run(1.0, 1.0).loss, run(1.0, 1.0).clipped), (-1.2, 1.0));
    assert_eq!((run(-1.0, -1.0).loss, run(-1.0, -1.0).approx_kl), (0.8, 0.5));
    let out = PPO.value(&mut [0.0], &[1.0], Some(&[0.0]), &[0.9], &[1.0], 1.0);
    assert!((out.loss - 0.5 * 0.75 * 0.75).abs() < 1e-15 && out.clipped == 1.0);
}

#[test]
fn known_returns() {
    let x = [0.0f64, 0.0, 0.0, 1.0];
    let (mut a, mut returns) = ([0.0f64; 4], [0.0f64; 4]);
    let gae = Gae {
        gamma: 0.9,
        lambda: 0.95,
    };
    gae.advantages(&mut a, &mut returns, &x, &x);
    for (found, expected) in returns.iter().zip([0.6579225, 0.7695, 0.9, 1.0]) {
        assert!((found - expected).abs() < 1e-12);
    }
    // lambda 1 gives the discounted sum of rewards, whatever the values.
    let gae = Gae { lambda: 1.0, ..gae };
    gae.advantages(&mut a, &mut returns, &[1.0, 2.0, 3.0, 4.0], &[5.0, -1.0, 0.3, 2.0]);
    assert!((returns[0] - (1.0 + 1.8 + 2.43 + 2.916)).abs() < 1e-12);
    gae.advantages::<f64>(&mut [], &mut [], &[], &[]);
}

#[test]
fn whitened_numbers() {
    let mut xs = [1.0f64, f64::NAN, 3.0, 5.0];
    whiten(&mut xs, &[1.0, 0.0, 1.0, 1.0]);
    let x = 2.0 / (4.0f64 + 1e-8).sqrt();
    assert_eq!(xs, [-x, 0.0, 0.0, x]);
    let mut one = [7.0f64];
    whiten(&mut one, &[1.0]);
    assert_eq!(one, [0.0]);
    let mut none = [f64::NAN];
    whiten(&mut none, &[0.0]);
    assert_eq!(none, [0.0]);
    let mask = [1.0; 3];
    assert_eq!(explained_variance(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], &mask), Some(1.0));
    assert_eq!(explained_variance(&[2.0; 3], &[1.0, 2.0, 3.0], &mask), Some(0.0));
    assert_eq!(explained_variance(&[1.0, 2.0, 3.0], &[2.0; 3], &mask), None);
}

#[test]
fn rewards_of_tokens() {
    let shaping = Shaping {
        kl_coef: 0.5,
        estimator: Estimator::K1,
        missing_eos_penalty: 1.0,
    };
    let (logp, reference) = ([-1.0, -2.0, f64::NAN], [-2.0, -1.5, 0.0]);
    let run = |mask: [f64; 3], ending| -> (f64, Vec<f64>) {
        let mut rewards = vec![f64::NAN; 3];
        let kl = shaping.rewards(&mut rewards, &logp, &reference, &mask, 3.0, ending);
        (kl, rewards)
    };
    assert_eq!(run([1.0, 1.0, 0.0], Ending::Eos), (-0.25, vec![-0.5, 3.25, 0.0]));
    assert_eq!(run([1.0, 0.0, 0.0], Ending::Truncated), (-0.5, vec![1.5, 0.0, 0.0]));
    assert_eq!(run([0.0; 3], Ending::Eos), (0.0, vec![0.0; 3]));
}
