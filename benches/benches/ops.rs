//! Every operation at the sizes of SmolLM2-135M and Qwen2.5-0.5B, in f32 and bf16. Before it is measured, an operation's result on a
//! few rows (of the head, and a few of the vocabulary) is compared with the oracle's. What only TRPO has: `tangent`.
//!
//! `cargo bench -p benches --bench ops -- FILTER`; `PROXIMAL_THREADS=1` and `PROXIMAL_CPU=...` choose threads and instruction set.
//! After Criterion's lines of a model, a line of each operation that begins with `=` has GFLOP/s or GB/s, whichever rules, the share of the machine's limit and that
//! limit ([`benches::limit`]).
use benches::limit::Limits;
use benches::measure::{Measure, criterion, settings};
use benches::model::{MODELS, Model};
use benches::operation::Backend;
use benches::ops::attention::{Attention, Pass, Segments};
use benches::ops::decode::{AttentionDecode, KvAppend, Logits, Logp, Sample};
use benches::ops::head::{self, Head};
use benches::ops::linear::{Linear, LinearBwdW, LinearBwdX, LinearCold};
use benches::ops::rows::{ByNumber, Embed, EmbedBwd, Rmsnorm, RmsnormBwd, Rope, Swiglu, SwigluBwd, Way};
use benches::ops::vector::{Adamw, Elementwise, Prepare, What};
use cpu_backend::Cpu;
use criterion::Criterion;
use half::bf16;
use kernel::sample::Sampling;

/// Rows that the result is checked on, and that are measured.
const ROWS: (usize, usize) = (5, 512);
/// Rows of attention that are checked: they can be cut in 16 and in 9.
const CHECKED: usize = 144;

fn all<B: Backend>(c: &mut Criterion, b: &B, limits: &Limits, precision: &str, width: usize) {
    for model in &MODELS {
        let mut m = Measure::new(c, format!("{precision} {}", model.name), b, limits, width);
        products(&mut m, model);
        rows(&mut m, model);
        attention(&mut m, model);
        generation(&mut m, model);
        elementwise(&mut m, model);
        m.finish();
    }
}

fn products<B: Backend>(m: &mut Measure<'_, B>, model: &Model) {
    for &(n, k) in model.linear {
        m.operation(&Linear(n, k), ROWS);
        m.operation(&LinearBwdX(n, k), ROWS);
        m.operation(&LinearBwdW(n, k), ROWS);
        for rows in [1, 4, 8, 32] {
            m.operation(&LinearCold::new(n, k), (rows, rows));
        }
    }
    for what in [head::What::Forward, head::What::Backward] {
        m.operation(&Head(model.vocab, model.hidden, what), (5, 256));
    }
}

fn rows<B: Backend>(m: &mut Measure<'_, B>, model: &Model) {
    let Model {
        hidden,
        intermediate,
        vocab,
        heads,
        ..
    } = *model;
    m.operation(&Rmsnorm(hidden), ROWS);
    m.operation(&RmsnormBwd(hidden), ROWS);
    m.operation(&Rope(heads), ROWS);
    m.operation(&Swiglu(intermediate), ROWS);
    m.operation(&SwigluBwd(intermediate), ROWS);
    m.operation(&Embed(vocab, hidden), ROWS);
    m.operation(&EmbedBwd(vocab, hidden), ROWS);
    m.operation(&ByNumber(hidden, Way::Gather), ROWS);
    m.operation(&ByNumber(hidden, Way::ScatterAdd), ROWS);
}

fn attention<B: Backend>(m: &mut Measure<'_, B>, model: &Model) {
    for pass in [Pass::Forward, Pass::Backward] {
        for rows in [128, 512, 2048] {
            m.operation(&Attention(model.heads, Segments::One, pass), (CHECKED, rows));
        }
        m.operation(&Attention(model.heads, Segments::Packed(16), pass), (CHECKED, 512));
        m.operation(&Attention(model.heads, Segments::Tree(8), pass), (CHECKED, 1152));
    }
}

fn generation<B: Backend>(m: &mut Measure<'_, B>, model: &Model) {
    for sequences in [1, 8] {
        for positions in [64, 1024] {
            m.operation(&AttentionDecode(model.heads, sequences), (positions, positions));
        }
    }
    for rows in [1, 8, 64] {
        m.operation(&KvAppend(model.heads), (rows, rows));
    }
    for rows in [1, 8, 32] {
        m.operation(&Logits(model.vocab, model.hidden), (rows, rows));
    }
    m.operation(&Logp(model.vocab), (8, 8));
    let nucleus = Sampling {
        temperature: 1.0,
        top_p: 0.9,
        ..Sampling::GREEDY
    };
    for how in [Sampling::GREEDY, nucleus] {
        m.operation(&Sample(model.vocab, how), (8, 8));
    }
}

fn elementwise<B: Backend>(m: &mut Measure<'_, B>, model: &Model) {
    // A feed-forward matrix, as the optimizer sees it.
    let matrix = (16, model.intermediate);
    for what in What::ALL {
        m.operation(&Elementwise(model.hidden, what), matrix);
    }
    m.operation(&Adamw(model.hidden), matrix);
    m.operation(&Prepare(model.hidden), matrix);
}

fn main() {
    let settings = settings();
    let limits = Limits::new(settings);
    let mut c = criterion();
    all(&mut c, &Cpu::<f32>::new(settings), &limits, "f32", 4);
    all(&mut c, &Cpu::<bf16>::new(settings), &limits, "bf16", 2);
    c.final_summary();
}
