//! The output head: log-softmax at the targets and the entropy, one row of logits at a time.
use alloc::vec::Vec;

use kernel::backend::{Dual, HeadCotangent, HeadIn, HeadOut};
use kernel::mat::check_shape;

use super::rows::{Matrix, Rows, axpy, dot};

/// z = h w' / temperature, of one row.
fn logits(h: &[f64], w: &Matrix, temperature: f64) -> Vec<f64> {
    (0..w.rows).map(|j| dot(h, w.row(j)) / temperature).collect()
}

#[track_caller]
fn check(op: &str, columns: &[(&str, &Matrix)], h: &Matrix, w: &Matrix, targets: &[u32]) {
    check_shape(op, "w", w.shape(), (w.rows, h.cols));
    check_columns(op, columns, h.rows, w.rows, targets);
}

#[track_caller]
fn check_columns(op: &str, columns: &[(&str, &Matrix)], rows: usize, vocab: usize, targets: &[u32]) {
    check_shape(op, "targets, as a column,", (targets.len(), 1), (rows, 1));
    for (what, x) in columns {
        check_shape(op, what, x.shape(), (rows, 1));
    }
    for &y in targets {
        assert!(
            (y as usize) < vocab,
            "{op}: target {y} is outside the vocabulary of {vocab}"
        );
    }
}

/// logp = z_y - lse, lse = log sum_j exp z_j, entropy = -sum_j p_j log p_j.
#[track_caller]
pub(super) fn head(mut out: HeadOut<'_, Vec<f64>>, h: &Matrix, w: &Matrix, targets: &[u32], temperature: f64) {
    check("head", &columns(&out), h, w, targets);
    for (i, &y) in targets.iter().enumerate() {
        put(&mut out, i, &logits(h.row(i), w, temperature), y);
    }
}

/// The same from logits (n, V) before the temperature.
#[track_caller]
pub(super) fn logp(mut out: HeadOut<'_, Vec<f64>>, z: &Matrix, targets: &[u32], temperature: f64) {
    check_columns("logp", &columns(&out), z.rows, z.cols, targets);
    for (i, &y) in targets.iter().enumerate() {
        let z: Vec<f64> = z.row(i).iter().map(|z| z / temperature).collect();
        put(&mut out, i, &z, y);
    }
}

fn columns<'a>(out: &'a HeadOut<'_, Vec<f64>>) -> [(&'static str, &'a Matrix); 4] {
    [
        ("logp", &*out.logp),
        ("entropy", &*out.entropy),
        ("lse", &*out.lse),
        ("best", &*out.best),
    ]
}

/// Row i, from its scaled logits.
fn put(out: &mut HeadOut<'_, Vec<f64>>, i: usize, z: &[f64], y: u32) {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + libm::log(z.iter().map(|z| libm::exp(z - max)).sum());
    out.logp.data[i] = z[y as usize] - lse;
    out.entropy.data[i] = -z.iter().map(|z| libm::exp(z - lse) * (z - lse)).sum::<f64>();
    out.lse.data[i] = lse;
    out.best.data[i] = max - lse;
}

/// d logp / dz_j = (e_y - p)_j and d H / dz_j = -p_j (log p_j + H); z = h w' / temperature.
#[track_caller]
pub(super) fn head_bwd(
    dh: &mut Matrix,
    dw: &mut Matrix,
    cotangent: HeadCotangent<'_, Vec<f64>>,
    h: &Matrix,
    w: &Matrix,
    targets: &[u32],
    temperature: f64,
) {
    let HeadCotangent {
        dlogp,
        dentropy,
        lse,
        entropy,
    } = cotangent;
    let columns = [
        ("dlogp", dlogp),
        ("dentropy", dentropy),
        ("lse", lse),
        ("entropy", entropy),
    ];
    check("head_bwd", &columns, h, w, targets);
    check_shape("head_bwd", "dh", dh.shape(), h.shape());
    check_shape("head_bwd", "dw", dw.shape(), w.shape());
    for (i, &y) in targets.iter().enumerate() {
        dh.row_mut(i).fill(0.0);
        for (j, z) in logits(h.row(i), w, temperature).iter().enumerate() {
            let log_p = z - lse.data[i];
            let p = libm::exp(log_p);
            let e_y = if j == y as usize { 1.0 } else { 0.0 };
            let dz = (dlogp.data[i] * (e_y - p) - dentropy.data[i] * p * (log_p + entropy.data[i])) / temperature;
            axpy(dh.row_mut(i), dz, w.row(j));
            axpy(dw.row_mut(j), dz, h.row(i));
        }
    }
}

/// The tangent of z is z_dot = (h_dot w' + h w_dot') / temperature; of log p, z_dot - <p, z_dot>. The Fisher matrix of one
/// softmax is diag(p) - p p', so its product with z_dot is p (z_dot - <p, z_dot>), the cotangent of z.
#[track_caller]
pub(super) fn head_fisher(
    dh: &mut Matrix,
    dw: &mut Matrix,
    weight: &Matrix,
    lse: &Matrix,
    h: Dual<'_, Vec<f64>>,
    w: Dual<'_, Vec<f64>>,
    temperature: f64,
) {
    check_shape("head_fisher", "weight", weight.shape(), (h.x.rows, 1));
    check_shape("head_fisher", "lse", lse.shape(), (h.x.rows, 1));
    check_shape("head_fisher", "h_dot", h.x_dot.shape(), h.x.shape());
    check_shape("head_fisher", "w", w.x.shape(), (w.x.rows, h.x.cols));
    check_shape("head_fisher", "w_dot", w.x_dot.shape(), w.x.shape());
    check_shape("head_fisher", "dh", dh.shape(), h.x.shape());
    check_shape("head_fisher", "dw", dw.shape(), w.x.shape());
    for i in 0..h.x.rows {
        let z = logits(h.x.row(i), w.x, temperature);
        let mut z_dot = logits(h.x_dot.row(i), w.x, temperature);
        axpy(&mut z_dot, 1.0, &logits(h.x.row(i), w.x_dot, temperature));
        let p: Vec<f64> = z.iter().map(|z| libm::exp(z - lse.data[i])).collect();
        // Divided by sum p, so that the rounding of a saved lse does not show as a mean.
        let mean = dot(&p, &z_dot) / p.iter().sum::<f64>();
        dh.row_mut(i).fill(0.0);
        for j in 0..p.len() {
            let u = weight.data[i] * p[j] * (z_dot[j] - mean) / temperature;
            axpy(dh.row_mut(i), u, w.x.row(j));
            axpy(dw.row_mut(j), u, h.x.row(i));
        }
    }
}

/// sum_j p_j (log p_j - log q_j).
#[track_caller]
pub(super) fn head_kl(
    kl: &mut Matrix,
    old: HeadIn<'_, Vec<f64>, Vec<f64>>,
    new: HeadIn<'_, Vec<f64>, Vec<f64>>,
    temperature: f64,
) {
    check_shape("head_kl", "kl", kl.shape(), (old.h.rows, 1));
    check_shape("head_kl", "new h", new.h.shape(), old.h.shape());
    check_shape("head_kl", "old w", old.w.shape(), (old.w.rows, old.h.cols));
    check_shape("head_kl", "new w", new.w.shape(), old.w.shape());
    for i in 0..kl.rows {
        let [p, q] = [&old, &new].map(|x| {
            let mut z = logits(x.h.row(i), x.w, temperature);
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + libm::log(z.iter().map(|z| libm::exp(z - max)).sum());
            z.iter_mut().for_each(|z| *z -= lse);
            z
        });
        kl.data[i] = p.iter().zip(&q).map(|(p, q)| libm::exp(*p) * (p - q)).sum();
    }
}
