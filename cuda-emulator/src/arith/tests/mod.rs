//! Expected values are literals from the PTX ISA's text: its pseudocode and its tables of special inputs, worked out by hand.
//! Instructions are named by their opcode, so the decoder of modifiers is tested with each.

mod bits;
mod compare;
mod convert;
mod decode;
mod float;
mod half;
mod integer;
mod soft;
mod special;
mod warp;

use super::{Arith, Lanes, Wide, bits as fields, decode as decode_parts, int64};

/// The instruction an opcode names.
fn op(opcode: &str) -> Arith {
    let parts: Vec<&str> = opcode.split('.').collect();
    match decode_parts(&parts) {
        Ok(Some(arith)) => arith,
        other => panic!("{opcode}: {other:?}"),
    }
}

/// A register whose lanes repeat the values.
fn lanes(values: impl IntoIterator<Item = u32>) -> Lanes {
    let values: Vec<u32> = values.into_iter().collect();
    core::array::from_fn(|i| values[i % values.len()])
}

fn wide(values: impl IntoIterator<Item = u64>) -> Wide {
    let values: Vec<u64> = values.into_iter().collect();
    core::array::from_fn(|i| values[i % values.len()])
}

fn f(x: f32) -> u32 {
    x.to_bits()
}

fn d(x: f64) -> u64 {
    x.to_bits()
}

#[track_caller]
fn same(opcode: &str, got: &[impl Into<u64> + Copy], want: &[impl Into<u64> + Copy]) {
    for (lane, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (got, want): (u64, u64) = (got.into(), want.into());
        assert_eq!(got, want, "{opcode}: lane {lane}: got {got:#x}, want {want:#x}");
    }
}

/// `d = op a` on the 32-bit bank.
#[track_caller]
fn one(opcode: &str, cases: &[(u32, u32)]) {
    let Arith::Unary32(op) = op(opcode) else {
        panic!("{opcode}")
    };
    let a = lanes(cases.iter().map(|c| c.0));
    same(opcode, &op.apply(&a), &lanes(cases.iter().map(|c| c.1)));
}

/// `d = op a, b` on the 32-bit bank.
#[track_caller]
fn two(opcode: &str, cases: &[(u32, u32, u32)]) {
    let Arith::Binary32(op) = op(opcode) else {
        panic!("{opcode}")
    };
    let (a, b) = (lanes(cases.iter().map(|c| c.0)), lanes(cases.iter().map(|c| c.1)));
    same(opcode, &op.apply(&a, &b), &lanes(cases.iter().map(|c| c.2)));
}

/// `d = op a, b, c` on the 32-bit bank.
#[track_caller]
fn three(opcode: &str, cases: &[(u32, u32, u32, u32)]) {
    let Arith::Ternary32(op) = op(opcode) else {
        panic!("{opcode}")
    };
    let (a, b) = (lanes(cases.iter().map(|c| c.0)), lanes(cases.iter().map(|c| c.1)));
    let c = lanes(cases.iter().map(|c| c.2));
    same(opcode, &op.apply(&a, &b, &c), &lanes(cases.iter().map(|c| c.3)));
}

#[track_caller]
fn one64(opcode: &str, cases: &[(u64, u64)]) {
    let a = wide(cases.iter().map(|c| c.0));
    let want = wide(cases.iter().map(|c| c.1));
    match op(opcode) {
        Arith::Unary64(op) => same(opcode, &op.apply(&a), &want),
        Arith::Count64(op) => same(opcode, &int64::count(op, &a), &want),
        other => panic!("{opcode}: {other:?}"),
    }
}

#[track_caller]
fn two64(opcode: &str, cases: &[(u64, u64, u64)]) {
    let (a, b) = (wide(cases.iter().map(|c| c.0)), wide(cases.iter().map(|c| c.1)));
    let narrow = lanes(cases.iter().map(|c| c.1 as u32));
    let want = wide(cases.iter().map(|c| c.2));
    match op(opcode) {
        Arith::Binary64(op) => same(opcode, &op.apply(&a, &b), &want),
        Arith::Shift64(op) => same(opcode, &int64::shift(op, &a, &narrow), &want),
        other => panic!("{opcode}: {other:?}"),
    }
}

#[track_caller]
fn three64(opcode: &str, cases: &[(u64, u64, u64, u64)]) {
    let (a, b) = (wide(cases.iter().map(|c| c.0)), wide(cases.iter().map(|c| c.1)));
    let c = wide(cases.iter().map(|c| c.2));
    let narrow = |a: &Wide| a.map(|a| a as u32);
    let want = wide(cases.iter().map(|c| c.3));
    match op(opcode) {
        Arith::Ternary64(op) => same(opcode, &op.apply(&a, &b, &c), &want),
        Arith::MadWide(sign) => same(opcode, &int64::mad_wide(sign, &narrow(&a), &narrow(&b), &c), &want),
        Arith::Bfe64(sign) => same(opcode, &fields::extract64(sign, &a, &narrow(&b), &narrow(&c)), &want),
        other => panic!("{opcode}: {other:?}"),
    }
}

/// The 32-bit pattern of a signed number.
fn s(x: i32) -> u32 {
    x as u32
}

/// The 64-bit pattern of a signed number.
fn sl(x: i64) -> u64 {
    x as u64
}
