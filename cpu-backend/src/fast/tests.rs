//! What the tests of this folder share: a scenario runs on any backend, and its results are compared with the oracle's.
use half::bf16;
use kernel::backend::{Decode, Ops, Vector};
use kernel::batch::Segment;
use kernel::mat::{Mat, Use};
use kernel::real::Real;

use super::{Isa, Settings};
use crate::Cpu;

pub trait Backend: Ops + Vector + Decode {}
impl<B: Ops + Vector + Decode> Backend for B {}

/// Something to compute on any backend; its outputs.
pub trait Scenario {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f64>>;
}

/// Small numbers that bf16 can represent, so that all precisions start alike.
pub fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let x = (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0;
            bf16::from_f64(x).to_f64()
        })
        .collect()
}

/// Segments of these lengths after these parents, one after the other.
pub fn segments(parts: &[(usize, Option<usize>)]) -> Vec<Segment> {
    let mut start = 0;
    let place = |&(len, parent): &(usize, Option<usize>)| {
        start += len;
        Segment {
            start: start - len,
            len,
            parent,
        }
    };
    parts.iter().map(place).collect()
}

pub fn acc<B: Backend>(b: &B, x: &[f64], cols: usize) -> Mat<B::Acc> {
    let mut m = b.acc(x.len() / cols, cols).unwrap();
    let x: Vec<B::Real> = x.iter().map(|&x| B::Real::from_f64(x)).collect();
    b.upload(&mut m, &x).unwrap();
    m
}

pub fn buf<B: Backend>(b: &B, x: &[f64], cols: usize) -> Mat<B::Buf> {
    let mut m = b.buf(x.len() / cols, cols).unwrap();
    b.narrow(&mut m, &acc(b, x, cols));
    m
}

pub fn weight<B: Backend>(b: &B, x: &[f64], cols: usize) -> Mat<B::Weight> {
    let mut m = b.weight(x.len() / cols, cols, Use::Training).unwrap();
    b.prepare(&mut m, &acc(b, x, cols));
    m
}

pub fn read_acc<B: Backend>(b: &B, x: &Mat<B::Acc>) -> Vec<f64> {
    let mut host = vec![B::Real::ZERO; x.len()];
    b.download(&mut host, x).unwrap();
    host.into_iter().map(Real::to_f64).collect()
}

pub fn read_buf<B: Backend>(b: &B, x: &Mat<B::Buf>) -> Vec<f64> {
    let mut a = b.acc(x.rows, x.cols).unwrap();
    b.widen(&mut a, x);
    read_acc(b, &a)
}

/// The largest error against the root mean square of what is expected.
fn error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(want).fold(0.0, |worst: f64, (&x, &y)| {
        let e = (x - y).abs() / scale.max(y.abs());
        if x == y {
            worst
        } else if e.is_nan() {
            f64::INFINITY
        } else {
            worst.max(e)
        }
    })
}

fn compare(name: &str, got: &[Vec<f64>], want: &[Vec<f64>], tolerance: f64) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let e = error(got, want);
        assert!(e <= tolerance, "{name}: output {i}: error {e:.1e} > {tolerance:.0e}");
    }
}

/// Runs the scenario on every instruction set and 1, 2 and 5 threads: near the oracle, and the same bits on all threads. The last tolerance is
/// for machines that multiply bf16, where weights and cotangents of logits are rounded to it.
pub fn check(scenario: &impl Scenario, f32_tolerance: f64, bf16_tolerance: f64, pairs_tolerance: f64) {
    let want = scenario.run(&Cpu::oracle());
    for isa in Isa::available() {
        let f32s = |threads| scenario.run(&Cpu::<f32>::new(Settings { threads, isa }));
        let bf16s = |threads| scenario.run(&Cpu::<bf16>::new(Settings { threads, isa }));
        let (a, b) = (f32s(1), bf16s(1));
        compare(&format!("f32 {}", isa.name()), &a, &want, f32_tolerance);
        let pairs = matches!(isa, Isa::Avx512Bf16 | Isa::Amx);
        let tolerance = if pairs { pairs_tolerance } else { bf16_tolerance };
        compare(&format!("bf16 {}", isa.name()), &b, &want, tolerance);
        for threads in [2, 5] {
            assert_eq!(a, f32s(threads), "f32 {}, {threads} threads", isa.name());
            assert_eq!(b, bf16s(threads), "bf16 {}, {threads} threads", isa.name());
        }
    }
}
