//! The trait of the transformer's operations, forwarded to the file of each.
use alloc::vec::Vec;

use kernel::backend::{HeadCotangent, HeadOut, Heads, Ops, Qkv, QkvMut};
use kernel::mat::{Accum, Direction, Mat};

use super::attention::Tree;
use super::{attention, embed, head, linear, norm, rope, swiglu};
use crate::Cpu;

type M = Mat<Vec<f64>>;

impl Ops for Cpu<f64> {
    #[track_caller]
    fn embed(&self, y: &mut M, table: &M, ids: &Vec<u32>) {
        embed::gather("embed", y, table, ids);
    }

    #[track_caller]
    fn embed_bwd(&self, d_table: &mut M, dy: &M, ids: &Vec<u32>) {
        embed::scatter_add("embed_bwd", d_table, dy, ids);
    }

    #[track_caller]
    fn gather(&self, y: &mut M, x: &M, rows: &Vec<u32>) {
        embed::gather("gather", y, x, rows);
    }

    #[track_caller]
    fn scatter_add(&self, dx: &mut M, dy: &M, rows: &Vec<u32>) {
        embed::scatter_add("scatter_add", dx, dy, rows);
    }

    #[track_caller]
    fn rmsnorm(&self, y: &mut M, rstd: &mut M, x: &M, w: &M, eps: f64) {
        norm::rmsnorm(y, rstd, x, w, eps);
    }

    #[track_caller]
    fn rmsnorm_bwd(&self, dx: &mut M, dw: &mut M, dy: &M, x: &M, w: &M, rstd: &M, accum: Accum) {
        norm::rmsnorm_bwd(dx, dw, dy, x, w, rstd, accum);
    }

    #[track_caller]
    fn linear(&self, y: &mut M, x: &M, w: &M, bias: Option<&M>, accum: Accum) {
        linear::linear("linear", y, x, w, bias, accum);
    }

    #[track_caller]
    fn linear_bwd_x(&self, dx: &mut M, dy: &M, w: &M, accum: Accum) {
        linear::linear_bwd_x(dx, dy, w, accum);
    }

    #[track_caller]
    fn linear_bwd_w(&self, dw: &mut M, db: Option<&mut M>, dy: &M, x: &M) {
        linear::linear_bwd_w(dw, db, dy, x);
    }

    #[track_caller]
    fn rope(&self, x: &mut M, table: &M, positions: &Vec<u32>, head_dim: usize, direction: Direction) {
        rope::rope(x, table, positions, head_dim, direction);
    }

    #[track_caller]
    fn attention(&self, o: &mut M, lse: &mut M, qkv: Qkv<'_, Vec<f64>>, tree: &Tree, heads: Heads) {
        attention::attention(o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn attention_bwd(
        &self,
        d: QkvMut<'_, Vec<f64>>,
        d_o: &M,
        o: &M,
        lse: &M,
        qkv: Qkv<'_, Vec<f64>>,
        tree: &Tree,
        heads: Heads,
    ) {
        attention::attention_bwd(d, d_o, o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu(&self, y: &mut M, gate: &M, up: &M) {
        swiglu::swiglu(y, gate, up);
    }

    #[track_caller]
    fn swiglu_bwd(&self, d_gate: &mut M, d_up: &mut M, dy: &M, gate: &M, up: &M) {
        swiglu::swiglu_bwd(d_gate, d_up, dy, gate, up);
    }

    #[track_caller]
    fn head(&self, out: HeadOut<'_, Vec<f64>>, h: &M, w: &M, targets: &Vec<u32>, temperature: f64) {
        head::head(out, h, w, targets, temperature);
    }

    #[track_caller]
    fn head_bwd(
        &self,
        dh: &mut M,
        dw: &mut M,
        cotangent: HeadCotangent<'_, Vec<f64>>,
        h: &M,
        w: &M,
        targets: &Vec<u32>,
        temperature: f64,
    ) {
        head::head_bwd(dh, dw, cotangent, h, w, targets, temperature);
    }
}
