//! What the objectives' tests share: drawn tokens, extreme ones too, and finite differences.
extern crate std;
use std::vec::Vec;

use quickcheck::{Arbitrary, Gen};

/// One token's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub logp: f64,
    pub old: f64,
    pub reference: f64,
    pub sampler: f64,
    pub entropy: f64,
    pub value: f64,
    pub old_value: f64,
    pub returns: f64,
    pub advantage: f64,
    pub mask: f64,
}

/// A completion: none to eleven tokens, sometimes with log-ratios of +-80, an empty mask, or one reward throughout.
#[derive(Clone, Debug)]
pub struct Tokens(pub Vec<Token>);

impl Tokens {
    pub fn column(&self, f: impl Fn(&Token) -> f64) -> Vec<f64> {
        self.0.iter().map(f).collect()
    }
    pub fn logp(&self) -> Vec<f64> {
        self.column(|t| t.logp)
    }
    pub fn old(&self) -> Vec<f64> {
        self.column(|t| t.old)
    }
    pub fn reference(&self) -> Vec<f64> {
        self.column(|t| t.reference)
    }
    pub fn mask(&self) -> Vec<f64> {
        self.column(|t| t.mask)
    }
    pub fn advantage(&self) -> Vec<f64> {
        self.column(|t| t.advantage)
    }
    pub fn entropy(&self) -> Vec<f64> {
        self.column(|t| t.entropy)
    }
    /// Masked tokens, at least one.
    pub fn weight(&self) -> f64 {
        self.mask().iter().sum::<f64>().max(1.0)
    }
}

/// From 0 to 1, with 32 random bits: two draws are never the same.
fn unit(g: &mut Gen) -> f64 {
    u32::arbitrary(g) as f64 / u32::MAX as f64
}

impl Arbitrary for Tokens {
    fn arbitrary(g: &mut Gen) -> Self {
        let n = usize::arbitrary(g) % 12;
        let extreme = u8::arbitrary(g) % 4 == 0;
        let empty = u8::arbitrary(g) % 8 == 0;
        let same = u8::arbitrary(g) % 3 == 0;
        let advantage = 4.0 * unit(g) - 2.0;
        let far = |g: &mut Gen, x: f64| match (extreme, u8::arbitrary(g) % 6) {
            // Never two the same: no step of a finite difference is small enough where scores of e^80 are equal.
            (true, 0) => x + 80.0 + unit(g),
            (true, 1) => x - 80.0 - unit(g),
            (_, 2) => x,
            _ => x + unit(g) - 0.5,
        };
        let token = |g: &mut Gen| {
            let logp = -6.0 * unit(g);
            let value = 2.0 * unit(g) - 1.0;
            Token {
                logp,
                old: far(g, logp),
                reference: far(g, logp),
                sampler: logp + 0.4 * unit(g) - 0.2,
                entropy: 3.0 * unit(g),
                value,
                old_value: value + unit(g) - 0.5,
                returns: 2.0 * unit(g) - 1.0,
                advantage: if same { advantage } else { 4.0 * unit(g) - 2.0 },
                mask: (!empty && u8::arbitrary(g) % 4 != 0) as u8 as f64,
            }
        };
        Self((0..n).map(|_| token(g)).collect())
    }
}

/// Panics unless `d` is the derivative of `f` at `at`: it must lie between the differences to the left and to the right, of which one is enough
/// where the other contains a kink (two drawn scores that change places).
pub fn assert_gradient(what: &str, f: impl Fn(&[f64]) -> f64, at: &[f64], d: &[f64]) {
    // What is near a kink but not at it has it within the first step, not within the second.
    const STEPS: [f64; 2] = [1e-5, 1e-6];
    let here = f(at);
    assert!(here.is_finite(), "{what}: the loss is {here}");
    for i in 0..at.len() {
        let moved = |by: f64| {
            let mut x = at.to_vec();
            x[i] += by;
            f(&x)
        };
        let sides = |h: f64| ((here - moved(-h)) / h, (moved(h) - here) / h);
        let agree = |h: f64| {
            let (left, right) = sides(h);
            // The loss's own rounding, and of what is between.
            let bound = 1e-5 * d[i].abs() + 1e-8 + 1e-9 * here.abs();
            d[i] >= right.min(left) - bound && d[i] <= right.max(left) + bound
        };
        assert!(
            STEPS.into_iter().any(agree),
            "{what}: d[{i}] is {}, by differences from the left and from the right {:?}",
            d[i],
            STEPS.map(sides)
        );
    }
}
