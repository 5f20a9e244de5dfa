//! The head.
use kernel::backend::{Dual, HeadCotangent, HeadIn, HeadOut};
use kernel::mat::Mat;

use crate::buffer::{Buffer, Index};
use crate::device::{Cuda, Element};

pub(crate) fn forward<T: Element>(
    _b: &Cuda<T>,
    _out: HeadOut<'_, Buffer<f32>>,
    _h: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _targets: &Index,
    _temperature: f64,
) {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn backward<T: Element>(
    _b: &Cuda<T>,
    _dh: &mut Mat<Buffer<T>>,
    _dw: &mut Mat<Buffer<f32>>,
    _cotangent: HeadCotangent<'_, Buffer<f32>>,
    _h: &Mat<Buffer<T>>,
    _w: &Mat<Buffer<T>>,
    _targets: &Index,
    _temperature: f64,
) {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn fisher<T: Element>(
    _b: &Cuda<T>,
    _dh: &mut Mat<Buffer<T>>,
    _dw: &mut Mat<Buffer<f32>>,
    _weight: &Mat<Buffer<f32>>,
    _lse: &Mat<Buffer<f32>>,
    _h: Dual<'_, Buffer<T>>,
    _w: Dual<'_, Buffer<T>>,
    _temperature: f64,
) {
    todo!()
}

pub(crate) fn kl<T: Element>(
    _b: &Cuda<T>,
    _kl: &mut Mat<Buffer<f32>>,
    _old: HeadIn<'_, Buffer<T>, Buffer<T>>,
    _new: HeadIn<'_, Buffer<T>, Buffer<T>>,
    _temperature: f64,
) {
    todo!()
}

pub(crate) fn logp<T: Element>(
    _b: &Cuda<T>,
    _out: HeadOut<'_, Buffer<f32>>,
    _z: &Mat<Buffer<f32>>,
    _targets: &Index,
    _temperature: f64,
) {
    todo!()
}
