//! Attention over the packed prefix tree.
use kernel::backend::{Heads, Qkv, QkvMut};
use kernel::batch::Segment;
use kernel::mat::Mat;

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

pub(crate) mod decode;
mod plan;

/// A batch's segments on the device.
pub struct Tree {
    segments: Vec<Segment>,
}

impl Tree {
    pub(crate) fn new<T: Element>(_b: &Cuda<T>, segments: &[Segment]) -> Result<Self, Error> {
        Ok(Self {
            segments: segments.to_vec(),
        })
    }
}

pub(crate) fn forward<T: Element>(
    _b: &Cuda<T>,
    _o: &mut Mat<Buffer<T>>,
    _lse: &mut Mat<Buffer<f32>>,
    _qkv: Qkv<'_, Buffer<T>>,
    tree: &Tree,
    _heads: Heads,
) {
    todo!("{}", tree.segments.len())
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn backward<T: Element>(
    _b: &Cuda<T>,
    _d: QkvMut<'_, Buffer<T>>,
    _d_o: &Mat<Buffer<T>>,
    _o: &Mat<Buffer<T>>,
    _lse: &Mat<Buffer<f32>>,
    _qkv: Qkv<'_, Buffer<T>>,
    _tree: &Tree,
    _heads: Heads,
) {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn jvp<T: Element>(
    _b: &Cuda<T>,
    _o_dot: &mut Mat<Buffer<T>>,
    _qkv_dot: Qkv<'_, Buffer<T>>,
    _o: &Mat<Buffer<T>>,
    _lse: &Mat<Buffer<f32>>,
    _qkv: Qkv<'_, Buffer<T>>,
    _tree: &Tree,
    _heads: Heads,
) {
    todo!()
}
