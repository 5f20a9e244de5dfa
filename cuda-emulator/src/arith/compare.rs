//! Comparisons: `setp`, `set`, `slct`, `testp`.

use super::float32::flush;
use super::half::{from_bf16, from_f16};
use super::simd::{mask2, vectorised};
use super::{Format16, Lanes, Subnormals, Type, Wide};

/// How two numbers are compared. With a NaN the ordered comparisons are false, `Ne` too; those for unordered numbers are true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `.eq`
    Eq,
    /// `.ne`
    Ne,
    /// `.lt`, `.lo`
    Lt,
    /// `.le`, `.ls`
    Le,
    /// `.gt`, `.hi`
    Gt,
    /// `.ge`, `.hs`
    Ge,
    /// `.equ`
    Equ,
    /// `.neu`
    Neu,
    /// `.ltu`
    Ltu,
    /// `.leu`
    Leu,
    /// `.gtu`
    Gtu,
    /// `.geu`
    Geu,
    /// `.num`: neither is a NaN.
    Num,
    /// `.nan`: one is a NaN.
    Nan,
}

/// How a comparison is combined with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// `.and`
    And,
    /// `.or`
    Or,
    /// `.xor`
    Xor,
}

impl Combine {
    /// Of two predicates.
    #[inline(always)]
    pub fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Combine::And => a & b,
            Combine::Or => a | b,
            Combine::Xor => a ^ b,
        }
    }
}

/// `setp.CmpOp{.BoolOp}{.ftz}.type p[|q], a, b{, {!}c}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setp {
    /// The comparison.
    pub compare: Compare,
    /// The type of a and b.
    pub ty: Type,
    /// `.ftz`
    pub subnormals: Subnormals,
    /// Whether and how there is a third source.
    pub combine: Option<Combine>,
}

/// `set.CmpOp{.BoolOp}{.ftz}.dtype.stype d, a, b{, {!}c}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// The comparison, and the type of a and b.
    pub setp: Setp,
    /// The type of d: all ones for true where it is an integer, 1.0 where it is a float.
    pub to: Type,
}

/// `slct{.ftz}.dtype.s32`, `.f32`: a where c >= 0, else b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slct {
    /// `.s32`
    Int,
    /// `.f32`; a NaN takes b.
    Float(Subnormals),
}

/// The kinds of number `testp` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `.finite`
    Finite,
    /// `.infinite`
    Infinite,
    /// `.number`: no NaN.
    Number,
    /// `.notanumber`
    NotANumber,
    /// `.normal`: zeros too.
    Normal,
    /// `.subnormal`
    Subnormal,
}

/// `testp.op.f32`, `.f64`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Testp {
    /// What is asked.
    pub kind: Kind,
    /// F32 or F64.
    pub ty: Type,
}

#[inline(always)]
fn ints<T: Copy + Ord>(compare: Compare, a: &[T; 32], b: &[T; 32]) -> u32 {
    match compare {
        Compare::Eq | Compare::Equ => mask2(a, b, |a, b| a == b),
        Compare::Ne | Compare::Neu => mask2(a, b, |a, b| a != b),
        Compare::Lt | Compare::Ltu => mask2(a, b, |a, b| a < b),
        Compare::Le | Compare::Leu => mask2(a, b, |a, b| a <= b),
        Compare::Gt | Compare::Gtu => mask2(a, b, |a, b| a > b),
        Compare::Ge | Compare::Geu => mask2(a, b, |a, b| a >= b),
        Compare::Num => u32::MAX,
        Compare::Nan => 0,
    }
}

// Less or greater is not "unequal": a NaN is neither.
#[allow(clippy::double_comparisons)]
#[inline(always)]
fn floats<T: Copy + PartialOrd>(compare: Compare, a: &[T; 32], b: &[T; 32]) -> u32 {
    match compare {
        Compare::Eq => mask2(a, b, |a, b| a == b),
        Compare::Ne => mask2(a, b, |a, b| a < b || a > b),
        Compare::Lt => mask2(a, b, |a, b| a < b),
        Compare::Le => mask2(a, b, |a, b| a <= b),
        Compare::Gt => mask2(a, b, |a, b| a > b),
        Compare::Ge => mask2(a, b, |a, b| a >= b),
        Compare::Equ => !mask2(a, b, |a, b| a < b || a > b),
        Compare::Neu => !mask2(a, b, |a, b| a == b),
        Compare::Ltu => !mask2(a, b, |a, b| a >= b),
        Compare::Leu => !mask2(a, b, |a, b| a > b),
        Compare::Gtu => !mask2(a, b, |a, b| a <= b),
        Compare::Geu => !mask2(a, b, |a, b| a < b),
        Compare::Num => mask2(a, b, |a, b| a <= b || a > b),
        Compare::Nan => !mask2(a, b, |a, b| a <= b || a > b),
    }
}

vectorised! {
    /// The comparison of 32-bit registers: a bit a lane; of a packed type of the lower halves and of the upper ones.
    fn compare32(setp: Setp, a: &Lanes, b: &Lanes) -> (u32, u32) {
        let low16 = |a: &Lanes| a.map(|a| a as u16);
        let f16 = |a: &Lanes, format: Format16, shift: u32| {
            a.map(|a| {
                let bits = a >> shift & 0xffff;
                let bits = if setp.subnormals == Subnormals::Flush && format == Format16::F16 && bits & 0x7c00 == 0 {
                    bits & 0x8000
                } else {
                    bits
                };
                match format {
                    Format16::F16 => from_f16(bits),
                    Format16::Bf16 => from_bf16(bits),
                }
            })
        };
        let both = |format| {
            let low = floats(setp.compare, &f16(a, format, 0), &f16(b, format, 0));
            (low, floats(setp.compare, &f16(a, format, 16), &f16(b, format, 16)))
        };
        let one = match setp.ty {
            Type::S32 => ints(setp.compare, &a.map(|a| a as i32), &b.map(|b| b as i32)),
            Type::S16 => ints(setp.compare, &a.map(|a| a as i16), &b.map(|b| b as i16)),
            Type::U16 | Type::B16 => ints(setp.compare, &low16(a), &low16(b)),
            Type::F32 => {
                let number = |a: &Lanes| a.map(|a| flush(f32::from_bits(a), setp.subnormals));
                floats(setp.compare, &number(a), &number(b))
            }
            Type::F16 => floats(setp.compare, &f16(a, Format16::F16, 0), &f16(b, Format16::F16, 0)),
            Type::Bf16 => floats(setp.compare, &f16(a, Format16::Bf16, 0), &f16(b, Format16::Bf16, 0)),
            Type::F16x2 => return both(Format16::F16),
            Type::Bf16x2 => return both(Format16::Bf16),
            _ => ints(setp.compare, a, b),
        };
        (one, !one)
    }
}

vectorised! {
    fn compare64(setp: Setp, a: &Wide, b: &Wide) -> u32 {
        match setp.ty {
            Type::S64 => ints(setp.compare, &a.map(|a| a as i64), &b.map(|b| b as i64)),
            Type::F64 => floats(setp.compare, &a.map(f64::from_bits), &b.map(f64::from_bits)),
            _ => ints(setp.compare, a, b),
        }
    }
}

impl Setp {
    /// Types of at most 32 bits: p and q. `c` is the third source, its negation applied; it is not read without a combination.
    #[inline]
    pub fn apply32(self, a: &Lanes, b: &Lanes, c: u32) -> (u32, u32) {
        let (p, q) = compare32(self, a, b);
        self.combined(p, q, c)
    }

    /// Types of 64 bits.
    #[inline]
    pub fn apply64(self, a: &Wide, b: &Wide, c: u32) -> (u32, u32) {
        let p = compare64(self, a, b);
        self.combined(p, !p, c)
    }

    #[inline(always)]
    fn combined(self, p: u32, q: u32, c: u32) -> (u32, u32) {
        match self.combine {
            None => (p, q),
            Some(combine) => (combine.apply(p, c), combine.apply(q, c)),
        }
    }
}

impl Set {
    /// Sources of at most 32 bits.
    pub fn apply32(self, a: &Lanes, b: &Lanes, c: u32) -> Lanes {
        let (p, q) = self.setp.apply32(a, b, c);
        if matches!(self.setp.ty, Type::F16x2 | Type::Bf16x2) {
            let one = match self.to {
                Type::F16x2 => 0x3c00,
                Type::Bf16x2 => 0x3f80,
                _ => 0xffff,
            };
            return core::array::from_fn(|i| (one * (p >> i & 1)) | ((one * (q >> i & 1)) << 16));
        }
        self.spread(p)
    }

    /// Sources of 64 bits.
    pub fn apply64(self, a: &Wide, b: &Wide, c: u32) -> Lanes {
        self.spread(self.setp.apply64(a, b, c).0)
    }

    fn spread(self, p: u32) -> Lanes {
        let one = match self.to {
            Type::F32 => 0x3f80_0000,
            Type::F16 => 0x3c00,
            Type::Bf16 => 0x3f80,
            Type::U16 | Type::S16 => 0xffff,
            _ => u32::MAX,
        };
        core::array::from_fn(|i| if p >> i & 1 != 0 { one } else { 0 })
    }
}

impl Slct {
    /// The lanes that take a.
    pub fn takes_first(self, c: &Lanes) -> u32 {
        match self {
            Slct::Int => mask2(c, c, |c, _| c as i32 >= 0),
            Slct::Float(subnormals) => mask2(c, c, |c, _| flush(f32::from_bits(c), subnormals) >= 0.0),
        }
    }
}

impl Testp {
    /// f32.
    pub fn apply32(self, a: &Lanes) -> u32 {
        mask2(a, a, |a, _| self.holds(f32::from_bits(a).classify()))
    }

    /// f64.
    pub fn apply64(self, a: &Wide) -> u32 {
        mask2(a, a, |a, _| self.holds(f64::from_bits(a).classify()))
    }

    fn holds(self, class: core::num::FpCategory) -> bool {
        use core::num::FpCategory::*;
        match self.kind {
            Kind::Finite => !matches!(class, Infinite | Nan),
            Kind::Infinite => class == Infinite,
            Kind::Number => class != Nan,
            Kind::NotANumber => class == Nan,
            Kind::Normal => matches!(class, Normal | Zero),
            Kind::Subnormal => class == Subnormal,
        }
    }
}
