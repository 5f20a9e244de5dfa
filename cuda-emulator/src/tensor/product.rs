//! The product with f32 sums, m16n8, with the bits of [`Mma::plain`], on vectors of 8 numbers (AVX2 with FMA). Elsewhere there is no
//! fast path.
//!
//! The 8 columns of D are one vector: those of register 0 (columns 0, 2, 4, 6), then those of register 1 (1, 3, 5, 7), so that C and D
//! are loaded and stored as they lie in registers. Two rows of a register of B are one vector too, and transposing 4 x 4 words in both of
//! its halves gives the columns in that order.

use super::mma::Mma;
use crate::arith::Lanes;

/// D, where the fast path serves the machine, the types and the shape.
#[inline]
pub fn fast(mma: Mma, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Option<[Lanes; 4]> {
    #[cfg(target_arch = "x86_64")]
    if mma.shape.m == 16 && crate::arith::simd::has_avx2() {
        // SAFETY: has_avx2 is true only where the processor has every feature the function is compiled for.
        return unsafe { avx2::multiply(mma, a, b, c) };
    }
    let _ = (mma, a, b, c);
    None
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::fragment::Element;
    use super::super::mma::Mma;
    use crate::arith::Lanes;
    use crate::arith::float32::NAN;
    use crate::arith::half::{from_bf16, from_f16, to_f16};
    use std::arch::x86_64::*;

    /// Of one half of the rows of A (8 of them): for each four numbers along k, 8 rows of them.
    type Rows = [[[f32; 32]; 4]; 2];
    /// Of B: for each k the 8 columns.
    type Columns = [[f32; 8]; 16];

    /// D; nothing for types and shapes not served.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn multiply(mma: Mma, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Option<[Lanes; 4]> {
        let mut rows: Rows = [[[0.0; 32]; 4]; 2];
        let mut columns: Columns = [[0.0; 8]; 16];
        match mma.a {
            Element::Bf16 => pairs(&mut rows, &mut columns, a, b, from_bf16),
            Element::F16 => pairs(&mut rows, &mut columns, a, b, from_f16),
            Element::Tf32 => words(&mut rows, &mut columns, a, b),
            _ => return None,
        }
        let wide;
        let c = match *c {
            [c0, c1, c2, c3] => [c0, c1, c2, c3],
            [low, high] => {
                let number = |bits: u32| from_f16(bits & 0xffff).to_bits();
                wide = [
                    low.map(number),
                    low.map(|x| number(x >> 16)),
                    high.map(number),
                    high.map(|x| number(x >> 16)),
                ];
                [&wide[0], &wide[1], &wide[2], &wide[3]]
            }
            _ => return None,
        };
        let d = match (mma.a, mma.shape.k) {
            (Element::Tf32, 4) => sums::<4, false>(&rows, &columns, c),
            (Element::Tf32, _) => sums::<8, false>(&rows, &columns, c),
            (_, 8) => sums::<8, true>(&rows, &columns, c),
            _ => sums::<16, true>(&rows, &columns, c),
        };
        if mma.d == Element::F32 {
            return Some(d);
        }
        let mut packed = [[0; 32]; 4];
        for (half, to) in packed.iter_mut().enumerate().take(2) {
            for (lane, to) in to.iter_mut().enumerate() {
                let number = |i: usize| to_f16(f32::from_bits(d[2 * half + i][lane]));
                *to = number(0) | number(1) << 16;
            }
        }
        Some(packed)
    }

    /// 16-bit elements: a register holds 8 rows of four pairs.
    #[inline(always)]
    fn pairs(rows: &mut Rows, columns: &mut Columns, a: &[&Lanes], b: &[&Lanes], read: impl Fn(u32) -> f32) {
        for (r, register) in a.iter().enumerate() {
            for lane in 0..32 {
                rows[r % 2][r / 2 * 2][lane] = read(register[lane] & 0xffff);
                rows[r % 2][r / 2 * 2 + 1][lane] = read(register[lane] >> 16);
            }
        }
        for (r, register) in b.iter().enumerate() {
            // SAFETY: this is called from functions compiled for AVX2 only.
            let columns_of = unsafe { transposed(register) };
            for (t, words) in columns_of.iter().enumerate() {
                for j in 0..8 {
                    columns[8 * r + 2 * t][j] = read(words[j] & 0xffff);
                    columns[8 * r + 2 * t + 1][j] = read(words[j] >> 16);
                }
            }
        }
    }

    /// tf32: a register holds 8 rows of four numbers, of which the lower 13 bits are not read.
    #[inline(always)]
    fn words(rows: &mut Rows, columns: &mut Columns, a: &[&Lanes], b: &[&Lanes]) {
        let read = |bits: u32| f32::from_bits(bits & 0xffff_e000);
        for (r, register) in a.iter().enumerate() {
            rows[r % 2][r / 2] = register.map(read);
        }
        for (r, register) in b.iter().enumerate() {
            // SAFETY: this is called from functions compiled for AVX2 only.
            let columns_of = unsafe { transposed(register) };
            for (t, words) in columns_of.iter().enumerate() {
                columns[4 * r + t] = words.map(read);
            }
        }
    }

    /// A register of B holds 8 columns of four words. For each of the four the words of columns 0, 2, 4, 6, 1, 3, 5, 7.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn transposed(register: &Lanes) -> [[u32; 8]; 4] {
        // SAFETY: the 32 words are four vectors of 8.
        let [r0, r1, r2, r3] = [0, 8, 16, 24].map(|i| unsafe { _mm256_loadu_si256(register.as_ptr().add(i).cast()) });
        let (x0, x1) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
        let (x2, x3) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
        let vectors = [
            _mm256_unpacklo_epi64(x0, x2),
            _mm256_unpackhi_epi64(x0, x2),
            _mm256_unpacklo_epi64(x1, x3),
            _mm256_unpackhi_epi64(x1, x3),
        ];
        let mut words = [[0; 8]; 4];
        for (to, vector) in words.iter_mut().zip(vectors) {
            // SAFETY: 8 words are a vector.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) };
        }
        words
    }

    /// `C + A B`, for each element in the order of k. PAIRS: numbers 2 t and 2 t + 1 of eight along k are in arrays of their own.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn sums<const K: usize, const PAIRS: bool>(rows: &Rows, columns: &Columns, c: [&Lanes; 4]) -> [Lanes; 4] {
        let nan = _mm256_castsi256_ps(_mm256_set1_epi32(NAN as i32));
        let mut d = [[0u32; 32]; 4];
        for (half, rows) in rows.iter().enumerate() {
            let mut sum = [_mm256_setzero_ps(); 8];
            for (g, sum) in sum.iter_mut().enumerate() {
                // SAFETY: g is below 8: the four words from 4 g on are there.
                *sum = unsafe {
                    let even = _mm_loadu_ps(c[2 * half].as_ptr().add(4 * g).cast());
                    let odd = _mm_loadu_ps(c[2 * half + 1].as_ptr().add(4 * g).cast());
                    _mm256_set_m128(odd, even)
                };
            }
            for (k, column) in columns.iter().enumerate().take(K) {
                let (array, t) = if PAIRS {
                    (k / 8 * 2 + k % 2, k % 8 / 2)
                } else {
                    (k / 4, k % 4)
                };
                // SAFETY: 8 numbers are a vector.
                let column = unsafe { _mm256_loadu_ps(column.as_ptr()) };
                for (g, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm256_fmadd_ps(_mm256_set1_ps(rows[array][4 * g + t]), column, *sum);
                }
            }
            for (g, &sum) in sum.iter().enumerate() {
                let stored = _mm256_blendv_ps(sum, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(sum, sum));
                // SAFETY: g is below 8: the four words from 4 g on are there.
                unsafe {
                    _mm_storeu_ps(
                        d[2 * half].as_mut_ptr().add(4 * g).cast(),
                        _mm256_castps256_ps128(stored),
                    );
                    _mm_storeu_ps(
                        d[2 * half + 1].as_mut_ptr().add(4 * g).cast(),
                        _mm256_extractf128_ps::<1>(stored),
                    );
                }
            }
        }
        d
    }
}
