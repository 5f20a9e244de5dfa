//! Every operation at the sizes of SmolLM2-135M and Qwen2.5-0.5B, in f32 and bf16. Before it is measured, an operation's
//! result on a few rows is compared with the oracle's.
//!
//! `cargo bench -p benches -- FILTER`; `PROXIMAL_THREADS=1` and `PROXIMAL_CPU=...` choose threads and instruction set.
//! Gelem/s are GFLOP/s of the operations that multiply matrices; GiB/s count every input and output once.
use std::time::Duration;

use benches::{Backend, Cost, Operation, acc, buf, measure, read_acc, read_buf, weight};
use cpu_backend::{Cpu, Settings};
use criterion::{Criterion, SamplingMode};
use half::bf16;
use kernel::backend::{AdamW, CacheShape, HeadCotangent, HeadOut, Heads, Paths, Qkv, QkvMut, Span};
use kernel::batch::Segment;
use kernel::mat::{Accum, Direction, Mat};

/// A model's sizes: its linear layers (out, in), its heads, C, F, V.
struct Model {
    name: &'static str,
    linear: &'static [(usize, usize)],
    heads: Heads,
    hidden: usize,
    intermediate: usize,
    vocab: usize,
}

const MODELS: [Model; 2] = [
    Model {
        name: "smollm2-135m",
        linear: &[(576, 576), (192, 576), (1536, 576), (576, 1536)],
        heads: Heads {
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
        },
        hidden: 576,
        intermediate: 1536,
        vocab: 49152,
    },
    Model {
        name: "qwen2.5-0.5b",
        linear: &[(896, 896), (128, 896), (4864, 896), (896, 4864)],
        heads: Heads {
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
        },
        hidden: 896,
        intermediate: 4864,
        vocab: 151_936,
    },
];

/// Rows that the result is checked on, and that are measured.
const ROWS: (usize, usize) = (5, 512);

struct Linear(usize, usize);
impl Operation for Linear {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Mat<B::Weight>);
    fn name(&self) -> String {
        format!("linear {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Flops(2 * rows * self.0 * self.1)
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

/// One row: bound by the bytes of the weight.
struct LinearRow(usize, usize);
impl Operation for LinearRow {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Vec<Mat<B::Weight>>, usize);
    fn name(&self) -> String {
        format!("linear from memory {}x{}", self.0, self.1)
    }
    fn cost(&self, _: usize) -> Cost {
        Cost::Numbers(self.0 * self.1, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        // More weights than the caches hold, as a model has.
        let count = (96 << 20) / (self.0 * self.1) + 1;
        let weights = (0..count).map(|_| weight(b, 3, self.0, self.1)).collect();
        (buf(b, 1, rows, self.0), buf(b, 2, rows, self.1), weights, 0)
    }
    fn run<B: Backend>(&self, b: &B, (y, x, w, next): &mut Self::State<B>) {
        *next = (*next + 1) % w.len();
        b.linear(y, x, &w[*next], None, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, (y, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
}

struct LinearBwdX(usize, usize);
impl Operation for LinearBwdX {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, Mat<B::Weight>);
    fn name(&self) -> String {
        format!("linear_bwd_x {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Flops(2 * rows * self.0 * self.1)
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

struct LinearBwdW(usize, usize);
impl Operation for LinearBwdW {
    type State<B: Backend> = (Mat<B::Acc>, Mat<B::Buf>, Mat<B::Buf>);
    fn name(&self) -> String {
        format!("linear_bwd_w {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Flops(2 * rows * self.0 * self.1)
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

struct Rmsnorm(usize);
impl Operation for Rmsnorm {
    type State<B: Backend> = [Mat<B::Buf>; 3];
    fn name(&self) -> String {
        format!("rmsnorm {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(2 * rows * self.0, rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        [buf(b, 1, rows, self.0), buf(b, 2, rows, self.0), buf(b, 3, 1, self.0)]
    }
    fn run<B: Backend>(&self, b: &B, [y, x, w]: &mut Self::State<B>) {
        let mut rstd = acc(b, 0, x.rows, 1);
        b.rmsnorm(y, &mut rstd, x, w, 1e-5);
    }
    fn read<B: Backend>(&self, b: &B, [y, ..]: &Self::State<B>) -> Vec<f64> {
        read_buf(b, y)
    }
}

struct RmsnormBwd(usize);
impl Operation for RmsnormBwd {
    type State<B: Backend> = ([Mat<B::Buf>; 4], Mat<B::Acc>, Mat<B::Acc>);
    fn name(&self) -> String {
        format!("rmsnorm_bwd {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(3 * rows * self.0, rows)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let c = self.0;
        let bufs = [
            buf(b, 1, rows, c),
            buf(b, 2, rows, c),
            buf(b, 3, rows, c),
            buf(b, 4, 1, c),
        ];
        (bufs, acc(b, 5, 1, c), acc(b, 6, rows, 1))
    }
    fn run<B: Backend>(&self, b: &B, ([dx, dy, x, w], dw, rstd): &mut Self::State<B>) {
        b.rmsnorm_bwd(dx, dw, dy, x, w, rstd, Accum::Replace);
    }
    fn read<B: Backend>(&self, b: &B, ([dx, ..], ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, dx)
    }
}

struct Rope(Heads);
impl Operation for Rope {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Acc>, B::Index);
    fn name(&self) -> String {
        format!("rope {}x{}", self.0.heads, self.0.head_dim)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(2 * rows * self.0.heads * self.0.head_dim, rows * self.0.head_dim)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let positions: Vec<u32> = (0..rows as u32).collect();
        let index = b.index(&positions).unwrap_or_else(|e| panic!("{e}"));
        (
            buf(b, 1, rows, self.0.heads * self.0.head_dim),
            acc(b, 2, rows, self.0.head_dim),
            index,
        )
    }
    fn run<B: Backend>(&self, b: &B, (x, table, positions): &mut Self::State<B>) {
        b.rope(x, table, positions, self.0.head_dim, Direction::Forward);
    }
    fn read<B: Backend>(&self, b: &B, (x, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, x)
    }
}

struct Swiglu(usize);
impl Operation for Swiglu {
    type State<B: Backend> = [Mat<B::Buf>; 3];
    fn name(&self) -> String {
        format!("swiglu {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(3 * rows * self.0, 0)
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

struct SwigluBwd(usize);
impl Operation for SwigluBwd {
    type State<B: Backend> = [Mat<B::Buf>; 5];
    fn name(&self) -> String {
        format!("swiglu_bwd {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(5 * rows * self.0, 0)
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

/// Both directions in one state: the backward pass needs the forward one's results.
struct Attention(Heads, Direction);
impl Operation for Attention {
    type State<B: Backend> = ([Mat<B::Buf>; 8], Mat<B::Acc>, B::Tree);
    fn name(&self) -> String {
        let name = if self.1 == Direction::Forward {
            "attention"
        } else {
            "attention_bwd"
        };
        format!("{name} {}/{}x{}", self.0.heads, self.0.kv_heads, self.0.head_dim)
    }
    fn cost(&self, rows: usize) -> Cost {
        // Half of the keys are seen; two products forward, five backward.
        let product = rows * rows * self.0.heads * self.0.head_dim;
        Cost::Flops(product * if self.1 == Direction::Forward { 2 } else { 5 })
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let (wide, narrow) = (self.0.heads * self.0.head_dim, self.0.kv_heads * self.0.head_dim);
        let widths = [wide, narrow, narrow, wide, wide, wide, narrow, narrow];
        let mut seed = 0;
        let bufs = widths.map(|cols| {
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
    fn run<B: Backend>(&self, b: &B, ([q, k, v, o, d_o, dq, dk, dv], lse, tree): &mut Self::State<B>) {
        let qkv = Qkv { q, k, v };
        match self.1 {
            Direction::Forward => b.attention(o, lse, qkv, tree, self.0),
            Direction::Inverse => {
                let d = QkvMut { q: dq, k: dk, v: dv };
                b.attention_bwd(d, d_o, o, lse, qkv, tree, self.0);
            }
        }
    }
    fn read<B: Backend>(&self, b: &B, ([_, _, _, o, _, dq, dk, dv], ..): &Self::State<B>) -> Vec<f64> {
        match self.1 {
            Direction::Forward => read_buf(b, o),
            Direction::Inverse => [dq, dk, dv].map(|x| read_buf(b, x)).concat(),
        }
    }
}

/// One row at the end of a long path.
struct AttentionDecode(Heads);
impl Operation for AttentionDecode {
    type State<B: Backend> = (Mat<B::Buf>, Mat<B::Buf>, B::Cache, Paths);
    fn name(&self) -> String {
        format!(
            "attention_decode {}/{}x{}",
            self.0.heads, self.0.kv_heads, self.0.head_dim
        )
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(2 * rows * self.0.kv_heads * self.0.head_dim, 0)
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let shape = CacheShape {
            layers: 1,
            rows,
            heads: self.0,
        };
        let mut cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
        let narrow = self.0.kv_heads * self.0.head_dim;
        let slots: Vec<u32> = (0..rows as u32).collect();
        b.kv_append(
            &mut cache,
            &buf(b, 1, rows, narrow),
            &buf(b, 2, rows, narrow),
            0,
            &slots,
        );
        let mut paths = Paths::new();
        paths.push([Span { start: 0, len: rows }]);
        let wide = self.0.heads * self.0.head_dim;
        (buf(b, 3, 1, wide), buf(b, 4, 1, wide), cache, paths)
    }
    fn run<B: Backend>(&self, b: &B, (o, q, cache, paths): &mut Self::State<B>) {
        b.attention_decode(o, q, cache, 0, paths);
    }
    fn read<B: Backend>(&self, b: &B, (o, ..): &Self::State<B>) -> Vec<f64> {
        read_buf(b, o)
    }
}

/// The head, forward and backward.
struct Head(usize, usize, Direction);
impl Operation for Head {
    type State<B: Backend> = (
        [Mat<B::Buf>; 2],
        Mat<B::Weight>,
        Mat<B::Acc>,
        [Mat<B::Acc>; 6],
        B::Index,
    );
    fn name(&self) -> String {
        let name = if self.2 == Direction::Forward {
            "head"
        } else {
            "head_bwd"
        };
        format!("{name} {}x{}", self.0, self.1)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Flops(2 * rows * self.0 * self.1 * if self.2 == Direction::Forward { 1 } else { 3 })
    }
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B> {
        let targets: Vec<u32> = (0..rows).map(|i| (i * 7919 % self.0) as u32).collect();
        let index = b.index(&targets).unwrap_or_else(|e| panic!("{e}"));
        let bufs = [1, 2].map(|seed| buf(b, seed, rows, self.1));
        let columns = [3, 4, 5, 6, 7, 8].map(|seed| acc(b, seed, rows, 1));
        let dw = if self.2 == Direction::Forward { 0 } else { self.0 };
        let mut state = (
            bufs,
            weight(b, 9, self.0, self.1),
            acc(b, 10, dw, self.1),
            columns,
            index,
        );
        self.forward(b, &mut state);
        state
    }
    fn run<B: Backend>(&self, b: &B, state: &mut Self::State<B>) {
        if self.2 == Direction::Forward {
            return self.forward(b, state);
        }
        let ([dh, h], w, dw, [_, entropy, lse, dlogp, dentropy, _], targets) = state;
        let cotangent = HeadCotangent {
            dlogp,
            dentropy,
            lse,
            entropy,
        };
        b.head_bwd(dh, dw, cotangent, h, w, targets, 1.0);
    }
    fn read<B: Backend>(&self, b: &B, ([dh, _], _, _, [logp, entropy, ..], _): &Self::State<B>) -> Vec<f64> {
        match self.2 {
            Direction::Forward => [read_acc(b, logp), read_acc(b, entropy)].concat(),
            Direction::Inverse => read_buf(b, dh),
        }
    }
}
impl Head {
    fn forward<B: Backend>(&self, b: &B, ([_, h], w, _, columns, targets): &mut <Self as Operation>::State<B>) {
        let [logp, entropy, lse, _, _, best] = columns;
        b.head(
            HeadOut {
                logp,
                entropy,
                lse,
                best,
            },
            h,
            w,
            targets,
            1.0,
        );
    }
}

struct Adamw(usize);
impl Operation for Adamw {
    type State<B: Backend> = [Mat<B::Acc>; 4];
    fn name(&self) -> String {
        format!("adamw {}", self.0)
    }
    fn cost(&self, rows: usize) -> Cost {
        Cost::Numbers(0, 7 * rows * self.0)
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

fn all<B: Backend>(c: &mut Criterion, b: &B, precision: &str, width: usize) {
    for model in &MODELS {
        let mut group = c.benchmark_group(format!("{precision} {}", model.name));
        group.sampling_mode(SamplingMode::Flat);
        let g = &mut group;
        for &(n, k) in model.linear {
            measure(g, b, width, &Linear(n, k), ROWS);
            measure(g, b, width, &LinearBwdX(n, k), ROWS);
            measure(g, b, width, &LinearBwdW(n, k), ROWS);
            measure(g, b, width, &LinearRow(n, k), (1, 1));
        }
        measure(g, b, width, &Rmsnorm(model.hidden), ROWS);
        measure(g, b, width, &RmsnormBwd(model.hidden), ROWS);
        measure(g, b, width, &Rope(model.heads), ROWS);
        measure(g, b, width, &Swiglu(model.intermediate), ROWS);
        measure(g, b, width, &SwigluBwd(model.intermediate), ROWS);
        measure(g, b, width, &Attention(model.heads, Direction::Forward), ROWS);
        measure(g, b, width, &Attention(model.heads, Direction::Inverse), ROWS);
        measure(g, b, width, &AttentionDecode(model.heads), ROWS);
        measure(
            g,
            b,
            width,
            &Head(model.vocab, model.hidden, Direction::Forward),
            (2, 256),
        );
        measure(
            g,
            b,
            width,
            &Head(model.vocab, model.hidden, Direction::Inverse),
            (2, 256),
        );
        measure(g, b, width, &Adamw(model.hidden * model.intermediate), (1, 16));
        group.finish();
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
    all(&mut c, &Cpu::<f32>::new(settings), "f32", 4);
    all(&mut c, &Cpu::<bf16>::new(settings), "bf16", 2);
    c.final_summary();
}
