//! The trait of the tangents, forwarded to the file of each operation.
use alloc::vec::Vec;

use kernel::backend::{Dual, HeadIn, Heads, Qkv, Tangent};
use kernel::mat::Mat;

use super::attention::Tree;
use super::{attention, head, norm, swiglu};
use crate::Cpu;

type M = Mat<Vec<f64>>;

impl Tangent for Cpu<f64> {
    #[track_caller]
    fn rmsnorm_jvp(&self, y_dot: &mut M, x: Dual<'_, Vec<f64>>, w: Dual<'_, Vec<f64>>, rstd: &M) {
        norm::rmsnorm_jvp(y_dot, x, w, rstd);
    }

    #[track_caller]
    fn attention_jvp(
        &self,
        o_dot: &mut M,
        qkv_dot: Qkv<'_, Vec<f64>>,
        o: &M,
        lse: &M,
        qkv: Qkv<'_, Vec<f64>>,
        tree: &Tree,
        heads: Heads,
    ) {
        attention::attention_jvp(o_dot, qkv_dot, o, lse, qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu_jvp(&self, y_dot: &mut M, gate: Dual<'_, Vec<f64>>, up: Dual<'_, Vec<f64>>) {
        swiglu::swiglu_jvp(y_dot, gate, up);
    }

    #[track_caller]
    fn head_fisher(
        &self,
        dh: &mut M,
        dw: &mut M,
        weight: &M,
        lse: &M,
        h: Dual<'_, Vec<f64>>,
        w: Dual<'_, Vec<f64>>,
        temperature: f64,
    ) {
        head::head_fisher(dh, dw, weight, lse, h, w, temperature);
    }

    #[track_caller]
    fn head_kl(
        &self,
        kl: &mut M,
        old: HeadIn<'_, Vec<f64>, Vec<f64>>,
        new: HeadIn<'_, Vec<f64>, Vec<f64>>,
        temperature: f64,
    ) {
        head::head_kl(kl, old, new, temperature);
    }
}
