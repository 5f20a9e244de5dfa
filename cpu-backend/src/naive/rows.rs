//! A matrix's rows as slices, and the two loops over them that everything is made of.
use alloc::vec::Vec;

use kernel::mat::{Accum, Mat};

/// The oracle's matrix.
pub(super) type Matrix = Mat<Vec<f64>>;

/// Rows as slices.
pub(super) trait Rows {
    fn row(&self, i: usize) -> &[f64];
    fn row_mut(&mut self, i: usize) -> &mut [f64];
}

impl Rows for Matrix {
    fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..][..self.cols]
    }

    fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..][..self.cols]
    }
}

/// sum_i x_i y_i, in the order of i.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// y += alpha x.
pub(super) fn axpy(y: &mut [f64], alpha: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// out = value, or out += value.
pub(super) fn put(out: &mut f64, value: f64, accum: Accum) {
    match accum {
        Accum::Replace => *out = value,
        Accum::Add => *out += value,
    }
}
