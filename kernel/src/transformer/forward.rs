//! Forward: a batch in, log-probs, entropies and values of its predictions out.
use alloc::vec::Vec;

use super::workspace::{Acts, Indices};
use super::{Keep, Model, Workspace};
use crate::backend::{Decode, HeadOut, Memory, Ops, Qkv};
use crate::batch::Batch;
use crate::mat::{Accum, Direction, Mat};
use crate::params::Layer;
use crate::real::Real;

/// What a model says of each of a batch's P predictions, under the temperature it was asked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores<R> {
    /// log p(target), nats.
    pub logp: Vec<R>,
    /// Entropy of the prediction, nats.
    pub entropy: Vec<R>,
    /// log p of the most likely token: the prediction is right where logp is not below it.
    pub best: Vec<R>,
    /// The value head's number; empty without one.
    pub value: Vec<R>,
}

impl<B: Ops> Model<B> {
    /// Scores `batch` into `ws.scores`, keeping in `ws` what [`Model::backward`] needs. Logits are divided by
    /// `temperature`. Errors: the device's. Panics where a position is outside the context.
    pub fn score(&self, b: &B, ws: &mut Workspace<B>, batch: &Batch, temperature: f64) -> Result<(), B::Error> {
        self.check_positions(batch.positions());
        let p = batch.predictions();
        ws.fit(b, self, batch.tokens(), p)?;
        ws.temperature = temperature;
        let idx = Indices::<B> {
            ids: b.index(batch.ids())?,
            positions: b.index(batch.positions())?,
            tree: b.tree(batch.segments())?,
            rows: b.index(batch.rows())?,
            targets: b.index(batch.targets())?,
        };
        let heads = self.heads();
        self.layers(b, ws, &idx.ids, &idx.positions, |_, a| {
            let qkv = Qkv {
                q: &a.q,
                k: &a.k,
                v: &a.v,
            };
            b.attention(&mut a.o, &mut a.lse, qkv, &idx.tree, heads);
        });
        let last = self.config.layers % ws.inputs.len();
        let t = &mut ws.top;
        b.gather(&mut t.x, &ws.inputs[last], &idx.rows);
        b.rmsnorm(&mut t.h, &mut t.rstd, &t.x, &self.weights.norm, self.config.rms_eps);
        let out = HeadOut {
            logp: &mut t.logp,
            entropy: &mut t.entropy,
            lse: &mut t.lse,
            best: &mut t.best,
        };
        b.head(out, &t.h, self.head(), &idx.targets, temperature);
        if let Some(v) = &self.weights.value {
            b.linear(&mut t.value, &t.h, &v.weight, v.bias.as_ref(), Accum::Replace);
            b.widen(&mut t.value_acc, &t.value);
            download(b, &mut ws.scores.value, &t.value_acc)?;
        }
        download(b, &mut ws.scores.logp, &t.logp)?;
        download(b, &mut ws.scores.entropy, &t.entropy)?;
        download(b, &mut ws.scores.best, &t.best)?;
        ws.batch = Some(idx);
        Ok(())
    }

    /// log sum_v p_v^2 of each prediction of the batch that `ws` scored last. With z' = 2 z it is lse(z') - 2 lse(z), so
    /// the head is asked once more, at half the temperature; what the backward pass needs stays as it is.
    pub fn log_sum_sq(&self, b: &B, ws: &Workspace<B>) -> Result<Vec<B::Real>, B::Error> {
        let Some(idx) = &ws.batch else {
            panic!("log_sum_sq: the workspace has no scored batch");
        };
        let t = &ws.top;
        let column = || b.acc(t.h.rows, 1);
        let [mut logp, mut entropy, mut lse, mut best] = [column()?, column()?, column()?, column()?];
        let out = HeadOut {
            logp: &mut logp,
            entropy: &mut entropy,
            lse: &mut lse,
            best: &mut best,
        };
        b.head(out, &t.h, self.head(), &idx.targets, ws.temperature / 2.0);
        let (mut doubled, mut single) = (Vec::new(), Vec::new());
        download(b, &mut doubled, &lse)?;
        download(b, &mut single, &t.lse)?;
        let two = B::Real::from_f64(2.0);
        Ok(doubled.iter().zip(&single).map(|(&d, &s)| d - two * s).collect())
    }

    /// Logits (n, V) of the first n predictions of the batch that `ws` scored last, divided by its temperature. For
    /// inspection: training never has them in memory.
    pub fn logits(&self, b: &B, ws: &mut Workspace<B>, n: usize) -> Result<Vec<B::Real>, B::Error>
    where
        B: Decode,
    {
        let mut z = b.acc(n, self.config.vocab)?;
        let rows = core::mem::replace(&mut ws.top.h.rows, n);
        b.logits(&mut z, &ws.top.h, self.head());
        ws.top.h.rows = rows;
        let mut host = Vec::new();
        download(b, &mut host, &z)?;
        for x in &mut host {
            *x = *x / B::Real::from_f64(ws.temperature);
        }
        Ok(host)
    }

    /// All blocks; `attend` fills `o` (and `lse`) of layer i from its q, k, v.
    pub(super) fn layers(
        &self,
        b: &B,
        ws: &mut Workspace<B>,
        ids: &B::Index,
        positions: &B::Index,
        mut attend: impl FnMut(usize, &mut Acts<B>),
    ) {
        b.embed(&mut ws.inputs[0], &self.weights.embed, ids);
        let slots = ws.inputs.len();
        for (i, layer) in self.weights.layers.iter().enumerate() {
            let a = &mut ws.acts[if ws.keep == Keep::Everything { i } else { 0 }];
            let (x, out) = two(&mut ws.inputs, i % slots, (i + 1) % slots);
            self.up_to_gate(b, layer, a, &mut ws.h, x, positions, |a| attend(i, a));
            b.swiglu(&mut ws.act, &a.gate, &a.up);
            b.copy(out, &a.mid);
            b.linear(out, &ws.act, &layer.down.weight, layer.down.bias.as_ref(), Accum::Add);
        }
    }

    /// A block up to its SwiGLU: everything the backward pass needs. `h` is scratch and ends as rmsnorm(mid).
    #[allow(clippy::too_many_arguments)]
    pub(super) fn up_to_gate(
        &self,
        b: &B,
        layer: &Layer<Mat<B::Weight>, Mat<B::Buf>>,
        a: &mut Acts<B>,
        h: &mut Mat<B::Buf>,
        x: &Mat<B::Buf>,
        positions: &B::Index,
        attend: impl FnOnce(&mut Acts<B>),
    ) {
        let (eps, d) = (self.config.rms_eps, self.config.head_dim);
        b.rmsnorm(h, &mut a.rstd_attn, x, &layer.attn_norm, eps);
        b.linear_each([(&mut a.q, &layer.q), (&mut a.k, &layer.k), (&mut a.v, &layer.v)], h);
        b.rope(&mut a.q, &self.rope, positions, d, Direction::Forward);
        b.rope(&mut a.k, &self.rope, positions, d, Direction::Forward);
        attend(a);
        b.copy(&mut a.mid, x);
        b.linear(&mut a.mid, &a.o, &layer.o.weight, layer.o.bias.as_ref(), Accum::Add);
        b.rmsnorm(h, &mut a.rstd_mlp, &a.mid, &layer.mlp_norm, eps);
        b.linear_each([(&mut a.gate, &layer.gate), (&mut a.up, &layer.up)], h);
    }
}

/// Two different elements of a slice, the second mutable.
pub(super) fn two<T>(items: &mut [T], read: usize, write: usize) -> (&T, &mut T) {
    if read < write {
        let (a, b) = items.split_at_mut(write);
        (&a[read], &mut b[0])
    } else {
        let (a, b) = items.split_at_mut(read);
        (&b[0], &mut a[write])
    }
}

pub(super) fn download<B: Memory>(b: &B, host: &mut Vec<B::Real>, from: &Mat<B::Acc>) -> Result<(), B::Error> {
    host.clear();
    host.resize(from.len(), B::Real::ZERO);
    b.download(host, from)
}
