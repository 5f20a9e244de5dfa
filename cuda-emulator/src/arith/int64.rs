//! Integers of 64 bits.

use super::simd::{map1, map2, map3, vectorised};
use super::{Lanes, Wide};

/// Whether a factor or a field is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Sign {
    Signed,
    Unsigned,
}

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `not.b64`
    Not,
    /// `cnot.b64`
    Cnot,
    /// `neg.s64`
    Neg,
    /// `abs.s64`
    Abs,
    /// `brev.b64`
    Brev,
}

/// Two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `add.s64`, `add.u64`
    Add,
    /// `sub.s64`, `sub.u64`
    Sub,
    /// `mul.lo.s64`, `mul.lo.u64`
    Mul,
    /// `mul.hi.s64`
    MulHiS,
    /// `mul.hi.u64`
    MulHiU,
    /// `div.s64`; by zero all ones (the ISA leaves it open).
    DivS,
    /// `div.u64`
    DivU,
    /// `rem.s64`; by zero the dividend (the ISA leaves it open).
    RemS,
    /// `rem.u64`
    RemU,
    /// `min.s64`
    MinS,
    /// `min.u64`
    MinU,
    /// `max.s64`
    MaxS,
    /// `max.u64`
    MaxU,
    /// `and.b64`
    And,
    /// `or.b64`
    Or,
    /// `xor.b64`
    Xor,
}

/// Three sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ternary {
    /// `mad.lo.s64`, `mad.lo.u64`
    Mad,
    /// `mad.hi.s64`
    MadHiS,
    /// `mad.hi.u64`
    MadHiU,
    /// `sad.s64`
    SadS,
    /// `sad.u64`
    SadU,
}

/// A shift; its amount is of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shift {
    /// `shl.b64`; 0 from a shift of 64 on.
    Left,
    /// `shr.u64`, `shr.b64`
    RightU,
    /// `shr.s64`; the sign from a shift of 64 on.
    RightS,
}

/// A count or position of bits: 32 bits from 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// `popc.b64`
    Popc,
    /// `clz.b64`
    Clz,
    /// `bfind.u64`
    FindU,
    /// `bfind.s64`
    FindS,
    /// `bfind.shiftamt.u64`
    FindShiftU,
    /// `bfind.shiftamt.s64`
    FindShiftS,
}

#[inline(always)]
fn find(a: u64) -> u32 {
    63u32.wrapping_sub(a.leading_zeros())
}

#[inline(always)]
fn find_shift(a: u64) -> u32 {
    if a == 0 { u32::MAX } else { a.leading_zeros() }
}

#[inline(always)]
fn flip_negative(a: u64) -> u64 {
    a ^ ((a as i64) >> 63) as u64
}

#[inline(always)]
fn mul_hi_s(a: u64, b: u64) -> u64 {
    ((a as i64 as i128 * b as i64 as i128) >> 64) as u64
}

#[inline(always)]
fn mul_hi_u(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

#[inline(always)]
fn wide(sign: Sign, a: u32, b: u32) -> u64 {
    match sign {
        Sign::Signed => (a as i32 as i64 * b as i32 as i64) as u64,
        Sign::Unsigned => a as u64 * b as u64,
    }
}

vectorised! {
    /// An operation of one source, on all lanes.
    pub fn unary(op: Unary, a: &Wide) -> Wide {
        match op {
            Unary::Not => map1(a, |a| !a),
            Unary::Cnot => map1(a, |a| (a == 0) as u64),
            Unary::Neg => map1(a, |a| a.wrapping_neg()),
            Unary::Abs => map1(a, |a| (a as i64).wrapping_abs() as u64),
            Unary::Brev => map1(a, |a| a.reverse_bits()),
        }
    }
}

vectorised! {
    /// An operation of two sources, on all lanes.
    pub fn binary(op: Binary, a: &Wide, b: &Wide) -> Wide {
        match op {
            Binary::Add => map2(a, b, |a, b| a.wrapping_add(b)),
            Binary::Sub => map2(a, b, |a, b| a.wrapping_sub(b)),
            Binary::Mul => map2(a, b, |a, b| a.wrapping_mul(b)),
            Binary::MulHiS => map2(a, b, mul_hi_s),
            Binary::MulHiU => map2(a, b, mul_hi_u),
            Binary::DivS => map2(a, b, |a, b| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 }),
            Binary::DivU => map2(a, b, |a, b| a.checked_div(b).unwrap_or(u64::MAX)),
            Binary::RemS => map2(a, b, |a, b| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }),
            Binary::RemU => map2(a, b, |a, b| a.checked_rem(b).unwrap_or(a)),
            Binary::MinS => map2(a, b, |a, b| (a as i64).min(b as i64) as u64),
            Binary::MinU => map2(a, b, |a: u64, b: u64| a.min(b)),
            Binary::MaxS => map2(a, b, |a, b| (a as i64).max(b as i64) as u64),
            Binary::MaxU => map2(a, b, |a: u64, b: u64| a.max(b)),
            Binary::And => map2(a, b, |a, b| a & b),
            Binary::Or => map2(a, b, |a, b| a | b),
            Binary::Xor => map2(a, b, |a, b| a ^ b),
        }
    }
}

vectorised! {
    /// An operation of three sources, on all lanes.
    pub fn ternary(op: Ternary, a: &Wide, b: &Wide, c: &Wide) -> Wide {
        match op {
            Ternary::Mad => map3(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Ternary::MadHiS => map3(a, b, c, |a, b, c| mul_hi_s(a, b).wrapping_add(c)),
            Ternary::MadHiU => map3(a, b, c, |a, b, c| mul_hi_u(a, b).wrapping_add(c)),
            Ternary::SadS => map3(a, b, c, |a, b, c| (a as i64).abs_diff(b as i64).wrapping_add(c)),
            Ternary::SadU => map3(a, b, c, |a: u64, b: u64, c: u64| a.abs_diff(b).wrapping_add(c)),
        }
    }
}

vectorised! {
    /// A shift of all lanes.
    pub fn shift(op: Shift, a: &Wide, b: &Lanes) -> Wide {
        match op {
            Shift::Left => map2(a, b, |a, b| if b > 63 { 0 } else { a << (b & 63) }),
            Shift::RightU => map2(a, b, |a, b| if b > 63 { 0 } else { a >> (b & 63) }),
            Shift::RightS => map2(a, b, |a, b| ((a as i64) >> b.min(63)) as u64),
        }
    }
}

vectorised! {
    /// A count of the bits of all lanes.
    pub fn count(op: Count, a: &Wide) -> Lanes {
        match op {
            Count::Popc => map1(a, |a| a.count_ones()),
            Count::Clz => map1(a, |a| a.leading_zeros()),
            Count::FindU => map1(a, find),
            Count::FindS => map1(a, |a| find(flip_negative(a))),
            Count::FindShiftU => map1(a, find_shift),
            Count::FindShiftS => map1(a, |a| find_shift(flip_negative(a))),
        }
    }
}

vectorised! {
    /// `mul.wide`: the whole product.
    pub fn mul_wide(sign: Sign, a: &Lanes, b: &Lanes) -> Wide {
        match sign {
            Sign::Signed => map2(a, b, |a, b| wide(Sign::Signed, a, b)),
            Sign::Unsigned => map2(a, b, |a, b| wide(Sign::Unsigned, a, b)),
        }
    }
}

vectorised! {
    /// `mad.wide`: the whole product plus c.
    pub fn mad_wide(sign: Sign, a: &Lanes, b: &Lanes, c: &Wide) -> Wide {
        match sign {
            Sign::Signed => map3(a, b, c, |a, b, c: u64| wide(Sign::Signed, a, b).wrapping_add(c)),
            Sign::Unsigned => map3(a, b, c, |a, b, c: u64| wide(Sign::Unsigned, a, b).wrapping_add(c)),
        }
    }
}
