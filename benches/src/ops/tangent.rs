//! Tangents of rows.
use kernel::backend::Dual;
use kernel::mat::Mat;

use crate::data::{acc, buf, read_buf};
use crate::operation::{Backend, Cost, Operation};

/// `rmsnorm_jvp` of C columns.
#[derive(Clone)]
pub struct RmsnormJvp(pub usize);
impl Operation for RmsnormJvp {
    type State<B: Backend> = ([Mat<B::Buf>; 5], Mat<B::Acc>);
    fn name(&self) -> String {
        format!("rmsnorm_jvp {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(3 * rows * self.0 + 2 * self.0, rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let bufs = [(1, rows), (2, rows), (3, rows), (4, 1), (5, 1)].map(|(seed, n)| buf(b, seed, n, self.0));
        (bufs, acc(b, 6, rows, 1))
    }
    fn run<B: Backend>(&self, b: &B, ([y_dot, x, x_dot, w, w_dot], rstd): &mut Self::State<B>) {
        b.rmsnorm_jvp(y_dot, Dual { x, x_dot }, Dual { x: w, x_dot: w_dot }, rstd);
    }
    fn read<B: Backend>(&self, b: &B, ([y_dot, ..], _): &Self::State<B>) -> Vec<f64> {
        read_buf(b, y_dot)
    }
}

/// `swiglu_jvp` of F columns.
#[derive(Clone)]
pub struct SwigluJvp(pub usize);
impl Operation for SwigluJvp {
    type State<B: Backend> = [Mat<B::Buf>; 5];
    fn name(&self) -> String {
        format!("swiglu_jvp {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::moved(5 * rows * self.0, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        [1, 2, 3, 4, 5].map(|seed| buf(b, seed, rows, self.0))
    }
    fn run<B: Backend>(&self, b: &B, [y_dot, gate, gate_dot, up, up_dot]: &mut Self::State<B>) {
        let gate = Dual {
            x: gate,
            x_dot: gate_dot,
        };
        b.swiglu_jvp(y_dot, gate, Dual { x: up, x_dot: up_dot });
    }
    fn read<B: Backend>(&self, b: &B, [y_dot, ..]: &Self::State<B>) -> Vec<f64> {
        read_buf(b, y_dot)
    }
}
