//! Rows picked by an index, and the transpose: rows added by an index.
use kernel::mat::check_shape;

use super::rows::{Matrix, Rows, axpy};

/// y_i = x[index_i].
#[track_caller]
pub(super) fn gather(op: &str, y: &mut Matrix, x: &Matrix, index: &[u32]) {
    check_shape(op, "y", y.shape(), (index.len(), x.cols));
    for (i, &j) in index.iter().enumerate() {
        check_row(op, j, x.rows);
        y.row_mut(i).copy_from_slice(x.row(j as usize));
    }
}

/// dx[index_i] += dy_i, in the order of i.
#[track_caller]
pub(super) fn scatter_add(op: &str, dx: &mut Matrix, dy: &Matrix, index: &[u32]) {
    check_shape(op, "dy", dy.shape(), (index.len(), dx.cols));
    for (i, &j) in index.iter().enumerate() {
        check_row(op, j, dx.rows);
        axpy(dx.row_mut(j as usize), 1.0, dy.row(i));
    }
}

#[track_caller]
fn check_row(op: &str, row: u32, rows: usize) {
    assert!((row as usize) < rows, "{op}: index {row} is outside the {rows} rows");
}
