//! The linear layer and the logits.
use kernel::mat::{Accum, Mat};

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};

pub(crate) fn linear<T: Element>(
    _b: &Cuda<T>,
    _y: &mut Mat<Buffer<T>>,
    _x: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _bias: Option<&Mat<Buffer<T>>>,
    _accum: Accum,
) {
    todo!()
}
pub(crate) fn linear_bwd_x<T: Element>(
    _b: &Cuda<T>,
    _dx: &mut Mat<Buffer<T>>,
    _dy: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _accum: Accum,
) {
    todo!()
}
pub(crate) fn linear_bwd_w<T: Element>(
    _b: &Cuda<T>,
    _dw: &mut Mat<Buffer<f32>>,
    _db: Option<&mut Mat<Buffer<f32>>>,
    _dy: &Mat<Buffer<T>>,
    _x: &Mat<Buffer<T>>,
) {
    todo!()
}
pub(crate) fn logits<T: Element>(_b: &Cuda<T>, _z: &mut Mat<Buffer<f32>>, _h: &Mat<Buffer<T>>, _w: &Mat<Buffer<T>>) {
    todo!()
}
