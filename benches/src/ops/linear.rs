//! Products with a weight of (out, in).
use kernel::mat::{Accum, Mat};

use crate::data::{acc, buf, read_acc, read_buf, weight};
use crate::operation::{Backend, Cost, Operation};

fn product(rows: usize, out: usize, inp: usize) -> Cost {
    Cost::products(2 * rows * out * inp, rows * (out + inp) + out * inp, 0)
}

/// y = x w'.
#[derive(Clone)]
pub struct Linear(pub usize, pub usize);
impl Operation for Linear {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Mat<B::Weight>);
    fn name(&self) -> String {
        format!("linear {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        product(rows, self.0, self.1)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        (
            buf(b, 1, rows, self.0),
            buf(b, 2, rows, self.1),
            weight(b, 3, self.0, self.1),
        )
    }
    fn run<B: Backend>(&self, b: &B, (y, x, w): &mut Self::State<B>) {
        b.linear(y, x, w, None, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, (y, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
}

/// y = x w' with one of so many weights that no cache holds them, as in decoding.
#[derive(Clone)]
pub struct LinearCold {
    shape: (usize, usize),
    weights: usize,
}
impl LinearCold {
    /// Of this shape.
    pub fn new(out: usize, inp: usize) -> Self {
        Self {
            shape: (out, inp),
            weights: (96 << 20) / (out * inp) + 1,
        }
    }
}
impl Operation for LinearCold {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Vec<Mat<B::Weight>>, usize);
    fn name(&self) -> String {
        format!("linear from memory {}x{}", self.shape.0, self.shape.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost {
            cold: true,
            ..product(rows, self.shape.0, self.shape.1)
        }
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let (out, inp) = self.shape;
        let weights = (0..self.weights).map(|_| weight(b, 3, out, inp)).collect();
        (buf(b, 1, rows, out), buf(b, 2, rows, inp), weights, 0)
    }
    fn run<B: Backend>(&self, b: &B, (y, x, w, next): &mut Self::State<B>) {
        *next = (*next + 1) % w.len();
        b.linear(y, x, &w[*next], None, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, (y, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
    fn small(&self) -> Self {
        Self {
            weights: 1,
            ..self.clone()
        }
    }
}

/// dx = dy w.
#[derive(Clone)]
pub struct LinearBwdX(pub usize, pub usize);
impl Operation for LinearBwdX {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Mat<B::Weight>);
    fn name(&self) -> String {
        format!("linear_bwd_x {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        product(rows, self.0, self.1)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        (
            buf(b, 1, rows, self.1),
            buf(b, 2, rows, self.0),
            weight(b, 3, self.0, self.1),
        )
    }
    fn run<B: Backend>(&self, b: &B, (dx, dy, w): &mut Self::State<B>) {
        b.linear_bwd_x(dx, dy, w, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, (dx, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, dx)
    }
}

/// dw += dy' x.
#[derive(Clone)]
pub struct LinearBwdW(pub usize, pub usize);
impl Operation for LinearBwdW {
    type State<B: Backend> = (Mat<B::Acc>, Mat<B::Buf>, Mat<B::Buf>);
    fn name(&self) -> String {
        format!("linear_bwd_w {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        let (out, inp) = (self.0, self.1);
        // The gradient is read and written.
        Cost::products(2 * rows * out * inp, rows * (out + inp), 2 * out * inp)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        (
            acc(b, 1, self.0, self.1),
            buf(b, 2, rows, self.0),
            buf(b, 3, rows, self.1),
        )
    }
    fn run<B: Backend>(&self, b: &B, (dw, dy, x): &mut Self::State<B>) {
        b.linear_bwd_w(dw, None, dy, x);
    }
    fn read<B: Backend>(&self, b: &B, (dw, ..): &Self::State<B>) -> Vec<f64> {
        read_acc(b, dw)
    }
}
