//! What an instruction does to its numbers, lane by lane.
//!
//! Everything here is a pure function of whole registers: all 32 lanes are computed and the caller keeps those that are active.
//! The text of the PTX ISA is the source; where it leaves a result open (a NaN of f32, an approximation within some ulp) the docstring
//! says what is computed here.
//!
//! Registers: predicates are one `u32`, a bit a lane; 8-, 16- and 32-bit values are [`Lanes`], 64-bit values [`Wide`].
//! Of an operand narrower than its register the upper bits are ignored; a result narrower than its register is zero-extended.
//!
//! | module | what it holds |
//! |---|---|
//! | [`op`] | [`Arith`]: an instruction by the shape of its operands |
//! | [`decode`](mod@decode) | from `add.rn.ftz.f32` to an [`Arith`]; refuses what is not implemented |
//! | [`int32`], [`int64`], [`bits`], [`carry`] | integers |
//! | [`float32`], [`float64`], [`half`] | IEEE arithmetic |
//! | [`special`] | the approximate functions |
//! | [`soft`] | exact results rounded to any format, in any direction |
//! | [`compare`] | `setp`, `set`, `slct`, `testp` |
//! | [`convert`] | `cvt` |
//! | [`warp`] | `shfl`, `vote`, `match`, `redux`, `elect` |
//! | [`simd`] | loops over lanes, compiled for the vectors of the machine |

pub mod bits;
pub mod carry;
pub mod compare;
pub mod convert;
pub mod decode;
pub mod float32;
pub mod float64;
pub mod half;
pub mod int32;
pub mod int64;
pub mod op;
pub mod simd;
pub mod soft;
pub mod special;
pub mod warp;

#[cfg(test)]
mod tests;

pub use compare::{Combine, Compare};
pub use convert::Convert;
pub use decode::decode;
pub use op::{Arith, Binary32, Binary64, Ternary32, Ternary64, Unary32, Unary64};

/// A 32-bit register of a warp. It also holds 8- and 16-bit values and pairs of 16-bit values.
pub type Lanes = [u32; 32];
/// A 64-bit register of a warp.
pub type Wide = [u64; 32];

/// A fundamental type of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    U16x2,
    S16x2,
    F16x2,
    Bf16x2,
    Pred,
}

impl Type {
    /// The type a modifier names, without its dot: `"f32"`.
    pub fn parse(name: &str) -> Option<Type> {
        use Type::*;
        Some(match name {
            "b8" => B8,
            "b16" => B16,
            "b32" => B32,
            "b64" => B64,
            "b128" => B128,
            "u8" => U8,
            "s8" => S8,
            "u16" => U16,
            "s16" => S16,
            "u32" => U32,
            "s32" => S32,
            "u64" => U64,
            "s64" => S64,
            "f16" => F16,
            "bf16" => Bf16,
            "tf32" => Tf32,
            "f32" => F32,
            "f64" => F64,
            "u16x2" => U16x2,
            "s16x2" => S16x2,
            "f16x2" => F16x2,
            "bf16x2" => Bf16x2,
            "pred" => Pred,
            _ => return None,
        })
    }

    /// Bits of a value. 1 for a predicate.
    pub fn bits(self) -> u32 {
        use Type::*;
        match self {
            Pred => 1,
            B8 | U8 | S8 => 8,
            B16 | U16 | S16 | F16 | Bf16 => 16,
            B64 | U64 | S64 | F64 => 64,
            B128 => 128,
            _ => 32,
        }
    }

    /// Signed integers.
    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64 | Type::S16x2)
    }

    /// Floating-point types, packed ones included.
    pub fn is_float(self) -> bool {
        use Type::*;
        matches!(self, F16 | Bf16 | Tf32 | F32 | F64 | F16x2 | Bf16x2)
    }
}

/// A rounding direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Round {
    /// `.rn`: to nearest, ties to even.
    #[default]
    Near,
    /// `.rna`: to nearest, ties away from zero. Only `cvt` has it.
    Away,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards minus infinity.
    Down,
    /// `.rp`: towards plus infinity.
    Up,
}

/// What is done with subnormal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Subnormals {
    /// They are numbers like others.
    #[default]
    Keep,
    /// `.ftz`: those of the inputs and of the result become zeros of the same sign.
    Flush,
}

/// What is done with a result outside a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Clamp {
    /// Nothing.
    #[default]
    None,
    /// `.sat`: into \[0, 1\]; a NaN becomes +0.
    Saturate,
    /// `.relu`: a negative result becomes +0; a NaN is the canonical NaN.
    Relu,
}

/// The modifiers of a floating-point instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Mode {
    /// `.rn`, `.rz`, `.rm`, `.rp`.
    pub round: Round,
    /// `.ftz`.
    pub subnormals: Subnormals,
    /// `.sat`, `.relu`.
    pub clamp: Clamp,
}

/// The two 16-bit formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format16 {
    /// IEEE binary16: 5 bits of exponent, 10 of fraction.
    F16,
    /// The upper half of binary32: 8 bits of exponent, 7 of fraction.
    Bf16,
}
