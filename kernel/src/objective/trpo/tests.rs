extern crate std;
use std::vec;

use quickcheck::quickcheck;

use super::*;
use crate::objective::testing::{Tokens, assert_gradient};

#[test]
fn gradients_agree_with_finite_differences_and_pieces_sum() {
    fn agree(t: Tokens, at: usize) -> bool {
        let (logp, old, advantage, mask) = (t.logp(), t.old(), t.advantage(), t.mask());
        let run = |x: &[f64], d: &mut [f64]| surrogate_loss(d, x, Some(&old), &advantage, &mask, t.weight());
        let mut d = vec![f64::NAN; logp.len()];
        let whole = run(&logp, &mut d);
        assert_gradient("trpo", |x| run(x, &mut vec![0.0; x.len()]), &logp, &d);
        let at = at % (logp.len() + 1);
        let piece = |r: core::ops::Range<usize>| {
            let (o, a, m) = (&old[r.clone()], &advantage[r.clone()], &mask[r.clone()]);
            surrogate_loss(&mut vec![0.0; r.len()], &logp[r], Some(o), a, m, t.weight())
        };
        let (a, b) = (piece(0..at), piece(at..logp.len()));
        (whole - a - b).abs() <= 1e-12 * (1.0 + a.abs() + b.abs())
    }
    quickcheck(agree as fn(Tokens, usize) -> bool);
}

#[test]
fn on_policy_it_is_the_policy_gradient() {
    let mut d = [0.0f64; 3];
    let loss = surrogate_loss(
        &mut d,
        &[-1.0, -2.0, -3.0],
        None,
        &[2.0, -1.0, 9.0],
        &[1.0, 1.0, 0.0],
        4.0,
    );
    assert_eq!((loss, d), (-0.25, [-0.5, 0.25, 0.0]));
}
