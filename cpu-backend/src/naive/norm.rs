//! RMSNorm (Zhang and Sennrich 2019).
use alloc::vec::Vec;

use kernel::backend::Dual;
use kernel::mat::{Accum, check_shape};

use super::rows::{Matrix, Rows, dot, put};

/// y = w x r, r = 1 / sqrt(mean_c x_c^2 + eps).
#[track_caller]
pub(super) fn rmsnorm(y: &mut Matrix, rstd: &mut Matrix, x: &Matrix, w: &Matrix, eps: f64) {
    let (n, c) = x.shape();
    check_shape("rmsnorm", "y", y.shape(), (n, c));
    check_shape("rmsnorm", "rstd", rstd.shape(), (n, 1));
    check_shape("rmsnorm", "w", w.shape(), (1, c));
    for i in 0..n {
        let x = x.row(i);
        let r = 1.0 / libm::sqrt(dot(x, x) / c as f64 + eps);
        rstd.data[i] = r;
        for (j, y) in y.row_mut(i).iter_mut().enumerate() {
            *y = w.data[j] * x[j] * r;
        }
    }
}

/// In the forward pass y_j = w_j x^_j with x^ = x r, and r depends on all of x: dr/dx_j = -r^3 x_j / C. So with
/// g = w dy: dx = r (g - x^ mean_c(g x^)), and dw += dy x^.
#[track_caller]
pub(super) fn rmsnorm_bwd(
    dx: &mut Matrix,
    dw: &mut Matrix,
    dy: &Matrix,
    x: &Matrix,
    w: &Matrix,
    rstd: &Matrix,
    accum: Accum,
) {
    let (n, c) = x.shape();
    check_shape("rmsnorm_bwd", "dx", dx.shape(), (n, c));
    check_shape("rmsnorm_bwd", "dw", dw.shape(), (1, c));
    check_shape("rmsnorm_bwd", "dy", dy.shape(), (n, c));
    check_shape("rmsnorm_bwd", "w", w.shape(), (1, c));
    check_shape("rmsnorm_bwd", "rstd", rstd.shape(), (n, 1));
    for i in 0..n {
        let (x, dy, r) = (x.row(i), dy.row(i), rstd.data[i]);
        let mean = (0..c).map(|j| w.data[j] * dy[j] * x[j] * r).sum::<f64>() / c as f64;
        for (j, dx) in dx.row_mut(i).iter_mut().enumerate() {
            let (g, x_hat) = (w.data[j] * dy[j], x[j] * r);
            put(dx, r * (g - x_hat * mean), accum);
            dw.data[j] += dy[j] * x_hat;
        }
    }
}

/// In the forward pass y_j = w_j x^_j with x^ = x r and dr/dx_j = -r^3 x_j / C. So x^_dot = r (x_dot - x^ mean_c(x^ x_dot)) and
/// y_dot = w_dot x^ + w x^_dot.
#[track_caller]
pub(super) fn rmsnorm_jvp(y_dot: &mut Matrix, x: Dual<'_, Vec<f64>>, w: Dual<'_, Vec<f64>>, rstd: &Matrix) {
    let (n, c) = y_dot.shape();
    check_shape("rmsnorm_jvp", "x", x.x.shape(), (n, c));
    check_shape("rmsnorm_jvp", "x_dot", x.x_dot.shape(), (n, c));
    check_shape("rmsnorm_jvp", "w", w.x.shape(), (1, c));
    check_shape("rmsnorm_jvp", "w_dot", w.x_dot.shape(), (1, c));
    check_shape("rmsnorm_jvp", "rstd", rstd.shape(), (n, 1));
    for i in 0..n {
        let (x, x_dot, r) = (x.x.row(i), x.x_dot.row(i), rstd.data[i]);
        let mean = r * dot(x, x_dot) / c as f64;
        for (j, y_dot) in y_dot.row_mut(i).iter_mut().enumerate() {
            let x_hat = x[j] * r;
            *y_dot = w.x_dot.data[j] * x_hat + w.x.data[j] * r * (x_dot[j] - x_hat * mean);
        }
    }
}
