use super::*;

#[test]
fn no_overflow_at_either_end() {
    for x in [-1e4, -800.0, -80.0, 0.0, 80.0, 800.0, 1e4] {
        assert!(exp(x).is_finite() && (exp(x) * exp(x)).is_finite());
        assert!(log_sigmoid(x).is_finite() && log_sigmoid(x) <= 0.0);
        assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() < 1e-15);
    }
    assert_eq!(log_sigmoid(-800.0), -800.0);
    assert!((log_sigmoid(0.0) + core::f64::consts::LN_2).abs() < 1e-15);
}

#[test]
fn broken_numbers_are_not_lost() {
    assert!(exp(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan() && log_sigmoid(f64::NAN).is_nan());
    let nan = Slope { v: f64::NAN, d: 1.0 };
    assert!(nan.min(Slope::default()).v.is_nan() && Slope::default().min(nan).v.is_nan());
    assert!(nan.clamp(0.0, 1.0).v.is_nan());
}

#[test]
fn edges_have_torchs_derivatives() {
    let at = |v| Slope { v, d: 1.0 };
    assert_eq!(at(1.2).clamp(0.8, 1.2).d, 1.0);
    assert_eq!(at(1.3).clamp(0.8, 1.2), Slope { v: 1.2, d: 0.0 });
    assert_eq!(at(1.0).min(Slope { v: 1.0, d: 0.0 }).d, 0.5);
    // Within the range both branches are one, and the derivative is whole.
    assert_eq!(clipped(at(1.1), -2.0, 0.2, 0.2), at(1.1).scale(-2.0));
}

#[test]
fn variance_of_few() {
    let m = |xs: &[f64]| moments(xs.iter().copied());
    assert_eq!(m(&[]), (0, 0.0, 0.0));
    assert_eq!(m(&[3.0]), (1, 3.0, 0.0));
    assert_eq!(m(&[1.0, 3.0]), (2, 2.0, 2.0));
}
