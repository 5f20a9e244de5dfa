//! Attention over the segments of a batch: forward, backward, tangent.
use kernel::backend::{Heads, Qkv, QkvMut};
use kernel::batch::Segment;
use kernel::mat::Mat;

use crate::data::{acc, buf, read_buf};
use crate::operation::{Backend, Cost, Operation};

/// How a batch's rows are cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// One sequence.
    One,
    /// So many sequences of equal lengths, packed.
    Packed(usize),
    /// A prompt and so many completions of it, all of equal lengths.
    Tree(usize),
}

impl Segments {
    fn of(self, rows: usize) -> Vec<Segment> {
        let pieces = match self {
            Self::One => 1,
            Self::Packed(n) => n,
            Self::Tree(n) => n + 1,
        };
        let len = rows / pieces;
        assert_eq!(len * pieces, rows, "{rows} rows in {pieces} segments");
        (0..pieces)
            .map(|i| Segment {
                start: i * len,
                len,
                parent: (matches!(self, Self::Tree(_)) && i > 0).then_some(0),
            })
            .collect()
    }

    /// Pairs of a row and a row that it attends to.
    fn pairs(self, rows: usize) -> usize {
        self.of(rows)
            .iter()
            .map(|s| s.len * (s.len + 1) / 2 + if s.parent.is_some() { s.len * s.len } else { 0 })
            .sum()
    }

    fn name(self) -> String {
        match self {
            Self::One => String::new(),
            Self::Packed(n) => format!(" in {n} segments"),
            Self::Tree(n) => format!(" in a tree of {n}"),
        }
    }
}

/// Which of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// `attention`.
    Forward,
    /// `attention_bwd`.
    Backward,
    /// `attention_jvp`.
    Tangent,
}

/// All passes in one state: the later ones need the forward one's results.
#[derive(Clone)]
pub struct Attention(pub Heads, pub Segments, pub Pass);
impl Operation for Attention {
    // q, k, v, o, then cotangents or tangents: of o, q, k, v.
    type State<B: Backend> = ([Mat<B::Buf>; 8], Mat<B::Acc>, B::Tree);
    fn name(&self) -> String {
        let Heads {
            heads,
            kv_heads,
            head_dim,
        } = self.0;
        let name = match self.2 {
            Pass::Forward => "attention",
            Pass::Backward => "attention_bwd",
            Pass::Tangent => "attention_jvp",
        };
        format!("{name} {heads}/{kv_heads}x{head_dim}{}", self.1.name())
    }
    fn cost(&self, rows: usize) -> Cost {
        let (wide, narrow) = (self.0.heads * self.0.head_dim, self.0.kv_heads * self.0.head_dim);
        // Products: scores and values forward; those of the scores and four of their cotangents backward; three of scores and two
        // of values for the tangent.
        let (products, matrices) = match self.2 {
            Pass::Forward => (2, 2 * wide + 2 * narrow),
            Pass::Backward | Pass::Tangent => (5, 4 * wide + 4 * narrow),
        };
        let flops = 2 * self.1.pairs(rows) * wide * products;
        Cost::products(flops, rows * matrices, rows * self.0.heads)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let (wide, narrow) = (self.0.heads * self.0.head_dim, self.0.kv_heads * self.0.head_dim);
        let mut seed = 0;
        let bufs = [wide, narrow, narrow, wide, wide, wide, narrow, narrow].map(|cols| {
            seed += 1;
            buf(b, seed, rows, cols)
        });
        let tree = b.tree(&self.1.of(rows)).unwrap_or_else(|e| panic!("{e}"));
        let mut state = (bufs, acc(b, 9, rows, self.0.heads), tree);
        let ([q, k, v, o, ..], lse, tree) = &mut state;
        b.attention(o, lse, Qkv { q, k, v }, tree, self.0);
        state
    }
    fn run<B: Backend>(&self, b: &B, ([q, k, v, o, d_o, dq, dk, dv], lse, tree): &mut Self::State<B>) {
        let qkv = Qkv { q, k, v };
        match self.2 {
            Pass::Forward => b.attention(o, lse, qkv, tree, self.0),
            Pass::Backward => {
                let d = QkvMut { q: dq, k: dk, v: dv };
                b.attention_bwd(d, d_o, o, lse, qkv, tree, self.0);
            }
            Pass::Tangent => {
                let dot = Qkv { q: dq, k: dk, v: dv };
                b.attention_jvp(d_o, dot, o, lse, qkv, tree, self.0);
            }
        }
    }
    fn read<B: Backend>(&self, b: &B, ([_, _, _, o, d_o, dq, dk, dv], ..): &Self::State<B>) -> Vec<f64> {
        match self.2 {
            Pass::Forward => read_buf(b, o),
            Pass::Backward => [dq, dk, dv].map(|x| read_buf(b, x)).concat(),
            Pass::Tangent => read_buf(b, d_o),
        }
    }
}
