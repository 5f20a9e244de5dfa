extern crate std;
use std::vec;

use quickcheck::quickcheck;

use super::*;
use crate::objective::testing::{Tokens, assert_gradient};

const RLOO: Rloo = Rloo {
    epsilon: 0.2,
    epsilon_high: 0.3,
};

#[test]
fn gradients_agree_with_finite_differences() {
    fn agree(tokens: Tokens) {
        let (logp, mask, old) = (tokens.logp(), tokens.mask(), tokens.old());
        for advantage in [-1.7, 0.0, 0.9] {
            let run = |x: &[f64], d: &mut [f64]| RLOO.loss(d, x, Some(&old), &mask, advantage, 4.0).loss;
            let mut d = vec![f64::NAN; logp.len()];
            run(&logp, &mut d);
            assert_gradient("rloo", |x| run(x, &mut vec![0.0; x.len()]), &logp, &d);
        }
    }
    quickcheck(agree as fn(Tokens));
}

#[test]
fn baselines() {
    let run = |rewards: &[Option<f64>]| {
        let mut a = vec![Some(f64::NAN); rewards.len()];
        leave_one_out(&mut a, rewards);
        a
    };
    assert_eq!(
        run(&[Some(1.0), Some(2.0), Some(6.0)]),
        [Some(-3.0), Some(-1.5), Some(4.5)]
    );
    assert_eq!(run(&[Some(1.0), None, Some(2.0)]), [Some(-1.0), None, Some(1.0)]);
    assert_eq!(run(&[Some(1.0)]), [None]);
    assert_eq!(run(&[Some(5.0); 3]), [Some(0.0); 3]);
    let mut a = [Some(-1.0), None, Some(1.0)];
    normalize(&mut a);
    let x = 1.0 / (2.0f64.sqrt() + 1e-4);
    assert_eq!(a, [Some(-x), None, Some(x)]);
}

#[test]
fn shaped_rewards_and_clipping() {
    let (old, reference, mask) = ([-1.0, -2.0, f64::NAN], [-1.5, -1.0, 0.0], [1.0, 1.0, 0.0]);
    let reward = shaped_reward(9.0, Some((-1.0, 2.0)), 0.1, &old, &reference, &mask);
    assert!((reward - 2.05).abs() < 1e-15);
    let mut d = [f64::NAN; 2];
    let out = RLOO.loss(&mut d, &[-1.0, -1.0], Some(&[-1.2, -1.3]), &[1.0, 1.0], 2.0, 2.0);
    assert_eq!((out.high, out.low, d), (0.5, 0.0, [0.0, 0.0]));
    assert!((out.loss + 1.3).abs() < 1e-15);
}
