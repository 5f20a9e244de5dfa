//! Operands in parts: rows, panels, transposed blocks, columns.
use core::arch::x86_64::*;

use super::super::super::{HALVES, HIGH, LOW, transposed};
use super::super::{HEIGHT, LINE, PANEL_ROW, ROWS, UNITS};
use super::{DEPTH, PARTS, Unit, WIDTH, steps};

/// As [`HALVES`], by turns.
const BY_TURNS: [u16; 32] = {
    let mut t = [0; 32];
    let mut i = 0;
    while i < 16 {
        t[2 * i] = 2 * i as u16 + 1;
        t[2 * i + 1] = 2 * i as u16 + 33;
        i += 1;
    }
    t
};

/// The parts of sixteen numbers and of sixteen others, in this order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn parts(a: __m512, b: __m512, order: &[u16; 32]) -> [__m512i; PARTS] {
    // SAFETY: 64 bytes.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    let bits = |x: __m512| _mm512_castps_si512(x);
    let less = |x: __m512, part: __m512i| _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_and_si512(part, upper)));
    let rounded = [a, b].map(|x| _mm512_add_epi32(bits(x), half));
    let first = _mm512_permutex2var_epi16(rounded[0], order, rounded[1]);
    let [a, b] = [less(a, rounded[0]), less(b, rounded[1])];
    let second = _mm512_permutex2var_epi16(bits(a), order, bits(b));
    let [a, b] = [less(a, bits(a)), less(b, bits(b))];
    [first, second, _mm512_permutex2var_epi16(bits(a), order, bits(b))]
}

/// The sixteen numbers at x, those of `mask`, 0 for the others.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn some(x: *const f32, mask: __mmask16) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_ps(mask, x) }
}

/// The first `n` of sixteen.
#[inline(always)]
fn lanes(n: usize) -> __mmask16 {
    if n >= UNITS { !0 } else { (1 << n) - 1 }
}

/// dst = a row of k numbers as the left operand.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn split_row(dst: &mut [Unit], x: &[f32]) {
    let dst = &mut dst[..steps(x.len())];
    for (dst, x) in dst.chunks_exact_mut(UNITS).zip(x.chunks(DEPTH)) {
        // SAFETY: the lanes of both masks lie in x; a chunk is three lines.
        unsafe {
            let low = some(x.as_ptr(), lanes(x.len()));
            let high = some(x.as_ptr().wrapping_add(UNITS), lanes(x.len().saturating_sub(UNITS)));
            for (p, part) in parts(low, high, &HALVES).into_iter().enumerate() {
                _mm512_storeu_si512(dst.as_mut_ptr().byte_add(p * LINE).cast(), part);
            }
        }
    }
}

/// dst (steps(k), WIDTH) = columns `first ..` of src (k rows, `stride` apart), `columns` of them or WIDTH, zeros past them.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn split_panel(dst: &mut [Unit], src: &[f32], stride: usize, k: usize, first: usize, columns: usize) {
    /// Rows ahead of their use that they are asked for.
    const AHEAD: usize = 96;
    let columns = columns.min(WIDTH);
    for (u, dst) in dst[..steps(k) * WIDTH].chunks_exact_mut(WIDTH).enumerate() {
        for half in [0, UNITS] {
            let mut pair = [_mm512_setzero_ps(); 2];
            for (i, x) in pair.iter_mut().enumerate() {
                let at = (2 * u + i) * stride + first;
                if 2 * u + i < k {
                    let src = &src[at..][..columns];
                    // SAFETY: the lanes of the mask lie in the row.
                    *x = unsafe { some(src.as_ptr().wrapping_add(half), lanes(columns.saturating_sub(half))) };
                }
                _mm_prefetch::<_MM_HINT_T1>(src.as_ptr().wrapping_add(at + AHEAD * stride + half).cast());
            }
            for (p, part) in parts(pair[0], pair[1], &BY_TURNS).into_iter().enumerate() {
                // SAFETY: three rows of WIDTH pairs.
                unsafe { _mm512_storeu_si512(dst.as_mut_ptr().byte_add(p * PANEL_ROW + half * 4).cast(), part) };
            }
        }
    }
}

/// dst (UNITS, WIDTH) = the transpose of WIDTH x WIDTH numbers, as the right operand.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn split_transposed(dst: &mut [Unit], block: &[f32]) {
    let (dst, block) = (&mut dst[..UNITS * WIDTH], &block[..WIDTH * WIDTH]);
    for output in [0, UNITS] {
        for input in [0, UNITS] {
            let mut rows = [_mm512_setzero_ps(); UNITS];
            for (i, row) in rows.iter_mut().enumerate() {
                let x = &block[(input + i) * WIDTH + output..][..UNITS];
                // SAFETY: sixteen numbers.
                *row = unsafe { _mm512_loadu_ps(x.as_ptr()) };
            }
            for (j, pair) in transposed(rows).chunks_exact(2).enumerate() {
                let dst = &mut dst[(output / 2 + j) * WIDTH..][..WIDTH];
                for (p, part) in parts(pair[0], pair[1], &BY_TURNS).into_iter().enumerate() {
                    // SAFETY: three rows of WIDTH pairs.
                    unsafe { _mm512_storeu_si512(dst.as_mut_ptr().byte_add(p * PANEL_ROW + input * 4).cast(), part) };
                }
            }
        }
    }
}

/// Writes sixteen units of sixteen rows from row `first`, part p, of a left operand: each of `units` has a unit of every row in its lanes.
#[target_feature(enable = "avx512f")]
#[inline]
fn put_rows(dst: &mut [Unit], steps: usize, first: usize, chunk: usize, p: usize, units: &[__m512; UNITS]) {
    for (r, row) in transposed(*units).into_iter().enumerate() {
        let dst = &mut dst[(first + r) * steps + chunk * UNITS..][..UNITS];
        // SAFETY: sixteen units are three lines.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr().byte_add(p * LINE).cast(), row) };
    }
}

/// dst (ROWS, steps(k)) = columns `first ..` of src (k rows, `stride` apart), `columns` of them or ROWS, zeros past them.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn split_columns(dst: &mut [Unit], src: &[f32], stride: usize, k: usize, first: usize, columns: usize) {
    let columns = columns.min(ROWS);
    for chunk in 0..k.div_ceil(DEPTH) {
        // The next rows lie where the machine does not look ahead by itself.
        for row in (chunk + 1) * DEPTH..(chunk + 2) * DEPTH {
            for half in [0, HEIGHT] {
                _mm_prefetch::<_MM_HINT_T0>(src.as_ptr().wrapping_add(row * stride + first + half).cast());
            }
        }
        for half in [0, HEIGHT] {
            let mut units = [[_mm512_setzero_ps(); UNITS]; PARTS];
            for u in 0..UNITS {
                let mut pair = [_mm512_setzero_ps(); 2];
                for (i, x) in pair.iter_mut().enumerate() {
                    let row = chunk * DEPTH + 2 * u + i;
                    if row < k {
                        let src = &src[row * stride + first..][..columns];
                        // SAFETY: the lanes of the mask lie in the row.
                        *x = unsafe { some(src.as_ptr().wrapping_add(half), lanes(columns.saturating_sub(half))) };
                    }
                }
                for (units, part) in units.iter_mut().zip(parts(pair[0], pair[1], &BY_TURNS)) {
                    units[u] = _mm512_castsi512_ps(part);
                }
            }
            for (p, units) in units.iter().enumerate() {
                put_rows(dst, steps(k), half, chunk, p, units);
            }
        }
    }
}

/// dst (ROWS, steps(k)) = columns `first .. first + ROWS` of k rows of `units` units each, which `split_row` made. `first` begins a chunk.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn turn(dst: &mut [Unit], src: &[Unit], units: usize, k: usize, first: usize) {
    // SAFETY: 64 bytes each.
    let [low, high] = [&LOW, &HIGH].map(|order| unsafe { _mm512_loadu_si512(order.as_ptr().cast()) });
    for chunk in 0..k.div_ceil(DEPTH) {
        for p in 0..PARTS {
            let mut halves = [[_mm512_setzero_ps(); UNITS]; 2];
            let [top, bottom] = &mut halves;
            for (u, (top, bottom)) in top.iter_mut().zip(bottom).enumerate() {
                let mut pair = [_mm512_setzero_si512(); 2];
                for (i, x) in pair.iter_mut().enumerate() {
                    let row = chunk * DEPTH + 2 * u + i;
                    if row < k {
                        let src = &src[row * units + first / 2..][..UNITS];
                        // SAFETY: sixteen units are three lines.
                        *x = unsafe { _mm512_loadu_si512(src.as_ptr().byte_add(p * LINE).cast()) };
                    }
                }
                *top = _mm512_castsi512_ps(_mm512_permutex2var_epi16(pair[0], low, pair[1]));
                *bottom = _mm512_castsi512_ps(_mm512_permutex2var_epi16(pair[0], high, pair[1]));
            }
            for (half, units) in halves.iter().enumerate() {
                put_rows(dst, steps(k), half * HEIGHT, chunk, p, units);
            }
        }
    }
}
