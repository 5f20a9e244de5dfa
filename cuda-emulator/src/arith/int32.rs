//! Integers of 8, 16 and 32 bits, in the 32-bit bank. A 16-bit result is zero-extended.

use super::Lanes;
use super::simd::{map1, map2, map3, vectorised};

/// One source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `not.b32`
    Not,
    /// `not.b16`
    Not16,
    /// `cnot.b32`: 1 where the source is 0, else 0.
    Cnot,
    /// `cnot.b16`
    Cnot16,
    /// `neg.s32`
    Neg,
    /// `neg.s16`
    Neg16,
    /// `abs.s32`; the most negative number is its own absolute value.
    Abs,
    /// `abs.s16`
    Abs16,
    /// `popc.b32`: ones.
    Popc,
    /// `clz.b32`: leading zeros, 32 for 0.
    Clz,
    /// `brev.b32`: the bits in reverse order.
    Brev,
    /// `bfind.u32`: the position of the most significant 1; all ones for 0.
    FindU,
    /// `bfind.s32`: of the most significant bit that differs from the sign; all ones for 0 and -1.
    FindS,
    /// `bfind.shiftamt.u32`: the left shift that brings that bit to position 31.
    FindShiftU,
    /// `bfind.shiftamt.s32`
    FindShiftS,
}

/// Two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `add.s32`, `add.u32`
    Add,
    /// `add.sat.s32`: clamped to the smallest and the largest number.
    AddSat,
    /// `add.s16`, `add.u16`
    Add16,
    /// `add.u16x2`, `add.s16x2`
    Add16x2,
    /// `sub.s32`, `sub.u32`
    Sub,
    /// `sub.sat.s32`
    SubSat,
    /// `sub.s16`, `sub.u16`
    Sub16,
    /// `mul.lo.s32`, `mul.lo.u32`
    Mul,
    /// `mul.hi.s32`: the upper half of the product.
    MulHiS,
    /// `mul.hi.u32`
    MulHiU,
    /// `mul.lo.s16`, `mul.lo.u16`
    Mul16,
    /// `mul.hi.s16`
    MulHiS16,
    /// `mul.hi.u16`
    MulHiU16,
    /// `mul.wide.s16`: a product of 32 bits.
    MulWideS16,
    /// `mul.wide.u16`
    MulWideU16,
    /// `mul24.lo.s32`: bits 0 to 31 of the product of the lower 24 bits.
    Mul24LoS,
    /// `mul24.lo.u32`
    Mul24LoU,
    /// `mul24.hi.s32`: bits 16 to 47.
    Mul24HiS,
    /// `mul24.hi.u32`
    Mul24HiU,
    /// `div.s32`; by zero all ones, as the hardware does (the ISA leaves it open).
    DivS,
    /// `div.u32`
    DivU,
    /// `div.s16`
    DivS16,
    /// `div.u16`
    DivU16,
    /// `rem.s32`; by zero the dividend (the ISA leaves it open).
    RemS,
    /// `rem.u32`
    RemU,
    /// `rem.s16`
    RemS16,
    /// `rem.u16`
    RemU16,
    /// `min.s32`
    MinS,
    /// `min.relu.s32`: 0 where the minimum is negative.
    MinReluS,
    /// `min.u32`
    MinU,
    /// `max.s32`
    MaxS,
    /// `max.relu.s32`
    MaxReluS,
    /// `max.u32`
    MaxU,
    /// `min.s16`
    MinS16,
    /// `min.u16`
    MinU16,
    /// `max.s16`
    MaxS16,
    /// `max.u16`
    MaxU16,
    /// `min.s16x2`
    MinS16x2,
    /// `min.u16x2`
    MinU16x2,
    /// `max.s16x2`
    MaxS16x2,
    /// `max.u16x2`
    MaxU16x2,
    /// `and.b32`, `and.b16`
    And,
    /// `or.b32`, `or.b16`
    Or,
    /// `xor.b32`, `xor.b16`
    Xor,
    /// `shl.b32`; 0 from a shift of 32 on.
    Shl,
    /// `shl.b16`
    Shl16,
    /// `shr.u32`, `shr.b32`; 0 from a shift of 32 on.
    ShrU,
    /// `shr.s32`; the sign from a shift of 32 on.
    ShrS,
    /// `shr.u16`, `shr.b16`
    ShrU16,
    /// `shr.s16`
    ShrS16,
    /// `bmsk.clamp.b32 d, a, b`: b ones from bit a on.
    MaskClamp,
    /// `bmsk.wrap.b32`: a and b modulo 32.
    MaskWrap,
    /// `szext.clamp.s32 d, a, b`: sign-extends the lower b bits of a.
    ExtendClampS,
    /// `szext.clamp.u32`
    ExtendClampU,
    /// `szext.wrap.s32`
    ExtendWrapS,
    /// `szext.wrap.u32`
    ExtendWrapU,
}

/// Three sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ternary {
    /// `mad.lo.s32`, `mad.lo.u32`: `a b + c`
    Mad,
    /// `mad.hi.s32`: the upper half of the product, plus c.
    MadHiS,
    /// `mad.hi.sat.s32`
    MadHiSatS,
    /// `mad.hi.u32`
    MadHiU,
    /// `mad.lo.s16`, `mad.lo.u16`
    Mad16,
    /// `mad.hi.s16`
    MadHiS16,
    /// `mad.hi.u16`
    MadHiU16,
    /// `mad.wide.s16`: c and the result have 32 bits.
    MadWideS16,
    /// `mad.wide.u16`
    MadWideU16,
    /// `mad24.lo.s32`
    Mad24LoS,
    /// `mad24.lo.u32`
    Mad24LoU,
    /// `mad24.hi.s32`
    Mad24HiS,
    /// `mad24.hi.sat.s32`
    Mad24HiSatS,
    /// `mad24.hi.u32`
    Mad24HiU,
    /// `sad.s32`: `c + |a - b|`
    SadS,
    /// `sad.u32`
    SadU,
    /// `sad.s16`
    SadS16,
    /// `sad.u16`
    SadU16,
    /// `dp4a.atype.btype`: `c + sum of the four products of bytes`; which of a and b are signed.
    Dp4a(Signs),
    /// `dp2a.lo`: the two halves of a with bytes 0 and 1 of b.
    Dp2aLo(Signs),
    /// `dp2a.hi`: with bytes 2 and 3.
    Dp2aHi(Signs),
}

/// Which factors of a dot product are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signs {
    /// `.u32.u32`
    UU,
    /// `.u32.s32`
    US,
    /// `.s32.u32`
    SU,
    /// `.s32.s32`
    SS,
}

#[inline(always)]
fn find(a: u32) -> u32 {
    31u32.wrapping_sub(a.leading_zeros())
}

#[inline(always)]
fn find_shift(a: u32) -> u32 {
    if a == 0 { u32::MAX } else { a.leading_zeros() }
}

#[inline(always)]
fn flip_negative(a: u32) -> u32 {
    a ^ ((a as i32) >> 31) as u32
}

#[inline(always)]
fn s16(a: u32) -> i32 {
    a as i16 as i32
}

#[inline(always)]
fn u16(a: u32) -> u32 {
    a & 0xffff
}

/// `f` of both halves, as unsigned numbers of 16 bits; the lower 16 bits of its results.
#[inline(always)]
fn halves(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    u16(f(u16(a), u16(b))) | f(a >> 16, b >> 16) << 16
}

#[inline(always)]
fn mul_hi_s(a: u32, b: u32) -> u32 {
    ((a as i32 as i64 * b as i32 as i64) >> 32) as u32
}

#[inline(always)]
fn mul_hi_u(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}

#[inline(always)]
fn mul24_s(a: u32, b: u32) -> i64 {
    ((a << 8) as i32 >> 8) as i64 * ((b << 8) as i32 >> 8) as i64
}

#[inline(always)]
fn mul24_u(a: u32, b: u32) -> u64 {
    (a & 0xff_ffff) as u64 * (b & 0xff_ffff) as u64
}

#[inline(always)]
fn mask(a: u32, b: u32, position_overflow: bool, width_overflow: bool) -> u32 {
    let (from, width) = (a & 31, b & 31);
    let low = if position_overflow { 0 } else { u32::MAX << from };
    let end = from + width;
    let high = if end >= 32 || position_overflow || width_overflow {
        0
    } else {
        u32::MAX << end
    };
    low & !high
}

#[inline(always)]
fn extend(a: u32, b: u32, too_large: bool, signed: bool) -> u32 {
    let width = b & 31;
    let upper = if too_large { 0 } else { u32::MAX << width };
    let sign = signed && width != 0 && !too_large && a >> (width.wrapping_sub(1) & 31) & 1 != 0;
    (a & !upper) | if sign { upper } else { 0 }
}

#[inline(always)]
fn abs_diff_s(a: i32, b: i32) -> u32 {
    a.abs_diff(b)
}

impl Signs {
    #[inline(always)]
    fn dot<const N: usize>(self, a: [u32; N], a_bits: u32, b: [u32; N], c: u32) -> u32 {
        let signed = |x: u32, bits: u32| ((x << (32 - bits)) as i32 >> (32 - bits)) as u32;
        let unsigned = |x: u32, bits: u32| x << (32 - bits) >> (32 - bits);
        let mut sum = c;
        for i in 0..N {
            let x = if matches!(self, Signs::SU | Signs::SS) {
                signed(a[i], a_bits)
            } else {
                unsigned(a[i], a_bits)
            };
            let y = if matches!(self, Signs::US | Signs::SS) {
                signed(b[i], 8)
            } else {
                unsigned(b[i], 8)
            };
            sum = sum.wrapping_add(x.wrapping_mul(y));
        }
        sum
    }
}

vectorised! {
    /// An operation of one source, on all lanes.
    pub fn unary(op: Unary, a: &Lanes) -> Lanes {
        match op {
            Unary::Not => map1(a, |a| !a),
            Unary::Not16 => map1(a, |a| u16(!a)),
            Unary::Cnot => map1(a, |a| (a == 0) as u32),
            Unary::Cnot16 => map1(a, |a| (u16(a) == 0) as u32),
            Unary::Neg => map1(a, |a| a.wrapping_neg()),
            Unary::Neg16 => map1(a, |a| u16(a.wrapping_neg())),
            Unary::Abs => map1(a, |a| (a as i32).wrapping_abs() as u32),
            Unary::Abs16 => map1(a, |a| u16(s16(a).wrapping_abs() as u32)),
            Unary::Popc => map1(a, |a| a.count_ones()),
            Unary::Clz => map1(a, |a| a.leading_zeros()),
            Unary::Brev => map1(a, |a| a.reverse_bits()),
            Unary::FindU => map1(a, find),
            Unary::FindS => map1(a, |a| find(flip_negative(a))),
            Unary::FindShiftU => map1(a, find_shift),
            Unary::FindShiftS => map1(a, |a| find_shift(flip_negative(a))),
        }
    }
}

vectorised! {
    /// An operation of two sources, on all lanes.
    pub fn binary(op: Binary, a: &Lanes, b: &Lanes) -> Lanes {
        match op {
            Binary::Add => map2(a, b, |a, b| a.wrapping_add(b)),
            Binary::AddSat => map2(a, b, |a, b| (a as i32).saturating_add(b as i32) as u32),
            Binary::Add16 => map2(a, b, |a, b| u16(a.wrapping_add(b))),
            Binary::Add16x2 => map2(a, b, |a, b| halves(a, b, |a, b| a + b)),
            Binary::Sub => map2(a, b, |a, b| a.wrapping_sub(b)),
            Binary::SubSat => map2(a, b, |a, b| (a as i32).saturating_sub(b as i32) as u32),
            Binary::Sub16 => map2(a, b, |a, b| u16(a.wrapping_sub(b))),
            Binary::Mul => map2(a, b, |a, b| a.wrapping_mul(b)),
            Binary::MulHiS => map2(a, b, mul_hi_s),
            Binary::MulHiU => map2(a, b, mul_hi_u),
            Binary::Mul16 => map2(a, b, |a, b| u16(a.wrapping_mul(b))),
            Binary::MulHiS16 => map2(a, b, |a, b| ((s16(a) * s16(b)) as u32) >> 16),
            Binary::MulHiU16 => map2(a, b, |a, b| (u16(a) * u16(b)) >> 16),
            Binary::MulWideS16 => map2(a, b, |a, b| (s16(a) * s16(b)) as u32),
            Binary::MulWideU16 => map2(a, b, |a, b| u16(a) * u16(b)),
            Binary::Mul24LoS => map2(a, b, |a, b| mul24_s(a, b) as u32),
            Binary::Mul24LoU => map2(a, b, |a, b| mul24_u(a, b) as u32),
            Binary::Mul24HiS => map2(a, b, |a, b| (mul24_s(a, b) >> 16) as u32),
            Binary::Mul24HiU => map2(a, b, |a, b| (mul24_u(a, b) >> 16) as u32),
            Binary::DivS => map2(a, b, |a, b| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 }),
            Binary::DivU => map2(a, b, |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
            Binary::DivS16 => map2(a, b, |a, b| u16(s16(a).checked_div(s16(b)).unwrap_or(-1) as u32)),
            Binary::DivU16 => map2(a, b, |a, b| u16(u16(a).checked_div(u16(b)).unwrap_or(u32::MAX))),
            Binary::RemS => map2(a, b, |a, b| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 }),
            Binary::RemU => map2(a, b, |a, b| a.checked_rem(b).unwrap_or(a)),
            Binary::RemS16 => map2(a, b, |a, b| u16(s16(a).checked_rem(s16(b)).unwrap_or(s16(a)) as u32)),
            Binary::RemU16 => map2(a, b, |a, b| u16(a).checked_rem(u16(b)).unwrap_or(u16(a))),
            Binary::MinS => map2(a, b, |a, b| (a as i32).min(b as i32) as u32),
            Binary::MinReluS => map2(a, b, |a, b| (a as i32).min(b as i32).max(0) as u32),
            Binary::MinU => map2(a, b, |a: u32, b: u32| a.min(b)),
            Binary::MaxS => map2(a, b, |a, b| (a as i32).max(b as i32) as u32),
            Binary::MaxReluS => map2(a, b, |a, b| (a as i32).max(b as i32).max(0) as u32),
            Binary::MaxU => map2(a, b, |a: u32, b: u32| a.max(b)),
            Binary::MinS16 => map2(a, b, |a, b| u16(s16(a).min(s16(b)) as u32)),
            Binary::MinU16 => map2(a, b, |a, b| u16(a).min(u16(b))),
            Binary::MaxS16 => map2(a, b, |a, b| u16(s16(a).max(s16(b)) as u32)),
            Binary::MaxU16 => map2(a, b, |a, b| u16(a).max(u16(b))),
            Binary::MinS16x2 => map2(a, b, |a, b| halves(a, b, |a, b| s16(a).min(s16(b)) as u32)),
            Binary::MinU16x2 => map2(a, b, |a, b| halves(a, b, |a, b| a.min(b))),
            Binary::MaxS16x2 => map2(a, b, |a, b| halves(a, b, |a, b| s16(a).max(s16(b)) as u32)),
            Binary::MaxU16x2 => map2(a, b, |a, b| halves(a, b, |a, b| a.max(b))),
            Binary::And => map2(a, b, |a, b| a & b),
            Binary::Or => map2(a, b, |a, b| a | b),
            Binary::Xor => map2(a, b, |a, b| a ^ b),
            Binary::Shl => map2(a, b, |a, b| if b > 31 { 0 } else { a << (b & 31) }),
            Binary::Shl16 => map2(a, b, |a, b| if b > 15 { 0 } else { u16(a << (b & 15)) }),
            Binary::ShrU => map2(a, b, |a, b| if b > 31 { 0 } else { a >> (b & 31) }),
            Binary::ShrS => map2(a, b, |a, b| ((a as i32) >> b.min(31)) as u32),
            Binary::ShrU16 => map2(a, b, |a, b| if b > 15 { 0 } else { u16(a) >> (b & 15) }),
            Binary::ShrS16 => map2(a, b, |a, b| u16((s16(a) >> b.min(15)) as u32)),
            Binary::MaskClamp => map2(a, b, |a, b| mask(a, b, a >= 32, b >= 32)),
            Binary::MaskWrap => map2(a, b, |a, b| mask(a, b, false, false)),
            Binary::ExtendClampS => map2(a, b, |a, b| extend(a, b, b >= 32, true)),
            Binary::ExtendClampU => map2(a, b, |a, b| extend(a, b, b >= 32, false)),
            Binary::ExtendWrapS => map2(a, b, |a, b| extend(a, b, false, true)),
            Binary::ExtendWrapU => map2(a, b, |a, b| extend(a, b, false, false)),
        }
    }
}

vectorised! {
    /// An operation of three sources, on all lanes.
    pub fn ternary(op: Ternary, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        match op {
            Ternary::Mad => map3(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Ternary::MadHiS => map3(a, b, c, |a, b, c| mul_hi_s(a, b).wrapping_add(c)),
            Ternary::MadHiSatS => map3(a, b, c, |a, b, c| (mul_hi_s(a, b) as i32).saturating_add(c as i32) as u32),
            Ternary::MadHiU => map3(a, b, c, |a, b, c| mul_hi_u(a, b).wrapping_add(c)),
            Ternary::Mad16 => map3(a, b, c, |a, b, c| u16(a.wrapping_mul(b).wrapping_add(c))),
            Ternary::MadHiS16 => map3(a, b, c, |a, b, c| u16(((s16(a) * s16(b)) as u32 >> 16).wrapping_add(c))),
            Ternary::MadHiU16 => map3(a, b, c, |a, b, c| u16(((u16(a) * u16(b)) >> 16).wrapping_add(c))),
            Ternary::MadWideS16 => map3(a, b, c, |a, b, c| ((s16(a) * s16(b)) as u32).wrapping_add(c)),
            Ternary::MadWideU16 => map3(a, b, c, |a, b, c| (u16(a) * u16(b)).wrapping_add(c)),
            Ternary::Mad24LoS => map3(a, b, c, |a, b, c| (mul24_s(a, b) as u32).wrapping_add(c)),
            Ternary::Mad24LoU => map3(a, b, c, |a, b, c| (mul24_u(a, b) as u32).wrapping_add(c)),
            Ternary::Mad24HiS => map3(a, b, c, |a, b, c| ((mul24_s(a, b) >> 16) as u32).wrapping_add(c)),
            Ternary::Mad24HiSatS => {
                map3(a, b, c, |a, b, c| ((mul24_s(a, b) >> 16) as i32).saturating_add(c as i32) as u32)
            }
            Ternary::Mad24HiU => map3(a, b, c, |a, b, c| ((mul24_u(a, b) >> 16) as u32).wrapping_add(c)),
            Ternary::SadS => map3(a, b, c, |a, b, c| abs_diff_s(a as i32, b as i32).wrapping_add(c)),
            Ternary::SadU => map3(a, b, c, |a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
            Ternary::SadS16 => map3(a, b, c, |a, b, c| u16(abs_diff_s(s16(a), s16(b)).wrapping_add(c))),
            Ternary::SadU16 => map3(a, b, c, |a, b, c| u16(u16(a).abs_diff(u16(b)).wrapping_add(c))),
            Ternary::Dp4a(signs) => map3(a, b, c, |a: u32, b: u32, c| {
                signs.dot([a, a >> 8, a >> 16, a >> 24], 8, [b, b >> 8, b >> 16, b >> 24], c)
            }),
            Ternary::Dp2aLo(signs) => map3(a, b, c, |a: u32, b: u32, c| signs.dot([a, a >> 16], 16, [b, b >> 8], c)),
            Ternary::Dp2aHi(signs) => {
                map3(a, b, c, |a: u32, b: u32, c| signs.dot([a, a >> 16], 16, [b >> 16, b >> 24], c))
            }
        }
    }
}
