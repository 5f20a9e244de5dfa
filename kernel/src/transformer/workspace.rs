//! Activations: allocated for the largest batch seen, kept, and reused.
use alloc::vec::Vec;

use super::{Model, Scores, heads};
use crate::backend::Memory;
use crate::config::Config;
use crate::mat::Mat;

/// What the forward pass keeps for the backward pass: memory against recomputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: scoring and generation only.
    Nothing,
    /// Each block's input; the rest of a block is computed again in its backward pass (activation checkpointing, Chen
    /// et al. 2016): one more forward pass of time.
    Inputs,
    /// All that the backward pass needs but what costs no matrix product to recompute (norms, SwiGLU).
    Everything,
}

/// What one block's backward pass needs.
pub(super) struct Acts<B: Memory> {
    pub rstd_attn: Mat<B::Acc>,
    pub q: Mat<B::Buf>,
    pub k: Mat<B::Buf>,
    pub v: Mat<B::Buf>,
    pub o: Mat<B::Buf>,
    pub lse: Mat<B::Acc>,
    pub mid: Mat<B::Buf>,
    pub rstd_mlp: Mat<B::Acc>,
    pub gate: Mat<B::Buf>,
    pub up: Mat<B::Buf>,
}

/// Cotangents of activations.
pub(super) struct Back<B: Memory> {
    pub dx: Mat<B::Buf>,
    pub dh: Mat<B::Buf>,
    pub dq: Mat<B::Buf>,
    pub dk: Mat<B::Buf>,
    pub dv: Mat<B::Buf>,
    pub d_o: Mat<B::Buf>,
    pub dgate: Mat<B::Buf>,
    pub dup: Mat<B::Buf>,
    pub dact: Mat<B::Buf>,
}

/// The rows that predict something, (P, ..).
pub(super) struct Top<B: Memory> {
    pub x: Mat<B::Buf>,
    pub rstd: Mat<B::Acc>,
    pub h: Mat<B::Buf>,
    pub logp: Mat<B::Acc>,
    pub entropy: Mat<B::Acc>,
    pub lse: Mat<B::Acc>,
    pub best: Mat<B::Acc>,
    pub value: Mat<B::Buf>,
    pub value_acc: Mat<B::Acc>,
    pub dh: Mat<B::Buf>,
    pub dx: Mat<B::Buf>,
    pub dlogp: Mat<B::Acc>,
    pub dentropy: Mat<B::Acc>,
}

/// A batch's indices on the device.
pub(super) struct Indices<B: Memory> {
    pub ids: B::Index,
    pub positions: B::Index,
    pub tree: B::Tree,
    pub rows: B::Index,
    pub targets: B::Index,
}

/// The memory of one forward (and backward) pass. It grows to the largest batch it has seen and is reused: a step
/// allocates nothing once that has been.
pub struct Workspace<B: Memory> {
    pub(super) keep: Keep,
    rows: usize,
    predictions: usize,
    pub(super) inputs: Vec<Mat<B::Buf>>,
    pub(super) acts: Vec<Acts<B>>,
    pub(super) h: Mat<B::Buf>,
    pub(super) act: Mat<B::Buf>,
    pub(super) back: Option<Back<B>>,
    pub(super) top: Top<B>,
    pub(super) batch: Option<Indices<B>>,
    pub(super) temperature: f64,
    /// What the last forward pass said.
    pub scores: Scores<B::Real>,
}

/// Calls the block once for every matrix of the workspace that has N rows.
macro_rules! for_rows {
    ($ws:expr, $m:ident => $body:expr) => {{
        for $m in $ws.inputs.iter_mut() {
            $body;
        }
        for a in $ws.acts.iter_mut() {
            {
                let $m = &mut a.rstd_attn;
                $body;
            }
            {
                let $m = &mut a.q;
                $body;
            }
            {
                let $m = &mut a.k;
                $body;
            }
            {
                let $m = &mut a.v;
                $body;
            }
            {
                let $m = &mut a.o;
                $body;
            }
            {
                let $m = &mut a.lse;
                $body;
            }
            {
                let $m = &mut a.mid;
                $body;
            }
            {
                let $m = &mut a.rstd_mlp;
                $body;
            }
            {
                let $m = &mut a.gate;
                $body;
            }
            {
                let $m = &mut a.up;
                $body;
            }
        }
        {
            let $m = &mut $ws.h;
            $body;
        }
        {
            let $m = &mut $ws.act;
            $body;
        }
        if let Some(k) = &mut $ws.back {
            {
                let $m = &mut k.dx;
                $body;
            }
            {
                let $m = &mut k.dh;
                $body;
            }
            {
                let $m = &mut k.dq;
                $body;
            }
            {
                let $m = &mut k.dk;
                $body;
            }
            {
                let $m = &mut k.dv;
                $body;
            }
            {
                let $m = &mut k.d_o;
                $body;
            }
            {
                let $m = &mut k.dgate;
                $body;
            }
            {
                let $m = &mut k.dup;
                $body;
            }
            {
                let $m = &mut k.dact;
                $body;
            }
        }
    }};
}

macro_rules! for_predictions {
    ($ws:expr, $m:ident => $body:expr) => {{
        let t = &mut $ws.top;
        {
            let $m = &mut t.x;
            $body;
        }
        {
            let $m = &mut t.rstd;
            $body;
        }
        {
            let $m = &mut t.h;
            $body;
        }
        {
            let $m = &mut t.logp;
            $body;
        }
        {
            let $m = &mut t.entropy;
            $body;
        }
        {
            let $m = &mut t.lse;
            $body;
        }
        {
            let $m = &mut t.best;
            $body;
        }
        {
            let $m = &mut t.value;
            $body;
        }
        {
            let $m = &mut t.value_acc;
            $body;
        }
        {
            let $m = &mut t.dh;
            $body;
        }
        {
            let $m = &mut t.dx;
            $body;
        }
        {
            let $m = &mut t.dlogp;
            $body;
        }
        {
            let $m = &mut t.dentropy;
            $body;
        }
    }};
}

impl<B: Memory> Workspace<B> {
    /// A workspace for batches of up to `rows` tokens and `predictions` predictions; it grows when a larger one comes.
    /// Errors: out of memory.
    pub fn new(b: &B, model: &Model<B>, keep: Keep, rows: usize, predictions: usize) -> Result<Self, B::Error> {
        let c = &model.config;
        let inputs = match keep {
            Keep::Nothing => 2,
            Keep::Inputs | Keep::Everything => c.layers + 1,
        };
        let blocks = match keep {
            Keep::Nothing | Keep::Inputs => 1,
            Keep::Everything => c.layers,
        };
        let value = model.weights.value.is_some() as usize;
        Ok(Self {
            keep,
            rows,
            predictions,
            inputs: (0..inputs).map(|_| b.buf(rows, c.hidden)).collect::<Result<_, _>>()?,
            acts: (0..blocks).map(|_| Acts::new(b, c, rows)).collect::<Result<_, _>>()?,
            h: b.buf(rows, c.hidden)?,
            act: b.buf(rows, c.intermediate)?,
            back: match keep {
                Keep::Nothing => None,
                Keep::Inputs | Keep::Everything => Some(Back::new(b, c, rows)?),
            },
            top: Top::new(b, c.hidden, value, keep, predictions)?,
            batch: None,
            temperature: 1.0,
            scores: Scores::default(),
        })
    }

    /// Sets the shapes for a batch, growing where it does not fit.
    pub(super) fn fit(&mut self, b: &B, model: &Model<B>, rows: usize, predictions: usize) -> Result<(), B::Error> {
        if rows > self.rows || predictions > self.predictions {
            let (rows, predictions) = (rows.max(self.rows), predictions.max(self.predictions));
            let keep = self.keep;
            // The old one goes first: both at once would be the peak of the whole run.
            self.inputs.clear();
            self.acts.clear();
            self.back = None;
            *self = Self::new(b, model, keep, rows, predictions)?;
        }
        for_rows!(self, m => m.rows = rows);
        for_predictions!(self, m => m.rows = predictions);
        Ok(())
    }
}

impl<B: Memory> Acts<B> {
    fn new(b: &B, c: &Config, rows: usize) -> Result<Self, B::Error> {
        let (qd, kd) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        Ok(Self {
            rstd_attn: b.acc(rows, 1)?,
            q: b.buf(rows, qd)?,
            k: b.buf(rows, kd)?,
            v: b.buf(rows, kd)?,
            o: b.buf(rows, qd)?,
            lse: b.acc(rows, heads(c).heads)?,
            mid: b.buf(rows, c.hidden)?,
            rstd_mlp: b.acc(rows, 1)?,
            gate: b.buf(rows, c.intermediate)?,
            up: b.buf(rows, c.intermediate)?,
        })
    }
}

impl<B: Memory> Back<B> {
    fn new(b: &B, c: &Config, rows: usize) -> Result<Self, B::Error> {
        let (qd, kd) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        Ok(Self {
            dx: b.buf(rows, c.hidden)?,
            dh: b.buf(rows, c.hidden)?,
            dq: b.buf(rows, qd)?,
            dk: b.buf(rows, kd)?,
            dv: b.buf(rows, kd)?,
            d_o: b.buf(rows, qd)?,
            dgate: b.buf(rows, c.intermediate)?,
            dup: b.buf(rows, c.intermediate)?,
            dact: b.buf(rows, c.intermediate)?,
        })
    }
}

impl<B: Memory> Top<B> {
    fn new(b: &B, hidden: usize, value: usize, keep: Keep, rows: usize) -> Result<Self, B::Error> {
        let back = if keep == Keep::Nothing { 0 } else { rows };
        Ok(Self {
            x: b.buf(rows, hidden)?,
            rstd: b.acc(rows, 1)?,
            h: b.buf(rows, hidden)?,
            logp: b.acc(rows, 1)?,
            entropy: b.acc(rows, 1)?,
            lse: b.acc(rows, 1)?,
            best: b.acc(rows, 1)?,
            value: b.buf(rows, value)?,
            value_acc: b.acc(rows, value)?,
            dh: b.buf(back, hidden)?,
            dx: b.buf(back, hidden)?,
            dlogp: b.acc(back, 1)?,
            dentropy: b.acc(back, 1)?,
        })
    }
}
