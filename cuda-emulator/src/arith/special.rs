//! The approximate functions of f32. They are computed in f64 and rounded once, so they are off by far less than the hardware, whose bound
//! the ISA gives; results differ from it within that bound.

use super::float32::{finish, flush};
use super::simd::{map1, vectorised};
use super::{Lanes, Mode};

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `ex2.approx`: `2^a`
    Ex2,
    /// `lg2.approx`: the logarithm to base 2
    Lg2,
    /// `sin.approx`
    Sin,
    /// `cos.approx`
    Cos,
    /// `tanh.approx`
    Tanh,
    /// `rcp.approx`: `1 / a`
    Rcp,
    /// `sqrt.approx`
    Sqrt,
    /// `rsqrt.approx`: `1 / sqrt(a)`
    Rsqrt,
}

/// 1.5 * 2^52: adding it rounds to a whole number.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// `2^x`
#[inline(always)]
pub(super) fn ex2(x: f32) -> f32 {
    // Beyond these the result is 0 or infinite in f32. A NaN is put back at the end.
    let y = x.clamp(-200.0, 200.0) as f64;
    // The sum's low bits are the nearest whole number: no conversion, so that the loop over lanes is one of vectors.
    let rounded = y + ROUNDER;
    let whole = rounded - ROUNDER;
    let t = (y - whole) * core::f64::consts::LN_2;
    // e^t for |t| <= ln(2)/2 by its series; the first term left out is below 2^-43.
    let mut sum = 1.0 / 3_628_800.0;
    for factor in [
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * t + factor;
    }
    let scale = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    let result = (sum * scale) as f32;
    if x.is_nan() { x } else { result }
}

#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    (x as f64).tanh() as f32
}

vectorised! {
    /// An operation on all lanes.
    pub fn unary(op: Unary, mode: Mode, a: &Lanes) -> Lanes {
        let each = |f: fn(f64) -> f64| map1(a, |a| finish(f(flush(f32::from_bits(a), mode.subnormals) as f64) as f32, mode));
        match op {
            Unary::Ex2 => {
                // One loop for each step: the modes do not get into the loop of vectors.
                let x = map1(a, |a| flush(f32::from_bits(a), mode.subnormals));
                let y = map1(&x, ex2);
                map1(&y, |y| finish(y, mode))
            }
            Unary::Rcp => map1(a, |a| finish(1.0 / flush(f32::from_bits(a), mode.subnormals), mode)),
            Unary::Sqrt => map1(a, |a| finish(flush(f32::from_bits(a), mode.subnormals).sqrt(), mode)),
            Unary::Rsqrt => {
                map1(a, |a| finish((1.0 / (flush(f32::from_bits(a), mode.subnormals) as f64).sqrt()) as f32, mode))
            }
            Unary::Lg2 => each(f64::log2),
            Unary::Sin => each(f64::sin),
            Unary::Cos => each(f64::cos),
            Unary::Tanh => each(f64::tanh),
        }
    }
}
