//! Generation: the cache, attention of one new row a sequence, logits, what is made of them.
use kernel::backend::{CacheShape, HeadOut, Heads, Paths, Span};
use kernel::mat::Mat;
use kernel::sample::{Draw, DrawKey, Sampling};

use super::head::FEW_TOKENS;
use crate::data::{acc, buf, index, read_acc, read_buf, spread, weight};
use crate::operation::{Backend, Cost, Operation};

/// Keys and values of `sequences` sequences of `rows` positions in one layer's cache, each in a run of its own.
fn filled<B: Backend>(b: &B, heads: Heads, sequences: usize, rows: usize) -> (B::Cache, Paths) {
    let all = sequences * rows;
    let shape = CacheShape {
        layers: 1,
        rows: all,
        heads,
    };
    let mut cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
    let narrow = heads.kv_heads * heads.head_dim;
    let slots: Vec<u32> = (0..all as u32).collect();
    b.kv_append(&mut cache, &buf(b, 1, all, narrow), &buf(b, 2, all, narrow), 0, &slots);
    let mut paths = Paths::new();
    for i in 0..sequences {
        paths.push([Span {
            start: i * rows,
            len: rows,
        }]);
    }
    (cache, paths)
}

/// `attention_decode` of one new row of each of so many sequences; rows are the positions of each.
#[derive(Clone)]
pub struct AttentionDecode(pub Heads, pub usize);
impl Operation for AttentionDecode {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, B::Cache, Paths);
    fn name(&self) -> String {
        let Heads {
            heads,
            kv_heads,
            head_dim,
        } = self.0;
        format!("attention_decode {heads}/{kv_heads}x{head_dim} of {}", self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        let n = self.1 * rows * self.0.head_dim;
        let new = 2 * self.1 * self.0.heads * self.0.head_dim;
        // Products are of one row: made of multiply-adds, not of what multiplies matrices, so bytes are the limit.
        Cost::moved(2 * n * self.0.kv_heads + new, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let (cache, paths) = filled(b, self.0, self.1, rows);
        let wide = self.0.heads * self.0.head_dim;
        (buf(b, 3, self.1, wide), buf(b, 4, self.1, wide), cache, paths)
    }
    fn run<B: Backend>(&self, b: &B, (o, q, cache, paths): &mut Self::State<B>) {
        b.attention_decode(o, q, cache, 0, paths);
    }
    fn read<B: Backend>(&self, b: &B, (o, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, o)
    }
}

/// `kv_append` of rows in a row.
#[derive(Clone)]
pub struct KvAppend(pub Heads);
impl Operation for KvAppend {
    type State<B: Backend> = ([Mat<B::Buf>; 2], B::Cache, Vec<u32>, Paths);
    fn name(&self) -> String {
        format!("kv_append {}x{}", self.0.kv_heads, self.0.head_dim)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(4 * rows * self.0.kv_heads * self.0.head_dim, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let narrow = self.0.kv_heads * self.0.head_dim;
        let (cache, paths) = filled(b, self.0, 1, rows);
        let new = [5, 6].map(|seed| buf(b, seed, rows, narrow));
        (new, cache, (0..rows as u32).collect(), paths)
    }
    fn run<B: Backend>(&self, b: &B, ([k, v], cache, slots, _): &mut Self::State<B>) {
        b.kv_append(cache, k, v, 0, slots);
    }
    /// What attends to it.
    fn read<B: Backend>(&self, b: &B, (_, cache, _, paths): &Self::State<B>) -> Vec<f64> {
        let wide = self.0.heads * self.0.head_dim;
        let mut o = buf(b, 3, 1, wide);
        b.attention_decode(&mut o, &buf(b, 4, 1, wide), cache, 0, paths);
        read_buf(b, &o)
    }
}

/// `logits` of a head of (V, C).
#[derive(Clone)]
pub struct Logits(pub usize, pub usize);
impl Operation for Logits {
    type State<B: Backend> = (Mat<B::Acc>, Mat<B::Buf>, Mat<B::Weight>);
    fn name(&self) -> String {
        format!("logits {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        let (v, c) = (self.0, self.1);
        Cost::products(2 * rows * v * c, rows * c + v * c, rows * v)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        (
            acc(b, 1, rows, self.0),
            buf(b, 2, rows, self.1),
            weight(b, 3, self.0, self.1),
        )
    }
    fn run<B: Backend>(&self, b: &B, (z, h, w): &mut Self::State<B>) {
        b.logits(z, h, w);
    }
    fn read<B: Backend>(&self, b: &B, (z, ..): &Self::State<B>) -> Vec<f64> {
        read_acc(b, z)
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS, self.1)
    }
}

/// `logp` of logits of V columns.
#[derive(Clone)]
pub struct Logp(pub usize);
impl Operation for Logp {
    type State<B: Backend> = (Mat<B::Acc>, [Mat<B::Acc>; 4], B::Index);
    fn name(&self) -> String {
        format!("logp {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(0, rows * self.0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let targets = index(b, &spread(rows, self.0));
        (
            acc(b, 1, rows, self.0),
            [2, 3, 4, 5].map(|seed| acc(b, seed, rows, 1)),
            targets,
        )
    }
    fn run<B: Backend>(&self, b: &B, (z, [logp, entropy, lse, best], targets): &mut Self::State<B>) {
        let out = HeadOut {
            logp,
            entropy,
            lse,
            best,
        };
        b.logp(out, z, targets, 0.7);
    }
    fn read<B: Backend>(&self, b: &B, (_, out, _): &Self::State<B>) -> Vec<f64> {
        out.each_ref().map(|x| read_acc(b, x)).concat()
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS)
    }
}

/// `sample` from logits of V columns, a draw a row.
#[derive(Clone)]
pub struct Sample(pub usize, pub Sampling);
impl Operation for Sample {
    type State<B: Backend> = (Mat<B::Acc>, Vec<Option<u32>>);
    fn name(&self) -> String {
        let how = if self.1.temperature == 0.0 {
            "greedy".into()
        } else {
            format!("top-p {}", self.1.top_p)
        };
        format!("sample {} {how}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(0, rows * self.0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        // Few are as likely as the likeliest, as in a model.
        let mut z = acc(b, 1, rows, self.0);
        b.scale(&mut z, 8.0);
        (z, Vec::new())
    }
    fn run<B: Backend>(&self, b: &B, (z, tokens): &mut Self::State<B>) {
        let draw = |row| Draw {
            row,
            context: &[],
            key: DrawKey {
                seed: 1,
                prompt: row as u32,
                completion: 0,
                position: 0,
            },
        };
        let draws: Vec<_> = (0..z.rows).map(draw).collect();
        *tokens = b.sample(z, &draws, &self.1).unwrap_or_else(|e| panic!("{e}"));
    }
    fn read<B: Backend>(&self, _: &B, (_, tokens): &Self::State<B>) -> Vec<f64> {
        tokens.iter().map(|t| t.map_or(-1.0, f64::from)).collect()
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS, self.1)
    }
}
