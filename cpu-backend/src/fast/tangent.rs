//! `Tangent`: shapes are checked here, the work is done in the modules beside.
use kernel::backend::{Dual, HeadIn, Heads, Qkv, Tangent};
use kernel::mat::{Mat, check_shape};

use super::attention_jvp::attention_jvp;
use super::buffer::Buffer;
use super::elem::for_each_element;
use super::head_tangent::{head_fisher, head_kl};
use super::out::Out;
use super::rows;
use super::tree::Tree;
use super::weight::{Weight, shape};
use crate::Cpu;

type Buf<T> = Mat<Buffer<T>>;
type Acc = Mat<Buffer<f32>>;

for_each_element! { T;
impl Tangent for Cpu<T> {
    #[track_caller]
    fn rmsnorm_jvp(&self, y_dot: &mut Buf<T>, x: Dual<'_, Buffer<T>>, w: Dual<'_, Buffer<T>>, rstd: &Acc) {
        let (n, c) = y_dot.shape();
        check_shape("rmsnorm_jvp", "x", x.x.shape(), (n, c));
        check_shape("rmsnorm_jvp", "x_dot", x.x_dot.shape(), (n, c));
        check_shape("rmsnorm_jvp", "w", w.x.shape(), (1, c));
        check_shape("rmsnorm_jvp", "w_dot", w.x_dot.shape(), (1, c));
        check_shape("rmsnorm_jvp", "rstd", rstd.shape(), (n, 1));
        let level = self.engine.level;
        let out = Out::new(&mut y_dot.data[..]);
        self.rows(n, |first, n| {
            let range = first * c..(first + n) * c;
            // SAFETY: each item has rows of its own.
            let y_dot = unsafe { out.slice(range.start, n * c) };
            let [x, x_dot] = [x.x, x.x_dot].map(|x| &x.data[range.clone()]);
            let [w, w_dot] = [w.x, w.x_dot].map(|w| &w.data[..c]);
            rows::rmsnorm_jvp(level, y_dot, x, x_dot, w, w_dot, &rstd.data[first..first + n]);
        });
    }

    #[track_caller]
    fn attention_jvp(
        &self,
        o_dot: &mut Buf<T>,
        qkv_dot: Qkv<'_, Buffer<T>>,
        o: &Buf<T>,
        lse: &Acc,
        qkv: Qkv<'_, Buffer<T>>,
        tree: &Tree,
        heads: Heads,
    ) {
        let n = tree.rows;
        let (hd, kd) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        for (what, x, cols) in [
            ("q", qkv.q, hd),
            ("q_dot", qkv_dot.q, hd),
            ("o", o, hd),
            ("o_dot", &*o_dot, hd),
            ("k", qkv.k, kd),
            ("k_dot", qkv_dot.k, kd),
            ("v", qkv.v, kd),
            ("v_dot", qkv_dot.v, kd),
        ] {
            check_shape("attention_jvp", what, x.shape(), (n, cols));
        }
        check_shape("attention_jvp", "lse", lse.shape(), (n, heads.heads));
        attention_jvp(&self.engine, &mut o_dot.data, &qkv_dot, &o.data, &lse.data, &qkv, tree, heads);
    }

    #[track_caller]
    fn swiglu_jvp(&self, y_dot: &mut Buf<T>, gate: Dual<'_, Buffer<T>>, up: Dual<'_, Buffer<T>>) {
        let all = [gate.x, gate.x_dot, up.x, up.x_dot];
        for (what, x) in ["gate", "gate_dot", "up", "up_dot"].into_iter().zip(all) {
            check_shape("swiglu_jvp", what, x.shape(), y_dot.shape());
        }
        let level = self.engine.level;
        let n = y_dot.len();
        let out = Out::new(&mut y_dot.data[..n]);
        self.chunks(n, |range| {
            // SAFETY: each item has a range of its own.
            let y_dot = unsafe { out.slice(range.start, range.len()) };
            let [gate, gate_dot, up, up_dot] = all.map(|x| &x.data[range.clone()]);
            rows::swiglu_jvp(level, y_dot, gate, gate_dot, up, up_dot);
        });
    }

    #[track_caller]
    fn head_fisher(
        &self,
        dh: &mut Buf<T>,
        dw: &mut Acc,
        weight: &Acc,
        lse: &Acc,
        h: Dual<'_, Buffer<T>>,
        w: Dual<'_, Weight<T>>,
        temperature: f64,
    ) {
        let (p, c) = h.x.shape();
        let (vocab, _) = shape(w.x);
        check_shape("head_fisher", "w", shape(w.x), (vocab, c));
        check_shape("head_fisher", "w_dot", shape(w.x_dot), (vocab, c));
        check_shape("head_fisher", "h_dot", h.x_dot.shape(), (p, c));
        check_shape("head_fisher", "dh", dh.shape(), (p, c));
        check_shape("head_fisher", "dw", dw.shape(), (vocab, c));
        check_shape("head_fisher", "weight", weight.shape(), (p, 1));
        check_shape("head_fisher", "lse", lse.shape(), (p, 1));
        head_fisher(&self.engine, &mut dh.data, &mut dw.data, &weight.data, &lse.data, &h, &w, temperature);
    }

    #[track_caller]
    fn head_kl(
        &self,
        kl: &mut Acc,
        old: HeadIn<'_, Buffer<T>, Weight<T>>,
        new: HeadIn<'_, Buffer<T>, Weight<T>>,
        temperature: f64,
    ) {
        let (p, c) = old.h.shape();
        let (vocab, _) = shape(old.w);
        check_shape("head_kl", "old w", shape(old.w), (vocab, c));
        check_shape("head_kl", "new w", shape(new.w), (vocab, c));
        check_shape("head_kl", "new h", new.h.shape(), (p, c));
        check_shape("head_kl", "kl", kl.shape(), (p, 1));
        head_kl(&self.engine, &mut kl.data, &old, &new, temperature);
    }
}
}
