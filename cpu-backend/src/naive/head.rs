//! The output head: log-softmax at the targets and the entropy, one row of logits at a time.
use alloc::vec::Vec;

use kernel::backend::{HeadCotangent, HeadOut};
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
