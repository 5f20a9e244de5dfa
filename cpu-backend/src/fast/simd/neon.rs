//! NEON: four lanes.
use core::arch::aarch64::*;

use half::bf16;

use super::{Simd, out_of_line};
use crate::fast::gemm::{F32Mac, Lhs, Start, StoredMac, WidenMac};

/// NEON.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// Proof that the instructions are there, for code compiled with them.
    #[target_feature(enable = "neon")]
    #[inline]
    pub fn new() -> Self {
        Self(())
    }
}

// Every block below: SAFETY: a value of this type exists only where the machine has the instructions (`new`), and
// memory is reached through slices whose length was checked, or by the caller's promise.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    const LANES: usize = 4;
    const MR: usize = 12;
    type V = float32x4_t;
    type Bf16 = WidenMac;
    type F32 = F32Mac;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> float32x4_t {
        unsafe { vld1q_f32(x[..4].as_ptr()) }
    }
    #[inline(always)]
    fn store(self, y: &mut [f32], v: float32x4_t) {
        unsafe { vst1q_f32(y[..4].as_mut_ptr(), v) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(x) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, y: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(y, v) }
    }
    #[inline(always)]
    fn widen(self, x: &[bf16]) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(x[..4].as_ptr().cast()))) }
    }
    #[inline(always)]
    fn narrow(self, y: &mut [bf16], v: float32x4_t) {
        let mut t = [0.0; 4];
        self.store(&mut t, v);
        y[..4].copy_from_slice(&t.map(bf16::from_f32));
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    // The instruction would give NaN if either is.
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn power_of_two(self, n: float32x4_t) -> float32x4_t {
        unsafe {
            let n = vshlq_n_u32::<23>(vreinterpretq_u32_f32(n));
            vreinterpretq_f32_u32(vaddq_u32(n, vdupq_n_u32(127 << 23)))
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
    #[target_feature(enable = "neon")]
    product,
    Neon,
    f32,
    F32Mac
);
out_of_line!(
    #[target_feature(enable = "neon")]
    product_stored,
    Neon,
    bf16,
    StoredMac
);
