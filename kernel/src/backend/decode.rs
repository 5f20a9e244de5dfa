//! The KV cache and logits, for generation.
use alloc::vec;
use alloc::vec::Vec;

use super::{HeadOut, Heads, Ops};
use crate::mat::Mat;
use crate::real::Real;
use crate::sample::{Draw, Sampler, Sampling};

/// A run of cache rows: `start .. start + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First cache row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// For each row of a decode step, the spans of cache rows it attends to, in the order of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    spans: Vec<Span>,
    ends: Vec<usize>,
}

impl Paths {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next row's path.
    pub fn push(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.spans.extend(spans);
        self.ends.push(self.spans.len());
    }

    /// The path of row i.
    pub fn row(&self, i: usize) -> &[Span] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.spans[start..self.ends[i]]
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.ends.clear();
    }
}

/// Size of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// L.
    pub layers: usize,
    /// Rows per layer: one holds the keys and values of one position.
    pub rows: usize,
    /// H, K, D.
    pub heads: Heads,
}

/// Generation: one new row per live sequence, keys and values from a cache.
pub trait Decode: Ops {
    /// Keys and values of every layer.
    type Cache;

    /// Runs `work`, operations alone. A device may put them off until it returns, and replay them as one where they are those of
    /// an earlier step.
    fn together(&self, work: impl FnOnce()) {
        work();
    }

    /// An empty cache. Errors: out of memory.
    fn cache(&self, shape: CacheShape) -> Result<Self::Cache, Self::Error>;
    /// Puts row i of k and v (n, K D) into cache row `slots[i]` of the layer.
    fn kv_append(&self, cache: &mut Self::Cache, k: &Mat<Self::Buf>, v: &Mat<Self::Buf>, layer: usize, slots: &[u32]);
    /// Row i of o (n, H D) = attention of row i of q (n, H D) over the cache rows of `paths.row(i)`: the same bits as
    /// [`Ops::attention`] gives that row in training, on a backend that promises batch invariance.
    fn attention_decode(
        &self,
        o: &mut Mat<Self::Buf>,
        q: &Mat<Self::Buf>,
        cache: &Self::Cache,
        layer: usize,
        paths: &Paths,
    );
    /// z (n, V) = h (n, C) w'.
    fn logits(&self, z: &mut Mat<Self::Acc>, h: &Mat<Self::Buf>, w: &Mat<Self::Weight>);
    /// What [`Ops::head`] says of the targets, from logits (n, V) that are there already, before any temperature: the same
    /// bits, on a backend that promises batch invariance. So a rollout records what training will compute.
    fn logp(&self, out: HeadOut<'_, Self::Acc>, z: &Mat<Self::Acc>, targets: &Self::Index, temperature: f64);
    /// The next token of each of the draws from logits (n, V), as [`Sampler::draw`] draws it: none where a row has no logit to
    /// draw. By default the logits are downloaded; a device that draws by itself gives the same token for the same logits, but
    /// where two sums of weights differ in their last bits. Errors: the device's. Panics on a row that is not there.
    fn sample(&self, z: &Mat<Self::Acc>, draws: &[Draw<'_>], how: &Sampling) -> Result<Vec<Option<u32>>, Self::Error> {
        let mut logits = vec![Self::Real::ZERO; z.len()];
        self.download(&mut logits, z)?;
        let mut sampler = Sampler::default();
        let draw = |d: &Draw<'_>| sampler.draw(&logits[d.row * z.cols..][..z.cols], d.context, how, d.key);
        Ok(draws.iter().map(draw).collect())
    }
}
