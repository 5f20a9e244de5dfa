//! Vectors of f32, one type for each instruction set, and the way into code compiled for it.
//!
//! A value of a [`Simd`] type is proof that the machine has the instructions: it is made only inside functions compiled
//! for them. So the methods are safe, and the kernels above are plain generic code, inlined whole into one function
//! per instruction set by [`kernels!`].
use half::bf16;

use super::gemm::{Lhs, Mac, Start};
use super::matmul::Matmul;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod math;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

pub(crate) use math::{exp, sigmoid};

/// The most lanes any instruction set has.
pub const MAX_LANES: usize = 16;

/// The most rows the tile of any instruction set has.
pub const MAX_ROWS: usize = 32;

/// A vector instruction set. Every operation acts lane by lane, so a number's bits do not depend on its lane.
pub trait Simd: Copy + Send + Sync + 'static {
    /// f32 numbers in a vector.
    const LANES: usize;
    /// Rows of the matrix product's tile.
    const MR: usize;
    /// Columns of the matrix product's tile: the width of a panel.
    const NR: usize = 2 * Self::LANES;
    /// A vector of f32.
    type V: Copy;
    /// How bf16 matrices are multiplied.
    type Bf16: Mac<Self, bf16>;
    /// How large matrices of f32 are multiplied.
    type F32: Matmul<Self, f32>;

    /// x in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// The first LANES numbers of x.
    fn load(self, x: &[f32]) -> Self::V;
    /// v to the first LANES numbers of y.
    fn store(self, y: &mut [f32], v: Self::V);
    /// As [`Simd::load`].
    ///
    /// # Safety
    /// LANES numbers can be read at `x`.
    unsafe fn load_ptr(self, x: *const f32) -> Self::V;
    /// As [`Simd::store`].
    ///
    /// # Safety
    /// LANES numbers can be written at `y`.
    unsafe fn store_ptr(self, y: *mut f32, v: Self::V);
    /// The first LANES numbers of x, exactly.
    fn widen(self, x: &[bf16]) -> Self::V;
    /// v, rounded to nearest even, to the first LANES numbers of y.
    fn narrow(self, y: &mut [bf16], v: Self::V);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; b if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; b if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// 2^n, n held in the low bits of `n + 1.5 2^23`, |n| < 127.
    fn power_of_two(self, n: Self::V) -> Self::V;

    /// The matrix product's tile in f32: `gemm::product` compiled once, not into every kernel that uses it.
    ///
    /// # Safety
    /// As `gemm::product`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn product(self, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const f32, k: usize, start: Start);

    /// The matrix product's tile of f32 by panels of bf16.
    ///
    /// # Safety
    /// As `gemm::product`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn product_stored(
        self,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const bf16,
        k: usize,
        start: Start,
    );

    /// x 2^n for x near 1 and integral n from -151 to 129; `round` is 1.5 2^23.
    #[inline(always)]
    fn scale(self, x: Self::V, n: Self::V, round: Self::V) -> Self::V {
        // In two factors, so that the ends of the range round once.
        let half = self.fma(n, self.splat(0.5), round);
        let rest = self.add(self.sub(n, self.sub(half, round)), round);
        self.mul(self.mul(x, self.power_of_two(half)), self.power_of_two(rest))
    }

    /// Asks for the cache line at x, which need not exist.
    #[inline(always)]
    fn prefetch<T>(self, x: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 machine has the instruction, and it never faults.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(x.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = x;
    }

    /// dst = src', LANES x LANES numbers of four bytes, rows `to` and `from` apart; no number is looked at.
    ///
    /// # Safety
    /// The block can be read at src and written at dst.
    #[inline(always)]
    unsafe fn transpose(self, dst: *mut f32, to: usize, src: *const f32, from: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *dst.add(j * to + i).cast::<u32>() = *src.add(i * from + j).cast::<u32>() };
            }
        }
    }

    /// The sum of the lanes, by halves.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut t = [0.0; MAX_LANES];
        self.store(&mut t, v);
        let mut n = Self::LANES / 2;
        while n > 0 {
            for i in 0..n {
                t[i] += t[i + n];
            }
            n /= 2;
        }
        t[0]
    }

    /// The first lane.
    #[inline(always)]
    fn first(self, v: Self::V) -> f32 {
        let mut t = [0.0; MAX_LANES];
        self.store(&mut t, v);
        t[0]
    }

    /// The largest lane; NaN may be lost.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let mut t = [0.0; MAX_LANES];
        self.store(&mut t, v);
        t[..Self::LANES]
            .iter()
            .fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
    }
}

/// Defines `$name` out of line: the tile's product for the instruction set `$s`.
macro_rules! out_of_line {
    ($(#[$meta:meta])* $name:ident, $s:ty, $t:ty, $m:ty) => {
        $(#[$meta])*
        #[inline(never)]
        #[allow(clippy::too_many_arguments)]
        unsafe fn $name(
            s: $s,
            c: *mut f32,
            ldc: usize,
            rows: usize,
            lhs: crate::fast::gemm::Lhs,
            panel: *const <$m as crate::fast::gemm::Mac<$s, $t>>::X,
            k: usize,
            start: crate::fast::gemm::Start,
        ) {
            // SAFETY: the caller's promise.
            unsafe { crate::fast::gemm::product::<$s, $t, $m>(s, c, ldc, rows, lhs, panel, k, start) }
        }
    };
}
pub(crate) use out_of_line;

/// Defines functions `name(level, arguments)` from bodies that are generic over [`Simd`]: one copy for each
/// instruction set, compiled with its features, and a match.
macro_rules! kernels {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$t:ident>)? ($s:ident $(, $arg:ident: $ty:ty)* $(,)?) $(-> $ret:ty)? $body:block
    )*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$t: crate::fast::elem::Elem>)? (level: crate::fast::settings::Level $(, $arg: $ty)*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<S: crate::fast::simd::Simd $(, $t: crate::fast::elem::Elem)?>($s: S $(, $arg: $ty)*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            fn avx512bf16 $(<$t: crate::fast::elem::Elem>)? ($($arg: $ty),*) $(-> $ret)? {
                body::<_ $(, $t)?>(crate::fast::simd::avx512::Avx512Bf16::new() $(, $arg)*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            fn amx $(<$t: crate::fast::elem::Elem>)? ($($arg: $ty),*) $(-> $ret)? {
                body::<_ $(, $t)?>(crate::fast::simd::avx512::Amx::new() $(, $arg)*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$t: crate::fast::elem::Elem>)? ($($arg: $ty),*) $(-> $ret)? {
                body::<_ $(, $t)?>(crate::fast::simd::avx512::Avx512::new() $(, $arg)*)
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$t: crate::fast::elem::Elem>)? ($($arg: $ty),*) $(-> $ret)? {
                body::<_ $(, $t)?>(crate::fast::simd::avx2::Avx2::new() $(, $arg)*)
            }
            #[cfg(target_arch = "aarch64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "neon")]
            fn neon $(<$t: crate::fast::elem::Elem>)? ($($arg: $ty),*) $(-> $ret)? {
                body::<_ $(, $t)?>(crate::fast::simd::neon::Neon::new() $(, $arg)*)
            }

            match level.isa() {
                crate::fast::settings::Isa::Portable => {
                    body::<_ $(, $t)?>(crate::fast::simd::portable::Portable $(, $arg)*)
                }
                // SAFETY: a Level exists only for an instruction set that the machine has.
                #[cfg(target_arch = "x86_64")]
                crate::fast::settings::Isa::Avx2 => unsafe { avx2 $(::<$t>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                crate::fast::settings::Isa::Avx512 => unsafe { avx512 $(::<$t>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                crate::fast::settings::Isa::Avx512Bf16 => unsafe { avx512bf16 $(::<$t>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                crate::fast::settings::Isa::Amx => unsafe { amx $(::<$t>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                crate::fast::settings::Isa::Neon => unsafe { neon $(::<$t>)? ($($arg),*) },
                #[allow(unreachable_patterns)]
                _ => unreachable!("a Level exists only for an instruction set of this architecture"),
            }
        }
    )*};
}
pub(crate) use kernels;

#[cfg(test)]
mod tests;
