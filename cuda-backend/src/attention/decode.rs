//! The KV cache, and attention of one new row a sequence over it.
use core::marker::PhantomData;

use kernel::backend::{CacheShape, Paths};
use kernel::mat::Mat;

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

/// Keys and values of every layer.
pub struct Cache<T> {
    element: PhantomData<T>,
}

impl<T: Element> Cache<T> {
    pub(crate) fn new(_b: &Cuda<T>, _shape: CacheShape) -> Result<Self, Error> {
        Ok(Self { element: PhantomData })
    }
}

pub(crate) fn append<T: Element>(
    _b: &Cuda<T>,
    _cache: &mut Cache<T>,
    _k: &Mat<Buffer<T>>,
    _v: &Mat<Buffer<T>>,
    _layer: usize,
    _slots: &[u32],
) {
    todo!()
}

pub(crate) fn attention<T: Element>(
    _b: &Cuda<T>,
    _o: &mut Mat<Buffer<T>>,
    _q: &Mat<Buffer<T>>,
    _cache: &Cache<T>,
    _layer: usize,
    _paths: &Paths,
) {
    todo!()
}
