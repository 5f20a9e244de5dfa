//! The tangents at the sizes of SmolLM2-135M and Qwen2.5-0.5B, in f32: what a TRPO step is made of beside the operations of
//! `ops`. Before it is measured, an operation's result on a few rows is compared with the oracle's.
//!
//! `cargo bench -p benches --bench tangent -- FILTER`; units and environment as for `ops`.
use std::time::Duration;

use benches::{Backend, Cost, Operation, acc, buf, measure, read_acc, read_buf, weight};
use cpu_backend::{Cpu, Settings};
use criterion::{Criterion, SamplingMode};
use kernel::backend::{Dual, HeadIn, HeadOut, Heads, Qkv};
use kernel::batch::Segment;
use kernel::mat::Mat;

/// Name, heads, C, F, V.
const MODELS: [(&str, [usize; 3], usize, usize, usize); 2] = [
    ("smollm2-135m", [9, 3, 64], 576, 1536, 49152),
    ("qwen2.5-0.5b", [14, 2, 64], 896, 4864, 151_936),
];

struct RmsnormJvp(usize);
impl Operation for RmsnormJvp {
    type State<B: Backend> = ([Mat<B::Buf>; 5], Mat<B::Acc>);
    fn name(&self) -> String {
        format!("rmsnorm_jvp {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(3 * rows * self.0 + 2 * self.0, rows)
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

struct SwigluJvp(usize);
impl Operation for SwigluJvp {
    type State<B: Backend> = [Mat<B::Buf>; 5];
    fn name(&self) -> String {
        format!("swiglu_jvp {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(5 * rows * self.0, 0)
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

struct AttentionJvp(Heads);
impl Operation for AttentionJvp {
    type State<B: Backend> = ([Mat<B::Buf>; 8], Mat<B::Acc>, B::Tree);
    fn name(&self) -> String {
        format!("attention_jvp {}/{}x{}", self.0.heads, self.0.kv_heads, self.0.head_dim)
    }
    fn cost(&self, rows: usize) -> Cost {
        // Half of the keys are seen; three products of scores, two of values.
        Cost::Flops(5 * rows * rows * self.0.heads * self.0.head_dim)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let (wide, narrow) = (self.0.heads * self.0.head_dim, self.0.kv_heads * self.0.head_dim);
        let mut seed = 0;
        let bufs = [wide, narrow, narrow, wide, wide, narrow, narrow, wide].map(|cols| {
            seed += 1;
            buf(b, seed, rows, cols)
        });
        let segment = Segment {
            start: 0,
            len: rows,
            parent: None,
        };
        let tree = b.tree(&[segment]).unwrap_or_else(|e| panic!("{e}"));
        let mut state = (bufs, acc(b, 9, rows, self.0.heads), tree);
        let ([q, k, v, o, ..], lse, tree) = &mut state;
        b.attention(o, lse, Qkv { q, k, v }, tree, self.0);
        state
    }
    fn run<B: Backend>(&self, b: &B, ([q, k, v, o, q_dot, k_dot, v_dot, o_dot], lse, tree): &mut Self::State<B>) {
        let dot = Qkv {
            q: q_dot,
            k: k_dot,
            v: v_dot,
        };
        b.attention_jvp(o_dot, dot, o, lse, Qkv { q, k, v }, tree, self.0);
    }
    fn read<B: Backend>(&self, b: &B, (bufs, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, &bufs[7])
    }
}

/// The head's two operations.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Fisher,
    Kl,
}

struct Head(usize, usize, What);
impl Operation for Head {
    type State<B: Backend> = ([Mat<B::Buf>; 3], [Mat<B::Weight>; 2], Mat<B::Acc>, [Mat<B::Acc>; 3]);
    fn name(&self) -> String {
        let name = match self.2 {
            What::Fisher => "head_fisher",
            What::Kl => "head_kl",
        };
        format!("{name} {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        // Twice the logits and, for the Fisher matrix, twice the two products of their tangents, and two of the gradient.
        let products = match self.2 {
            What::Fisher => 8,
            What::Kl => 4,
        };
        Cost::Flops(2 * rows * self.0 * self.1 * products)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let bufs = [1, 2, 3].map(|seed| buf(b, seed, rows, self.1));
        let weights = [4, 5].map(|seed| weight(b, seed, self.0, self.1));
        let dw = acc(b, 6, if self.2 == What::Fisher { self.0 } else { 0 }, self.1);
        let mut state = (bufs, weights, dw, [7, 8, 9].map(|seed| acc(b, seed, rows, 1)));
        let targets = b.index(&vec![0; rows]).unwrap_or_else(|e| panic!("{e}"));
        let [mut logp, mut entropy, mut best] = [7, 8, 9].map(|seed| acc(b, seed, rows, 1));
        let ([_, h, _], [w, _], _, [_, lse, _]) = &mut state;
        let out = HeadOut {
            logp: &mut logp,
            entropy: &mut entropy,
            lse,
            best: &mut best,
        };
        b.head(out, h, w, &targets, 1.0);
        state
    }
    fn run<B: Backend>(&self, b: &B, ([dh, h, h_dot], [w, w_dot], dw, [weight, lse, kl]): &mut Self::State<B>) {
        match self.2 {
            What::Fisher => {
                let (h, w) = (Dual { x: h, x_dot: h_dot }, Dual { x: w, x_dot: w_dot });
                b.head_fisher(dh, dw, weight, lse, h, w, 1.0);
            }
            What::Kl => b.head_kl(kl, HeadIn { h, w }, HeadIn { h: h_dot, w: w_dot }, 1.0),
        }
    }
    fn read<B: Backend>(&self, b: &B, ([dh, ..], .., [.., kl]): &Self::State<B>) -> Vec<f64> {
        match self.2 {
            What::Fisher => read_buf(b, dh),
            What::Kl => read_acc(b, kl),
        }
    }
}

fn main() {
    let settings = Settings::detect().unwrap_or_else(|e| panic!("{e}"));
    println!("{} threads, {}", settings.threads, settings.isa.name());
    let mut c = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    let b = Cpu::<f32>::new(settings);
    for (name, [heads, kv_heads, head_dim], c_, f, v) in MODELS {
        let mut group = c.benchmark_group(format!("f32 {name}"));
        group.sampling_mode(SamplingMode::Flat);
        let (g, rows) = (&mut group, (5, 512));
        measure(g, &b, 4, &RmsnormJvp(c_), rows);
        measure(g, &b, 4, &SwigluJvp(f), rows);
        let heads = Heads {
            heads,
            kv_heads,
            head_dim,
        };
        measure(g, &b, 4, &AttentionJvp(heads), rows);
        measure(g, &b, 4, &Head(v, c_, What::Fisher), (2, 256));
        measure(g, &b, 4, &Head(v, c_, What::Kl), (2, 256));
        group.finish();
    }
    c.final_summary();
}
