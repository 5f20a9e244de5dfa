//! The tangents at the sizes of SmolLM2-135M and Qwen2.5-0.5B, in f32: what a TRPO step is made of beside the operations of
//! `ops`. Before it is measured, an operation's result on a few rows is compared with the oracle's.
//!
//! `cargo bench -p benches --bench tangent -- FILTER`; units and environment as for `ops`.
use benches::limit::Limits;
use benches::measure::{Measure, criterion, settings};
use benches::model::MODELS;
use benches::ops::attention::{Attention, Pass, Segments};
use benches::ops::head::{Head, What};
use benches::ops::tangent::{RmsnormJvp, SwigluJvp};
use cpu_backend::Cpu;

fn main() {
    let settings = settings();
    let limits = Limits::new(settings);
    let mut c = criterion();
    let b = Cpu::<f32>::new(settings);
    for model in &MODELS {
        let mut m = Measure::new(&mut c, format!("f32 {}", model.name), &b, &limits, 4);
        m.operation(&RmsnormJvp(model.hidden), (5, 512));
        m.operation(&SwigluJvp(model.intermediate), (5, 512));
        m.operation(&Attention(model.heads, Segments::One, Pass::Tangent), (144, 512));
        m.operation(&Attention(model.heads, Segments::Tree(8), Pass::Tangent), (144, 1152));
        m.operation(&Head(model.vocab, model.hidden, What::Fisher), (5, 256));
        m.operation(&Head(model.vocab, model.hidden, What::Kl), (5, 256));
        m.finish();
    }
    c.final_summary();
}
