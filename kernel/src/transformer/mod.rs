//! The transformer of Qwen2 and the Llama family: forward, backward and decode, written once over the backend traits.
//!
//! Per block, with x the residual stream:
//!
//! ```text
//! mid = x   + o(attention(rope(q(n)), rope(k(n)), v(n)))   n = rmsnorm(x)
//! out = mid + down(silu(gate(n)) * up(n))                  n = rmsnorm(mid)
//! ```
//!
//! and after the last one, for the rows that predict something: logits = head(rmsnorm(x)).

mod backward;
mod decode;
mod forward;
mod tangent;
mod workspace;

use alloc::vec;
use alloc::vec::Vec;

pub use backward::Cotangent;
pub use decode::{DecodeError, Decoder, SeqId};
pub use forward::Scores;
pub use workspace::{Keep, Workspace};

use crate::backend::{Heads, Memory, Ops};
use crate::config::Config;
use crate::mat::{Mat, Use};
use crate::params::{Params, Part, Spec, ValueHead};
use crate::real::Real;
use crate::rope;

/// Numbers of a prepared matrix that are read at a time.
const READ: usize = 1 << 20;

/// Working weights: matrices in the backend's layout, vectors at compute precision.
pub type Weights<B> = Params<Mat<<B as Memory>::Weight>, Mat<<B as Memory>::Buf>>;

/// One `Acc` matrix for each parameter: masters, gradients, moments.
pub type Accs<B> = Params<Mat<<B as Memory>::Acc>>;

/// A transformer's configuration and working weights.
pub struct Model<B: Memory> {
    /// Shape and constants.
    pub config: Config,
    /// Names and shapes of the parameters.
    pub specs: Params<Spec>,
    /// Working weights.
    pub weights: Weights<B>,
    rope: Mat<B::Acc>,
}

impl<B: Memory> Model<B> {
    /// A model of zeros that takes sequences of up to `context` tokens. Errors: out of memory.
    pub fn zeros(b: &B, config: Config, value: ValueHead, context: usize, usage: Use) -> Result<Self, B::Error> {
        let specs = Params::specs(&config, value);
        // What a head's rounding does to a logit nothing evens out, and the embedding is read, not multiplied: int8 is for the blocks.
        let usage_of = |s: &Spec| match usage {
            Use::Int8 if !s.name.starts_with("model.layers.") => Use::Inference,
            usage => usage,
        };
        let weights = specs.try_map(
            |s| b.weight(s.shape.0, s.shape.1, usage_of(s)),
            |s| b.buf(s.shape.0, s.shape.1),
        )?;
        let rope = b.acc(0, config.head_dim)?;
        let mut model = Self {
            config,
            specs,
            weights,
            rope,
        };
        model.set_context(b, context)?;
        Ok(model)
    }

    /// A model whose every parameter is made by `fill`, one at a time, so that no second copy of all is ever there.
    pub fn load<E: From<B::Error>>(
        b: &B,
        config: Config,
        value: ValueHead,
        context: usize,
        usage: Use,
        mut fill: impl FnMut(&Spec, &mut [B::Real]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut model = Self::zeros(b, config, value, context, usage)?;
        for (spec, part) in model.specs.iter().zip(model.weights.parts_mut()) {
            let acc = load_acc(b, spec, &mut fill)?;
            set(b, part, &acc);
        }
        Ok(model)
    }

    /// Takes the masters' values over: once per optimizer step.
    pub fn prepare(&mut self, b: &B, masters: &Accs<B>) {
        for (part, master) in self.weights.parts_mut().into_iter().zip(masters.iter()) {
            set(b, part, master);
        }
    }

    /// Takes sequences of up to `context` tokens from now on. Errors: out of memory.
    pub fn set_context(&mut self, b: &B, context: usize) -> Result<(), B::Error> {
        let c = &self.config;
        let mut table = b.acc(context, c.head_dim)?;
        b.upload(&mut table, &rope::table(&c.rope, c.head_dim, context))?;
        self.rope = table;
        Ok(())
    }

    /// Takes parameter number `i` of the canonical order over.
    #[track_caller]
    pub fn set(&mut self, b: &B, i: usize, value: &Mat<B::Acc>) {
        set(b, self.weights.parts_mut().swap_remove(i), value);
    }

    /// Longest sequence.
    pub fn context(&self) -> usize {
        self.rope.rows
    }

    /// H, K, D.
    pub fn heads(&self) -> Heads {
        heads(&self.config)
    }

    /// The matrix of the output head: its own or the embedding.
    pub(crate) fn head(&self) -> &Mat<B::Weight> {
        self.weights.head.as_ref().unwrap_or(&self.weights.embed)
    }

    #[track_caller]
    fn check_positions(&self, positions: &[u32]) {
        if let Some(&p) = positions.iter().find(|&&p| p as usize >= self.context()) {
            panic!("position {p} is outside the context of {} tokens", self.context());
        }
    }
}

impl<B: Ops> Model<B> {
    /// Parameter number `i` of the canonical order as the working weights have it, row-major, on the host. Errors: the device's.
    #[track_caller]
    pub fn read(&self, b: &B, i: usize) -> Result<Vec<B::Real>, B::Error> {
        let (rows, cols) = self.specs.at(i).shape;
        let weight = match self.weights.parts()[i] {
            Part::Matrix(weight) => weight,
            Part::Vector(vector) => {
                let mut wide = b.acc(rows, cols)?;
                b.widen(&mut wide, vector);
                return download(b, &wide);
            }
        };
        // A row at a time is what every backend can read of a prepared matrix; so many that it is worth the call.
        let chunk = (READ / cols.max(1)).clamp(1, rows.max(1));
        let (mut narrow, mut wide) = (b.buf(chunk, cols)?, b.acc(chunk, cols)?);
        let mut host = vec![B::Real::ZERO; rows * cols];
        for (first, out) in (0..rows).step_by(chunk).zip(host.chunks_mut(chunk * cols)) {
            let ids: Vec<u32> = (first as u32..).take(out.len() / cols).collect();
            narrow.rows = ids.len();
            wide.rows = ids.len();
            b.embed(&mut narrow, weight, &b.index(&ids)?);
            b.widen(&mut wide, &narrow);
            b.download(out, &wide)?;
        }
        Ok(host)
    }
}

/// A matrix's numbers on the host.
pub(crate) fn download<B: Memory>(b: &B, x: &Mat<B::Acc>) -> Result<Vec<B::Real>, B::Error> {
    let mut host = vec![B::Real::ZERO; x.len()];
    b.download(&mut host, x)?;
    Ok(host)
}

/// H, K, D of a configuration.
pub(crate) fn heads(c: &Config) -> Heads {
    Heads {
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
    }
}

/// A parameter made by `fill`, at accumulator precision.
fn load_acc<B: Memory, E: From<B::Error>>(
    b: &B,
    spec: &Spec,
    fill: &mut impl FnMut(&Spec, &mut [B::Real]) -> Result<(), E>,
) -> Result<Mat<B::Acc>, E> {
    let mut host = Vec::new();
    host.resize(spec.shape.0 * spec.shape.1, B::Real::default());
    fill(spec, &mut host)?;
    let mut acc = b.acc(spec.shape.0, spec.shape.1)?;
    b.upload(&mut acc, &host)?;
    Ok(acc)
}

fn set<B: Memory>(b: &B, part: Part<&mut Mat<B::Weight>, &mut Mat<B::Buf>>, value: &Mat<B::Acc>) {
    match part {
        Part::Matrix(w) => b.prepare(w, value),
        Part::Vector(v) => b.narrow(v, value),
    }
}
