//! Backward: the vector-Jacobian product of the scores.
use super::workspace::{Acts, Indices};
use super::{Accs, Keep, Model, Workspace};
use crate::backend::{HeadCotangent, Memory, Ops, Qkv, QkvMut};
use crate::mat::{Accum, Direction, Mat};

/// d loss / d score for each of the last batch's P predictions. An empty slice is zero.
#[derive(Clone, Copy, Debug)]
pub struct Cotangent<'a, R> {
    /// Of the log-probs.
    pub dlogp: &'a [R],
    /// Of the entropies.
    pub dentropy: &'a [R],
    /// Of the values.
    pub dvalue: &'a [R],
}

impl<B: Ops> Model<B> {
    /// grads += J' cotangent at the batch that `ws` scored last. Errors: the device's. Panics where `ws` keeps nothing
    /// or has scored nothing.
    pub fn backward(
        &self,
        b: &B,
        ws: &mut Workspace<B>,
        cotangent: Cotangent<'_, B::Real>,
        grads: &mut Accs<B>,
    ) -> Result<(), B::Error> {
        let (Some(idx), Some(_)) = (&ws.batch, &ws.back) else {
            panic!("backward: the workspace has no scored batch to differentiate");
        };
        let t = &mut ws.top;
        upload_or_zero(b, &mut t.dlogp, cotangent.dlogp)?;
        upload_or_zero(b, &mut t.dentropy, cotangent.dentropy)?;
        let head = HeadCotangent {
            dlogp: &t.dlogp,
            dentropy: &t.dentropy,
            lse: &t.lse,
            entropy: &t.entropy,
        };
        let d_head = grads.head.as_mut().unwrap_or(&mut grads.embed);
        b.head_bwd(&mut t.dh, d_head, head, &t.h, self.head(), &idx.targets, ws.temperature);
        if let (Some(v), Some(dv), false) = (&self.weights.value, &mut grads.value, cotangent.dvalue.is_empty()) {
            b.upload(&mut t.value_acc, cotangent.dvalue)?;
            b.narrow(&mut t.value, &t.value_acc);
            b.linear_bwd_w(&mut dv.weight, dv.bias.as_mut(), &t.value, &t.h);
            b.linear_bwd_x(&mut t.dh, &t.value, &v.weight, Accum::Add);
        }
        self.below_head(b, ws, grads);
        Ok(())
    }

    /// The rest of the backward pass: from `dh` of the normed states that predict something down to the embedding.
    pub(super) fn below_head(&self, b: &B, ws: &mut Workspace<B>, grads: &mut Accs<B>) {
        let (Some(idx), Some(k)) = (&ws.batch, &mut ws.back) else {
            panic!("backward: the workspace has no scored batch to differentiate");
        };
        let t = &mut ws.top;
        b.rmsnorm_bwd(
            &mut t.dx,
            &mut grads.norm,
            &t.dh,
            &t.x,
            &self.weights.norm,
            &t.rstd,
            Accum::Replace,
        );
        b.zero_buf(&mut k.dx);
        b.scatter_add(&mut k.dx, &t.dx, &idx.rows);

        let heads = self.heads();
        for (i, layer) in self.weights.layers.iter().enumerate().rev() {
            let g = &mut grads.layers[i];
            let x = &ws.inputs[i];
            let a = self.saved(b, ws.keep, &mut ws.acts, &mut ws.h, i, x, idx);
            // In the forward pass this was the input of gate and up; the norm is cheaper to redo than to keep.
            b.rmsnorm(&mut ws.h, &mut a.rstd_mlp, &a.mid, &layer.mlp_norm, self.config.rms_eps);
            // In the forward pass this was out = mid + down(swiglu(gate, up)); dx is d out, and d mid through the residual.
            b.linear_bwd_x(&mut k.dact, &k.dx, &layer.down.weight, Accum::Replace);
            b.swiglu_fwd_bwd(&mut ws.act, &mut k.dgate, &mut k.dup, &k.dact, &a.gate, &a.up);
            b.linear_bwd_w(&mut g.down.weight, g.down.bias.as_mut(), &k.dx, &ws.act);
            b.linear_each_bwd_w([(&mut g.gate, &k.dgate), (&mut g.up, &k.dup)], &ws.h);
            let layers = [(&k.dgate, &layer.gate.weight), (&k.dup, &layer.up.weight)];
            b.linear_each_bwd_x(&mut k.dh, layers);
            b.rmsnorm_bwd(
                &mut k.dx,
                &mut g.mlp_norm,
                &k.dh,
                &a.mid,
                &layer.mlp_norm,
                &a.rstd_mlp,
                Accum::Add,
            );

            // mid = x + o(attention): dx is d mid, and d x through the residual.
            b.linear_bwd_w(&mut g.o.weight, g.o.bias.as_mut(), &k.dx, &a.o);
            b.linear_bwd_x(&mut k.d_o, &k.dx, &layer.o.weight, Accum::Replace);
            let d = QkvMut {
                q: &mut k.dq,
                k: &mut k.dk,
                v: &mut k.dv,
            };
            let qkv = Qkv {
                q: &a.q,
                k: &a.k,
                v: &a.v,
            };
            b.attention_bwd(d, &k.d_o, &a.o, &a.lse, qkv, &idx.tree, heads);
            b.rope(
                &mut k.dq,
                &self.rope,
                &idx.positions,
                heads.head_dim,
                Direction::Inverse,
            );
            b.rope(
                &mut k.dk,
                &self.rope,
                &idx.positions,
                heads.head_dim,
                Direction::Inverse,
            );
            b.rmsnorm(&mut ws.h, &mut a.rstd_attn, x, &layer.attn_norm, self.config.rms_eps);
            b.linear_each_bwd_w([(&mut g.q, &k.dq), (&mut g.k, &k.dk), (&mut g.v, &k.dv)], &ws.h);
            let layers = [
                (&k.dq, &layer.q.weight),
                (&k.dk, &layer.k.weight),
                (&k.dv, &layer.v.weight),
            ];
            b.linear_each_bwd_x(&mut k.dh, layers);
            b.rmsnorm_bwd(
                &mut k.dx,
                &mut g.attn_norm,
                &k.dh,
                x,
                &layer.attn_norm,
                &a.rstd_attn,
                Accum::Add,
            );
        }
        b.embed_bwd(&mut grads.embed, &k.dx, &idx.ids);
    }

    /// What block i's forward pass made of its input x up to its SwiGLU: kept, or computed again. `h` is scratch.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn saved<'a>(
        &self,
        b: &B,
        keep: Keep,
        acts: &'a mut [Acts<B>],
        h: &mut Mat<B::Buf>,
        i: usize,
        x: &Mat<B::Buf>,
        idx: &Indices<B>,
    ) -> &'a mut Acts<B> {
        if keep == Keep::Everything {
            return &mut acts[i];
        }
        let (a, layer, heads) = (&mut acts[0], &self.weights.layers[i], self.heads());
        self.up_to_gate(b, layer, a, h, x, &idx.positions, |a| {
            let qkv = Qkv {
                q: &a.q,
                k: &a.k,
                v: &a.v,
            };
            b.attention(&mut a.o, &mut a.lse, qkv, &idx.tree, heads);
        });
        a
    }
}

fn upload_or_zero<B: Memory>(b: &B, dst: &mut Mat<B::Acc>, src: &[B::Real]) -> Result<(), B::Error> {
    if src.is_empty() {
        b.zero(dst);
        return Ok(());
    }
    b.upload(dst, src)
}
