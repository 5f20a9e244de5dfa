//! f32: IEEE 754 in every rounding direction.
//!
//! A NaN that is computed is 0x7fffffff, as the hardware gives (the ISA says: unspecified).

use super::simd::{map1, map2, map3, vectorised};
use super::soft::{self, F32};
use super::{Clamp, Lanes, Mode, Round, Subnormals};

/// The NaN that instructions give.
pub const NAN: u32 = 0x7fff_ffff;

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `neg`
    Neg,
    /// `abs`
    Abs,
    /// `sqrt.rn` and the other directions.
    Sqrt,
    /// `rcp.rn` and the other directions.
    Rcp,
}

/// Two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `add`
    Add,
    /// `sub`
    Sub,
    /// `mul`
    Mul,
    /// `div.rn` and the other directions; also `div.full`, which may be off by 2 ulp on hardware.
    Div,
    /// `div.approx`: within 2 ulp on hardware, correctly rounded here. A divisor above 2^126 gives 0, or NaN for an infinite dividend.
    DivApprox,
    /// `min`: of a number and a NaN the number; -0 is less than +0.
    Min,
    /// `min.NaN`: a NaN if one is.
    MinNan,
    /// `min.xorsign.abs`: the smaller magnitude, with the product of the signs.
    MinXorSign,
    /// `min.NaN.xorsign.abs`
    MinNanXorSign,
    /// `max`
    Max,
    /// `max.NaN`
    MaxNan,
    /// `max.xorsign.abs`
    MaxXorSign,
    /// `max.NaN.xorsign.abs`
    MaxNanXorSign,
    /// `copysign`: the magnitude of b with the sign of a.
    CopySign,
}

/// The number an operation sees: with `.ftz` a zero for a subnormal one.
#[inline(always)]
pub fn flush(x: f32, subnormals: Subnormals) -> f32 {
    let flushed = f32::from_bits(x.to_bits() & 0x8000_0000);
    if subnormals == Subnormals::Flush && x.to_bits() & 0x7f80_0000 == 0 {
        flushed
    } else {
        x
    }
}

/// What is stored of a result: flushed, clamped, the canonical NaN for any NaN.
#[inline(always)]
pub(super) fn finish(x: f32, mode: Mode) -> u32 {
    let x = flush(x, mode.subnormals);
    match mode.clamp {
        Clamp::None => canonical(x),
        Clamp::Saturate => {
            // +0 for -0 and for a NaN: neither is above 0.
            let x = if x > 0.0 { x } else { 0.0 };
            (if x < 1.0 { x } else { 1.0 }).to_bits()
        }
        Clamp::Relu => canonical(if x <= 0.0 { 0.0 } else { x }),
    }
}

#[inline(always)]
fn canonical(x: f32) -> u32 {
    if x.is_nan() { NAN } else { x.to_bits() }
}

#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    let smaller = if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    };
    if b.is_nan() { a } else { smaller }
}

#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    let larger = if a > b || (a == b && b.is_sign_negative()) {
        a
    } else {
        b
    };
    if b.is_nan() { a } else { larger }
}

#[inline(always)]
fn or_nan(a: f32, b: f32, result: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { result }
}

#[inline(always)]
fn xor_sign(a: f32, b: f32, result: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    if result.is_nan() {
        result
    } else {
        f32::from_bits(result.to_bits() & 0x7fff_ffff | sign)
    }
}

#[inline(always)]
fn div_approx(a: f32, b: f32) -> f32 {
    // 2^126 < |b| < infinity
    let huge = b.abs() > f32::from_bits(0x7e80_0000) && b.is_finite();
    if !huge || a.is_nan() {
        a / b
    } else if a.is_infinite() {
        f32::NAN
    } else {
        0.0f32.copysign(a) * 1.0f32.copysign(b)
    }
}

/// `x y + z`, rounded once.
pub(super) fn fma_directed(x: f32, y: f32, z: f32, round: Round) -> f32 {
    if !(x.is_finite() && y.is_finite() && z.is_finite()) {
        return x.mul_add(y, z);
    }
    let exact = |x: f32| F32.unpack(x.to_bits() as u64);
    f32::from_bits(F32.round(soft::multiply_add(exact(x), exact(y), exact(z), round), round) as u32)
}

fn div_directed(x: f32, y: f32, round: Round) -> f32 {
    if !(x.is_finite() && y.is_finite()) || y == 0.0 {
        return x / y;
    }
    let exact = |x: f32| F32.unpack(x.to_bits() as u64);
    f32::from_bits(F32.round(soft::divide(exact(x), exact(y)), round) as u32)
}

fn sqrt_directed(x: f32, round: Round) -> f32 {
    if x > 0.0 && x.is_finite() {
        f32::from_bits(F32.round(soft::root(F32.unpack(x.to_bits() as u64)), round) as u32)
    } else {
        x.sqrt()
    }
}

#[inline(always)]
fn each1(mode: Mode, a: &Lanes, f: impl Fn(f32) -> f32) -> Lanes {
    map1(a, |a| finish(f(flush(f32::from_bits(a), mode.subnormals)), mode))
}

#[inline(always)]
fn each2(mode: Mode, a: &Lanes, b: &Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    let number = |a| flush(f32::from_bits(a), mode.subnormals);
    map2(a, b, |a, b| finish(f(number(a), number(b)), mode))
}

#[inline(always)]
fn each3(mode: Mode, a: &Lanes, b: &Lanes, c: &Lanes, f: impl Fn(f32, f32, f32) -> f32) -> Lanes {
    let number = |a| flush(f32::from_bits(a), mode.subnormals);
    map3(a, b, c, |a, b, c| finish(f(number(a), number(b), number(c)), mode))
}

vectorised! {
    /// An operation of one source, on all lanes.
    pub fn unary(op: Unary, mode: Mode, a: &Lanes) -> Lanes {
        let near = mode.round == Round::Near;
        match op {
            // neg and abs are no arithmetic: a NaN keeps its bits.
            Unary::Neg => map1(a, |a| flush(f32::from_bits(a), mode.subnormals).to_bits() ^ 0x8000_0000),
            Unary::Abs => map1(a, |a| flush(f32::from_bits(a), mode.subnormals).to_bits() & 0x7fff_ffff),
            Unary::Sqrt if near => each1(mode, a, f32::sqrt),
            Unary::Sqrt => each1(mode, a, |a| sqrt_directed(a, mode.round)),
            Unary::Rcp if near => each1(mode, a, |a| 1.0 / a),
            Unary::Rcp => each1(mode, a, |a| div_directed(1.0, a, mode.round)),
        }
    }
}

vectorised! {
    fn directed(op: Binary, mode: Mode, a: &Lanes, b: &Lanes) -> Lanes {
        match op {
            Binary::Add => each2(mode, a, b, |a, b| fma_directed(a, 1.0, b, mode.round)),
            Binary::Sub => each2(mode, a, b, |a, b| fma_directed(a, 1.0, -b, mode.round)),
            // A zero of the product's sign: it changes no product.
            Binary::Mul => each2(mode, a, b, |a, b| {
                let zero = f32::from_bits((a.to_bits() ^ b.to_bits()) & 0x8000_0000);
                fma_directed(a, b, zero, mode.round)
            }),
            _ => each2(mode, a, b, |a, b| div_directed(a, b, mode.round)),
        }
    }
}

vectorised! {
    fn nearest(op: Binary, mode: Mode, a: &Lanes, b: &Lanes) -> Lanes {
        match op {
            Binary::Add => each2(mode, a, b, |a, b| a + b),
            Binary::Sub => each2(mode, a, b, |a, b| a - b),
            Binary::Mul => each2(mode, a, b, |a, b| a * b),
            Binary::Div => each2(mode, a, b, |a, b| a / b),
            Binary::DivApprox => each2(mode, a, b, div_approx),
            Binary::Min => each2(mode, a, b, min),
            Binary::MinNan => each2(mode, a, b, |a, b| or_nan(a, b, min(a, b))),
            Binary::MinXorSign => each2(mode, a, b, |a, b| xor_sign(a, b, min(a.abs(), b.abs()))),
            Binary::MinNanXorSign => each2(mode, a, b, |a, b| or_nan(a, b, xor_sign(a, b, min(a.abs(), b.abs())))),
            Binary::Max => each2(mode, a, b, max),
            Binary::MaxNan => each2(mode, a, b, |a, b| or_nan(a, b, max(a, b))),
            Binary::MaxXorSign => each2(mode, a, b, |a, b| xor_sign(a, b, max(a.abs(), b.abs()))),
            Binary::MaxNanXorSign => each2(mode, a, b, |a, b| or_nan(a, b, xor_sign(a, b, max(a.abs(), b.abs())))),
            Binary::CopySign => map2(a, b, |a, b| a & 0x8000_0000 | b & 0x7fff_ffff),
        }
    }
}

/// An operation of two sources, on all lanes.
#[inline]
pub fn binary(op: Binary, mode: Mode, a: &Lanes, b: &Lanes) -> Lanes {
    let arithmetic = matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div);
    if mode == Mode::default() {
        // The common case apart, so that its loops test nothing.
        return nearest_plain(op, a, b);
    }
    if arithmetic && mode.round != Round::Near {
        directed(op, mode, a, b)
    } else {
        nearest(op, mode, a, b)
    }
}

vectorised! {
    fn nearest_plain(op: Binary, a: &Lanes, b: &Lanes) -> Lanes {
        let mode = Mode::default();
        match op {
            Binary::Add => each2(mode, a, b, |a, b| a + b),
            Binary::Sub => each2(mode, a, b, |a, b| a - b),
            Binary::Mul => each2(mode, a, b, |a, b| a * b),
            Binary::Min => each2(mode, a, b, min),
            Binary::Max => each2(mode, a, b, max),
            _ => nearest(op, mode, a, b),
        }
    }
}

vectorised! {
    fn fma_plain(a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        each3(Mode::default(), a, b, c, f32::mul_add)
    }
}

vectorised! {
    fn fma_any(mode: Mode, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        if mode.round == Round::Near {
            each3(mode, a, b, c, f32::mul_add)
        } else {
            each3(mode, a, b, c, |a, b, c| fma_directed(a, b, c, mode.round))
        }
    }
}

/// `fma`: `a b + c`, rounded once, on all lanes.
#[inline]
pub fn fma_lanes(mode: Mode, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
    if mode == Mode::default() {
        fma_plain(a, b, c)
    } else {
        fma_any(mode, a, b, c)
    }
}
