//! The gated feed-forward nonlinearity (Shazeer 2020).
use alloc::vec::Vec;

use kernel::backend::Dual;
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

/// y_dot = silu'(gate) gate_dot up + silu(gate) up_dot.
#[track_caller]
pub(super) fn swiglu_jvp(y_dot: &mut Matrix, gate: Dual<'_, Vec<f64>>, up: Dual<'_, Vec<f64>>) {
    for (what, x) in [
        ("gate", gate.x),
        ("gate_dot", gate.x_dot),
        ("up", up.x),
        ("up_dot", up.x_dot),
    ] {
        check_shape("swiglu_jvp", what, x.shape(), y_dot.shape());
    }
    for i in 0..y_dot.len() {
        let (a, u) = (gate.x.data[i], up.x.data[i]);
        let s = sigmoid(a);
        y_dot.data[i] = gate.x_dot.data[i] * u * s * (1.0 + a * (1.0 - s)) + a * s * up.x_dot.data[i];
    }
}
