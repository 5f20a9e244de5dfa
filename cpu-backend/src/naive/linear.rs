//! y = x w' + bias.
use kernel::mat::{Accum, check_shape};

use super::rows::{Matrix, Rows, axpy, dot, put};

/// y_ij (+)= sum_k x_ik w_jk + bias_j.
#[track_caller]
pub(super) fn linear(op: &str, y: &mut Matrix, x: &Matrix, w: &Matrix, bias: Option<&Matrix>, accum: Accum) {
    let (n, out) = y.shape();
    check_shape(op, "x", x.shape(), (n, w.cols));
    check_shape(op, "w", w.shape(), (out, x.cols));
    if let Some(bias) = bias {
        check_shape(op, "bias", bias.shape(), (1, out));
    }
    for i in 0..n {
        for (j, y) in y.row_mut(i).iter_mut().enumerate() {
            put(y, dot(x.row(i), w.row(j)) + bias.map_or(0.0, |b| b.data[j]), accum);
        }
    }
}

/// dx_ik (+)= sum_j dy_ij w_jk.
#[track_caller]
pub(super) fn linear_bwd_x(dx: &mut Matrix, dy: &Matrix, w: &Matrix, accum: Accum) {
    let (n, inp) = dx.shape();
    check_shape("linear_bwd_x", "dy", dy.shape(), (n, w.rows));
    check_shape("linear_bwd_x", "w", w.shape(), (dy.cols, inp));
    for i in 0..n {
        let dx = dx.row_mut(i);
        if accum == Accum::Replace {
            dx.fill(0.0);
        }
        for (j, &dy) in dy.row(i).iter().enumerate() {
            axpy(dx, dy, w.row(j));
        }
    }
}

/// dw_jk += sum_i dy_ij x_ik, db_j += sum_i dy_ij.
#[track_caller]
pub(super) fn linear_bwd_w(dw: &mut Matrix, db: Option<&mut Matrix>, dy: &Matrix, x: &Matrix) {
    let (out, inp) = dw.shape();
    check_shape("linear_bwd_w", "dy", dy.shape(), (x.rows, out));
    check_shape("linear_bwd_w", "x", x.shape(), (dy.rows, inp));
    for i in 0..x.rows {
        for (j, &dy) in dy.row(i).iter().enumerate() {
            axpy(dw.row_mut(j), dy, x.row(i));
        }
    }
    if let Some(db) = db {
        check_shape("linear_bwd_w", "db", db.shape(), (1, out));
        for i in 0..dy.rows {
            axpy(db.row_mut(0), 1.0, dy.row(i));
        }
    }
}
