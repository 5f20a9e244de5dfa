//! The gated feed-forward nonlinearity (Shazeer 2020).
use kernel::mat::check_shape;

use super::rows::Matrix;

/// 1 / (1 + e^-a).
fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-a))
}

/// y = silu(gate) up, silu(a) = a sigmoid(a).
#[track_caller]
pub(super) fn swiglu(y: &mut Matrix, gate: &Matrix, up: &Matrix) {
    check_shape("swiglu", "gate", gate.shape(), y.shape());
    check_shape("swiglu", "up", up.shape(), y.shape());
    for i in 0..y.len() {
        let (a, u) = (gate.data[i], up.data[i]);
        y.data[i] = a * sigmoid(a) * u;
    }
}

/// silu'(a) = s + a s (1 - s) = s (1 + a (1 - s)).
#[track_caller]
pub(super) fn swiglu_bwd(d_gate: &mut Matrix, d_up: &mut Matrix, dy: &Matrix, gate: &Matrix, up: &Matrix) {
    check_shape("swiglu_bwd", "d_gate", d_gate.shape(), dy.shape());
    check_shape("swiglu_bwd", "d_up", d_up.shape(), dy.shape());
    check_shape("swiglu_bwd", "gate", gate.shape(), dy.shape());
    check_shape("swiglu_bwd", "up", up.shape(), dy.shape());
    for i in 0..dy.len() {
        let (a, u, dy) = (gate.data[i], up.data[i], dy.data[i]);
        let s = sigmoid(a);
        d_gate.data[i] = dy * u * s * (1.0 + a * (1.0 - s));
        d_up.data[i] = dy * a * s;
    }
}
