//! f16 and bf16, single (in the lower half of a register; the upper one of a result is 0) or packed in pairs.
//!
//! A result is rounded once to nearest. A NaN is 0x7fff.

use super::simd::{map1, map2, map3, vectorised};
use super::{Clamp, Format16, Lanes, Mode, Subnormals, float32, special};

/// The NaN of both formats that instructions give.
pub const NAN: u32 = 0x7fff;

/// How many values a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pack {
    /// `.f16`, `.bf16`
    One,
    /// `.f16x2`, `.bf16x2`
    Two,
}

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Unary {
    Neg(Pack),
    Abs(Pack),
    Ex2(Pack),
    Tanh(Pack),
}

/// Two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Add(Pack),
    Sub(Pack),
    Mul(Pack),
    Min(Pack),
    MinNan(Pack),
    MinXorSign(Pack),
    MinNanXorSign(Pack),
    Max(Pack),
    MaxNan(Pack),
    MaxXorSign(Pack),
    MaxNanXorSign(Pack),
}

/// The value of a bf16 in the lower 16 bits.
#[inline(always)]
pub fn from_bf16(bits: u32) -> f32 {
    f32::from_bits(bits << 16)
}

/// The value of an f16 in the lower 16 bits.
#[inline(always)]
pub fn from_f16(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let magnitude = bits & 0x7fff;
    // With the exponent of f32 the bits are the number times 2^-112, subnormals included.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = 0x7f80_0000 | magnitude << 13;
    f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { scaled.to_bits() })
}

/// The bf16 nearest to a number.
#[inline(always)]
pub fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { NAN } else { rounded }
}

/// The f16 nearest to a number.
#[inline(always)]
pub fn to_f16(x: f32) -> u32 {
    let sign = x.to_bits() >> 16 & 0x8000;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let rebiased = magnitude.wrapping_sub(112 << 23);
    let normal = rebiased.wrapping_add(0xfff + (rebiased >> 13 & 1)) >> 13;
    // Below 2^-14: adding 0.5 leaves in the lowest bits the number in units of 2^-24, rounded.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let finite = if magnitude >= 0x477f_f000 { 0x7c00 } else { finite };
    if magnitude > 0x7f80_0000 { NAN } else { sign | finite }
}

/// The f32 that any narrower format rounds like the given number: rounded to odd.
#[inline(always)]
fn odd_f32(x: f64) -> f32 {
    let near = x as f32;
    let back = near as f64;
    // Away from zero by one step where it rounded up, so that the last bit can say "inexact".
    let over = near.is_infinite() && x.is_finite() || back.abs() > x.abs();
    let cut = if over { f32::from_bits(near.to_bits() - 1) } else { near };
    if back == x || x.is_nan() {
        near
    } else {
        f32::from_bits(cut.to_bits() | 1)
    }
}

/// `a b + c` of numbers of 16 bits, such that rounding it to their format rounds once.
#[inline(always)]
fn fma_odd(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (a as f64 * b as f64, c as f64);
    let sum = product + c;
    // What the addition lost, exactly (Knuth); it decides a tie.
    let share = sum - product;
    let lost = (product - (sum - share)) + (c - share);
    let bits = sum.to_bits();
    let inexact = lost != 0.0 && sum.is_finite() && bits & 1 == 0;
    let towards = if (lost > 0.0) == (sum > 0.0) {
        bits.wrapping_add(1)
    } else {
        bits.wrapping_sub(1)
    };
    odd_f32(f64::from_bits(if inexact { towards } else { bits }))
}

/// The bits of a number, those of a subnormal one cut to its sign if it is to be flushed.
#[inline(always)]
fn flush(format: Format16, subnormals: Subnormals, bits: u32) -> u32 {
    let exponent = match format {
        Format16::F16 => 0x7c00,
        Format16::Bf16 => 0x7f80,
    };
    if subnormals == Subnormals::Flush && bits & exponent == 0 {
        bits & 0x8000
    } else {
        bits
    }
}

#[inline(always)]
fn read(format: Format16, mode: Mode, bits: u32) -> f32 {
    let bits = flush(format, mode.subnormals, bits);
    match format {
        Format16::F16 => from_f16(bits),
        Format16::Bf16 => from_bf16(bits),
    }
}

#[inline(always)]
fn write(format: Format16, mode: Mode, x: f32) -> u32 {
    let clamped = match mode.clamp {
        Clamp::None => x,
        Clamp::Saturate => {
            let x = if x > 0.0 { x } else { 0.0 };
            if x < 1.0 { x } else { 1.0 }
        }
        Clamp::Relu if x <= 0.0 => 0.0,
        Clamp::Relu => x,
    };
    let bits = match format {
        Format16::F16 => to_f16(clamped),
        Format16::Bf16 => to_bf16(clamped),
    };
    flush(format, mode.subnormals, bits)
}

#[inline(always)]
fn each1(pack: Pack, format: Format16, mode: Mode, a: &Lanes, f: impl Fn(f32) -> f32) -> Lanes {
    let one = |a: u32| write(format, mode, f(read(format, mode, a & 0xffff)));
    match pack {
        Pack::One => map1(a, one),
        Pack::Two => map1(a, |a| one(a) | one(a >> 16) << 16),
    }
}

#[inline(always)]
fn each2(pack: Pack, format: Format16, mode: Mode, a: &Lanes, b: &Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    let one = |a: u32, b: u32| {
        write(
            format,
            mode,
            f(read(format, mode, a & 0xffff), read(format, mode, b & 0xffff)),
        )
    };
    match pack {
        Pack::One => map2(a, b, one),
        Pack::Two => map2(a, b, |a, b| one(a, b) | one(a >> 16, b >> 16) << 16),
    }
}

#[inline(always)]
fn xor_sign(a: f32, b: f32, magnitude: f32) -> f32 {
    if magnitude.is_nan() {
        magnitude
    } else {
        magnitude.copysign(1.0f32.copysign(a) * 1.0f32.copysign(b))
    }
}

#[inline(always)]
fn or_nan(a: f32, b: f32, result: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { result }
}

#[inline(always)]
fn unary_of(op: Unary, format: Format16, mode: Mode, a: &Lanes) -> Lanes {
    // neg and abs are no arithmetic: a NaN keeps its bits.
    let flip = |pack: Pack, f: fn(u32) -> u32| {
        let one = |a: u32| f(flush(format, mode.subnormals, a & 0xffff));
        map1(a, |a| one(a) | if pack == Pack::Two { one(a >> 16) << 16 } else { 0 })
    };
    match op {
        Unary::Neg(pack) => flip(pack, |a| a ^ 0x8000),
        Unary::Abs(pack) => flip(pack, |a| a & 0x7fff),
        Unary::Ex2(pack) => each1(pack, format, mode, a, special::ex2),
        Unary::Tanh(pack) => each1(pack, format, mode, a, special::tanh),
    }
}

#[inline(always)]
fn binary_of(op: Binary, format: Format16, mode: Mode, a: &Lanes, b: &Lanes) -> Lanes {
    use float32::{max, min};
    let e = |pack, f: fn(f32, f32) -> f32| each2(pack, format, mode, a, b, f);
    match op {
        Binary::Add(pack) => each2(pack, format, mode, a, b, |a, b| fma_odd(a, 1.0, b)),
        Binary::Sub(pack) => each2(pack, format, mode, a, b, |a, b| fma_odd(a, 1.0, -b)),
        Binary::Mul(pack) => each2(pack, format, mode, a, b, |a, b| odd_f32(a as f64 * b as f64)),
        Binary::Min(pack) => each2(pack, format, mode, a, b, min),
        Binary::Max(pack) => each2(pack, format, mode, a, b, max),
        Binary::MinNan(pack) => e(pack, |a, b| or_nan(a, b, min(a, b))),
        Binary::MinXorSign(pack) => e(pack, |a, b| xor_sign(a, b, min(a.abs(), b.abs()))),
        Binary::MinNanXorSign(pack) => e(pack, |a, b| or_nan(a, b, xor_sign(a, b, min(a.abs(), b.abs())))),
        Binary::MaxNan(pack) => e(pack, |a, b| or_nan(a, b, max(a, b))),
        Binary::MaxXorSign(pack) => e(pack, |a, b| xor_sign(a, b, max(a.abs(), b.abs()))),
        Binary::MaxNanXorSign(pack) => e(pack, |a, b| or_nan(a, b, xor_sign(a, b, max(a.abs(), b.abs())))),
    }
}

vectorised! {
    /// An operation of one source, on all lanes.
    pub fn unary(op: Unary, format: Format16, mode: Mode, a: &Lanes) -> Lanes {
        match format {
            Format16::F16 => unary_of(op, Format16::F16, mode, a),
            Format16::Bf16 => unary_of(op, Format16::Bf16, mode, a),
        }
    }
}

vectorised! {
    /// An operation of two sources, on all lanes.
    pub fn binary(op: Binary, format: Format16, mode: Mode, a: &Lanes, b: &Lanes) -> Lanes {
        match format {
            Format16::F16 => binary_of(op, Format16::F16, mode, a, b),
            Format16::Bf16 => binary_of(op, Format16::Bf16, mode, a, b),
        }
    }
}

vectorised! {
    /// `fma`: `a b + c`, rounded once, on all lanes.
    pub fn fma_lanes(pack: Pack, format: Format16, mode: Mode, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        let one = |format, a: u32, b: u32, c: u32| {
            let number = |a: u32| read(format, mode, a & 0xffff);
            write(format, mode, fma_odd(number(a), number(b), number(c)))
        };
        let both = |format| {
            map3(a, b, c, |a, b, c| one(format, a, b, c) | (one(format, a >> 16, b >> 16, c >> 16) << 16))
        };
        match (format, pack) {
            (Format16::F16, Pack::One) => map3(a, b, c, |a, b, c| one(Format16::F16, a, b, c)),
            (Format16::Bf16, Pack::One) => map3(a, b, c, |a, b, c| one(Format16::Bf16, a, b, c)),
            (Format16::F16, Pack::Two) => both(Format16::F16),
            (Format16::Bf16, Pack::Two) => both(Format16::Bf16),
        }
    }
}
