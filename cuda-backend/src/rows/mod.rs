//! Operations that see one row at a time.
use kernel::backend::Dual;
use kernel::mat::{Accum, Direction, Mat};

use crate::buffer::{Buffer, Index};
use crate::device::{Cuda, Element};

pub(crate) fn embed<T: Element>(_b: &Cuda<T>, _y: &mut Mat<Buffer<T>>, _table: &Mat<Buffer<T>>, _ids: &Index) {
    todo!()
}
pub(crate) fn embed_bwd<T: Element>(_b: &Cuda<T>, _d: &mut Mat<Buffer<f32>>, _dy: &Mat<Buffer<T>>, _ids: &Index) {
    todo!()
}
pub(crate) fn gather<T: Element>(_b: &Cuda<T>, _y: &mut Mat<Buffer<T>>, _x: &Mat<Buffer<T>>, _rows: &Index) {
    todo!()
}
pub(crate) fn scatter_add<T: Element>(_b: &Cuda<T>, _dx: &mut Mat<Buffer<T>>, _dy: &Mat<Buffer<T>>, _rows: &Index) {
    todo!()
}
pub(crate) fn rmsnorm<T: Element>(
    _b: &Cuda<T>,
    _y: &mut Mat<Buffer<T>>,
    _rstd: &mut Mat<Buffer<f32>>,
    _x: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _eps: f64,
) {
    todo!()
}
#[allow(clippy::too_many_arguments)]
pub(crate) fn rmsnorm_bwd<T: Element>(
    _b: &Cuda<T>,
    _dx: &mut Mat<Buffer<T>>,
    _dw: &mut Mat<Buffer<f32>>,
    _dy: &Mat<Buffer<T>>,
    _x: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _rstd: &Mat<Buffer<f32>>,
    _accum: Accum,
) {
    todo!()
}
pub(crate) fn rope<T: Element>(
    _b: &Cuda<T>,
    _x: &mut Mat<Buffer<T>>,
    _table: &Mat<Buffer<f32>>,
    _positions: &Index,
    _head_dim: usize,
    _direction: Direction,
) {
    todo!()
}
pub(crate) fn swiglu<T: Element>(_b: &Cuda<T>, _y: &mut Mat<Buffer<T>>, _gate: &Mat<Buffer<T>>, _up: &Mat<Buffer<T>>) {
    todo!()
}
pub(crate) fn swiglu_bwd<T: Element>(
    _b: &Cuda<T>,
    _d_gate: &mut Mat<Buffer<T>>,
    _d_up: &mut Mat<Buffer<T>>,
    _dy: &Mat<Buffer<T>>,
    _gate: &Mat<Buffer<T>>,
    _up: &Mat<Buffer<T>>,
) {
    todo!()
}
pub(crate) fn rmsnorm_jvp<T: Element>(
    _b: &Cuda<T>,
    _y_dot: &mut Mat<Buffer<T>>,
    _x: Dual<'_, Buffer<T>>,
    _w: Dual<'_, Buffer<T>>,
    _rstd: &Mat<Buffer<f32>>,
) {
    todo!()
}
pub(crate) fn swiglu_jvp<T: Element>(
    _b: &Cuda<T>,
    _y_dot: &mut Mat<Buffer<T>>,
    _gate: Dual<'_, Buffer<T>>,
    _up: Dual<'_, Buffer<T>>,
) {
    todo!()
}
