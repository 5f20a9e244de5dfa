//! Storage and transfers: every buffer is a `Vec<f64>`, every precision is f64, every layout is row-major.
use alloc::vec::Vec;

use kernel::backend::Memory;
use kernel::batch::Segment;
use kernel::mat::{Mat, Use, check_shape};

use super::attention::Tree;
use crate::Cpu;

/// An allocation that the machine could not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: usize,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "out of memory: {} bytes asked for", self.bytes)
    }
}

impl core::error::Error for OutOfMemory {}

/// A (rows, cols) matrix of zeros.
pub(super) fn zeros(rows: usize, cols: usize) -> Result<Mat<Vec<f64>>, OutOfMemory> {
    let mut data = Vec::new();
    let len = rows.saturating_mul(cols);
    data.try_reserve_exact(len).map_err(|_| OutOfMemory {
        bytes: len.saturating_mul(size_of::<f64>()),
    })?;
    data.resize(len, 0.0);
    Ok(Mat::new(data, rows, cols))
}

#[track_caller]
fn copy(op: &str, dst: &mut Mat<Vec<f64>>, src: &Mat<Vec<f64>>) {
    check_shape(op, "src", src.shape(), dst.shape());
    let n = dst.len();
    dst.data[..n].copy_from_slice(&src.data[..n]);
}

fn zero(x: &mut Mat<Vec<f64>>) {
    let n = x.len();
    x.data[..n].fill(0.0);
}

impl Memory for Cpu<f64> {
    type Real = f64;
    type Buf = Vec<f64>;
    type Acc = Vec<f64>;
    type Weight = Vec<f64>;
    type Index = Vec<u32>;
    type Tree = Tree;
    type Error = OutOfMemory;

    fn buf(&self, rows: usize, cols: usize) -> Result<Mat<Vec<f64>>, OutOfMemory> {
        zeros(rows, cols)
    }

    fn acc(&self, rows: usize, cols: usize) -> Result<Mat<Vec<f64>>, OutOfMemory> {
        zeros(rows, cols)
    }

    #[track_caller]
    fn weight(&self, rows: usize, cols: usize, usage: Use) -> Result<Mat<Vec<f64>>, OutOfMemory> {
        assert!(usage != Use::Int8, "weight: the oracle has no int8");
        zeros(rows, cols)
    }

    fn index(&self, values: &[u32]) -> Result<Vec<u32>, OutOfMemory> {
        let mut index = Vec::new();
        index.try_reserve_exact(values.len()).map_err(|_| OutOfMemory {
            bytes: size_of_val(values),
        })?;
        index.extend_from_slice(values);
        Ok(index)
    }

    fn tree(&self, segments: &[Segment]) -> Result<Tree, OutOfMemory> {
        Ok(Tree::new(segments))
    }

    #[track_caller]
    fn prepare(&self, dst: &mut Mat<Vec<f64>>, src: &Mat<Vec<f64>>) {
        copy("prepare", dst, src);
    }

    #[track_caller]
    fn upload(&self, dst: &mut Mat<Vec<f64>>, src: &[f64]) -> Result<(), OutOfMemory> {
        check_shape("upload", "src, as a column,", (src.len(), 1), (dst.len(), 1));
        dst.data[..src.len()].copy_from_slice(src);
        Ok(())
    }

    #[track_caller]
    fn download(&self, dst: &mut [f64], src: &Mat<Vec<f64>>) -> Result<(), OutOfMemory> {
        check_shape("download", "dst, as a column,", (dst.len(), 1), (src.len(), 1));
        dst.copy_from_slice(&src.data[..src.len()]);
        Ok(())
    }

    #[track_caller]
    fn narrow(&self, dst: &mut Mat<Vec<f64>>, src: &Mat<Vec<f64>>) {
        copy("narrow", dst, src);
    }

    #[track_caller]
    fn widen(&self, dst: &mut Mat<Vec<f64>>, src: &Mat<Vec<f64>>) {
        copy("widen", dst, src);
    }

    #[track_caller]
    fn copy(&self, dst: &mut Mat<Vec<f64>>, src: &Mat<Vec<f64>>) {
        copy("copy", dst, src);
    }

    fn zero(&self, x: &mut Mat<Vec<f64>>) {
        zero(x);
    }

    fn zero_buf(&self, x: &mut Mat<Vec<f64>>) {
        zero(x);
    }
}
