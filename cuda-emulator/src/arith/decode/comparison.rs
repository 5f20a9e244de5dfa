//! Comparisons and conversions.

use super::super::compare::{Kind, Set, Setp, Slct, Testp};
use super::super::convert::{Convert, Integral, Overflow};
use super::super::{Arith, Clamp, Mode, Round, Subnormals, Type};
use super::{Found, Modifiers, unsupported};

pub(super) fn comparison(name: &str, m: &mut Modifiers) -> Found {
    match name {
        "testp" => {
            let kind = m.one_of(&[
                ("finite", Kind::Finite),
                ("infinite", Kind::Infinite),
                ("number", Kind::Number),
                ("notanumber", Kind::NotANumber),
                ("normal", Kind::Normal),
                ("subnormal", Kind::Subnormal),
            ]);
            let kind = kind.ok_or("the property is missing")?;
            let ty = m.ty()?;
            if matches!(ty, Type::F32 | Type::F64) {
                Ok(Arith::Testp(Testp { kind, ty }))
            } else {
                unsupported(ty)
            }
        }
        "slct" => {
            let subnormals = m.subnormals();
            let (to, by) = (m.ty()?, m.ty()?);
            let slct = match by {
                Type::S32 => Slct::Int,
                Type::F32 => Slct::Float(subnormals),
                _ => return unsupported(by),
            };
            match to.bits() {
                32 | 16 => Ok(Arith::Slct32(slct)),
                64 => Ok(Arith::Slct64(slct)),
                _ => unsupported(to),
            }
        }
        _ => {
            let compare = m.compare().ok_or("the comparison is missing")?;
            let combine = m.combine();
            let subnormals = m.subnormals();
            let to = if name == "set" { Some(m.ty()?) } else { None };
            let ty = m.ty()?;
            let refused = [
                Type::B8,
                Type::U8,
                Type::S8,
                Type::Tf32,
                Type::B128,
                Type::U16x2,
                Type::S16x2,
            ];
            if refused.contains(&ty) || (subnormals == Subnormals::Flush && !ty.is_float()) {
                return unsupported(ty);
            }
            let setp = Setp {
                compare,
                ty,
                subnormals,
                combine,
            };
            let Some(to) = to else { return Ok(Arith::Setp(setp)) };
            let fine = match (to, ty) {
                (Type::F16x2, from) => from == Type::F16x2,
                (Type::Bf16x2, from) => from == Type::Bf16x2,
                (Type::U16 | Type::S16, from) => matches!(from, Type::F16 | Type::Bf16),
                (Type::F32, from) => !matches!(from, Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2),
                (Type::U32 | Type::S32 | Type::F16 | Type::Bf16, _) => true,
                _ => false,
            };
            if fine {
                Ok(Arith::Set(Set { setp, to }))
            } else {
                unsupported(to)
            }
        }
    }
}

pub(super) fn convert(m: &mut Modifiers) -> Found {
    let whole = m.one_of(&[
        ("rni", Round::Near),
        ("rzi", Round::Zero),
        ("rmi", Round::Down),
        ("rpi", Round::Up),
    ]);
    let direction = if m.take("rna") { Some(Round::Away) } else { m.round() };
    let subnormals = m.subnormals();
    let clamp = m.clamp();
    let overflow = if m.take("satfinite") {
        Overflow::Finite
    } else {
        Overflow::Infinity
    };
    let integral = if whole.is_some() { Integral::Yes } else { Integral::No };
    let (to, from) = (m.ty()?, m.ty()?);
    let number = |ty: Type| {
        !matches!(
            ty,
            Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128 | Type::Pred
        )
    };
    let packed = |ty: Type| matches!(ty, Type::F16x2 | Type::Bf16x2 | Type::U16x2 | Type::S16x2);
    // Results of these may be clamped to positive or to finite numbers.
    let short = matches!(to, Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2 | Type::Tf32) && from == Type::F32;
    let fine = number(to)
        && number(from)
        && !packed(from)
        && from != Type::Tf32
        && (!packed(to) || (from == Type::F32 && to.is_float()))
        && (to != Type::Tf32 || from == Type::F32)
        && (direction != Some(Round::Away) || to == Type::Tf32)
        && (short || (clamp != Clamp::Relu && overflow == Overflow::Infinity))
        && (clamp != Clamp::Saturate
            || ![to, from]
                .iter()
                .any(|&ty| matches!(ty, Type::Bf16 | Type::Tf32) || packed(ty)))
        && (subnormals == Subnormals::Keep || to == Type::F32 || from == Type::F32)
        && (subnormals == Subnormals::Keep || !(packed(to) || to == Type::Tf32));
    if !fine {
        return Err(format!(
            "conversion from {from:?} to {to:?} with these modifiers is not implemented"
        ));
    }
    let bits = |ty: Type| if ty == Type::Tf32 || packed(ty) { 16 } else { ty.bits() };
    match (from.is_float(), to.is_float()) {
        (true, false) if whole.is_none() => return Err("a rounding to integers is missing".into()),
        (_, false) if direction.is_some() => return Err("no rounding is wanted".into()),
        (false, _) if whole.is_some() => return Err("no rounding to integers is wanted".into()),
        (true, true) if whole.is_some() && to != from => return Err("no rounding to integers is wanted".into()),
        (false, true) if direction.is_none() => return Err("a rounding is missing".into()),
        (true, true) if bits(to) < bits(from) && direction.is_none() => return Err("a rounding is missing".into()),
        _ => {}
    }
    let mode = Mode {
        round: whole.or(direction).unwrap_or_default(),
        subnormals,
        clamp,
    };
    Ok(Arith::Convert(Convert {
        to,
        from,
        mode,
        integral,
        overflow,
    }))
}
