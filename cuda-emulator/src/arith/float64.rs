//! f64: IEEE 754 in every rounding direction. A NaN among the sources is handed on.

use super::simd::{map1, map2, map3, vectorised};
use super::soft::{self, F64};
use super::{Clamp, Mode, Round, Subnormals, Wide};

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
    /// `rcp.approx.ftz`: the lower 32 bits of the source are ignored, those of the result are 0.
    RcpApprox,
    /// `rsqrt.approx`; with `.ftz` the lower 32 bits are ignored and 0.
    RsqrtApprox,
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
    /// `div`
    Div,
    /// `min`: of a number and a NaN the number; -0 is less than +0.
    Min,
    /// `max`
    Max,
    /// `copysign`: the magnitude of b with the sign of a.
    CopySign,
}

#[inline(always)]
fn min(a: f64, b: f64) -> f64 {
    let smaller = if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    };
    if b.is_nan() { a } else { smaller }
}

#[inline(always)]
fn max(a: f64, b: f64) -> f64 {
    let larger = if a > b || (a == b && b.is_sign_negative()) {
        a
    } else {
        b
    };
    if b.is_nan() { a } else { larger }
}

fn exact(x: f64) -> soft::Exact {
    F64.unpack(x.to_bits())
}

fn fma_directed(x: f64, y: f64, z: f64, round: Round) -> f64 {
    if !(x.is_finite() && y.is_finite() && z.is_finite()) {
        return x.mul_add(y, z);
    }
    f64::from_bits(F64.round(soft::multiply_add(exact(x), exact(y), exact(z), round), round))
}

fn div_directed(x: f64, y: f64, round: Round) -> f64 {
    if !(x.is_finite() && y.is_finite()) || y == 0.0 {
        return x / y;
    }
    f64::from_bits(F64.round(soft::divide(exact(x), exact(y)), round))
}

fn sqrt_directed(x: f64, round: Round) -> f64 {
    if x > 0.0 && x.is_finite() {
        f64::from_bits(F64.round(soft::root(exact(x)), round))
    } else {
        x.sqrt()
    }
}

/// The approximations that work on the upper half: subnormals are zeros, a NaN is canonical.
fn upper_half(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    let flush = |x: f64| if x.is_subnormal() { 0.0f64.copysign(x) } else { x };
    let cut = |x: f64| f64::from_bits(x.to_bits() >> 32 << 32);
    let y = cut(flush(f(flush(cut(x)))));
    if x.is_nan() || y.is_nan() {
        f64::from_bits(0x7fff_ffff_0000_0000)
    } else {
        y
    }
}

#[inline(always)]
fn finish(x: f64, mode: Mode) -> u64 {
    if mode.clamp == Clamp::Saturate {
        let x = if x > 0.0 { x } else { 0.0 };
        return (if x < 1.0 { x } else { 1.0 }).to_bits();
    }
    x.to_bits()
}

#[inline(always)]
fn each2(mode: Mode, a: &Wide, b: &Wide, f: impl Fn(f64, f64) -> f64) -> Wide {
    map2(a, b, |a, b| finish(f(f64::from_bits(a), f64::from_bits(b)), mode))
}

vectorised! {
    /// An operation of one source, on all lanes.
    pub fn unary(op: Unary, mode: Mode, a: &Wide) -> Wide {
        let each = |f: &dyn Fn(f64) -> f64| map1(a, |a| f(f64::from_bits(a)).to_bits());
        match op {
            Unary::Neg => map1(a, |a| a ^ 1 << 63),
            Unary::Abs => map1(a, |a| a & !(1 << 63)),
            Unary::Sqrt if mode.round == Round::Near => map1(a, |a| f64::from_bits(a).sqrt().to_bits()),
            Unary::Sqrt => each(&|a| sqrt_directed(a, mode.round)),
            Unary::Rcp => each(&|a| div_directed(1.0, a, mode.round)),
            Unary::RcpApprox => each(&|a| upper_half(a, |a| 1.0 / a)),
            Unary::RsqrtApprox if mode.subnormals == Subnormals::Flush => each(&|a| upper_half(a, |a| 1.0 / a.sqrt())),
            Unary::RsqrtApprox => each(&|a| 1.0 / a.sqrt()),
        }
    }
}

vectorised! {
    /// An operation of two sources, on all lanes.
    pub fn binary(op: Binary, mode: Mode, a: &Wide, b: &Wide) -> Wide {
        let near = mode.round == Round::Near;
        match op {
            Binary::Add if near => each2(mode, a, b, |a, b| a + b),
            Binary::Add => each2(mode, a, b, |a, b| fma_directed(a, 1.0, b, mode.round)),
            Binary::Sub if near => each2(mode, a, b, |a, b| a - b),
            Binary::Sub => each2(mode, a, b, |a, b| fma_directed(a, 1.0, -b, mode.round)),
            Binary::Mul if near => each2(mode, a, b, |a, b| a * b),
            // A zero of the product's sign: it changes no product.
            Binary::Mul => each2(mode, a, b, |a, b| {
                fma_directed(a, b, f64::from_bits((a.to_bits() ^ b.to_bits()) & 1 << 63), mode.round)
            }),
            Binary::Div if near => each2(mode, a, b, |a, b| a / b),
            Binary::Div => each2(mode, a, b, |a, b| div_directed(a, b, mode.round)),
            Binary::Min => each2(mode, a, b, min),
            Binary::Max => each2(mode, a, b, max),
            Binary::CopySign => map2(a, b, |a, b| a & 1 << 63 | b & !(1 << 63)),
        }
    }
}

vectorised! {
    /// `fma`: `a b + c`, rounded once, on all lanes.
    pub fn fma_lanes(mode: Mode, a: &Wide, b: &Wide, c: &Wide) -> Wide {
        let near = mode.round == Round::Near;
        map3(a, b, c, |a, b, c| {
            let (a, b, c) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
            finish(if near { a.mul_add(b, c) } else { fma_directed(a, b, c, mode.round) }, mode)
        })
    }
}
