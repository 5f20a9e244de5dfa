//! Decode: sequences that grow token by token over a cache of keys and values. Sequences may share a prefix.
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::forward::download;
use super::{Keep, Model, Scores, Workspace};
use crate::backend::{CacheShape, Decode, HeadOut, Paths, Qkv, Span};
use crate::batch::Batch;
use crate::mat::Mat;
use crate::sample::{Draw, Sampling};

/// Cache rows are handed out in blocks of this many: what a short sequence can waste. A position's row within its block is its remainder,
/// so that the blocks of all sequences cut their positions alike.
const BLOCK: usize = 32;

/// A live sequence of a [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeqId(usize);

/// Why a sequence cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodeError<E> {
    /// The cache has too few free rows.
    CacheFull {
        /// Blocks asked for.
        asked: usize,
        /// Blocks free.
        free: usize,
    },
    /// The device's own error.
    Backend(E),
}

impl<E: fmt::Display> fmt::Display for DecodeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheFull { asked, free } => write!(
                f,
                "KV cache full: {} rows asked for, {} free",
                asked * BLOCK,
                free * BLOCK
            ),
            Self::Backend(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for DecodeError<E> {}

impl<E> From<E> for DecodeError<E> {
    fn from(e: E) -> Self {
        Self::Backend(e)
    }
}

#[derive(Clone, Default)]
struct Seq {
    /// Where its rows lie, in the order of positions.
    spans: Vec<Span>,
    /// Blocks it holds a share of.
    blocks: Vec<u32>,
    len: usize,
    /// Rows left in the last block, which is its own.
    room: usize,
}

impl Seq {
    /// Takes the next row of the last block.
    fn take_row(&mut self) -> u32 {
        let block = self.blocks[self.blocks.len() - 1] as usize;
        let row = (block + 1) * BLOCK - self.room;
        match self.spans.last_mut() {
            Some(s) if s.start + s.len == row => s.len += 1,
            _ => self.spans.push(Span { start: row, len: 1 }),
        }
        self.room -= 1;
        self.len += 1;
        row as u32
    }
}

/// What a step's rows are, on the device, in memory that is kept.
struct Step<B: Decode> {
    ids: B::Index,
    positions: B::Index,
    /// The rows whose logits are asked for.
    last: B::Index,
}

impl<B: Decode> Step<B> {
    fn refill(&mut self, b: &B, ids: &[u32], positions: &[u32], last: &[u32]) -> Result<(), B::Error> {
        b.refill(&mut self.ids, ids)?;
        b.refill(&mut self.positions, positions)?;
        b.refill(&mut self.last, last)
    }
}

/// A KV cache with the sequences in it. Logits of a row are the same whatever the other rows of a step are, where the
/// backend is batch-invariant.
pub struct Decoder<B: Decode> {
    cache: B::Cache,
    ws: Workspace<B>,
    step: Step<B>,
    z: Mat<B::Acc>,
    z_rows: usize,
    seqs: Vec<Option<Seq>>,
    shares: Vec<u32>,
    free: Vec<u32>,
    paths: Paths,
}

impl<B: Decode> Decoder<B> {
    /// A decoder whose cache holds `rows` positions in all, rounded up to blocks of 32. Errors: out of memory.
    pub fn new(b: &B, model: &Model<B>, rows: usize) -> Result<Self, B::Error> {
        let blocks = rows.div_ceil(BLOCK);
        let cache = b.cache(CacheShape {
            layers: model.config.layers,
            rows: blocks * BLOCK,
            heads: model.heads(),
        })?;
        Ok(Self {
            cache,
            ws: Workspace::new(b, model, Keep::Nothing, 1, 1)?,
            step: Step {
                ids: b.index(&[])?,
                positions: b.index(&[])?,
                last: b.index(&[])?,
            },
            z: b.acc(1, model.config.vocab)?,
            z_rows: 1,
            seqs: Vec::new(),
            shares: vec![0; blocks],
            free: (0..blocks as u32).rev().collect(),
            paths: Paths::new(),
        })
    }

    /// Positions still free.
    pub fn free_rows(&self) -> usize {
        self.free.len() * BLOCK
    }

    /// Positions that a sequence of `len` tokens occupies.
    pub fn rows_for(len: usize) -> usize {
        len.div_ceil(BLOCK) * BLOCK
    }

    /// Positions that a fork of a sequence of `len` tokens occupies by itself with `more` tokens.
    pub fn rows_for_fork(len: usize, more: usize) -> usize {
        Self::rows_for(len % BLOCK + more)
    }

    /// Tokens of a live sequence that are in the cache.
    pub fn len(&self, id: SeqId) -> usize {
        self.seqs[id.0].as_ref().map_or(0, |s| s.len)
    }

    /// Whether no sequence is live.
    pub fn is_empty(&self) -> bool {
        self.seqs.iter().all(Option::is_none)
    }

    /// Runs the prompts (none of them empty) as one packed batch and opens a sequence for each; the logits after prompt
    /// i's last token are row i of [`Decoder::logits`]. On an error no sequence is opened. Panics on a token outside the
    /// vocabulary, an empty prompt, a position outside the context.
    pub fn prefill(
        &mut self,
        b: &B,
        model: &Model<B>,
        prompts: &[&[u32]],
    ) -> Result<Vec<SeqId>, DecodeError<B::Error>> {
        let mut batch = Batch::new(model.config.vocab);
        for p in prompts {
            if let Err(e) = batch.segment(None, p) {
                panic!("prefill: {e}");
            }
        }
        model.check_positions(batch.positions());
        let asked = prompts.iter().map(|p| p.len().div_ceil(BLOCK)).sum();
        self.check_free(asked)?;
        let last: Vec<u32> = batch.segments().iter().map(|s| (s.start + s.len - 1) as u32).collect();
        let heads = model.heads();
        // All that can fail comes before the first sequence is opened.
        self.step.refill(b, batch.ids(), batch.positions(), &last)?;
        let tree = b.tree(batch.segments())?;
        self.fit(b, model, batch.tokens(), prompts.len())?;
        let mut slots = Vec::with_capacity(batch.tokens());
        let mut ids = Vec::with_capacity(prompts.len());
        for p in prompts {
            let mut seq = Seq::default();
            for _ in 0..p.len() {
                self.ensure_room(&mut seq);
                slots.push(seq.take_row());
            }
            ids.push(self.open(seq));
        }
        let (step, cache) = (&self.step, &mut self.cache);
        model.layers(b, &mut self.ws, &step.ids, &step.positions, |layer, a| {
            let qkv = Qkv {
                q: &a.q,
                k: &a.k,
                v: &a.v,
            };
            b.attention(&mut a.o, &mut a.lse, qkv, &tree, heads);
            b.kv_append(cache, &a.k, &a.v, layer, &slots);
        });
        model.logits_of(b, &mut self.ws, &mut self.z, &step.last);
        Ok(ids)
    }

    /// A new sequence that continues `id` as it stands, sharing its rows.
    pub fn fork(&mut self, id: SeqId) -> SeqId {
        let mut seq = self.seqs[id.0].clone().unwrap_or_default();
        // The rest of a partly filled block stays the parent's.
        seq.room = 0;
        for &block in &seq.blocks {
            self.shares[block as usize] += 1;
        }
        self.open(seq)
    }

    /// Appends one token to each of the sequences; row i of [`Decoder::logits`] follows `tokens[i]`. On an error nothing is
    /// appended. Panics as [`Decoder::prefill`] does, and where one sequence is named twice or is not live.
    pub fn step(
        &mut self,
        b: &B,
        model: &Model<B>,
        ids: &[SeqId],
        tokens: &[u32],
    ) -> Result<(), DecodeError<B::Error>> {
        assert_eq!(ids.len(), tokens.len(), "step: one token for each sequence");
        let mut asked = 0;
        let mut positions = Vec::with_capacity(ids.len());
        for id in ids {
            match &self.seqs[id.0] {
                Some(s) => {
                    asked += (s.room == 0) as usize;
                    positions.push(s.len as u32);
                }
                None => panic!("step: sequence {} is not live", id.0),
            }
        }
        model.check_positions(&positions);
        self.check_free(asked)?;
        // All that can fail comes before the first row is taken.
        let rows: Vec<u32> = (0..ids.len() as u32).collect();
        self.step.refill(b, tokens, &positions, &rows)?;
        self.fit(b, model, ids.len(), ids.len())?;
        let mut slots = Vec::with_capacity(ids.len());
        self.paths.clear();
        for id in ids {
            let mut seq = self.seqs[id.0].take().unwrap_or_default();
            assert!(seq.len > 0, "step: sequence {} is named twice", id.0);
            self.ensure_room(&mut seq);
            slots.push(seq.take_row());
            self.paths.push(seq.spans.iter().copied());
            self.seqs[id.0] = Some(seq);
        }
        let (step, cache, paths, ws, z) = (&self.step, &mut self.cache, &self.paths, &mut self.ws, &mut self.z);
        b.together(|| {
            model.layers(b, ws, &step.ids, &step.positions, |layer, a| {
                b.kv_append(cache, &a.k, &a.v, layer, &slots);
                b.attention_decode(&mut a.o, &a.q, cache, layer, paths);
            });
            model.logits_of(b, ws, z, &step.last);
        });
        Ok(())
    }

    /// Ends a sequence; rows that no other sequence shares are free again.
    pub fn release(&mut self, id: SeqId) {
        if let Some(seq) = self.seqs[id.0].take() {
            for block in seq.blocks {
                let share = &mut self.shares[block as usize];
                *share -= 1;
                if *share == 0 {
                    self.free.push(block);
                }
            }
        }
    }

    /// Rows of the last call.
    pub fn rows(&self) -> usize {
        self.z.rows
    }

    /// Logits (rows of the last call, V), before any temperature, on the host. Errors: the device's.
    pub fn logits(&self, b: &B) -> Result<Vec<B::Real>, B::Error> {
        let mut logits = Vec::new();
        download(b, &mut logits, &self.z)?;
        Ok(logits)
    }

    /// A token for each of the draws, from the logits of the last call. Errors: the device's.
    pub fn sample(&self, b: &B, draws: &[Draw<'_>], how: &Sampling) -> Result<Vec<Option<u32>>, B::Error> {
        b.sample(&self.z, draws, how)
    }

    /// What training says of `targets[i]` after row i of the last call, under `temperature`: log-prob, entropy and best.
    /// Errors: the device's. Panics where there is not one target for each row.
    pub fn logp(&mut self, b: &B, targets: &[u32], temperature: f64) -> Result<&Scores<B::Real>, B::Error> {
        let (t, scores) = (&mut self.ws.top, &mut self.ws.scores);
        let out = HeadOut {
            logp: &mut t.logp,
            entropy: &mut t.entropy,
            lse: &mut t.lse,
            best: &mut t.best,
        };
        b.logp(out, &self.z, &b.index(targets)?, temperature);
        download(b, &mut scores.logp, &t.logp)?;
        download(b, &mut scores.entropy, &t.entropy)?;
        download(b, &mut scores.best, &t.best)?;
        Ok(scores)
    }

    fn open(&mut self, seq: Seq) -> SeqId {
        match self.seqs.iter().position(Option::is_none) {
            Some(i) => {
                self.seqs[i] = Some(seq);
                SeqId(i)
            }
            None => {
                self.seqs.push(Some(seq));
                SeqId(self.seqs.len() - 1)
            }
        }
    }

    fn check_free(&self, asked: usize) -> Result<(), DecodeError<B::Error>> {
        let free = self.free.len();
        if asked > free {
            return Err(DecodeError::CacheFull { asked, free });
        }
        Ok(())
    }

    /// Gives the sequence a block when its last one is full; [`Decoder::check_free`] has made sure that there is one.
    fn ensure_room(&mut self, seq: &mut Seq) {
        if seq.room == 0
            && let Some(block) = self.free.pop()
        {
            self.shares[block as usize] = 1;
            seq.blocks.push(block);
            seq.room = BLOCK - seq.len % BLOCK;
        }
    }

    /// Room for so many rows, and for the logits of so many.
    fn fit(&mut self, b: &B, model: &Model<B>, rows: usize, logits: usize) -> Result<(), B::Error> {
        self.ws.fit(b, model, rows, logits)?;
        if logits > self.z_rows {
            self.z = b.acc(logits, model.config.vocab)?;
            self.z_rows = logits;
        }
        self.z.rows = logits;
        Ok(())
    }
}

impl<B: Decode> Model<B> {
    /// Logits of these rows of the last forward pass.
    fn logits_of(&self, b: &B, ws: &mut Workspace<B>, z: &mut Mat<B::Acc>, rows: &B::Index) {
        let last = self.config.layers % ws.inputs.len();
        let t = &mut ws.top;
        b.gather(&mut t.x, &ws.inputs[last], rows);
        b.rmsnorm(&mut t.h, &mut t.rstd, &t.x, &self.weights.norm, self.config.rms_eps);
        b.logits(z, &t.h, self.head());
    }
}
