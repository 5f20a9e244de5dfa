//! Plain Rust: four lanes that the compiler puts into whatever vectors every machine of the architecture has.
use half::bf16;

use super::{Simd, out_of_line};
use crate::fast::gemm::{F32Mac, Lhs, Start, StoredMac, WidenMac};

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Portable;

type V = [f32; 4];

#[inline(always)]
fn map(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Portable {
    const LANES: usize = 4;
    const MR: usize = 4;
    type V = V;
    type Bf16 = WidenMac;
    type F32 = F32Mac;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> V {
        [x[0], x[1], x[2], x[3]]
    }
    #[inline(always)]
    fn store(self, y: &mut [f32], v: V) {
        y[..4].copy_from_slice(&v);
    }
    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { x.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, y: *mut f32, v: V) {
        // SAFETY: the caller's promise.
        unsafe { y.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    fn widen(self, x: &[bf16]) -> V {
        [x[0].to_f32(), x[1].to_f32(), x[2].to_f32(), x[3].to_f32()]
    }
    #[inline(always)]
    fn narrow(self, y: &mut [bf16], v: V) {
        y[..4].copy_from_slice(&v.map(bf16::from_f32));
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        map(a, b, |a, b| a / b)
    }
    // Two roundings: without the instruction a fused product is a slow call.
    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        map(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        map(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn power_of_two(self, n: V) -> V {
        n.map(|n| f32::from_bits((n.to_bits() << 23).wrapping_add(127 << 23)))
    }
    #[inline(always)]
    unsafe fn product(self, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const f32, k: usize, start: Start) {
        // SAFETY: the caller's promise.
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
        // SAFETY: the caller's promise.
        unsafe { product_stored(self, c, ldc, rows, lhs, panel, k, start) }
    }
}

out_of_line!(product, Portable, f32, F32Mac);
out_of_line!(product_stored, Portable, bf16, StoredMac);
