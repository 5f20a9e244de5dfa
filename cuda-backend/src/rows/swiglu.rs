//! The gated feed-forward nonlinearity.
use kernel::backend::Dual;
use kernel::mat::{Mat, check_shape};

use super::VECTOR;
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::launch::Launch;

const SOURCE: Source = source!("swiglu");
const THREADS: usize = 256;

/// A launch of this kernel over n numbers.
fn over<'a, T: Element>(b: &'a Cuda<T>, name: &str, n: usize) -> Launch<'a, T> {
    b.typed(&SOURCE, name)
        .grid([n.div_ceil(THREADS * VECTOR / size_of::<T>()), 1, 1])
        .block(THREADS as u32)
}

#[track_caller]
pub(crate) fn swiglu<T: Element>(b: &Cuda<T>, y: &mut Mat<Buffer<T>>, gate: &Mat<Buffer<T>>, up: &Mat<Buffer<T>>) {
    check_shape("swiglu", "y", y.shape(), gate.shape());
    check_shape("swiglu", "up", up.shape(), gate.shape());
    let n = gate.len();
    over(b, "swiglu", n).arg(y).arg(gate).arg(up).size(n).launch();
}

#[track_caller]
pub(crate) fn swiglu_bwd<T: Element>(
    b: &Cuda<T>,
    d_gate: &mut Mat<Buffer<T>>,
    d_up: &mut Mat<Buffer<T>>,
    dy: &Mat<Buffer<T>>,
    gate: &Mat<Buffer<T>>,
    up: &Mat<Buffer<T>>,
) {
    for (what, shape) in [
        ("d_gate", d_gate.shape()),
        ("d_up", d_up.shape()),
        ("dy", dy.shape()),
        ("up", up.shape()),
    ] {
        check_shape("swiglu_bwd", what, shape, gate.shape());
    }
    let n = gate.len();
    over(b, "swiglu_bwd", n)
        .arg(d_gate)
        .arg(d_up)
        .arg(dy)
        .arg(gate)
        .arg(up)
        .size(n)
        .launch();
}

#[track_caller]
pub(crate) fn swiglu_jvp<T: Element>(
    b: &Cuda<T>,
    y_dot: &mut Mat<Buffer<T>>,
    gate: Dual<'_, Buffer<T>>,
    up: Dual<'_, Buffer<T>>,
) {
    for (what, x) in [
        ("gate", gate.x),
        ("gate_dot", gate.x_dot),
        ("up", up.x),
        ("up_dot", up.x_dot),
    ] {
        check_shape("swiglu_jvp", what, x.shape(), y_dot.shape());
    }
    let n = y_dot.len();
    over(b, "swiglu_jvp", n)
        .arg(y_dot)
        .arg(gate.x)
        .arg(gate.x_dot)
        .arg(up.x)
        .arg(up.x_dot)
        .size(n)
        .launch();
}
