//! AVX-512: sixteen lanes; with and without the bf16 dot product, and with tiles of bf16.
pub(crate) mod amx;
pub(crate) mod vnni;

use core::arch::x86_64::*;

use half::bf16;

use super::{Simd, out_of_line};
use crate::fast::gemm::{F32Mac, Lhs, Mac, Start, StoredMac, WidenMac, tiles};

/// Rows of a tile of f32: with two vectors each they fill the registers.
const ROWS: usize = 12;

macro_rules! avx512 {
    ($(#[$meta:meta])* $name:ident, $features:literal, $mr:expr, $bf16:ty, $f32:ty, $narrow:ident, $begin:block) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub struct $name(());

        impl $name {
            /// Proof that the instructions are there, for code compiled with them.
            #[target_feature(enable = $features)]
            #[inline]
            pub fn new() -> Self {
                $begin
                Self(())
            }
        }

        // Every block below: SAFETY: a value of this type exists only where the machine has the instructions (`new`),
        // and memory is reached through slices whose length was checked, or by the caller's promise.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Simd for $name {
            const LANES: usize = 16;
            const MR: usize = $mr;
            type V = __m512;
            type Bf16 = $bf16;
            type F32 = $f32;

            #[inline(always)]
            fn splat(self, x: f32) -> __m512 {
                unsafe { _mm512_set1_ps(x) }
            }
            #[inline(always)]
            fn load(self, x: &[f32]) -> __m512 {
                unsafe { _mm512_loadu_ps(x[..16].as_ptr()) }
            }
            #[inline(always)]
            fn store(self, y: &mut [f32], v: __m512) {
                unsafe { _mm512_storeu_ps(y[..16].as_mut_ptr(), v) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, x: *const f32) -> __m512 {
                unsafe { _mm512_loadu_ps(x) }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, y: *mut f32, v: __m512) {
                unsafe { _mm512_storeu_ps(y, v) }
            }
            #[inline(always)]
            fn widen(self, x: &[bf16]) -> __m512 {
                unsafe {
                    let x = _mm256_loadu_si256(x[..16].as_ptr().cast());
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
                }
            }
            #[inline(always)]
            fn narrow(self, y: &mut [bf16], v: __m512) {
                unsafe { _mm256_storeu_si256(y[..16].as_mut_ptr().cast(), $narrow(v)) }
            }
            #[inline(always)]
            fn add(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_add_ps(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_sub_ps(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_mul_ps(a, b) }
            }
            #[inline(always)]
            fn div(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_div_ps(a, b) }
            }
            #[inline(always)]
            fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }
            #[inline(always)]
            fn max(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_max_ps(a, b) }
            }
            #[inline(always)]
            fn min(self, a: __m512, b: __m512) -> __m512 {
                unsafe { _mm512_min_ps(a, b) }
            }
            #[inline(always)]
            fn sqrt(self, a: __m512) -> __m512 {
                unsafe { _mm512_sqrt_ps(a) }
            }
            #[inline(always)]
            fn power_of_two(self, n: __m512) -> __m512 {
                unsafe {
                    let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
                    _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(127 << 23)))
                }
            }
            #[inline(always)]
            unsafe fn transpose(self, dst: *mut f32, to: usize, src: *const f32, from: usize) {
                unsafe { transpose(dst, to, src, from) }
            }
            #[inline(always)]
            unsafe fn product(
                self,
                c: *mut f32,
                ldc: usize,
                rows: usize,
                lhs: Lhs,
                panel: *const f32,
                k: usize,
                start: Start,
            ) {
                if Self::MR == ROWS {
                    return unsafe { product(Avx512(()), c, ldc, rows, lhs, panel, k, start) };
                }
                for (first, height) in tiles(rows, ROWS) {
                    let (c, lhs) = unsafe { (c.add(first * ldc), lhs.from(first)) };
                    unsafe { product(Avx512(()), c, ldc, height, lhs, panel, k, start) }
                }
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
                if Self::MR == ROWS {
                    return unsafe { product_stored(Avx512(()), c, ldc, rows, lhs, panel, k, start) };
                }
                for (first, height) in tiles(rows, ROWS) {
                    let (c, lhs) = unsafe { (c.add(first * ldc), lhs.from(first)) };
                    unsafe { product_stored(Avx512(()), c, ldc, height, lhs, panel, k, start) }
                }
            }
            #[inline(always)]
            fn scale(self, x: __m512, n: __m512, _: __m512) -> __m512 {
                // 0 where the result is below 2^-126.5: Intel's machines take a hundred cycles to make such a number.
                unsafe { _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(n, _mm512_set1_ps(-126.0)), x, n) }
            }
            #[inline(always)]
            fn largest(self, v: __m512) -> f32 {
                unsafe { _mm512_reduce_max_ps(v) }
            }
            #[inline(always)]
            fn sum(self, v: __m512) -> f32 {
                unsafe {
                    let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
                    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
                    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
                }
            }
            #[inline(always)]
            fn first(self, v: __m512) -> f32 {
                unsafe { _mm512_cvtss_f32(v) }
            }
        }
    };
}

avx512!(
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    "avx512f,avx512bw,avx512dq,avx512vl",
    ROWS,
    WidenMac,
    F32Mac,
    narrow,
    {}
);
avx512!(
    /// AVX-512 with BF16.
    Avx512Bf16,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16",
    ROWS,
    PairMac,
    F32Mac,
    narrow_bf16,
    {}
);
avx512!(
    /// AVX-512 with BF16 and AMX with BF16. The same features: the tiles' instructions are written as such.
    Amx,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16",
    amx::ROWS,
    amx::TileMac,
    amx::split::SplitMac,
    narrow_bf16,
    { amx::begin() }
);

/// Sixteen numbers rounded to nearest even.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn narrow(v: __m512) -> __m256i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
    let up = _mm512_mask_mov_epi32(up, nan, quiet);
    // SAFETY: sixty-four bytes. Not vpmovdw: to memory it is slow on AMD's machines.
    let high = _mm512_permutexvar_epi16(unsafe { _mm512_loadu_si512(HALVES.as_ptr().cast()) }, up);
    _mm512_castsi512_si256(high)
}

/// As [`narrow`], the same bits: the instruction takes numbers below 2^-126 for 0, so where there are some it is not used.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
#[inline]
fn narrow_bf16(v: __m512) -> __m256i {
    const DENORMAL: i32 = 0x20;
    if _mm512_fpclass_ps_mask::<DENORMAL>(v) != 0 {
        return narrow(v);
    }
    // SAFETY: both are 32 bytes that may be anything.
    unsafe { core::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) }
}

/// Rows of a 16 x 16 block from `load(row)`, transposed.
#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(r: [__m512; 16]) -> [__m512; 16] {
    let mut t = [_mm512_setzero_ps(); 16];
    // Pairs of rows, then of pairs, each quarter by itself.
    for i in (0..16).step_by(4) {
        let (a, b) = (_mm512_unpacklo_ps(r[i], r[i + 1]), _mm512_unpackhi_ps(r[i], r[i + 1]));
        let (c, d) = (
            _mm512_unpacklo_ps(r[i + 2], r[i + 3]),
            _mm512_unpackhi_ps(r[i + 2], r[i + 3]),
        );
        t[i] = _mm512_shuffle_ps::<0x44>(a, c);
        t[i + 1] = _mm512_shuffle_ps::<0xee>(a, c);
        t[i + 2] = _mm512_shuffle_ps::<0x44>(b, d);
        t[i + 3] = _mm512_shuffle_ps::<0xee>(b, d);
    }
    // Then the quarters: t[4 g + j] has column 4 q + j of rows 4 g .. 4 g + 4 in quarter q.
    let mut out = t;
    for j in 0..4 {
        let (a, b) = (
            _mm512_shuffle_f32x4::<0x88>(t[j], t[j + 4]),
            _mm512_shuffle_f32x4::<0xdd>(t[j], t[j + 4]),
        );
        let (c, d) = (
            _mm512_shuffle_f32x4::<0x88>(t[j + 8], t[j + 12]),
            _mm512_shuffle_f32x4::<0xdd>(t[j + 8], t[j + 12]),
        );
        out[j] = _mm512_shuffle_f32x4::<0x88>(a, c);
        out[j + 8] = _mm512_shuffle_f32x4::<0xdd>(a, c);
        out[j + 4] = _mm512_shuffle_f32x4::<0x88>(b, d);
        out[j + 12] = _mm512_shuffle_f32x4::<0xdd>(b, d);
    }
    out
}

#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transpose(dst: *mut f32, to: usize, src: *const f32, from: usize) {
    // SAFETY: the caller's promise (`Simd::transpose`).
    unsafe {
        let mut r = [_mm512_setzero_ps(); 16];
        for (i, r) in r.iter_mut().enumerate() {
            *r = _mm512_loadu_ps(src.add(i * from));
        }
        for (i, r) in transposed(r).into_iter().enumerate() {
            _mm512_storeu_ps(dst.add(i * to), r);
        }
    }
}

/// Pairs of bf16 by `vdpbf16ps`: each lane adds the two products of a pair to its f32.
#[derive(Clone, Copy)]
pub struct PairMac;

#[allow(clippy::undocumented_unsafe_blocks)] // SAFETY: as above.
impl Mac<Avx512Bf16, bf16> for PairMac {
    const PAIRS: bool = true;
    const DIRECT: bool = true;
    type X = [bf16; 2];
    type Left = bf16;
    type P = __m512i;

    #[inline(always)]
    unsafe fn splat(_: Avx512Bf16, x: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_last(_: Avx512Bf16, x: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(x.cast::<u16>().read_unaligned() as i32) }
    }
    #[inline(always)]
    unsafe fn load(_: Avx512Bf16, x: *const [bf16; 2]) -> __m512i {
        unsafe { _mm512_loadu_si512(x.cast()) }
    }
    #[inline(always)]
    fn mac(_: Avx512Bf16, c: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe {
            _mm512_dpbf16_ps(
                c,
                core::mem::transmute::<__m512i, __m512bh>(a),
                core::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
    #[inline(always)]
    unsafe fn transpose(_: Avx512Bf16, dst: *mut [bf16; 2], src: *const bf16) -> bool {
        // A unit of the source is a pair of inputs of one output, of the result a pair of outputs of one input.
        unsafe {
            let low = _mm512_loadu_si512(LOW.as_ptr().cast());
            let high = _mm512_loadu_si512(HIGH.as_ptr().cast());
            for half in [0, 16] {
                let mut r = [_mm512_setzero_ps(); 16];
                for (i, r) in r.iter_mut().enumerate() {
                    *r = _mm512_loadu_ps(src.cast::<f32>().add(i * 32 + half));
                }
                let r = transposed(r);
                for (i, pair) in r.chunks_exact(2).enumerate() {
                    let (a, b) = (_mm512_castps_si512(pair[0]), _mm512_castps_si512(pair[1]));
                    let dst = dst.add((half / 2 + i) * 32);
                    _mm512_storeu_si512(dst.cast(), _mm512_permutex2var_epi16(a, low, b));
                    _mm512_storeu_si512(dst.add(16).cast(), _mm512_permutex2var_epi16(a, high, b));
                }
            }
        }
        true
    }
    #[inline(always)]
    unsafe fn product(
        s: Avx512Bf16,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const [bf16; 2],
        k: usize,
        start: Start,
    ) {
        unsafe { product_pairs(s, c, ldc, rows, lhs, panel, k, start) }
    }
    #[inline(always)]
    fn unit(a: bf16, b: bf16) -> [bf16; 2] {
        [a, b]
    }
    #[inline(always)]
    fn unit_f32(a: f32, b: f32) -> [bf16; 2] {
        [bf16::from_f32(a), bf16::from_f32(b)]
    }
}

/// Indices of the upper halves of sixteen numbers of four bytes and of sixteen others, one after the other.
const HALVES: [u16; 32] = {
    let mut t = [0; 32];
    let mut i = 0;
    while i < 32 {
        t[i] = 2 * i as u16 + 1;
        i += 1;
    }
    t
};

/// Indices that interleave the lower halves, and the upper halves, of two vectors of sixteen-bit numbers.
const LOW: [u16; 32] = interleave(0);
const HIGH: [u16; 32] = interleave(16);

const fn interleave(first: u16) -> [u16; 32] {
    let mut t = [0; 32];
    let mut i = 0;
    while i < 16 {
        t[2 * i] = first + i as u16;
        t[2 * i + 1] = 32 + first + i as u16;
        i += 1;
    }
    t
}

out_of_line!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    product,
    Avx512,
    f32,
    F32Mac
);
out_of_line!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    product_stored,
    Avx512,
    bf16,
    StoredMac
);
out_of_line!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    product_pairs,
    Avx512Bf16,
    bf16,
    PairMac
);
