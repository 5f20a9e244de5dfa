//! The head: log-probs, entropies, their gradients, the Fisher matrix, the KL.
use kernel::backend::{Dual, HeadCotangent, HeadIn, HeadOut};
use kernel::mat::Mat;

use crate::data::{acc, buf, index, read_acc, read_buf, spread, weight};
use crate::operation::{Backend, Cost, Operation};

/// Rows of the vocabulary that are checked against the oracle.
pub const FEW_TOKENS: usize = 2050;

/// Which of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `head`.
    Forward,
    /// `head_bwd`.
    Backward,
    /// `head_fisher`.
    Fisher,
    /// `head_kl`.
    Kl,
}

/// An operation of the head of (V, C).
#[derive(Clone)]
pub struct Head(pub usize, pub usize, pub What);

/// What it works on.
pub struct State<B: Backend> {
    h: [Mat<B::Buf>; 2],
    w: Vec<Mat<B::Weight>>,
    dh: Mat<B::Buf>,
    dw: Mat<B::Acc>,
    /// logp, entropy, lse, best, cotangents or weights of two kinds.
    columns: [Mat<B::Acc>; 6],
    targets: B::Index,
}

impl Head {
    fn forward<B: Backend>(&self, b: &B, s: &mut State<B>) {
        let [logp, entropy, lse, best, ..] = &mut s.columns;
        let out = HeadOut {
            logp,
            entropy,
            lse,
            best,
        };
        b.head(out, &s.h[0], &s.w[0], &s.targets, 1.0);
    }

    fn tangents(&self) -> bool {
        matches!(self.2, What::Fisher | What::Kl)
    }
}

impl Operation for Head {
    type State<B: Backend> = State<B>;
    fn name(&self) -> String {
        let name = match self.2 {
            What::Forward => "head",
            What::Backward => "head_bwd",
            What::Fisher => "head_fisher",
            What::Kl => "head_kl",
        };
        format!("{name} {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        let (v, c) = (self.0, self.1);
        // The logits; they again and two of the gradient; the logits twice, for the Fisher matrix also the two products of their
        // tangents twice, and two of the gradient.
        let (products, weights, gradient) = match self.2 {
            What::Forward => (1, 1, 0),
            What::Backward => (3, 1, 1),
            What::Fisher => (8, 2, 1),
            What::Kl => (4, 2, 0),
        };
        let narrow = weights * v * c + rows * c * (weights + gradient);
        Cost::products(2 * rows * v * c * products, narrow, 2 * gradient * v * c + 4 * rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> State<B> {
        let (v, c) = (self.0, self.1);
        let gradient = matches!(self.2, What::Backward | What::Fisher);
        let weights = if self.tangents() { 2 } else { 1 };
        let mut state = State {
            h: [1, 2].map(|seed| buf(b, seed, rows, c)),
            w: (0..weights).map(|i| weight(b, 10 + i, v, c)).collect(),
            dh: buf(b, 3, rows, c),
            dw: acc(b, 12, if gradient { v } else { 0 }, c),
            columns: [4, 5, 6, 7, 8, 9].map(|seed| acc(b, seed, rows, 1)),
            targets: index(b, &spread(rows, v)),
        };
        self.forward(b, &mut state);
        state
    }
    fn run<B: Backend>(&self, b: &B, s: &mut State<B>) {
        if self.2 == What::Forward {
            return self.forward(b, s);
        }
        let [_, entropy, lse, kl, dlogp, dentropy] = &mut s.columns;
        let ([h, h_dot], w) = (&s.h, &s.w);
        match self.2 {
            What::Forward => {}
            What::Backward => {
                let cotangent = HeadCotangent {
                    dlogp,
                    dentropy,
                    lse,
                    entropy,
                };
                b.head_bwd(&mut s.dh, &mut s.dw, cotangent, h, &w[0], &s.targets, 1.0);
            }
            What::Fisher => {
                let h = Dual { x: h, x_dot: h_dot };
                let w = Dual { x: &w[0], x_dot: &w[1] };
                b.head_fisher(&mut s.dh, &mut s.dw, dlogp, lse, h, w, 1.0);
            }
            What::Kl => b.head_kl(kl, HeadIn { h, w: &w[0] }, HeadIn { h: h_dot, w: &w[1] }, 1.0),
        }
    }
    fn read<B: Backend>(&self, b: &B, s: &State<B>) -> Vec<f64> {
        let [logp, entropy, _, kl, ..] = &s.columns;
        match self.2 {
            What::Forward => [read_acc(b, logp), read_acc(b, entropy)].concat(),
            What::Backward | What::Fisher => [read_buf(b, &s.dh), read_acc(b, &s.dw)].concat(),
            What::Kl => read_acc(b, kl),
        }
    }
    fn small(&self) -> Self {
        Self(FEW_TOKENS, self.1, self.2)
    }
}
