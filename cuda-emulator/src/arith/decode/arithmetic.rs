//! Sums, products, quotients, functions.

use super::super::carry::{Carry, Enter, Leave, Operation};
use super::super::{
    Arith, Binary32, Binary64, Clamp, Format16, Mode, Round, Subnormals, Ternary32, Ternary64, Type, Unary32, Unary64,
    float32, float64, half, int32, int64, special,
};
use super::{Found, Modifiers, binary32, binary64, sign, sixteen, ternary32, unsupported};

pub(super) fn add(name: &str, m: &mut Modifiers) -> Found {
    let subtract = name.starts_with("sub");
    let enter = if name.ends_with('c') {
        Enter::Flag
    } else {
        Enter::Nothing
    };
    let leave = if m.take("cc") { Leave::Flag } else { Leave::Nothing };
    let ty = m.ty()?;
    if enter == Enter::Flag || leave == Leave::Flag {
        let operation = if subtract { Operation::Sub } else { Operation::Add };
        return carry(
            Carry {
                operation,
                enter,
                leave,
            },
            ty,
        );
    }
    match (ty, subtract) {
        (Type::F32, _) => {
            let op = if subtract {
                float32::Binary::Sub
            } else {
                float32::Binary::Add
            };
            Ok(Arith::Binary32(Binary32::Float(op, m.float_mode())))
        }
        (Type::F64, _) => {
            let op = if subtract {
                float64::Binary::Sub
            } else {
                float64::Binary::Add
            };
            Ok(Arith::Binary64(Binary64::Float(
                op,
                Mode {
                    round: m.round().unwrap_or_default(),
                    ..Mode::default()
                },
            )))
        }
        (Type::S32, false) if m.take("sat") => binary32(int32::Binary::AddSat),
        (Type::S32, true) if m.take("sat") => binary32(int32::Binary::SubSat),
        (Type::S32 | Type::U32, false) => binary32(int32::Binary::Add),
        (Type::S32 | Type::U32, true) => binary32(int32::Binary::Sub),
        (Type::S16 | Type::U16, false) => binary32(int32::Binary::Add16),
        (Type::S16 | Type::U16, true) => binary32(int32::Binary::Sub16),
        (Type::S16x2 | Type::U16x2, false) => binary32(int32::Binary::Add16x2),
        (Type::S64 | Type::U64, false) => binary64(int64::Binary::Add),
        (Type::S64 | Type::U64, true) => binary64(int64::Binary::Sub),
        _ => match sixteen(ty) {
            Some((format, pack)) => {
                let op = if subtract {
                    half::Binary::Sub(pack)
                } else {
                    half::Binary::Add(pack)
                };
                half_binary(op, format, m)
            }
            None => unsupported(ty),
        },
    }
}

/// `.rn` is the only rounding; `.ftz` is of f16 only.
pub(super) fn half_mode(format: Format16, m: &mut Modifiers) -> Mode {
    m.take("rn");
    let subnormals = if format == Format16::F16 {
        m.subnormals()
    } else {
        Subnormals::Keep
    };
    Mode {
        round: Round::Near,
        subnormals,
        clamp: m.clamp(),
    }
}

pub(super) fn half_binary(op: half::Binary, format: Format16, m: &mut Modifiers) -> Found {
    Ok(Arith::Binary32(Binary32::Half(op, format, half_mode(format, m))))
}

pub(super) fn carry(carry: Carry, ty: Type) -> Found {
    match ty {
        Type::S32 | Type::U32 => Ok(Arith::Carry32(carry)),
        Type::S64 | Type::U64 => Ok(Arith::Carry64(carry)),
        _ => unsupported(ty),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Lo,
    Hi,
    Wide,
}

pub(super) fn part(m: &mut Modifiers) -> Option<Part> {
    m.one_of(&[("lo", Part::Lo), ("hi", Part::Hi), ("wide", Part::Wide)])
}

pub(super) fn multiply(name: &str, m: &mut Modifiers) -> Found {
    use int32::Binary as B;
    let divide = name == "div";
    let part = part(m);
    let ty = m.ty()?;
    match ty {
        Type::F32 if part.is_none() => {
            let approximation = if divide {
                m.one_of(&[("approx", true), ("full", false)])
            } else {
                None
            };
            let op = match (divide, approximation) {
                (false, _) => float32::Binary::Mul,
                (true, Some(true)) => float32::Binary::DivApprox,
                (true, _) => float32::Binary::Div,
            };
            let round = m.round();
            if divide && round.is_some() != approximation.is_none() {
                return Err("one of .approx, .full or a rounding is wanted".into());
            }
            let clamp = if !divide && m.take("sat") {
                Clamp::Saturate
            } else {
                Clamp::None
            };
            let mode = Mode {
                round: round.unwrap_or_default(),
                subnormals: m.subnormals(),
                clamp,
            };
            Ok(Arith::Binary32(Binary32::Float(op, mode)))
        }
        Type::F64 if part.is_none() => {
            let op = if divide {
                float64::Binary::Div
            } else {
                float64::Binary::Mul
            };
            Ok(Arith::Binary64(Binary64::Float(
                op,
                Mode {
                    round: m.round().unwrap_or_default(),
                    ..Mode::default()
                },
            )))
        }
        _ if divide && part.is_none() => match ty {
            Type::S16 => binary32(B::DivS16),
            Type::U16 => binary32(B::DivU16),
            Type::S32 => binary32(B::DivS),
            Type::U32 => binary32(B::DivU),
            Type::S64 => binary64(int64::Binary::DivS),
            Type::U64 => binary64(int64::Binary::DivU),
            _ => unsupported(ty),
        },
        _ if !divide => match (part, ty) {
            (None, _) => match sixteen(ty) {
                Some((format, pack)) => half_binary(half::Binary::Mul(pack), format, m),
                None => Err("one of .lo, .hi, .wide is missing".into()),
            },
            (Some(Part::Lo), Type::S32 | Type::U32) => binary32(B::Mul),
            (Some(Part::Hi), Type::S32) => binary32(B::MulHiS),
            (Some(Part::Hi), Type::U32) => binary32(B::MulHiU),
            (Some(Part::Wide), Type::S32 | Type::U32) => Ok(Arith::MulWide(sign(ty))),
            (Some(Part::Lo), Type::S16 | Type::U16) => binary32(B::Mul16),
            (Some(Part::Hi), Type::S16) => binary32(B::MulHiS16),
            (Some(Part::Hi), Type::U16) => binary32(B::MulHiU16),
            (Some(Part::Wide), Type::S16) => binary32(B::MulWideS16),
            (Some(Part::Wide), Type::U16) => binary32(B::MulWideU16),
            (Some(Part::Lo), Type::S64 | Type::U64) => binary64(int64::Binary::Mul),
            (Some(Part::Hi), Type::S64) => binary64(int64::Binary::MulHiS),
            (Some(Part::Hi), Type::U64) => binary64(int64::Binary::MulHiU),
            _ => unsupported(ty),
        },
        _ => unsupported(ty),
    }
}

pub(super) fn mad(name: &str, m: &mut Modifiers) -> Found {
    use int32::Ternary as T;
    let Some(part) = part(m) else {
        // Of floats it is another name for fma.
        return fma(m);
    };
    let enter = if name == "madc" { Enter::Flag } else { Enter::Nothing };
    let leave = if m.take("cc") { Leave::Flag } else { Leave::Nothing };
    let ty = m.ty()?;
    if enter == Enter::Flag || leave == Leave::Flag {
        let operation = match part {
            Part::Lo => Operation::MadLo,
            Part::Hi => Operation::MadHi(sign(ty)),
            Part::Wide => return unsupported(ty),
        };
        return carry(
            Carry {
                operation,
                enter,
                leave,
            },
            ty,
        );
    }
    match (part, ty) {
        (Part::Lo, Type::S32 | Type::U32) => ternary32(T::Mad),
        (Part::Hi, Type::S32) if m.take("sat") => ternary32(T::MadHiSatS),
        (Part::Hi, Type::S32) => ternary32(T::MadHiS),
        (Part::Hi, Type::U32) => ternary32(T::MadHiU),
        (Part::Wide, Type::S32 | Type::U32) => Ok(Arith::MadWide(sign(ty))),
        (Part::Lo, Type::S16 | Type::U16) => ternary32(T::Mad16),
        (Part::Hi, Type::S16) => ternary32(T::MadHiS16),
        (Part::Hi, Type::U16) => ternary32(T::MadHiU16),
        (Part::Wide, Type::S16) => ternary32(T::MadWideS16),
        (Part::Wide, Type::U16) => ternary32(T::MadWideU16),
        (Part::Lo, Type::S64 | Type::U64) => Ok(Arith::Ternary64(Ternary64::Int(int64::Ternary::Mad))),
        (Part::Hi, Type::S64) => Ok(Arith::Ternary64(Ternary64::Int(int64::Ternary::MadHiS))),
        (Part::Hi, Type::U64) => Ok(Arith::Ternary64(Ternary64::Int(int64::Ternary::MadHiU))),
        _ => unsupported(ty),
    }
}

pub(super) fn fma(m: &mut Modifiers) -> Found {
    let ty = m.ty()?;
    match ty {
        Type::F32 => {
            let round = m.round().ok_or("a rounding is missing")?;
            let clamp = if m.take("sat") { Clamp::Saturate } else { Clamp::None };
            Ok(Arith::Ternary32(Ternary32::Fma(Mode {
                round,
                subnormals: m.subnormals(),
                clamp,
            })))
        }
        Type::F64 => {
            let round = m.round().ok_or("a rounding is missing")?;
            Ok(Arith::Ternary64(Ternary64::Fma(Mode {
                round,
                ..Mode::default()
            })))
        }
        _ => match sixteen(ty) {
            Some((format, pack)) => {
                if !m.take("rn") {
                    return Err("a rounding is missing".into());
                }
                let mut mode = half_mode(format, m);
                if m.take("relu") {
                    mode.clamp = Clamp::Relu;
                }
                Ok(Arith::Ternary32(Ternary32::HalfFma(pack, format, mode)))
            }
            None => unsupported(ty),
        },
    }
}

pub(super) fn mul24(name: &str, m: &mut Modifiers) -> Found {
    use int32::{Binary as B, Ternary as T};
    let part = part(m).ok_or("one of .lo, .hi is missing")?;
    let sat = m.take("sat");
    let ty = m.ty()?;
    match (name, part, ty, sat) {
        ("mul24", Part::Lo, Type::S32, false) => binary32(B::Mul24LoS),
        ("mul24", Part::Lo, Type::U32, false) => binary32(B::Mul24LoU),
        ("mul24", Part::Hi, Type::S32, false) => binary32(B::Mul24HiS),
        ("mul24", Part::Hi, Type::U32, false) => binary32(B::Mul24HiU),
        ("mad24", Part::Lo, Type::S32, false) => ternary32(T::Mad24LoS),
        ("mad24", Part::Lo, Type::U32, false) => ternary32(T::Mad24LoU),
        ("mad24", Part::Hi, Type::S32, false) => ternary32(T::Mad24HiS),
        ("mad24", Part::Hi, Type::S32, true) => ternary32(T::Mad24HiSatS),
        ("mad24", Part::Hi, Type::U32, false) => ternary32(T::Mad24HiU),
        _ => unsupported(ty),
    }
}

pub(super) fn function(name: &str, m: &mut Modifiers) -> Found {
    let approx = m.take("approx");
    let ty = m.ty()?;
    if let Some((format, pack)) = sixteen(ty) {
        let op = match (name, approx) {
            ("ex2", true) => half::Unary::Ex2(pack),
            ("tanh", true) => half::Unary::Tanh(pack),
            _ => return unsupported(ty),
        };
        // ex2.approx.ftz.bf16 flushes subnormal inputs and results; of f16 .ftz is optional.
        let mode = Mode {
            subnormals: m.subnormals(),
            ..Mode::default()
        };
        return Ok(Arith::Unary32(Unary32::Half(op, format, mode)));
    }
    let round = m.round();
    let mode = Mode {
        round: round.unwrap_or_default(),
        subnormals: m.subnormals(),
        clamp: Clamp::None,
    };
    let special = |op| Ok(Arith::Unary32(Unary32::Special(op, mode)));
    let wide = |op| Ok(Arith::Unary64(Unary64::Float(op, mode)));
    match (name, ty, approx, round.is_some()) {
        ("sqrt", Type::F32, false, true) => Ok(Arith::Unary32(Unary32::Float(float32::Unary::Sqrt, mode))),
        ("rcp", Type::F32, false, true) => Ok(Arith::Unary32(Unary32::Float(float32::Unary::Rcp, mode))),
        ("sqrt", Type::F64, false, true) => wide(float64::Unary::Sqrt),
        ("rcp", Type::F64, false, true) => wide(float64::Unary::Rcp),
        ("rcp", Type::F64, true, false) if mode.subnormals == Subnormals::Flush => wide(float64::Unary::RcpApprox),
        ("rsqrt", Type::F64, true, false) => wide(float64::Unary::RsqrtApprox),
        ("sqrt", Type::F32, true, false) => special(special::Unary::Sqrt),
        ("rcp", Type::F32, true, false) => special(special::Unary::Rcp),
        ("rsqrt", Type::F32, true, false) => special(special::Unary::Rsqrt),
        ("ex2", Type::F32, true, false) => special(special::Unary::Ex2),
        ("lg2", Type::F32, true, false) => special(special::Unary::Lg2),
        ("sin", Type::F32, true, false) => special(special::Unary::Sin),
        ("cos", Type::F32, true, false) => special(special::Unary::Cos),
        ("tanh", Type::F32, true, false) if mode.subnormals == Subnormals::Keep => special(special::Unary::Tanh),
        _ => unsupported(ty),
    }
}
