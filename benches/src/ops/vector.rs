//! Elementwise work: the optimizer's, and changes of precision and layout.
use kernel::backend::AdamW;
use kernel::mat::{Accum, Mat, Use};

use crate::data::{acc, buf, index, read_acc, read_buf};
use crate::operation::{Backend, Cost, Operation};

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `dot` of two vectors.
    Dot,
    /// `axpy`.
    Axpy,
    /// `scale`.
    Scale,
    /// `zero`.
    Zero,
    /// `zero_buf`.
    ZeroBuf,
    /// `copy`.
    Copy,
    /// `narrow`.
    Narrow,
    /// `widen`.
    Widen,
    /// `upload`.
    Upload,
    /// `download`.
    Download,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Dot,
        Self::Axpy,
        Self::Scale,
        Self::Zero,
        Self::ZeroBuf,
        Self::Copy,
        Self::Narrow,
        Self::Widen,
        Self::Upload,
        Self::Download,
    ];
}

/// An elementwise operation on rows of so many numbers.
#[derive(Clone)]
pub struct Elementwise(pub usize, pub What);

/// What it works on.
pub struct State<B: Backend> {
    wide: [Mat<B::Acc>; 2],
    narrow: [Mat<B::Buf>; 2],
    host: Vec<B::Real>,
    dot: f64,
}

impl Operation for Elementwise {
    type State<B: Backend> = State<B>;
    fn name(&self) -> String {
        let name = match self.1 {
            What::Dot => "dot",
            What::Axpy => "axpy",
            What::Scale => "scale",
            What::Zero => "zero",
            What::ZeroBuf => "zero_buf",
            What::Copy => "copy",
            What::Narrow => "narrow",
            What::Widen => "widen",
            What::Upload => "upload",
            What::Download => "download",
        };
        format!("{name} {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        let n = rows * self.0;
        match self.1 {
            What::Dot | What::Scale | What::Upload | What::Download => Cost::moved(0, 2 * n),
            What::Axpy => Cost::moved(0, 3 * n),
            What::Zero => Cost::moved(0, n),
            What::ZeroBuf => Cost::moved(n, 0),
            What::Copy => Cost::moved(2 * n, 0),
            What::Narrow | What::Widen => Cost::moved(n, n),
        }
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> State<B> {
        let wide = [1, 2].map(|seed| acc(b, seed, rows, self.0));
        let mut host = vec![B::Real::default(); rows * self.0];
        b.download(&mut host, &wide[0]).unwrap_or_else(|e| panic!("{e}"));
        State {
            wide,
            narrow: [3, 4].map(|seed| buf(b, seed, rows, self.0)),
            host,
            dot: 0.0,
        }
    }
    fn run<B: Backend>(&self, b: &B, s: &mut State<B>) {
        let ([x, y], [p, q]) = (&mut s.wide, &mut s.narrow);
        match self.1 {
            What::Dot => s.dot = b.dot(x, y).unwrap_or_else(|e| panic!("{e}")),
            What::Axpy => b.axpy(y, 0.5, x),
            // Again and again, and the numbers stay as large.
            What::Scale => b.scale(y, -1.0),
            What::Zero => b.zero(y),
            What::ZeroBuf => b.zero_buf(q),
            What::Copy => b.copy(q, p),
            What::Narrow => b.narrow(q, x),
            What::Widen => b.widen(y, p),
            What::Upload => b.upload(y, &s.host).unwrap_or_else(|e| panic!("{e}")),
            What::Download => b.download(&mut s.host, y).unwrap_or_else(|e| panic!("{e}")),
        }
    }
    fn read<B: Backend>(&self, b: &B, s: &State<B>) -> Vec<f64> {
        match self.1 {
            What::Dot => vec![s.dot],
            What::ZeroBuf | What::Copy | What::Narrow => read_buf(b, &s.narrow[1]),
            What::Download => s.host.iter().map(|&x| kernel::real::Real::to_f64(x)).collect(),
            _ => read_acc(b, &s.wide[1]),
        }
    }
}

/// A step of AdamW.
#[derive(Clone)]
pub struct Adamw(pub usize);
impl Operation for Adamw {
    type State<B: Backend> = [Mat<B::Acc>; 4];
    fn name(&self) -> String {
        format!("adamw {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(0, 7 * rows * self.0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let mut state = [1, 2, 3, 4].map(|seed| acc(b, seed, rows, self.0));
        b.zero(&mut state[2]);
        state
    }
    fn run<B: Backend>(&self, b: &B, [p, m, v, grad]: &mut Self::State<B>) {
        let step = AdamW {
            learning_rate: 1e-5,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            step: 10,
            grad_scale: 0.5,
        };
        b.adamw(p, m, v, grad, &step);
    }
    fn read<B: Backend>(&self, b: &B, [p, ..]: &Self::State<B>) -> Vec<f64> {
        read_acc(b, p)
    }
}

/// The working weight of a master of (rows, this).
#[derive(Clone)]
pub struct Prepare(pub usize);
impl Operation for Prepare {
    type State<B: Backend> = (Mat<B::Weight>, Mat<B::Acc>);
    fn name(&self) -> String {
        format!("prepare {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(rows * self.0, rows * self.0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let w = b.weight(rows, self.0, Use::Training).unwrap_or_else(|e| panic!("{e}"));
        (w, acc(b, 1, rows, self.0))
    }
    fn run<B: Backend>(&self, b: &B, (w, master): &mut Self::State<B>) {
        b.prepare(w, master);
    }
    /// As rows that are looked up, and as a product.
    fn read<B: Backend>(&self, b: &B, (w, _): &Self::State<B>) -> Vec<f64> {
        let mut rows = buf(b, 2, w.rows, w.cols);
        b.embed(&mut rows, w, &index(b, &(0..w.rows as u32).collect::<Vec<_>>()));
        let mut y = buf(b, 3, 1, w.rows);
        b.linear(&mut y, &buf(b, 4, 1, w.cols), w, None, Accum::Replace);
        [read_buf(b, &rows), read_buf(b, &y)].concat()
    }
}
