//! The product with f32 accumulators, m16n8, as `mma.plain` computes it and with the same bits, on vectors of 8.
//!
//! A register of A is a row-major 8 x 8 matrix of 16-bit elements as it lies in memory, a register of B its transpose. The 8 columns of D
//! are one vector: those of register 0 (columns 0, 2, 4, 6), then those of register 1 (1, 3, 5, 7), so that C and D need no shuffles.

use super::fragment::{Element, Shape};
use super::mma::Mma;
use crate::arith::Lanes;
use crate::arith::float32::NAN;
use crate::arith::half::{from_bf16, from_f16};
use crate::arith::simd::vectorised;

/// D, where the fast path serves the types and the shape.
#[inline]
pub fn fast(mma: Mma, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Option<[Lanes; 4]> {
    let Shape { m: 16, n: 8, k } = mma.shape else {
        return None;
    };
    if mma.c != Element::F32 || mma.d != Element::F32 {
        return None;
    }
    Some(match (mma.a, k, a, b, c) {
        (Element::Bf16, 16, &[a0, a1, a2, a3], &[b0, b1], &[c0, c1, c2, c3]) => {
            bf16_k16([a0, a1, a2, a3], [b0, b1], [c0, c1, c2, c3])
        }
        (Element::F16, 16, &[a0, a1, a2, a3], &[b0, b1], &[c0, c1, c2, c3]) => {
            f16_k16([a0, a1, a2, a3], [b0, b1], [c0, c1, c2, c3])
        }
        (Element::Tf32, 8, &[a0, a1, a2, a3], &[b0, b1], &[c0, c1, c2, c3]) => {
            tf32_k8([a0, a1, a2, a3], [b0, b1], [c0, c1, c2, c3])
        }
        _ => return None,
    })
}

/// The column of D that is element j of a vector.
const COLUMN: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// A is rows of K numbers, B has for each k the columns in the order of `COLUMN`.
#[inline(always)]
fn multiply<const K: usize>(a: &[[f32; K]; 16], b: &[[f32; 8]; K], c: [&Lanes; 4]) -> [Lanes; 4] {
    let mut d = [[0u32; 32]; 4];
    for half in 0..2 {
        let (left, right) = (c[2 * half], c[2 * half + 1]);
        let mut sum = [[0.0f32; 8]; 8];
        for g in 0..8 {
            for j in 0..4 {
                sum[g][j] = f32::from_bits(left[4 * g + j]);
                sum[g][j + 4] = f32::from_bits(right[4 * g + j]);
            }
        }
        for k in 0..K {
            for g in 0..8 {
                let x = a[8 * half + g][k];
                for j in 0..8 {
                    sum[g][j] = x.mul_add(b[k][j], sum[g][j]);
                }
            }
        }
        for g in 0..8 {
            for j in 0..4 {
                let store = |x: f32| if x.is_nan() { NAN } else { x.to_bits() };
                d[2 * half][4 * g + j] = store(sum[g][j]);
                d[2 * half + 1][4 * g + j] = store(sum[g][j + 4]);
            }
        }
    }
    d
}

/// 16-bit elements: a register holds 8 x 8 of them.
#[inline(always)]
fn k16(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4], read: impl Fn(u32) -> f32) -> [Lanes; 4] {
    let mut rows = [[0.0; 16]; 16];
    for (r, register) in a.iter().enumerate() {
        for g in 0..8 {
            for t in 0..4 {
                let pair = register[4 * g + t];
                rows[g + 8 * (r % 2)][8 * (r / 2) + 2 * t] = read(pair & 0xffff);
                rows[g + 8 * (r % 2)][8 * (r / 2) + 2 * t + 1] = read(pair >> 16);
            }
        }
    }
    let mut columns = [[0.0; 8]; 16];
    for (r, register) in b.iter().enumerate() {
        for t in 0..4 {
            for j in 0..8 {
                let pair = register[4 * COLUMN[j] + t];
                columns[8 * r + 2 * t][j] = read(pair & 0xffff);
                columns[8 * r + 2 * t + 1][j] = read(pair >> 16);
            }
        }
    }
    multiply(&rows, &columns, c)
}

vectorised! {
    fn bf16_k16(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4]) -> [Lanes; 4] {
        k16(a, b, c, from_bf16)
    }
}

vectorised! {
    fn f16_k16(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4]) -> [Lanes; 4] {
        k16(a, b, c, from_f16)
    }
}

vectorised! {
    /// 32-bit elements: a register holds 8 x 4 of them.
    fn tf32_k8(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4]) -> [Lanes; 4] {
        let read = |bits: u32| f32::from_bits(bits & 0xffff_e000);
        let mut rows = [[0.0; 8]; 16];
        for (r, register) in a.iter().enumerate() {
            for g in 0..8 {
                for t in 0..4 {
                    rows[g + 8 * (r % 2)][4 * (r / 2) + t] = read(register[4 * g + t]);
                }
            }
        }
        let mut columns = [[0.0; 8]; 8];
        for (r, register) in b.iter().enumerate() {
            for t in 0..4 {
                for j in 0..8 {
                    columns[4 * r + t][j] = read(register[4 * COLUMN[j] + t]);
                }
            }
        }
        multiply(&rows, &columns, c)
    }
}
