//! The Fisher matrix times a vector, and the exact KL divergence: what a trust region needs of a transformer.
//!
//! F v = sum_t weight_t J_t' (diag p_t - p_t p_t') J_t v: the tangent of the logits along v, the Fisher matrix of the
//! softmax, and the ordinary backward pass (Schraudolph 2002; Martens 2014). The derivatives are never nested, and the
//! tangents lie where the backward pass puts its cotangents afterwards: F v takes no more memory than a gradient.
use alloc::vec::Vec;

use super::workspace::{Acts, Back, Indices};
use super::{Accs, Model, Weights, Workspace};
use crate::backend::{Dual, HeadIn, LinearLayer, Memory, Ops, Qkv, Tangent};
use crate::mat::{Accum, Direction, Mat, Use};
use crate::params::Layer;

impl<B: Memory> Model<B> {
    /// Room for a direction in the space of parameters as products read it; [`Model::prepare_direction`] fills it. Errors:
    /// out of memory.
    pub fn direction(&self, b: &B) -> Result<Weights<B>, B::Error> {
        self.specs.try_map(
            |s| b.weight(s.shape.0, s.shape.1, Use::Inference),
            |s| b.buf(s.shape.0, s.shape.1),
        )
    }

    /// direction = v: once per product with the Fisher matrix.
    pub fn prepare_direction(&self, b: &B, direction: &mut Weights<B>, v: &Accs<B>) {
        for (part, v) in direction.parts_mut().into_iter().zip(v.iter()) {
            super::set(b, part, v);
        }
    }

    /// The normed states (P, C) of the predictions that `ws` scored last: with the head of the same weights, what
    /// [`Model::kl`] needs of an old policy. Errors: out of memory.
    pub fn hidden(&self, b: &B, ws: &Workspace<B>) -> Result<Mat<B::Buf>, B::Error> {
        let mut h = b.buf(ws.top.h.rows, ws.top.h.cols)?;
        b.copy(&mut h, &ws.top.h);
        Ok(h)
    }
}

impl<B: Tangent> Model<B> {
    /// out += F v at the batch that `ws` scored last, with a weight for each of its P predictions and the temperature it was
    /// scored at, twice: F carries 1 / temperature^2. May be called again without scoring again. The value head has no part in
    /// it. Errors: the device's. Panics where `ws` keeps nothing or has scored nothing.
    pub fn fisher(
        &self,
        b: &B,
        ws: &mut Workspace<B>,
        out: &mut Accs<B>,
        v: &Weights<B>,
        weight: &[B::Real],
    ) -> Result<(), B::Error> {
        b.upload(&mut ws.top.dlogp, weight)?;
        self.tangent(b, ws, v);
        let t = &mut ws.top;
        // The tangent of h is in dh; the cotangent goes to dx, whose tangent is no longer needed, and takes its place.
        b.head_fisher(
            &mut t.dx,
            out.head.as_mut().unwrap_or(&mut out.embed),
            &t.dlogp,
            &t.lse,
            Dual { x: &t.h, x_dot: &t.dh },
            Dual {
                x: self.head(),
                x_dot: v.head.as_ref().unwrap_or(&v.embed),
            },
            ws.temperature,
        );
        core::mem::swap(&mut t.dx, &mut t.dh);
        self.below_head(b, ws, out);
        Ok(())
    }

    /// KL(old || new) (P) of each prediction that `ws` scored last, nats, over the whole vocabulary: `ws` has the new
    /// states, `hidden` and `head` are [`Model::hidden`] and the head's matrix of the old weights. Errors: the device's.
    pub fn kl(
        &self,
        b: &B,
        ws: &mut Workspace<B>,
        kl: &mut Vec<B::Real>,
        hidden: &Mat<B::Buf>,
        head: &Mat<B::Weight>,
    ) -> Result<(), B::Error> {
        let t = &mut ws.top;
        let old = HeadIn { h: hidden, w: head };
        let new = HeadIn {
            h: &t.h,
            w: self.head(),
        };
        // `best` has been downloaded by now and nothing reads it again.
        b.head_kl(&mut t.best, old, new, ws.temperature);
        super::forward::download(b, kl, &t.best)
    }

    /// The tangent of the forward pass along v: of the normed states that predict something, into their `dh`.
    fn tangent(&self, b: &B, ws: &mut Workspace<B>, v: &Weights<B>) {
        let (Some(idx), Some(k)) = (&ws.batch, &mut ws.back) else {
            panic!("fisher: the workspace has no scored batch to differentiate");
        };
        b.embed(&mut k.dx, &v.embed, &idx.ids);
        for (i, (layer, v)) in self.weights.layers.iter().zip(&v.layers).enumerate() {
            let x = &ws.inputs[i];
            let a = self.saved(b, ws.keep, &mut ws.acts, &mut ws.h, i, x, idx);
            self.block_tangent(b, k, a, [&mut ws.h, &mut ws.act], x, layer, v, idx);
        }
        let t = &mut ws.top;
        b.gather(&mut t.dx, &k.dx, &idx.rows);
        let x = Dual { x: &t.x, x_dot: &t.dx };
        let w = Dual {
            x: &self.weights.norm,
            x_dot: &v.norm,
        };
        b.rmsnorm_jvp(&mut t.dh, x, w, &t.rstd);
    }

    /// One block: the residual stream's tangent, in `k.dx`, from the block's input to its output. `h` and `act` are scratch.
    #[allow(clippy::too_many_arguments)]
    fn block_tangent(
        &self,
        b: &B,
        k: &mut Back<B>,
        a: &mut Acts<B>,
        [h, act]: [&mut Mat<B::Buf>; 2],
        x: &Mat<B::Buf>,
        layer: &Block<B>,
        v: &Block<B>,
        idx: &Indices<B>,
    ) {
        let (heads, eps) = (self.heads(), self.config.rms_eps);
        // In the forward pass this was mid = x + o(attention(rope(q(n)), rope(k(n)), v(n))), n = rmsnorm(x).
        b.rmsnorm(h, &mut a.rstd_attn, x, &layer.attn_norm, eps);
        let norm = Dual {
            x: &layer.attn_norm,
            x_dot: &v.attn_norm,
        };
        b.rmsnorm_jvp(&mut k.dh, Dual { x, x_dot: &k.dx }, norm, &a.rstd_attn);
        for (y_dot, w, v) in [
            (&mut k.dq, &layer.q, &v.q),
            (&mut k.dk, &layer.k, &v.k),
            (&mut k.dv, &layer.v, &v.v),
        ] {
            linear_jvp(b, y_dot, (h, &k.dh), w, v, Accum::Replace);
        }
        for x_dot in [&mut k.dq, &mut k.dk] {
            b.rope(x_dot, &self.rope, &idx.positions, heads.head_dim, Direction::Forward);
        }
        let qkv_dot = Qkv {
            q: &k.dq,
            k: &k.dk,
            v: &k.dv,
        };
        b.attention_jvp(&mut k.d_o, qkv_dot, &a.o, &a.lse, qkv(a), &idx.tree, heads);
        linear_jvp(b, &mut k.dx, (&a.o, &k.d_o), &layer.o, &v.o, Accum::Add);

        // out = mid + down(silu(gate(n)) * up(n)), n = rmsnorm(mid).
        b.rmsnorm(h, &mut a.rstd_mlp, &a.mid, &layer.mlp_norm, eps);
        let norm = Dual {
            x: &layer.mlp_norm,
            x_dot: &v.mlp_norm,
        };
        let mid = Dual {
            x: &a.mid,
            x_dot: &k.dx,
        };
        b.rmsnorm_jvp(&mut k.dh, mid, norm, &a.rstd_mlp);
        linear_jvp(b, &mut k.dgate, (h, &k.dh), &layer.gate, &v.gate, Accum::Replace);
        linear_jvp(b, &mut k.dup, (h, &k.dh), &layer.up, &v.up, Accum::Replace);
        b.swiglu(act, &a.gate, &a.up);
        let gate = Dual {
            x: &a.gate,
            x_dot: &k.dgate,
        };
        let up = Dual {
            x: &a.up,
            x_dot: &k.dup,
        };
        b.swiglu_jvp(&mut k.dact, gate, up);
        linear_jvp(b, &mut k.dx, (act, &k.dact), &layer.down, &v.down, Accum::Add);
    }
}

type Block<B> = Layer<Mat<<B as Memory>::Weight>, Mat<<B as Memory>::Buf>>;

fn qkv<B: Memory>(a: &Acts<B>) -> Qkv<'_, B::Buf> {
    Qkv {
        q: &a.q,
        k: &a.k,
        v: &a.v,
    }
}

/// y_dot (+)= x_dot w' + x v' + v's bias, where y = x w' + bias.
fn linear_jvp<B: Ops>(
    b: &B,
    y_dot: &mut Mat<B::Buf>,
    (x, x_dot): (&Mat<B::Buf>, &Mat<B::Buf>),
    w: &LinearLayer<B>,
    v: &LinearLayer<B>,
    accum: Accum,
) {
    b.linear(y_dot, x_dot, &w.weight, None, accum);
    b.linear(y_dot, x, &v.weight, v.bias.as_ref(), Accum::Add);
}
