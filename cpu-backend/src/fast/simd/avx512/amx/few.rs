//! One or two rows, at memory's rate.
use core::arch::x86_64::*;

use half::bf16;

use super::UNITS;
use crate::fast::gemm::{Lhs, Start};

/// Units of k ahead of its use that a line of the panel is asked for.
const AHEAD: usize = 32;

/// The product of R rows without tiles, with their sums in their order, so with their bits: `vdpbf16ps` rounds, and takes numbers below
/// 2^-126 for 0, as tiles do; with every other number 0 it adds one product of a pair. A tile of so few rows takes as long as one of sixteen,
/// and keeps the machine from reading ahead.
///
/// # Safety
/// As [`super::product`].
#[target_feature(enable = "avx512f,avx512bf16,avx512dq")]
pub(super) unsafe fn product<const R: usize>(
    c: *mut f32,
    ldc: usize,
    lhs: Lhs,
    panel: *const [bf16; 2],
    k: usize,
    start: Start,
) {
    // SAFETY: a vector of bf16 is any 64 bytes.
    let mac = |c, a, b| unsafe {
        _mm512_dpbf16_ps(
            c,
            core::mem::transmute::<__m512i, __m512bh>(a),
            core::mem::transmute::<__m512i, __m512bh>(b),
        )
    };
    // SAFETY: the caller's promise: R rows of k numbers, k of the panel to whole units, R rows of c.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        if start == Start::Output {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = [0, UNITS].map(|half| _mm512_loadu_ps(c.add(r * ldc + half)));
            }
        }
        let units = k.div_ceil(2);
        for first in (0..units).step_by(UNITS) {
            // Even numbers and odd ones, of both halves of the panel.
            let mut chains = [[[_mm512_setzero_ps(); 2]; 2]; R];
            for unit in first..units.min(first + UNITS) {
                let b = panel.add(unit * 2 * UNITS);
                let halves = [0, UNITS].map(|half| {
                    _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * 2 * UNITS + half).cast());
                    _mm512_loadu_si512(b.add(half).cast())
                });
                for (r, chains) in chains.iter_mut().enumerate() {
                    let a = lhs.ptr.add(r * lhs.row + unit * lhs.step);
                    let even = _mm512_set1_epi32(a.cast::<u16>().read_unaligned() as i32);
                    let odd = match 2 * unit + 1 < k {
                        true => _mm512_set1_epi32((a.add(2).cast::<u16>().read_unaligned() as i32) << 16),
                        false => _mm512_setzero_si512(),
                    };
                    for (chains, b) in chains.iter_mut().zip(halves) {
                        chains[0] = mac(chains[0], even, b);
                        chains[1] = mac(chains[1], odd, b);
                    }
                }
            }
            for (sums, chains) in sums.iter_mut().zip(chains) {
                for (sum, [even, odd]) in sums.iter_mut().zip(chains) {
                    *sum = flushed(_mm512_add_ps(flushed(*sum), flushed(_mm512_add_ps(even, odd))));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (sum, half) in sums.iter().zip([0, UNITS]) {
                _mm512_storeu_ps(c.add(r * ldc + half), *sum);
            }
        }
    }
}

/// Numbers below 2^-126 as zeros of their sign.
#[target_feature(enable = "avx512f,avx512dq")]
fn flushed(v: __m512) -> __m512 {
    const DENORMAL: i32 = 0x20;
    _mm512_mask_and_ps(v, _mm512_fpclass_ps_mask::<DENORMAL>(v), v, _mm512_set1_ps(-0.0))
}
