//! AVX2 with FMA: eight lanes.
use core::arch::x86_64::*;

use half::bf16;

use super::{Simd, out_of_line};
use crate::fast::gemm::{F32Mac, Lhs, Start, StoredMac, WidenMac};

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// Proof that the instructions are there, for code compiled with them.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub fn new() -> Self {
        Self(())
    }
}

// Every block below: SAFETY: a value of this type exists only where the machine has the instructions (`new`), and
// memory is reached through slices whose length was checked, or by the caller's promise.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const MR: usize = 6;
    type V = __m256;
    type Bf16 = WidenMac;
    type F32 = F32Mac;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m256 {
        unsafe { _mm256_loadu_ps(x[..8].as_ptr()) }
    }
    #[inline(always)]
    fn store(self, y: &mut [f32], v: __m256) {
        unsafe { _mm256_storeu_ps(y[..8].as_mut_ptr(), v) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(x) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, y: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(y, v) }
    }
    #[inline(always)]
    fn widen(self, x: &[bf16]) -> __m256 {
        unsafe {
            let x = _mm_loadu_si128(x[..8].as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x)))
        }
    }
    #[inline(always)]
    fn narrow(self, y: &mut [bf16], v: __m256) {
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let up = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(up, quiet, nan));
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256::<1>(up));
            _mm_storeu_si128(y[..8].as_mut_ptr().cast(), packed);
        }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn power_of_two(self, n: __m256) -> __m256 {
        unsafe {
            let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(127 << 23)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(self, dst: *mut f32, to: usize, src: *const f32, from: usize) {
        unsafe {
            let r: [__m256; 8] = core::array::from_fn(|i| _mm256_loadu_ps(src.add(i * from)));
            // Pairs of rows, then of pairs, each half by itself; then the halves.
            let pairs = |i: usize| (_mm256_unpacklo_ps(r[i], r[i + 1]), _mm256_unpackhi_ps(r[i], r[i + 1]));
            let fours = |i: usize| {
                let ((a, b), (c, d)) = (pairs(i), pairs(i + 2));
                [
                    _mm256_shuffle_ps::<0x44>(a, c),
                    _mm256_shuffle_ps::<0xee>(a, c),
                    _mm256_shuffle_ps::<0x44>(b, d),
                    _mm256_shuffle_ps::<0xee>(b, d),
                ]
            };
            let (top, bottom) = (fours(0), fours(4));
            for (i, (a, b)) in top.into_iter().zip(bottom).enumerate() {
                _mm256_storeu_ps(dst.add(i * to), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(dst.add((i + 4) * to), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
    #[inline(always)]
    unsafe fn product(self, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const f32, k: usize, start: Start) {
        unsafe { product(self, c, ldc, rows, lhs, panel, k, start) }
    }
    #[inline(always)]
    unsafe fn product_stored(
        self,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const bf16,
        k: usize,
        start: Start,
    ) {
        unsafe { product_stored(self, c, ldc, rows, lhs, panel, k, start) }
    }
}

out_of_line!(
    #[target_feature(enable = "avx2,fma")]
    product,
    Avx2,
    f32,
    F32Mac
);
out_of_line!(
    #[target_feature(enable = "avx2,fma")]
    product_stored,
    Avx2,
    bf16,
    StoredMac
);
