//! `Vector`: elementwise work of the optimizer.
use kernel::backend::{AdamW, Vector};
use kernel::mat::Mat;

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

impl<T: Element> Vector for Cuda<T> {
    fn dot(&self, _x: &Mat<Buffer<f32>>, _y: &Mat<Buffer<f32>>) -> Result<f64, Error> {
        todo!()
    }
    fn axpy(&self, _y: &mut Mat<Buffer<f32>>, _alpha: f64, _x: &Mat<Buffer<f32>>) {
        todo!()
    }
    fn scale(&self, _x: &mut Mat<Buffer<f32>>, _alpha: f64) {
        todo!()
    }
    fn adamw(
        &self,
        _p: &mut Mat<Buffer<f32>>,
        _m: &mut Mat<Buffer<f32>>,
        _v: &mut Mat<Buffer<f32>>,
        _grad: &Mat<Buffer<f32>>,
        _step: &AdamW,
    ) {
        todo!()
    }
}
