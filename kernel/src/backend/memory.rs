//! Storage, transfers, precision changes.
use crate::batch::Segment;
use crate::mat::{Mat, Use};
use crate::real::Real;

/// Where numbers live. `Buf` holds activations at compute precision (f32, bf16, f64), `Acc` holds masters, gradients,
/// moments and statistics (f32; f64 for the oracle), `Weight` holds a parameter matrix in whatever layout the
/// backend's matrix products like best.
pub trait Memory {
    /// The host's number: what is uploaded and downloaded.
    type Real: Real;
    /// Activations.
    type Buf;
    /// Masters, gradients, moments, statistics.
    type Acc;
    /// A prepared parameter matrix.
    type Weight;
    /// Row numbers, token ids or positions.
    type Index;
    /// A batch's segments, where attention reads them.
    type Tree;
    /// What transfers and allocations fail with.
    type Error: core::error::Error + Send + Sync + 'static;

    /// A (rows, cols) matrix of zeros at compute precision. Errors: out of memory.
    fn buf(&self, rows: usize, cols: usize) -> Result<Mat<Self::Buf>, Self::Error>;
    /// A (rows, cols) matrix of zeros at accumulator precision. Errors: out of memory.
    fn acc(&self, rows: usize, cols: usize) -> Result<Mat<Self::Acc>, Self::Error>;
    /// Room for a prepared (out, in) parameter matrix. Errors: out of memory.
    fn weight(&self, rows: usize, cols: usize, usage: Use) -> Result<Mat<Self::Weight>, Self::Error>;
    /// Indices on the device.
    fn index(&self, values: &[u32]) -> Result<Self::Index, Self::Error>;
    /// Other indices in `index`: where a device can, in the same memory.
    fn refill(&self, index: &mut Self::Index, values: &[u32]) -> Result<(), Self::Error> {
        *index = self.index(values)?;
        Ok(())
    }
    /// A checked batch's segments on the device.
    fn tree(&self, segments: &[Segment]) -> Result<Self::Tree, Self::Error>;

    /// Puts `src` (out, in), row-major, into `dst` in the backend's layout: once per optimizer step, not per product.
    fn prepare(&self, dst: &mut Mat<Self::Weight>, src: &Mat<Self::Acc>);
    /// Host to device, `dst.len()` numbers.
    fn upload(&self, dst: &mut Mat<Self::Acc>, src: &[Self::Real]) -> Result<(), Self::Error>;
    /// Device to host, `src.len()` numbers; waits for the work before it.
    fn download(&self, dst: &mut [Self::Real], src: &Mat<Self::Acc>) -> Result<(), Self::Error>;
    /// dst = src rounded to compute precision, to nearest even.
    fn narrow(&self, dst: &mut Mat<Self::Buf>, src: &Mat<Self::Acc>);
    /// dst = src, exactly.
    fn widen(&self, dst: &mut Mat<Self::Acc>, src: &Mat<Self::Buf>);
    /// dst = src.
    fn copy(&self, dst: &mut Mat<Self::Buf>, src: &Mat<Self::Buf>);
    /// x = 0.
    fn zero(&self, x: &mut Mat<Self::Acc>);
    /// x = 0, at compute precision.
    fn zero_buf(&self, x: &mut Mat<Self::Buf>);
}
