use super::*;
use crate::objective::testing::assert_gradient;

#[test]
fn known_values_and_derivatives() {
    let x = [-1.0f64];
    for (kind, value) in [
        (Estimator::K1, -0.5),
        (Estimator::K2, 0.125),
        (Estimator::K3, 0.5f64.exp() - 1.5),
    ] {
        assert!((kind.estimate(x[0], -0.5) - value).abs() < 1e-15);
        assert_gradient("kl", |x| kind.estimate(x[0], -0.5), &x, &[kind.derivative(x[0], -0.5)]);
    }
}

#[test]
fn expectations_are_the_kl() {
    // k1 and k3 are unbiased: over a whole distribution they give the KL exactly.
    let (p, q) = ([0.5f64, 0.3, 0.2], [0.2f64, 0.2, 0.6]);
    let kl: f64 = (0..3).map(|i| p[i] * (p[i] / q[i]).ln()).sum();
    for kind in [Estimator::K1, Estimator::K3] {
        let mean: f64 = (0..3).map(|i| p[i] * kind.estimate(p[i].ln(), q[i].ln())).sum();
        assert!((mean - kl).abs() < 1e-15);
    }
}
