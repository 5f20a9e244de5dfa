//! `Tangent`: each operation is in the module of its family.
use kernel::backend::{Dual, HeadIn, Heads, Qkv, Tangent};
use kernel::mat::Mat;

use crate::attention::{self, Tree};
use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::{head, rows};

impl<T: Element> Tangent for Cuda<T> {
    #[track_caller]
    fn rmsnorm_jvp(
        &self,
        y_dot: &mut Mat<Buffer<T>>,
        x: Dual<'_, Buffer<T>>,
        w: Dual<'_, Buffer<T>>,
        rstd: &Mat<Buffer<f32>>,
    ) {
        rows::rmsnorm_jvp(self, y_dot, x, w, rstd);
    }

    #[track_caller]
    fn attention_jvp(
        &self,
        o_dot: &mut Mat<Buffer<T>>,
        qkv_dot: Qkv<'_, Buffer<T>>,
        o: &Mat<Buffer<T>>,
        lse: &Mat<Buffer<f32>>,
        qkv: Qkv<'_, Buffer<T>>,
        tree: &Tree,
        heads: Heads,
    ) {
        attention::jvp(self, o_dot, qkv_dot, o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu_jvp(&self, y_dot: &mut Mat<Buffer<T>>, gate: Dual<'_, Buffer<T>>, up: Dual<'_, Buffer<T>>) {
        rows::swiglu_jvp(self, y_dot, gate, up);
    }

    #[track_caller]
    fn head_fisher(
        &self,
        dh: &mut Mat<Buffer<T>>,
        dw: &mut Mat<Buffer<f32>>,
        weight: &Mat<Buffer<f32>>,
        lse: &Mat<Buffer<f32>>,
        h: Dual<'_, Buffer<T>>,
        w: Dual<'_, Buffer<T>>,
        temperature: f64,
    ) {
        head::fisher(self, dh, dw, weight, lse, h, w, temperature);
    }

    #[track_caller]
    fn head_kl(
        &self,
        kl: &mut Mat<Buffer<f32>>,
        old: HeadIn<'_, Buffer<T>, Buffer<T>>,
        new: HeadIn<'_, Buffer<T>, Buffer<T>>,
        temperature: f64,
    ) {
        head::kl(self, kl, old, new, temperature);
    }
}
