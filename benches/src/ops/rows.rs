//! Rows: norms, rotation, SwiGLU, rows by their numbers.
use kernel::backend::Heads;
use kernel::mat::{Accum, Direction, Mat};

use super::head::FEW_TOKENS;
use crate::data::{acc, buf, index, read_acc, read_buf, spread, weight};
use crate::operation::{Backend, Cost, Operation};

/// `rmsnorm` of C columns.
#[derive(Clone)]
pub struct Rmsnorm(pub usize);
impl Operation for Rmsnorm {
    type State<B: Backend> = ([Mat<B::Buf>; 3], Mat<B::Acc>);
    fn name(&self) -> String {
        format!("rmsnorm {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(2 * rows * self.0, rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let bufs = [buf(b, 1, rows, self.0), buf(b, 2, rows, self.0), buf(b, 3, 1, self.0)];
        (bufs, acc(b, 4, rows, 1))
    }
    fn run<B: Backend>(&self, b: &B, ([y, x, w], rstd): &mut Self::State<B>) {
        b.rmsnorm(y, rstd, x, w, 1e-5);
    }
    fn read<B: Backend>(&self, b: &B, ([y, ..], rstd): &Self::State<B>) -> Vec<f64> {
        [read_buf(b, y), read_acc(b, rstd)].concat()
    }
}

/// `rmsnorm_bwd` of C columns.
#[derive(Clone)]
pub struct RmsnormBwd(pub usize);
impl Operation for RmsnormBwd {
    type State<B: Backend> = ([Mat<B::Buf>; 4], Mat<B::Acc>, Mat<B::Acc>);
    fn name(&self) -> String {
        format!("rmsnorm_bwd {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(3 * rows * self.0, rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let c = self.0;
        let bufs = [(1, rows), (2, rows), (3, rows), (4, 1)].map(|(seed, n)| buf(b, seed, n, c));
        (bufs, acc(b, 5, 1, c), acc(b, 6, rows, 1))
    }
    fn run<B: Backend>(&self, b: &B, ([dx, dy, x, w], dw, rstd): &mut Self::State<B>) {
        b.rmsnorm_bwd(dx, dw, dy, x, w, rstd, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, ([dx, ..], dw, _): &Self::State<B>) -> Vec<f64> {
        [read_buf(b, dx), read_acc(b, dw)].concat()
    }
}

/// `rope` of the query heads.
#[derive(Clone)]
pub struct Rope(pub Heads);
impl Operation for Rope {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Acc>, B::Index);
    fn name(&self) -> String {
        format!("rope {}x{}", self.0.heads, self.0.head_dim)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(2 * rows * self.0.heads * self.0.head_dim, rows * self.0.head_dim)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let d = self.0.head_dim;
        // Angles of a true table, or the numbers would grow from run to run.
        let rope = kernel::config::Rope {
            theta: 1e5,
            scaling: kernel::config::RopeScaling::None,
        };
        let mut table = acc(b, 2, rows, d);
        b.upload(&mut table, &kernel::rope::table(&rope, d, rows))
            .unwrap_or_else(|e| panic!("{e}"));
        let positions: Vec<u32> = (0..rows as u32).collect();
        (buf(b, 1, rows, self.0.heads * d), table, index(b, &positions))
    }
    fn run<B: Backend>(&self, b: &B, (x, table, positions): &mut Self::State<B>) {
        b.rope(x, table, positions, self.0.head_dim, Direction::Forward);
    }
    fn read<B: Backend>(&self, b: &B, (x, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, x)
    }
}

/// `swiglu` of F columns.
#[derive(Clone)]
pub struct Swiglu(pub usize);
impl Operation for Swiglu {
    type State<B: Backend> = [Mat<B::Buf>; 3];
    fn name(&self) -> String {
        format!("swiglu {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(3 * rows * self.0, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        [1, 2, 3].map(|seed| buf(b, seed, rows, self.0))
    }
    fn run<B: Backend>(&self, b: &B, [y, gate, up]: &mut Self::State<B>) {
        b.swiglu(y, gate, up);
    }
    fn read<B: Backend>(&self, b: &B, [y, ..]: &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
}

/// `swiglu_bwd` of F columns.
#[derive(Clone)]
pub struct SwigluBwd(pub usize);
impl Operation for SwigluBwd {
    type State<B: Backend> = [Mat<B::Buf>; 5];
    fn name(&self) -> String {
        format!("swiglu_bwd {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(5 * rows * self.0, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        [1, 2, 3, 4, 5].map(|seed| buf(b, seed, rows, self.0))
    }
    fn run<B: Backend>(&self, b: &B, [d_gate, d_up, dy, gate, up]: &mut Self::State<B>) {
        b.swiglu_bwd(d_gate, d_up, dy, gate, up);
    }
    fn read<B: Backend>(&self, b: &B, [d_gate, d_up, ..]: &Self::State<B>) -> Vec<f64> {
        [read_buf(b, d_gate), read_buf(b, d_up)].concat()
    }
}

/// `embed`: rows of a table of (V, C).
#[derive(Clone)]
pub struct Embed(pub usize, pub usize);
impl Operation for Embed {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Weight>, B::Index);
    fn name(&self) -> String {
        format!("embed {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(2 * rows * self.1, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let ids = index(b, &spread(rows, self.0));
        (buf(b, 1, rows, self.1), weight(b, 2, self.0, self.1), ids)
    }
    fn run<B: Backend>(&self, b: &B, (y, table, ids): &mut Self::State<B>) {
        b.embed(y, table, ids);
    }
    fn read<B: Backend>(&self, b: &B, (y, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS, self.1)
    }
}

/// `embed_bwd`: rows added to those of a gradient of (V, C).
#[derive(Clone)]
pub struct EmbedBwd(pub usize, pub usize);
impl Operation for EmbedBwd {
    type State<B: Backend> = (Mat<B::Acc>, Mat<B::Buf>, B::Index);
    fn name(&self) -> String {
        format!("embed_bwd {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(rows * self.1, 2 * rows * self.1)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let ids = index(b, &spread(rows, self.0));
        (acc(b, 1, self.0, self.1), buf(b, 2, rows, self.1), ids)
    }
    fn run<B: Backend>(&self, b: &B, (d_table, dy, ids): &mut Self::State<B>) {
        b.embed_bwd(d_table, dy, ids);
    }
    fn read<B: Backend>(&self, b: &B, (d_table, ..): &Self::State<B>) -> Vec<f64> {
        read_acc(b, d_table)
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS, self.1)
    }
}

/// Which way rows go by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `gather`.
    Gather,
    /// `scatter_add`.
    ScatterAdd,
}

/// Rows of C columns, every second one of a batch and its last one again.
#[derive(Clone)]
pub struct ByNumber(pub usize, pub Way);
impl Operation for ByNumber {
    type State<B: Backend> = ([Mat<B::Buf>; 2], B::Index);
    fn name(&self) -> String {
        let name = match self.1 {
            Way::Gather => "gather",
            Way::ScatterAdd => "scatter_add",
        };
        format!("{name} {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        let n = rows * self.0;
        Cost::moved(if self.1 == Way::Gather { 2 * n } else { 3 * n }, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let numbers: Vec<_> = (0..rows as u32).map(|i| (2 * i).min(2 * rows as u32 - 4)).collect();
        let bufs = [(1, rows), (2, 2 * rows)].map(|(seed, n)| buf(b, seed, n, self.0));
        (bufs, index(b, &numbers))
    }
    fn run<B: Backend>(&self, b: &B, ([few, all], numbers): &mut Self::State<B>) {
        match self.1 {
            Way::Gather => b.gather(few, all, numbers),
            Way::ScatterAdd => b.scatter_add(all, few, numbers),
        }
    }
    fn read<B: Backend>(&self, b: &B, (bufs, _): &Self::State<B>) -> Vec<f64> {
        read_buf(b, &bufs[self.1 as usize])
    }
}
