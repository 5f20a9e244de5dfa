//! Extrema, signs, bits, dot products.

use super::super::bits::{Permute, Ternary as Bits};
use super::super::int32::Signs;
use super::super::int64::{Count, Shift};
use super::super::{
    Arith, Binary32, Binary64, Format16, Mode, Subnormals, Ternary32, Ternary64, Type, Unary32, Unary64, float32,
    float64, half, int32, int64,
};
use super::{Found, Modifiers, binary32, binary64, sign, sixteen, ternary32, unary32, unary64, unsupported};

pub(super) fn binary(name: &str, m: &mut Modifiers) -> Found {
    use int32::Binary as B;
    use int64::Binary as W;
    let ty = m.ty()?;
    if matches!(name, "min" | "max") && ty.is_float() {
        return extremum(name, ty, m);
    }
    let relu = matches!((name, ty), ("min" | "max", Type::S32)) && m.take("relu");
    match (name, ty) {
        ("rem", Type::S16) => binary32(B::RemS16),
        ("rem", Type::U16) => binary32(B::RemU16),
        ("rem", Type::S32) => binary32(B::RemS),
        ("rem", Type::U32) => binary32(B::RemU),
        ("rem", Type::S64) => binary64(W::RemS),
        ("rem", Type::U64) => binary64(W::RemU),
        ("min", Type::S32) => binary32(if relu { B::MinReluS } else { B::MinS }),
        ("min", Type::U32) => binary32(B::MinU),
        ("min", Type::S16) => binary32(B::MinS16),
        ("min", Type::U16) => binary32(B::MinU16),
        ("min", Type::S16x2) => binary32(B::MinS16x2),
        ("min", Type::U16x2) => binary32(B::MinU16x2),
        ("min", Type::S64) => binary64(W::MinS),
        ("min", Type::U64) => binary64(W::MinU),
        ("max", Type::S32) => binary32(if relu { B::MaxReluS } else { B::MaxS }),
        ("max", Type::U32) => binary32(B::MaxU),
        ("max", Type::S16) => binary32(B::MaxS16),
        ("max", Type::U16) => binary32(B::MaxU16),
        ("max", Type::S16x2) => binary32(B::MaxS16x2),
        ("max", Type::U16x2) => binary32(B::MaxU16x2),
        ("max", Type::S64) => binary64(W::MaxS),
        ("max", Type::U64) => binary64(W::MaxU),
        ("and", Type::B16 | Type::B32) => binary32(B::And),
        ("or", Type::B16 | Type::B32) => binary32(B::Or),
        ("xor", Type::B16 | Type::B32) => binary32(B::Xor),
        ("and", Type::B64) => binary64(W::And),
        ("or", Type::B64) => binary64(W::Or),
        ("xor", Type::B64) => binary64(W::Xor),
        ("shl", Type::B16) => binary32(B::Shl16),
        ("shl", Type::B32) => binary32(B::Shl),
        ("shl", Type::B64) => Ok(Arith::Shift64(Shift::Left)),
        ("shr", Type::S16) => binary32(B::ShrS16),
        ("shr", Type::U16 | Type::B16) => binary32(B::ShrU16),
        ("shr", Type::S32) => binary32(B::ShrS),
        ("shr", Type::U32 | Type::B32) => binary32(B::ShrU),
        ("shr", Type::S64) => Ok(Arith::Shift64(Shift::RightS)),
        ("shr", Type::U64 | Type::B64) => Ok(Arith::Shift64(Shift::RightU)),
        ("copysign", Type::F32) => Ok(Arith::Binary32(Binary32::Float(
            float32::Binary::CopySign,
            Mode::default(),
        ))),
        ("copysign", Type::F64) => Ok(Arith::Binary64(Binary64::Float(
            float64::Binary::CopySign,
            Mode::default(),
        ))),
        _ => unsupported(ty),
    }
}

pub(super) fn extremum(name: &str, ty: Type, m: &mut Modifiers) -> Found {
    let max = name == "max";
    if ty == Type::F64 {
        let op = if max {
            float64::Binary::Max
        } else {
            float64::Binary::Min
        };
        return Ok(Arith::Binary64(Binary64::Float(op, Mode::default())));
    }
    let (nan, sign) = m.nan_and_sign();
    if ty == Type::F32 {
        use float32::Binary::*;
        let op = match (max, nan, sign) {
            (false, false, false) => Min,
            (false, true, false) => MinNan,
            (false, false, true) => MinXorSign,
            (false, true, true) => MinNanXorSign,
            (true, false, false) => Max,
            (true, true, false) => MaxNan,
            (true, false, true) => MaxXorSign,
            (true, true, true) => MaxNanXorSign,
        };
        let mode = Mode {
            subnormals: m.subnormals(),
            ..Mode::default()
        };
        return Ok(Arith::Binary32(Binary32::Float(op, mode)));
    }
    let Some((format, pack)) = sixteen(ty) else {
        return unsupported(ty);
    };
    use half::Binary::*;
    let op = match (max, nan, sign) {
        (false, false, false) => Min(pack),
        (false, true, false) => MinNan(pack),
        (false, false, true) => MinXorSign(pack),
        (false, true, true) => MinNanXorSign(pack),
        (true, false, false) => Max(pack),
        (true, true, false) => MaxNan(pack),
        (true, false, true) => MaxXorSign(pack),
        (true, true, true) => MaxNanXorSign(pack),
    };
    let subnormals = if format == Format16::F16 {
        m.subnormals()
    } else {
        Subnormals::Keep
    };
    Ok(Arith::Binary32(Binary32::Half(
        op,
        format,
        Mode {
            subnormals,
            ..Mode::default()
        },
    )))
}

pub(super) fn unary(name: &str, m: &mut Modifiers) -> Found {
    use int32::Unary as U;
    use int64::Unary as W;
    let ty = m.ty()?;
    if let (Some((format, pack)), "neg" | "abs") = (sixteen(ty), name) {
        let subnormals = if format == Format16::F16 {
            m.subnormals()
        } else {
            Subnormals::Keep
        };
        let op = if name == "neg" {
            half::Unary::Neg(pack)
        } else {
            half::Unary::Abs(pack)
        };
        return Ok(Arith::Unary32(Unary32::Half(
            op,
            format,
            Mode {
                subnormals,
                ..Mode::default()
            },
        )));
    }
    let shift = name == "bfind" && m.take("shiftamt");
    match (name, ty) {
        ("neg" | "abs", Type::F32) => {
            let mode = Mode {
                subnormals: m.subnormals(),
                ..Mode::default()
            };
            let op = if name == "neg" {
                float32::Unary::Neg
            } else {
                float32::Unary::Abs
            };
            Ok(Arith::Unary32(Unary32::Float(op, mode)))
        }
        ("neg" | "abs", Type::F64) => {
            let op = if name == "neg" {
                float64::Unary::Neg
            } else {
                float64::Unary::Abs
            };
            Ok(Arith::Unary64(Unary64::Float(op, Mode::default())))
        }
        ("neg", Type::S16) => unary32(U::Neg16),
        ("neg", Type::S32) => unary32(U::Neg),
        ("neg", Type::S64) => unary64(W::Neg),
        ("abs", Type::S16) => unary32(U::Abs16),
        ("abs", Type::S32) => unary32(U::Abs),
        ("abs", Type::S64) => unary64(W::Abs),
        ("not", Type::B16) => unary32(U::Not16),
        ("not", Type::B32) => unary32(U::Not),
        ("not", Type::B64) => unary64(W::Not),
        ("cnot", Type::B16) => unary32(U::Cnot16),
        ("cnot", Type::B32) => unary32(U::Cnot),
        ("cnot", Type::B64) => unary64(W::Cnot),
        ("popc", Type::B32) => unary32(U::Popc),
        ("popc", Type::B64) => Ok(Arith::Count64(Count::Popc)),
        ("clz", Type::B32) => unary32(U::Clz),
        ("clz", Type::B64) => Ok(Arith::Count64(Count::Clz)),
        ("brev", Type::B32) => unary32(U::Brev),
        ("brev", Type::B64) => unary64(W::Brev),
        ("bfind", Type::U32) => unary32(if shift { U::FindShiftU } else { U::FindU }),
        ("bfind", Type::S32) => unary32(if shift { U::FindShiftS } else { U::FindS }),
        ("bfind", Type::U64) => Ok(Arith::Count64(if shift { Count::FindShiftU } else { Count::FindU })),
        ("bfind", Type::S64) => Ok(Arith::Count64(if shift { Count::FindShiftS } else { Count::FindS })),
        _ => unsupported(ty),
    }
}

pub(super) fn sad(m: &mut Modifiers) -> Found {
    use int32::Ternary as T;
    let ty = m.ty()?;
    match ty {
        Type::S16 => ternary32(T::SadS16),
        Type::U16 => ternary32(T::SadU16),
        Type::S32 => ternary32(T::SadS),
        Type::U32 => ternary32(T::SadU),
        Type::S64 => Ok(Arith::Ternary64(Ternary64::Int(int64::Ternary::SadS))),
        Type::U64 => Ok(Arith::Ternary64(Ternary64::Int(int64::Ternary::SadU))),
        _ => unsupported(ty),
    }
}

pub(super) fn dot(name: &str, m: &mut Modifiers) -> Found {
    use int32::Ternary as T;
    let half = m.one_of(&[("lo", T::Dp2aLo as fn(Signs) -> T), ("hi", T::Dp2aHi as fn(Signs) -> T)]);
    let signs = match (m.ty()?, m.ty()?) {
        (Type::U32, Type::U32) => Signs::UU,
        (Type::U32, Type::S32) => Signs::US,
        (Type::S32, Type::U32) => Signs::SU,
        (Type::S32, Type::S32) => Signs::SS,
        (ty, _) => return unsupported(ty),
    };
    match (name, half) {
        ("dp4a", None) => ternary32(T::Dp4a(signs)),
        ("dp2a", Some(half)) => ternary32(half(signs)),
        _ => Err("dp2a has .lo or .hi, dp4a neither".into()),
    }
}

pub(super) fn bits(name: &str, m: &mut Modifiers) -> Found {
    use int32::Binary as B;
    let field = |op| Ok(Arith::Ternary32(Ternary32::Bits(op)));
    let mode = m.one_of(&[("clamp", true), ("wrap", false)]);
    let left = if name == "shf" {
        m.one_of(&[("l", true), ("r", false)])
    } else {
        None
    };
    let ty = m.ty()?;
    match (name, ty, mode, left) {
        ("bfe", Type::U32, None, _) => field(Bits::ExtractU),
        ("bfe", Type::S32, None, _) => field(Bits::ExtractS),
        ("bfe", Type::U64 | Type::S64, None, _) => Ok(Arith::Bfe64(sign(ty))),
        ("bfi", Type::B32, None, _) => Ok(Arith::Bfi32),
        ("bfi", Type::B64, None, _) => Ok(Arith::Bfi64),
        ("fns", Type::B32, None, _) => field(Bits::FindNth),
        ("lop3", Type::B32, None, _) => Ok(Arith::Lop3),
        ("prmt", Type::B32, None, _) => {
            let mode = m.one_of(&[
                ("f4e", Permute::Forward4),
                ("b4e", Permute::Backward4),
                ("rc8", Permute::Replicate8),
                ("ecl", Permute::EdgeLeft),
                ("ecr", Permute::EdgeRight),
                ("rc16", Permute::Replicate16),
            ]);
            field(Bits::Permute(mode.unwrap_or(Permute::Index)))
        }
        ("shf", Type::B32, Some(true), Some(true)) => field(Bits::FunnelLeftClamp),
        ("shf", Type::B32, Some(false), Some(true)) => field(Bits::FunnelLeftWrap),
        ("shf", Type::B32, Some(true), Some(false)) => field(Bits::FunnelRightClamp),
        ("shf", Type::B32, Some(false), Some(false)) => field(Bits::FunnelRightWrap),
        ("bmsk", Type::B32, Some(true), _) => binary32(B::MaskClamp),
        ("bmsk", Type::B32, Some(false), _) => binary32(B::MaskWrap),
        ("szext", Type::S32, Some(true), _) => binary32(B::ExtendClampS),
        ("szext", Type::U32, Some(true), _) => binary32(B::ExtendClampU),
        ("szext", Type::S32, Some(false), _) => binary32(B::ExtendWrapS),
        ("szext", Type::U32, Some(false), _) => binary32(B::ExtendWrapU),
        _ => unsupported(ty),
    }
}
