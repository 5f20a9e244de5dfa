//! Matrices of the same numbers on every backend, and what they hold.
use kernel::mat::{Mat, Use};
use kernel::real::Real;

use crate::operation::Backend;

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

/// Index of these values.
pub fn index<B: Backend>(b: &B, values: &[u32]) -> B::Index {
    b.index(values).unwrap_or_else(|e| panic!("{e}"))
}

/// `n` numbers below `below`, spread over it.
pub fn spread(n: usize, below: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % below) as u32).collect()
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
