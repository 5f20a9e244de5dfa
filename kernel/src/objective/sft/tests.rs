extern crate std;
use std::vec;
use std::vec::Vec;

use quickcheck::quickcheck;

use super::*;

/// Central differences of the loss with the stop-gradient factor held, against `dlogp`.
fn agrees(loss: SftLoss, raw: Vec<(u8, bool)>) -> bool {
    let logp: Vec<f64> = raw.iter().map(|&(x, _)| -(x as f64) / 20.0).collect();
    let mask: Vec<f64> = raw.iter().map(|&(_, m)| m as u8 as f64).collect();
    let weight = mask.iter().sum::<f64>().max(1.0) + 3.0;
    let held = |at: &[f64]| -> f64 {
        at.iter()
            .zip(&logp)
            .zip(&mask)
            .map(|((x, l), m)| {
                let p = if loss == SftLoss::Dft { l.exp() } else { 1.0 };
                -m * p * x / weight
            })
            .sum()
    };
    let mut d = vec![f64::NAN; logp.len()];
    let value = loss.loss(&mut d, &logp, &mask, weight);
    let mut ok = (value - held(&logp)).abs() < 1e-12;
    for i in 0..logp.len() {
        let (mut up, mut down) = (logp.clone(), logp.clone());
        up[i] += 1e-4;
        down[i] -= 1e-4;
        ok &= ((held(&up) - held(&down)) / 2e-4 - d[i]).abs() < 1e-9;
    }
    ok
}

#[test]
fn gradients_agree_with_finite_differences() {
    quickcheck((|raw| agrees(SftLoss::Nll, raw)) as fn(Vec<(u8, bool)>) -> bool);
    quickcheck((|raw| agrees(SftLoss::Dft, raw)) as fn(Vec<(u8, bool)>) -> bool);
}

#[test]
fn pieces_sum_to_the_whole() {
    let logp = [-1.0f64, -0.5, -2.0, -0.1];
    let mask = [1.0, 0.0, 1.0, 1.0];
    for loss in [SftLoss::Nll, SftLoss::Dft] {
        let mut d = [0.0; 4];
        let whole = loss.loss(&mut d, &logp, &mask, 3.0);
        let mut pieces = 0.0;
        for i in 0..4 {
            let mut di = [0.0];
            pieces += loss.loss(&mut di, &logp[i..=i], &mask[i..=i], 3.0);
            assert_eq!(di[0], d[i]);
        }
        assert!((whole - pieces).abs() < 1e-15);
    }
}

#[test]
fn known_values_and_a_masked_infinity() {
    let mut d = [0.0f64; 2];
    let loss = SftLoss::Nll.loss(&mut d, &[-0.25, f64::NEG_INFINITY], &[1.0, 0.0], 1.0);
    assert_eq!((loss, d), (0.25, [-1.0, 0.0]));
    let loss = SftLoss::Dft.loss(&mut d, &[-(2.0f64.ln()), 0.0], &[1.0, 0.0], 1.0);
    assert!((loss - 0.5 * 2.0f64.ln()).abs() < 1e-15 && (d[0] + 0.5).abs() < 1e-15);
}
