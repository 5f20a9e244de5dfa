//! `cvt`: between every pair of integer and floating-point types, with rounding and saturation.

use super::half::{from_bf16, from_f16, to_bf16, to_f16};
use super::simd::{map1, map2, vectorised};
use super::soft::{self, BF16, Exact, F16, F32, F64, Format, TF32};
use super::{Clamp, Lanes, Mode, Round, Subnormals, Type, Wide, float32, half};

/// Whether a float is rounded to an integer: `.rni`, `.rzi`, `.rmi`, `.rpi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integral {
    /// It is; the direction is that of the mode.
    Yes,
    /// It is not.
    No,
}

/// What becomes of a value beyond the largest finite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// Infinity or the largest number, as the rounding direction says.
    Infinity,
    /// `.satfinite`: the largest number, of its sign.
    Finite,
}

/// A conversion. Its operands are in the banks of its types: the 64-bit one for types of 64 bits.
///
/// A result narrower than its register is extended by its sign if it is signed, else by zeros.
/// A NaN becomes 0x7fffffff (f32, tf32), 0x7fff (f16, bf16), and as an integer 0; but from f64, or to a type of 64 bits, the sign bit alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convert {
    /// The type of the result. F16x2 and Bf16x2 take two f32.
    pub to: Type,
    /// The type of the source.
    pub from: Type,
    /// Rounding, `.ftz`, and `.sat` or `.relu`.
    pub mode: Mode,
    /// `.rni` and its kin.
    pub integral: Integral,
    /// `.satfinite`
    pub overflow: Overflow,
}

/// A value on its way: integers exactly, floats as f64, which holds every f16, bf16, tf32 and f32.
#[derive(Clone, Copy)]
enum Value {
    Int(i128),
    Float(f64),
}

fn format(ty: Type) -> Format {
    match ty {
        Type::F16 | Type::F16x2 => F16,
        Type::Bf16 | Type::Bf16x2 => BF16,
        Type::Tf32 => TF32,
        Type::F64 => F64,
        _ => F32,
    }
}

fn nan(ty: Type) -> u64 {
    match ty {
        Type::F64 => 0x7fff_ffff_ffff_ffff,
        Type::F32 | Type::Tf32 => float32::NAN as u64,
        _ => half::NAN as u64,
    }
}

/// Reads a value of a type from the lower bits of a register.
fn read(bits: u64, ty: Type, subnormals: Subnormals) -> Value {
    match ty {
        Type::U8 => Value::Int(bits as u8 as i128),
        Type::S8 => Value::Int(bits as i8 as i128),
        Type::U16 => Value::Int(bits as u16 as i128),
        Type::S16 => Value::Int(bits as i16 as i128),
        Type::S32 => Value::Int(bits as i32 as i128),
        Type::U64 => Value::Int(bits as i128),
        Type::S64 => Value::Int(bits as i64 as i128),
        Type::F16 => Value::Float(from_f16(bits as u32 & 0xffff) as f64),
        Type::Bf16 => Value::Float(from_bf16(bits as u32) as f64),
        Type::F32 | Type::Tf32 => Value::Float(float32::flush(f32::from_bits(bits as u32), subnormals) as f64),
        Type::F64 => Value::Float(f64::from_bits(bits)),
        _ => Value::Int(bits as u32 as i128),
    }
}

fn integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Near => x.round_ties_even(),
        Round::Away => x.round(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

fn limits(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

impl Convert {
    /// 2 for the packing conversions, else 1.
    pub fn sources(self) -> usize {
        if matches!(self.to, Type::F16x2 | Type::Bf16x2) {
            2
        } else {
            1
        }
    }

    /// One value, from the lower bits of a register to those of another.
    fn one(self, bits: u64) -> u64 {
        match (read(bits, self.from, self.mode.subnormals), self.to.is_float()) {
            (Value::Int(value), false) => self.int(value),
            // `.sat` to a float is into [0, 1], as of floats.
            (Value::Int(value), true) if self.mode.clamp == Clamp::Saturate => {
                self.float(soft::integer(value.clamp(0, 1)))
            }
            (Value::Int(value), true) => self.float(soft::integer(value)),
            (Value::Float(value), false) => self.float_to_int(value),
            (Value::Float(value), true) => self.float_to_float(bits, value),
        }
    }

    fn int(self, value: i128) -> u64 {
        let (least, most) = limits(self.to);
        let value = if self.mode.clamp == Clamp::Saturate {
            value.clamp(least, most)
        } else {
            value
        };
        // Cut to the type, then extended over the register.
        let spare = 128 - self.to.bits();
        if self.to.is_signed() {
            (value << spare >> spare) as u64
        } else {
            ((value as u128) << spare >> spare) as u64
        }
    }

    fn float_to_int(self, value: f64) -> u64 {
        if value.is_nan() {
            let wide = self.from == Type::F64 || self.to.bits() == 64;
            return if wide {
                self.int(1i128 << (self.to.bits() - 1))
            } else {
                0
            };
        }
        let (least, most) = limits(self.to);
        self.int((integral(value, self.mode.round) as i128).clamp(least, most))
    }

    fn float_to_float(self, bits: u64, value: f64) -> u64 {
        if value.is_nan() {
            return match self.mode.clamp {
                Clamp::Saturate => 0,
                _ if self.from == self.to && self.to == Type::F64 => bits,
                _ => nan(self.to),
            };
        }
        let value = if self.integral == Integral::Yes {
            integral(value, self.mode.round)
        } else {
            value
        };
        let value = match self.mode.clamp {
            Clamp::None => value,
            // Adding zero turns -0 into +0.
            Clamp::Saturate => value.clamp(0.0, 1.0) + 0.0,
            Clamp::Relu => value.max(0.0) + 0.0,
        };
        if value.is_infinite() {
            let sign = (value.is_sign_negative() as u64) << (self.to.bits().min(32) - 1);
            return match (self.to, self.overflow) {
                (Type::F64, _) => value.to_bits(),
                (to, Overflow::Finite) => sign_of(to, value) | (format(to).infinity() - 1) << shift(to),
                (Type::F16x2 | Type::Bf16x2, _) => sign_of(self.to, value) | format(self.to).infinity(),
                (to, _) => sign | format(to).infinity() << shift(to),
            };
        }
        self.float(Exact {
            negative: value.is_sign_negative(),
            ..F64.unpack(value.to_bits())
        })
    }

    /// Rounds to the type of the result.
    fn float(self, exact: Exact) -> u64 {
        let format = format(self.to);
        let mut bits = format.round(exact, self.mode.round);
        let magnitude = bits & !(1 << (format.fraction + format.exponent));
        if self.overflow == Overflow::Finite && magnitude == format.infinity() {
            bits -= 1;
        }
        if self.to == Type::F32 {
            return float32::flush(f32::from_bits(bits as u32), self.mode.subnormals).to_bits() as u64;
        }
        bits << shift(self.to)
    }

    /// Sources and result in the 32-bit bank. `b` is read by packing conversions only: `a` becomes the upper half, `b` the lower one.
    pub fn apply32(self, a: &Lanes, b: &Lanes) -> Lanes {
        if let Some(fast) = self.fast32() {
            return fast_lanes(fast, a, b);
        }
        if self.sources() == 2 {
            return map2(a, b, |a, b| (self.one(a as u64) << 16 | self.one(b as u64)) as u32);
        }
        map1(a, |a| self.one(a as u64) as u32)
    }

    /// From the 32-bit bank to the 64-bit one.
    pub fn apply32to64(self, a: &Lanes) -> Wide {
        match (self.to, self.from) {
            (Type::U64 | Type::S64, Type::U32) => map1(a, |a| a as u64),
            (Type::U64 | Type::S64, Type::S32) if self.mode.clamp == Clamp::None => map1(a, |a| a as i32 as i64 as u64),
            _ => map1(a, |a| self.one(a as u64)),
        }
    }

    /// From the 64-bit bank to the 32-bit one.
    pub fn apply64to32(self, a: &Wide) -> Lanes {
        match (self.to, self.from) {
            (Type::U32 | Type::S32, Type::U64 | Type::S64) if self.mode.clamp == Clamp::None => map1(a, |a| a as u32),
            _ => map1(a, |a| self.one(a) as u32),
        }
    }

    /// Within the 64-bit bank.
    pub fn apply64(self, a: &Wide) -> Wide {
        map1(a, |a| self.one(a))
    }

    /// The conversions that kernels are full of.
    fn fast32(self) -> Option<Fast> {
        if self.overflow == Overflow::Finite {
            return None;
        }
        let plain = self.mode.clamp == Clamp::None;
        let keep = self.mode.subnormals == Subnormals::Keep;
        let near = self.mode.round == Round::Near;
        Some(match (self.to, self.from) {
            (Type::Bf16x2, Type::F32) if near && plain && keep => Fast::PackBf16,
            (Type::F16x2, Type::F32) if near && plain && keep => Fast::PackF16,
            (Type::Bf16, Type::F32) if near && plain && keep => Fast::ToBf16,
            (Type::F16, Type::F32) if near && plain && keep => Fast::ToF16,
            (Type::F32, Type::Bf16) if plain && keep => Fast::FromBf16,
            (Type::F32, Type::F16) if plain && keep => Fast::FromF16,
            (Type::F32, Type::S32) if near && plain => Fast::FromS32,
            (Type::F32, Type::U32) if near && plain => Fast::FromU32,
            (Type::S32, Type::F32) if keep && self.mode.round == Round::Zero => Fast::ToS32,
            (Type::U32, Type::F32) if keep && self.mode.round == Round::Zero => Fast::ToU32,
            (Type::U32 | Type::S32 | Type::U16, Type::U16) if plain => Fast::ZeroExtend16,
            (Type::U32 | Type::S32, Type::U8) if plain => Fast::ZeroExtend8,
            (Type::U16, Type::U32 | Type::S32) if plain => Fast::ZeroExtend16,
            (Type::U8, Type::U32 | Type::S32 | Type::U16 | Type::S16) if plain => Fast::ZeroExtend8,
            (Type::U32 | Type::S32, Type::S16) if plain => Fast::SignExtend16,
            (Type::U32 | Type::S32, Type::S8) if plain => Fast::SignExtend8,
            (Type::S8, Type::U32 | Type::S32) if plain => Fast::SignExtend8,
            (Type::S16, Type::U32 | Type::S32) if plain => Fast::SignExtend16,
            _ => return None,
        })
    }
}

fn shift(to: Type) -> u32 {
    if to == Type::Tf32 { 13 } else { 0 }
}

fn sign_of(to: Type, value: f64) -> u64 {
    let format = format(to);
    (value.is_sign_negative() as u64) << (format.fraction + format.exponent + shift(to))
}

#[derive(Clone, Copy, PartialEq)]
enum Fast {
    PackBf16,
    PackF16,
    ToBf16,
    ToF16,
    FromBf16,
    FromF16,
    FromS32,
    FromU32,
    ToS32,
    ToU32,
    ZeroExtend8,
    ZeroExtend16,
    SignExtend8,
    SignExtend16,
}

#[inline(always)]
fn stored(x: f32) -> u32 {
    if x.is_nan() { float32::NAN } else { x.to_bits() }
}

vectorised! {
    fn fast_lanes(fast: Fast, a: &Lanes, b: &Lanes) -> Lanes {
        match fast {
            Fast::PackBf16 => map2(a, b, |a, b| to_bf16(f32::from_bits(a)) << 16 | to_bf16(f32::from_bits(b))),
            Fast::PackF16 => map2(a, b, |a, b| to_f16(f32::from_bits(a)) << 16 | to_f16(f32::from_bits(b))),
            Fast::ToBf16 => map1(a, |a| to_bf16(f32::from_bits(a))),
            Fast::ToF16 => map1(a, |a| to_f16(f32::from_bits(a))),
            Fast::FromBf16 => map1(a, |a| stored(from_bf16(a & 0xffff))),
            Fast::FromF16 => map1(a, |a| stored(from_f16(a & 0xffff))),
            Fast::FromS32 => map1(a, |a| (a as i32 as f32).to_bits()),
            Fast::FromU32 => map1(a, |a| (a as f32).to_bits()),
            Fast::ToS32 => map1(a, |a| f32::from_bits(a) as i32 as u32),
            Fast::ToU32 => map1(a, |a| f32::from_bits(a) as u32),
            Fast::ZeroExtend8 => map1(a, |a| a & 0xff),
            Fast::ZeroExtend16 => map1(a, |a| a & 0xffff),
            Fast::SignExtend8 => map1(a, |a| a as i8 as i32 as u32),
            Fast::SignExtend16 => map1(a, |a| a as i16 as i32 as u32),
        }
    }
}
