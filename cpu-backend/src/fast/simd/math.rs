//! Exponential and sigmoid without branches.
use super::Simd;

/// 1.5 2^23: adding it rounds a small number to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// e^x to 1e-7 relative down to -87; 0 below -104, with AVX-512 below -87.7; infinity above 88.8, NaN for NaN.
///
/// Method: x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that n times the first is exact; a polynomial of
/// degree 7 in r (the coefficients of Cephes' expf); times 2^n.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let round = s.splat(ROUND);
    let n = s.sub(s.fma(x, s.splat(core::f32::consts::LOG2_E), round), round);
    let r = s.fma(n, s.splat(-355.0 / 512.0), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    s.scale(p, n, round)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}
