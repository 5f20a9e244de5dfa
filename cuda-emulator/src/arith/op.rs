//! An arithmetic instruction by the shape of its operands: which register banks it reads and writes.

use super::{
    Format16, Lanes, Mode, Wide, bits, carry, compare, convert, float32, float64, half, int32, int64, special,
};

/// An instruction of [`decode`](super::decode::decode). "32" and "64" are the banks of destination and sources, in the order of the
/// text of the instruction, destination first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arith {
    /// `d.32 = f(a.32)`
    Unary32(Unary32),
    /// `d.32 = f(a.32, b.32)`
    Binary32(Binary32),
    /// `d.32 = f(a.32, b.32, c.32)`
    Ternary32(Ternary32),
    /// `d.64 = f(a.64)`
    Unary64(Unary64),
    /// `d.64 = f(a.64, b.64)`
    Binary64(Binary64),
    /// `d.64 = f(a.64, b.64, c.64)`
    Ternary64(Ternary64),
    /// `shl.b64`, `shr.b64`: `d.64 = f(a.64, b.32)`
    Shift64(int64::Shift),
    /// `popc.b64`, `clz.b64`, `bfind.u64`: `d.32 = f(a.64)`
    Count64(int64::Count),
    /// `mul.wide.u32`, `mul.wide.s32`: `d.64 = f(a.32, b.32)`
    MulWide(int64::Sign),
    /// `mad.wide.u32`, `mad.wide.s32`: `d.64 = f(a.32, b.32, c.64)`
    MadWide(int64::Sign),
    /// `bfi.b32`: `d.32 = f(a.32, b.32, c.32, d.32)`
    Bfi32,
    /// `bfi.b64`: `d.64 = f(a.64, b.64, c.32, d.32)`
    Bfi64,
    /// `bfe.u64`, `bfe.s64`: `d.64 = f(a.64, b.32, c.32)`
    Bfe64(int64::Sign),
    /// `lop3.b32 d, a, b, c, immLut`: the last operand is an immediate; with `.BOOL` see the decoder of the engine.
    Lop3,
    /// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc` of 32 bits: `d.32 = f(a.32, b.32[, c.32])` and the carry flag.
    /// The third source is there when [`carry::Carry::sources`] is 3.
    Carry32(carry::Carry),
    /// The same of 64 bits.
    Carry64(carry::Carry),
    /// `setp`: `p[|q] = f(a, b[, c])`; the bank of a and b is that of the type.
    Setp(compare::Setp),
    /// `set`: `d = f(a, b[, c])`; d is in the 32-bit bank, the bank of a and b is that of the type.
    Set(compare::Set),
    /// `slct.b32` and the like: `d.32 = f(a.32, b.32, c.32)`
    Slct32(compare::Slct),
    /// `slct.b64` and the like: `d.64 = f(a.64, b.64, c.32)`
    Slct64(compare::Slct),
    /// `testp.f32`, `testp.f64`: `p = f(a)`
    Testp(compare::Testp),
    /// `cvt`: the banks are those of its types; two sources when [`convert::Convert::sources`] is 2.
    Convert(convert::Convert),
}

/// One source and a result of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary32 {
    /// Integers.
    Int(int32::Unary),
    /// f32.
    Float(float32::Unary, Mode),
    /// The approximations of f32.
    Special(special::Unary, Mode),
    /// f16 and bf16, single or packed.
    Half(half::Unary, Format16, Mode),
}

/// Two sources and a result of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary32 {
    /// Integers.
    Int(int32::Binary),
    /// f32.
    Float(float32::Binary, Mode),
    /// f16 and bf16, single or packed.
    Half(half::Binary, Format16, Mode),
}

/// Three sources and a result of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ternary32 {
    /// Integers.
    Int(int32::Ternary),
    /// Fields of bits.
    Bits(bits::Ternary),
    /// `fma.f32`.
    Fma(Mode),
    /// `fma` of f16 and bf16, single or packed.
    HalfFma(half::Pack, Format16, Mode),
}

/// One source and a result of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary64 {
    /// Integers.
    Int(int64::Unary),
    /// f64.
    Float(float64::Unary, Mode),
}

/// Two sources and a result of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary64 {
    /// Integers.
    Int(int64::Binary),
    /// f64.
    Float(float64::Binary, Mode),
}

/// Three sources and a result of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ternary64 {
    /// Integers.
    Int(int64::Ternary),
    /// `fma.f64`.
    Fma(Mode),
}

impl Unary32 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Lanes) -> Lanes {
        match self {
            Unary32::Int(op) => int32::unary(op, a),
            Unary32::Float(op, mode) => float32::unary(op, mode, a),
            Unary32::Special(op, mode) => special::unary(op, mode, a),
            Unary32::Half(op, format, mode) => half::unary(op, format, mode, a),
        }
    }
}

impl Binary32 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Lanes, b: &Lanes) -> Lanes {
        match self {
            Binary32::Int(op) => int32::binary(op, a, b),
            Binary32::Float(op, mode) => float32::binary(op, mode, a, b),
            Binary32::Half(op, format, mode) => half::binary(op, format, mode, a, b),
        }
    }
}

impl Ternary32 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
        match self {
            Ternary32::Int(op) => int32::ternary(op, a, b, c),
            Ternary32::Bits(op) => bits::ternary(op, a, b, c),
            Ternary32::Fma(mode) => float32::fma_lanes(mode, a, b, c),
            Ternary32::HalfFma(pack, format, mode) => half::fma_lanes(pack, format, mode, a, b, c),
        }
    }
}

impl Unary64 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Wide) -> Wide {
        match self {
            Unary64::Int(op) => int64::unary(op, a),
            Unary64::Float(op, mode) => float64::unary(op, mode, a),
        }
    }
}

impl Binary64 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Wide, b: &Wide) -> Wide {
        match self {
            Binary64::Int(op) => int64::binary(op, a, b),
            Binary64::Float(op, mode) => float64::binary(op, mode, a, b),
        }
    }
}

impl Ternary64 {
    /// All 32 lanes.
    #[inline]
    pub fn apply(self, a: &Wide, b: &Wide, c: &Wide) -> Wide {
        match self {
            Ternary64::Int(op) => int64::ternary(op, a, b, c),
            Ternary64::Fma(mode) => float64::fma_lanes(mode, a, b, c),
        }
    }
}
