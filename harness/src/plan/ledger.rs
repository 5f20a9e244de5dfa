//! A backend that counts bytes and holds none.
use std::cell::Cell;
use std::convert::Infallible;

use kernel::backend::Memory;
use kernel::batch::Segment;
use kernel::mat::{Mat, Use};

use crate::dtype::Dtype;

/// What the ledger fails with: nothing.
pub(super) type Never = Infallible;

/// Bytes that were asked for.
pub(super) struct Ledger {
    bytes: Cell<u64>,
    dtype: Dtype,
}

impl Ledger {
    pub fn new(dtype: Dtype) -> Self {
        Self {
            bytes: Cell::new(0),
            dtype,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    fn take(&self, rows: usize, cols: usize, bytes: usize) -> Result<Mat<()>, Never> {
        let all = rows as u64 * cols as u64 * bytes as u64;
        self.bytes.set(self.bytes.get() + all);
        Ok(Mat::new((), rows, cols))
    }
}

impl Memory for Ledger {
    type Real = f32;
    type Buf = ();
    type Acc = ();
    type Weight = ();
    type Index = ();
    type Tree = ();
    type Error = Never;

    fn buf(&self, rows: usize, cols: usize) -> Result<Mat<()>, Never> {
        self.take(rows, cols, self.dtype.bytes())
    }

    fn acc(&self, rows: usize, cols: usize) -> Result<Mat<()>, Never> {
        self.take(rows, cols, 4)
    }

    fn weight(&self, rows: usize, cols: usize, usage: Use) -> Result<Mat<()>, Never> {
        if usage == Use::Int8 {
            // A scale and a sum of each row.
            self.take(rows, 2, 4)?;
            return self.take(rows, cols, 1);
        }
        self.take(rows, cols, self.dtype.bytes())
    }

    fn index(&self, values: &[u32]) -> Result<(), Never> {
        self.take(values.len(), 1, 4).map(drop)
    }

    fn tree(&self, _: &[Segment]) -> Result<(), Never> {
        Ok(())
    }

    fn upload(&self, _: &mut Mat<()>, _: &[f32]) -> Result<(), Never> {
        Ok(())
    }

    fn download(&self, _: &mut [f32], _: &Mat<()>) -> Result<(), Never> {
        Ok(())
    }

    fn prepare(&self, _: &mut Mat<()>, _: &Mat<()>) {}
    fn narrow(&self, _: &mut Mat<()>, _: &Mat<()>) {}
    fn widen(&self, _: &mut Mat<()>, _: &Mat<()>) {}
    fn copy(&self, _: &mut Mat<()>, _: &Mat<()>) {}
    fn zero(&self, _: &mut Mat<()>) {}
    fn zero_buf(&self, _: &mut Mat<()>) {}
}
