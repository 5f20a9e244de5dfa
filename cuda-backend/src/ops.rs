//! `Ops`: each operation is in the module of its family.
use kernel::backend::{HeadCotangent, HeadOut, Heads, Ops, Qkv, QkvMut};
use kernel::mat::{Accum, Direction, Mat};

use crate::attention::{self, Tree};
use crate::buffer::{Buffer, Index};
use crate::device::{Cuda, Element};
use crate::{head, linear, rows};

impl<T: Element> Ops for Cuda<T> {
    #[track_caller]
    fn embed(&self, y: &mut Mat<Buffer<T>>, table: &Mat<Buffer<T>>, ids: &Index) {
        rows::embed(self, y, table, ids);
    }

    #[track_caller]
    fn embed_bwd(&self, d_table: &mut Mat<Buffer<f32>>, dy: &Mat<Buffer<T>>, ids: &Index) {
        rows::embed_bwd(self, d_table, dy, ids);
    }

    #[track_caller]
    fn gather(&self, y: &mut Mat<Buffer<T>>, x: &Mat<Buffer<T>>, rows: &Index) {
        rows::gather(self, y, x, rows);
    }

    #[track_caller]
    fn scatter_add(&self, dx: &mut Mat<Buffer<T>>, dy: &Mat<Buffer<T>>, rows: &Index) {
        rows::scatter_add(self, dx, dy, rows);
    }

    #[track_caller]
    fn rmsnorm(
        &self,
        y: &mut Mat<Buffer<T>>,
        rstd: &mut Mat<Buffer<f32>>,
        x: &Mat<Buffer<T>>,
        w: &Mat<Buffer<T>>,
        eps: f64,
    ) {
        rows::rmsnorm(self, y, rstd, x, w, eps);
    }

    #[track_caller]
    fn rmsnorm_bwd(
        &self,
        dx: &mut Mat<Buffer<T>>,
        dw: &mut Mat<Buffer<f32>>,
        dy: &Mat<Buffer<T>>,
        x: &Mat<Buffer<T>>,
        w: &Mat<Buffer<T>>,
        rstd: &Mat<Buffer<f32>>,
        accum: Accum,
    ) {
        rows::rmsnorm_bwd(self, dx, dw, dy, x, w, rstd, accum);
    }

    #[track_caller]
    fn linear(
        &self,
        y: &mut Mat<Buffer<T>>,
        x: &Mat<Buffer<T>>,
        w: &Mat<Buffer<T>>,
        bias: Option<&Mat<Buffer<T>>>,
        accum: Accum,
    ) {
        linear::linear(self, y, x, w, bias, accum);
    }

    #[track_caller]
    fn linear_bwd_x(&self, dx: &mut Mat<Buffer<T>>, dy: &Mat<Buffer<T>>, w: &Mat<Buffer<T>>, accum: Accum) {
        linear::linear_bwd_x(self, dx, dy, w, accum);
    }

    #[track_caller]
    fn linear_bwd_w(
        &self,
        dw: &mut Mat<Buffer<f32>>,
        db: Option<&mut Mat<Buffer<f32>>>,
        dy: &Mat<Buffer<T>>,
        x: &Mat<Buffer<T>>,
    ) {
        linear::linear_bwd_w(self, dw, db, dy, x);
    }

    #[track_caller]
    fn rope(
        &self,
        x: &mut Mat<Buffer<T>>,
        table: &Mat<Buffer<f32>>,
        positions: &Index,
        head_dim: usize,
        direction: Direction,
    ) {
        rows::rope(self, x, table, positions, head_dim, direction);
    }

    #[track_caller]
    fn attention(
        &self,
        o: &mut Mat<Buffer<T>>,
        lse: &mut Mat<Buffer<f32>>,
        qkv: Qkv<'_, Buffer<T>>,
        tree: &Tree,
        heads: Heads,
    ) {
        attention::forward(self, o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn attention_bwd(
        &self,
        d: QkvMut<'_, Buffer<T>>,
        d_o: &Mat<Buffer<T>>,
        o: &Mat<Buffer<T>>,
        lse: &Mat<Buffer<f32>>,
        qkv: Qkv<'_, Buffer<T>>,
        tree: &Tree,
        heads: Heads,
    ) {
        attention::backward(self, d, d_o, o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu(&self, y: &mut Mat<Buffer<T>>, gate: &Mat<Buffer<T>>, up: &Mat<Buffer<T>>) {
        rows::swiglu(self, y, gate, up);
    }

    #[track_caller]
    fn swiglu_bwd(
        &self,
        d_gate: &mut Mat<Buffer<T>>,
        d_up: &mut Mat<Buffer<T>>,
        dy: &Mat<Buffer<T>>,
        gate: &Mat<Buffer<T>>,
        up: &Mat<Buffer<T>>,
    ) {
        rows::swiglu_bwd(self, d_gate, d_up, dy, gate, up);
    }

    #[track_caller]
    fn head(
        &self,
        out: HeadOut<'_, Buffer<f32>>,
        h: &Mat<Buffer<T>>,
        w: &Mat<Buffer<T>>,
        targets: &Index,
        temperature: f64,
    ) {
        head::forward(self, out, h, w, targets, temperature);
    }

    #[track_caller]
    fn head_bwd(
        &self,
        dh: &mut Mat<Buffer<T>>,
        dw: &mut Mat<Buffer<f32>>,
        cotangent: HeadCotangent<'_, Buffer<f32>>,
        h: &Mat<Buffer<T>>,
        w: &Mat<Buffer<T>>,
        targets: &Index,
        temperature: f64,
    ) {
        head::backward(self, dh, dw, cotangent, h, w, targets, temperature);
    }
}
