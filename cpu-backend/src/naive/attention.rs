//! Attention over the prefix tree. Each row has its path written out: the runs of rows it attends to, root first, its
//! own segment up to itself last. Training and decoding share `attend`, so they agree bit for bit.
use alloc::vec::Vec;

use kernel::backend::{Heads, Paths, Qkv, QkvMut, Span};
use kernel::batch::Segment;
use kernel::mat::check_shape;

use super::rows::{Matrix, Rows, axpy, dot};

/// The path of every row of a batch.
#[derive(Clone, Debug)]
pub struct Tree {
    paths: Paths,
}

impl Tree {
    pub(super) fn new(segments: &[Segment]) -> Self {
        let mut paths = Paths::new();
        for s in segments {
            let mut ancestors = Vec::new();
            let mut next = s.parent;
            while let Some(parent) = next.map(|p| &segments[p]) {
                ancestors.push(Span {
                    start: parent.start,
                    len: parent.len,
                });
                next = parent.parent;
            }
            ancestors.reverse();
            for len in 1..=s.len {
                paths.push(ancestors.iter().copied().chain([Span { start: s.start, len }]));
            }
        }
        Self { paths }
    }
}

/// The rows of a path, in order.
fn rows(path: &[Span]) -> impl Iterator<Item = usize> {
    path.iter().flat_map(|s| s.start..s.start + s.len)
}

/// The columns of one head.
fn head(x: &[f64], head: usize, head_dim: usize) -> &[f64] {
    &x[head * head_dim..][..head_dim]
}

/// One row, one head: o = sum_j p_j v_j with p = softmax(s), s_j = q . k_j scale. Returns log sum_j exp(s_j).
fn attend(o: &mut [f64], q: &[f64], k: &Matrix, v: &Matrix, kv_head: usize, path: &[Span], scale: f64) -> f64 {
    let d = q.len();
    let scores: Vec<f64> = rows(path).map(|j| dot(q, head(k.row(j), kv_head, d)) * scale).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| libm::exp(s - max)).sum();
    o.fill(0.0);
    for (j, s) in rows(path).zip(&scores) {
        axpy(o, libm::exp(s - max) / sum, head(v.row(j), kv_head, d));
    }
    max + libm::log(sum)
}

/// Every row and head of `o` over its path; `lse` is told of each row, head and log-sum-exp.
#[track_caller]
pub(super) fn attend_all(
    op: &str,
    o: &mut Matrix,
    mut lse: impl FnMut(usize, usize, f64),
    Qkv { q, k, v }: Qkv<'_, Vec<f64>>,
    paths: &Paths,
    heads: Heads,
) {
    let Heads {
        heads: h,
        kv_heads,
        head_dim: d,
    } = heads;
    check_shape(op, "q", q.shape(), (paths.rows(), h * d));
    check_shape(op, "o", o.shape(), (paths.rows(), h * d));
    check_shape(op, "k", k.shape(), (k.rows, kv_heads * d));
    check_shape(op, "v", v.shape(), (k.rows, kv_heads * d));
    for i in 0..q.rows {
        for (a, o) in o.row_mut(i).chunks_exact_mut(d).enumerate() {
            let kv_head = a / (h / kv_heads);
            lse(
                i,
                a,
                attend(o, head(q.row(i), a, d), k, v, kv_head, paths.row(i), heads.scale()),
            );
        }
    }
}

/// o = softmax(q k' / sqrt(D)) v over each row's path.
#[track_caller]
pub(super) fn attention(o: &mut Matrix, lse: &mut Matrix, qkv: Qkv<'_, Vec<f64>>, tree: &Tree, heads: Heads) {
    check_shape(
        "attention",
        "k",
        qkv.k.shape(),
        (qkv.q.rows, heads.kv_heads * heads.head_dim),
    );
    check_shape("attention", "lse", lse.shape(), (qkv.q.rows, heads.heads));
    let save = |i, a, value| lse.row_mut(i)[a] = value;
    attend_all("attention", o, save, qkv, &tree.paths, heads);
}

/// In the forward pass o_i = sum_j p_ij v_j with p_i = softmax(s_i). So dp_ij = do_i . v_j, dv_j = sum_i p_ij do_i, and
/// through the softmax ds_ij = p_ij (dp_ij - sum_l p_il dp_il), where the sum is D_i = do_i . o_i.
#[track_caller]
pub(super) fn attention_bwd(
    d: QkvMut<'_, Vec<f64>>,
    d_o: &Matrix,
    o: &Matrix,
    lse: &Matrix,
    Qkv { q, k, v }: Qkv<'_, Vec<f64>>,
    tree: &Tree,
    heads: Heads,
) {
    let Heads {
        heads: h,
        kv_heads,
        head_dim,
    } = heads;
    let (n, scale) = (tree.paths.rows(), heads.scale());
    for (what, shape) in [
        ("q", q.shape()),
        ("dq", d.q.shape()),
        ("o", o.shape()),
        ("d_o", d_o.shape()),
    ] {
        check_shape("attention_bwd", what, shape, (n, h * head_dim));
    }
    for (what, shape) in [
        ("k", k.shape()),
        ("v", v.shape()),
        ("dk", d.k.shape()),
        ("dv", d.v.shape()),
    ] {
        check_shape("attention_bwd", what, shape, (n, kv_heads * head_dim));
    }
    check_shape("attention_bwd", "lse", lse.shape(), (n, h));
    for x in [&mut *d.q, &mut *d.k, &mut *d.v] {
        let len = x.len();
        x.data[..len].fill(0.0);
    }
    for i in 0..n {
        for a in 0..h {
            let kv_head = a / (h / kv_heads);
            let columns = kv_head * head_dim..(kv_head + 1) * head_dim;
            let (q, o, d_o) = (
                head(q.row(i), a, head_dim),
                head(o.row(i), a, head_dim),
                head(d_o.row(i), a, head_dim),
            );
            let d_i = dot(d_o, o);
            for j in rows(tree.paths.row(i)) {
                let (k, v) = (&k.row(j)[columns.clone()], &v.row(j)[columns.clone()]);
                let p = libm::exp(dot(q, k) * scale - lse.row(i)[a]);
                let ds = p * (dot(d_o, v) - d_i);
                axpy(&mut d.q.row_mut(i)[a * head_dim..][..head_dim], ds * scale, k);
                axpy(&mut d.k.row_mut(j)[columns.clone()], ds * scale, q);
                axpy(&mut d.v.row_mut(j)[columns.clone()], p, d_o);
            }
        }
    }
}

/// In the forward pass o_i = sum_j p_ij v_j with p_i = softmax(s_i), s_ij = q_i . k_j scale. So
/// s_dot_ij = (q_dot_i . k_j + q_i . k_dot_j) scale, p_dot_ij = p_ij (s_dot_ij - sum_l p_il s_dot_il), and
/// o_dot_i = sum_j p_dot_ij v_j + p_ij v_dot_j.
#[track_caller]
pub(super) fn attention_jvp(
    o_dot: &mut Matrix,
    qkv_dot: Qkv<'_, Vec<f64>>,
    o: &Matrix,
    lse: &Matrix,
    Qkv { q, k, v }: Qkv<'_, Vec<f64>>,
    tree: &Tree,
    heads: Heads,
) {
    let Heads {
        heads: h,
        kv_heads,
        head_dim,
    } = heads;
    let (n, scale) = (tree.paths.rows(), heads.scale());
    for (what, shape) in [
        ("q", q.shape()),
        ("q_dot", qkv_dot.q.shape()),
        ("o", o.shape()),
        ("o_dot", o_dot.shape()),
    ] {
        check_shape("attention_jvp", what, shape, (n, h * head_dim));
    }
    for (what, shape) in [
        ("k", k.shape()),
        ("v", v.shape()),
        ("k_dot", qkv_dot.k.shape()),
        ("v_dot", qkv_dot.v.shape()),
    ] {
        check_shape("attention_jvp", what, shape, (n, kv_heads * head_dim));
    }
    check_shape("attention_jvp", "lse", lse.shape(), (n, h));
    for i in 0..n {
        for a in 0..h {
            let kv_head = a / (h / kv_heads);
            let [q, q_dot, o] = [q, qkv_dot.q, o].map(|x| head(x.row(i), a, head_dim));
            let out = &mut o_dot.row_mut(i)[a * head_dim..][..head_dim];
            out.fill(0.0);
            let mut mean = 0.0;
            for j in rows(tree.paths.row(i)) {
                let [k, k_dot, v, v_dot] = [k, qkv_dot.k, v, qkv_dot.v].map(|x| head(x.row(j), kv_head, head_dim));
                let p = libm::exp(dot(q, k) * scale - lse.row(i)[a]);
                let s_dot = (dot(q_dot, k) + dot(q, k_dot)) * scale;
                mean += p * s_dot;
                axpy(out, p * s_dot, v);
                axpy(out, p, v_dot);
            }
            axpy(out, -mean, o);
        }
    }
}
