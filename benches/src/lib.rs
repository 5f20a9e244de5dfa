//! What the benches share: an operation that can be made, run and read on any backend, and how it is measured.
use cpu_backend::Cpu;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use kernel::backend::{Decode, Tangent, Vector};
use kernel::mat::{Mat, Use};
use kernel::real::Real;

/// Everything a backend has to offer.
pub trait Backend: Tangent + Vector + Decode {}
impl<B: Tangent + Vector + Decode> Backend for B {}

/// What one run of an operation costs.
pub enum Cost {
    /// Floating-point operations.
    Flops(usize),
    /// Numbers at compute precision and numbers in f32, each read or written once.
    Numbers(usize, usize),
}

/// An operation of given sizes.
pub trait Operation {
    /// Its matrices on a backend.
    type State<B: Backend>;
    /// Name and sizes.
    fn name(&self) -> String;
    /// Cost of a run over `rows` rows.
    fn cost(&self, rows: usize) -> Cost;
    /// Its matrices, for `rows` rows.
    fn make<B: Backend>(&self, b: &B, rows: usize) -> Self::State<B>;
    /// Does it.
    fn run<B: Backend>(&self, b: &B, state: &mut Self::State<B>);
    /// What it wrote.
    fn read<B: Backend>(&self, b: &B, state: &Self::State<B>) -> Vec<f64>;
}

/// Compares the result on `few` rows with the oracle's, then measures it on `rows` rows. `width` is the bytes of a number
/// at compute precision.
pub fn measure<O: Operation, B: Backend>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    b: &B,
    width: usize,
    operation: &O,
    (few, rows): (usize, usize),
) {
    let name = format!("{} x{rows}", operation.name());
    // The comparison takes longer than the measurement: only for what is going to be measured.
    let mut checked = false;
    let throughput = match operation.cost(rows) {
        Cost::Flops(n) => Throughput::Elements(n as u64),
        Cost::Numbers(narrow, wide) => Throughput::Bytes((narrow * width + wide * 4) as u64),
    };
    group.throughput(throughput).bench_function(&name, |bencher| {
        if !checked {
            let results = (result(operation, b, few), result(operation, &Cpu::oracle(), few));
            assert_near(&name, &results.0, &results.1, if width == 2 { 3e-2 } else { 2e-5 });
            checked = true;
        }
        let mut state = operation.make(b, rows);
        bencher.iter(|| operation.run(b, &mut state));
    });
}

fn result<O: Operation, B: Backend>(operation: &O, b: &B, rows: usize) -> Vec<f64> {
    let mut state = operation.make(b, rows);
    operation.run(b, &mut state);
    operation.read(b, &state)
}

/// Panics unless `got` is near `want`, against the root mean square of what is expected.
pub fn assert_near(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        let near = (x - y).abs() <= tolerance * y.abs().max(scale);
        assert!(near, "{what}: number {i} is {x}, expected {y}");
    }
}

/// Numbers between -1 and 1 that bf16 can represent, so that all precisions start alike.
pub fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 57) as f64 / 64.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Acc of these numbers.
pub fn acc<B: Backend>(b: &B, seed: u64, rows: usize, cols: usize) -> Mat<B::Acc> {
    let x: Vec<_> = numbers(seed, rows * cols).into_iter().map(B::Real::from_f64).collect();
    let mut m = b.acc(rows, cols).unwrap_or_else(|e| panic!("{e}"));
    b.upload(&mut m, &x).unwrap_or_else(|e| panic!("{e}"));
    m
}

/// Buf of these numbers.
pub fn buf<B: Backend>(b: &B, seed: u64, rows: usize, cols: usize) -> Mat<B::Buf> {
    let mut m = b.buf(rows, cols).unwrap_or_else(|e| panic!("{e}"));
    b.narrow(&mut m, &acc(b, seed, rows, cols));
    m
}

/// A prepared weight of these numbers, over 16 so that sums of a thousand stay small.
pub fn weight<B: Backend>(b: &B, seed: u64, rows: usize, cols: usize) -> Mat<B::Weight> {
    let mut x = acc(b, seed, rows, cols);
    b.scale(&mut x, 1.0 / 16.0);
    let mut m = b.weight(rows, cols, Use::Training).unwrap_or_else(|e| panic!("{e}"));
    b.prepare(&mut m, &x);
    m
}

/// What an Acc holds.
pub fn read_acc<B: Backend>(b: &B, x: &Mat<B::Acc>) -> Vec<f64> {
    let mut host = vec![B::Real::ZERO; x.len()];
    b.download(&mut host, x).unwrap_or_else(|e| panic!("{e}"));
    host.into_iter().map(Real::to_f64).collect()
}

/// What a Buf holds.
pub fn read_buf<B: Backend>(b: &B, x: &Mat<B::Buf>) -> Vec<f64> {
    let mut a = b.acc(x.rows, x.cols).unwrap_or_else(|e| panic!("{e}"));
    b.widen(&mut a, x);
    read_acc(b, &a)
}
