//! What an atomic makes of the old value.

use crate::arith::Subnormals;
use crate::arith::float32::flush;
use crate::arith::half::{from_bf16, from_f16, to_bf16, to_f16};
use crate::code::{AtomicOp, AtomicType};

/// The new value. `b` is the operand (what `cas` compares with), `c` the new value of `cas`.
pub fn apply(op: AtomicOp, ty: AtomicType, shared: bool, old: u128, b: u128, c: u128) -> u128 {
    use AtomicType::*;
    match op {
        AtomicOp::Exch => return b,
        AtomicOp::Cas => {
            let mask = if ty == U16 { 0xffff } else { u128::MAX };
            return if old & mask == b & mask { c & mask } else { old };
        }
        _ => {}
    }
    match ty {
        U16 => old,
        U32 => integer(op, old as u32, b as u32).into(),
        S32 => match op {
            AtomicOp::Min => (old as i32).min(b as i32) as u32 as u128,
            AtomicOp::Max => (old as i32).max(b as i32) as u32 as u128,
            _ => integer(op, old as u32, b as u32).into(),
        },
        U64 => integer64(op, old as u64, b as u64).into(),
        S64 => match op {
            AtomicOp::Min => (old as i64).min(b as i64) as u64 as u128,
            AtomicOp::Max => (old as i64).max(b as i64) as u64 as u128,
            _ => integer64(op, old as u64, b as u64).into(),
        },
        F32 => {
            // On global memory subnormals are flushed, on shared memory they are not.
            let subnormals = if shared { Subnormals::Keep } else { Subnormals::Flush };
            let x = flush(f32::from_bits(old as u32), subnormals) + flush(f32::from_bits(b as u32), subnormals);
            canonical(flush(x, subnormals)).into()
        }
        F64 => {
            let x = f64::from_bits(old as u64) + f64::from_bits(b as u64);
            (if x.is_nan() { 0x7fff_ffff_ffff_ffff } else { x.to_bits() }).into()
        }
        F16 => halves(op, old, b, 1, from_f16, to_f16),
        F16x2 => halves(op, old, b, 2, from_f16, to_f16),
        Bf16 => halves(op, old, b, 1, from_bf16, to_bf16),
        Bf16x2 => halves(op, old, b, 2, from_bf16, to_bf16),
        B128 => old,
    }
}

fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

fn integer(op: AtomicOp, old: u32, b: u32) -> u32 {
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Min => old.min(b),
        AtomicOp::Max => old.max(b),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Exch | AtomicOp::Cas => b,
    }
}

fn integer64(op: AtomicOp, old: u64, b: u64) -> u64 {
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Min => old.min(b),
        AtomicOp::Max => old.max(b),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        _ => b,
    }
}

fn halves(op: AtomicOp, old: u128, b: u128, count: u32, from: fn(u32) -> f32, to: fn(f32) -> u32) -> u128 {
    (0..count).fold(0, |out, i| {
        let (x, y) = (
            from((old >> (16 * i)) as u32 & 0xffff),
            from((b >> (16 * i)) as u32 & 0xffff),
        );
        // A sum of two numbers of 11 bits, rounded to f32 and then to 16 bits, is rounded once: f32 has more than twice the bits.
        let z = match op {
            AtomicOp::Min => x.min(y),
            AtomicOp::Max => x.max(y),
            _ => x + y,
        };
        out | u128::from(if z.is_nan() { 0x7fff } else { to(z) }) << (16 * i)
    })
}
