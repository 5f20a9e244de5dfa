//! From the parts of an opcode, `["add", "rn", "ftz", "f32"]`, to an [`Arith`]. What is not implemented is refused, never guessed.

use super::bits::{Permute, Ternary as Bits};
use super::carry::{Carry, Enter, Leave, Operation};
use super::compare::{Kind, Set, Setp, Slct, Testp};
use super::convert::{Convert, Integral, Overflow};
use super::half::Pack;
use super::int32::Signs;
use super::int64::{Count, Shift, Sign};
use super::{
    Arith, Binary32, Binary64, Clamp, Combine, Compare, Format16, Mode, Round, Subnormals, Ternary32, Ternary64, Type,
    Unary32, Unary64, float32, float64, half, int32, int64, special,
};

/// The instruction, `None` if it is no arithmetic one (or is one of predicates: `and.pred`, `not.pred`), or what is wrong with it.
///
/// `mov`, `selp`, `cvta`, and the instructions of warps and of memory are not arithmetic.
pub fn decode(parts: &[&str]) -> Result<Option<Arith>, String> {
    let [name, modifiers @ ..] = parts else { return Ok(None) };
    if modifiers.last() == Some(&"pred") {
        return Ok(None);
    }
    let mut m = Modifiers {
        left: modifiers.to_vec(),
    };
    let Some(found) = instruction(name, &mut m) else {
        return Ok(None);
    };
    let arith = found?;
    match m.left.first() {
        None => Ok(Some(arith)),
        Some(modifier) => Err(format!("modifier .{modifier} is not implemented")),
    }
}

/// Modifiers not used up yet. What is left at the end is refused.
struct Modifiers<'a> {
    left: Vec<&'a str>,
}

impl Modifiers<'_> {
    fn take(&mut self, name: &str) -> bool {
        let found = self.left.iter().position(|m| *m == name);
        found.map(|i| self.left.remove(i)).is_some()
    }

    fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        table.iter().find(|(name, _)| self.take(name)).map(|(_, value)| *value)
    }

    /// The next type, from the left.
    fn ty(&mut self) -> Result<Type, String> {
        let found = self.left.iter().position(|m| Type::parse(m).is_some());
        let i = found.ok_or("a type is missing")?;
        Type::parse(self.left.remove(i)).ok_or_else(|| "a type is missing".into())
    }

    fn round(&mut self) -> Option<Round> {
        self.one_of(&[
            ("rn", Round::Near),
            ("rz", Round::Zero),
            ("rm", Round::Down),
            ("rp", Round::Up),
        ])
    }

    fn subnormals(&mut self) -> Subnormals {
        if self.take("ftz") {
            Subnormals::Flush
        } else {
            Subnormals::Keep
        }
    }

    fn clamp(&mut self) -> Clamp {
        self.one_of(&[("sat", Clamp::Saturate), ("relu", Clamp::Relu)])
            .unwrap_or_default()
    }

    fn mode(&mut self) -> Mode {
        Mode {
            round: self.round().unwrap_or_default(),
            subnormals: self.subnormals(),
            clamp: self.clamp(),
        }
    }

    fn nan_and_sign(&mut self) -> (bool, bool) {
        let nan = self.take("NaN");
        // `.xorsign.abs` is two parts.
        (nan, self.take("xorsign") && self.take("abs"))
    }

    fn compare(&mut self) -> Option<Compare> {
        use Compare::*;
        self.one_of(&[
            ("eq", Eq),
            ("ne", Ne),
            ("lt", Lt),
            ("le", Le),
            ("gt", Gt),
            ("ge", Ge),
            ("lo", Lt),
            ("ls", Le),
            ("hi", Gt),
            ("hs", Ge),
            ("equ", Equ),
            ("neu", Neu),
            ("ltu", Ltu),
            ("leu", Leu),
            ("gtu", Gtu),
            ("geu", Geu),
            ("num", Num),
            ("nan", Nan),
        ])
    }

    fn combine(&mut self) -> Option<Combine> {
        self.one_of(&[("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)])
    }
}

type Found = Result<Arith, String>;

fn unsupported(ty: Type) -> Found {
    Err(format!("not implemented for type {ty:?}"))
}

fn unary32(op: int32::Unary) -> Found {
    Ok(Arith::Unary32(Unary32::Int(op)))
}

fn binary32(op: int32::Binary) -> Found {
    Ok(Arith::Binary32(Binary32::Int(op)))
}

fn ternary32(op: int32::Ternary) -> Found {
    Ok(Arith::Ternary32(Ternary32::Int(op)))
}

fn unary64(op: int64::Unary) -> Found {
    Ok(Arith::Unary64(Unary64::Int(op)))
}

fn binary64(op: int64::Binary) -> Found {
    Ok(Arith::Binary64(Binary64::Int(op)))
}

fn sixteen(ty: Type) -> Option<(Format16, Pack)> {
    Some(match ty {
        Type::F16 => (Format16::F16, Pack::One),
        Type::F16x2 => (Format16::F16, Pack::Two),
        Type::Bf16 => (Format16::Bf16, Pack::One),
        Type::Bf16x2 => (Format16::Bf16, Pack::Two),
        _ => return None,
    })
}

fn sign(ty: Type) -> Sign {
    if ty.is_signed() { Sign::Signed } else { Sign::Unsigned }
}

fn instruction(name: &str, m: &mut Modifiers) -> Option<Found> {
    Some(match name {
        "add" | "sub" | "addc" | "subc" => add(name, m),
        "mul" | "div" => multiply(name, m),
        "mad" | "madc" => mad(name, m),
        "fma" => fma(m),
        "mul24" | "mad24" => mul24(name, m),
        "rem" | "min" | "max" | "and" | "or" | "xor" | "shl" | "shr" | "copysign" => binary(name, m),
        "neg" | "abs" | "not" | "cnot" | "popc" | "clz" | "brev" | "bfind" => unary(name, m),
        "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => function(name, m),
        "sad" => sad(m),
        "dp4a" | "dp2a" => dot(name, m),
        "bfe" | "bfi" | "fns" | "prmt" | "shf" | "lop3" | "bmsk" | "szext" => bits(name, m),
        "setp" | "set" | "slct" | "testp" => comparison(name, m),
        "cvt" => convert(m),
        _ => return None,
    })
}

fn add(name: &str, m: &mut Modifiers) -> Found {
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
            Ok(Arith::Binary32(Binary32::Float(op, m.mode())))
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
fn half_mode(format: Format16, m: &mut Modifiers) -> Mode {
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

fn half_binary(op: half::Binary, format: Format16, m: &mut Modifiers) -> Found {
    Ok(Arith::Binary32(Binary32::Half(op, format, half_mode(format, m))))
}

fn carry(carry: Carry, ty: Type) -> Found {
    match ty {
        Type::S32 | Type::U32 => Ok(Arith::Carry32(carry)),
        Type::S64 | Type::U64 => Ok(Arith::Carry64(carry)),
        _ => unsupported(ty),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Lo,
    Hi,
    Wide,
}

fn part(m: &mut Modifiers) -> Option<Part> {
    m.one_of(&[("lo", Part::Lo), ("hi", Part::Hi), ("wide", Part::Wide)])
}

fn multiply(name: &str, m: &mut Modifiers) -> Found {
    use int32::Binary as B;
    let divide = name == "div";
    let part = part(m);
    let ty = m.ty()?;
    match ty {
        Type::F32 if part.is_none() => {
            let op = match (divide, m.take("approx"), m.take("full")) {
                (false, false, false) => float32::Binary::Mul,
                (true, true, false) => float32::Binary::DivApprox,
                (true, false, _) => float32::Binary::Div,
                _ => return unsupported(ty),
            };
            let mut mode = m.mode();
            if divide {
                mode.clamp = Clamp::None;
            }
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

fn mad(name: &str, m: &mut Modifiers) -> Found {
    use int32::Ternary as T;
    let part = part(m).ok_or("one of .lo, .hi, .wide is missing")?;
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

fn fma(m: &mut Modifiers) -> Found {
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
            Some((format, _)) => Ok(Arith::Ternary32(Ternary32::HalfFma(format, half_mode(format, m)))),
            None => unsupported(ty),
        },
    }
}

fn mul24(name: &str, m: &mut Modifiers) -> Found {
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

fn binary(name: &str, m: &mut Modifiers) -> Found {
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

fn extremum(name: &str, ty: Type, m: &mut Modifiers) -> Found {
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

fn unary(name: &str, m: &mut Modifiers) -> Found {
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

fn function(name: &str, m: &mut Modifiers) -> Found {
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
        ("tanh", Type::F32, true, false) => special(special::Unary::Tanh),
        _ => unsupported(ty),
    }
}

fn sad(m: &mut Modifiers) -> Found {
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

fn dot(name: &str, m: &mut Modifiers) -> Found {
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

fn bits(name: &str, m: &mut Modifiers) -> Found {
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

fn comparison(name: &str, m: &mut Modifiers) -> Found {
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
            if matches!(
                ty,
                Type::B8 | Type::U8 | Type::S8 | Type::Tf32 | Type::B128 | Type::U16x2 | Type::S16x2
            ) {
                return unsupported(ty);
            }
            let setp = Setp {
                compare,
                ty,
                subnormals,
                combine,
            };
            Ok(match to {
                None => Arith::Setp(setp),
                Some(Type::F32 | Type::S32 | Type::U32 | Type::F16 | Type::Bf16 | Type::U16 | Type::S16) => {
                    Arith::Set(Set {
                        setp,
                        to: to.unwrap_or(ty),
                    })
                }
                Some(to @ (Type::F16x2 | Type::Bf16x2)) => Arith::Set(Set { setp, to }),
                Some(to) => return unsupported(to),
            })
        }
    }
}

fn convert(m: &mut Modifiers) -> Found {
    let whole = m.one_of(&[
        ("rni", Round::Near),
        ("rzi", Round::Zero),
        ("rmi", Round::Down),
        ("rpi", Round::Up),
    ]);
    let direction = if m.take("rna") { Some(Round::Away) } else { m.round() };
    let mode = Mode {
        round: whole.or(direction).unwrap_or_default(),
        subnormals: m.subnormals(),
        clamp: m.clamp(),
    };
    let overflow = if m.take("satfinite") {
        Overflow::Finite
    } else {
        Overflow::Infinity
    };
    let integral = if whole.is_some() { Integral::Yes } else { Integral::No };
    let (to, from) = (m.ty()?, m.ty()?);
    let convert = Convert {
        to,
        from,
        mode,
        integral,
        overflow,
    };
    let plain = |ty: Type| {
        !matches!(
            ty,
            Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128 | Type::Pred
        )
    };
    let packed = |ty: Type| matches!(ty, Type::F16x2 | Type::Bf16x2 | Type::U16x2 | Type::S16x2);
    let fine = plain(to)
        && plain(from)
        && !packed(from)
        && (!packed(to) || from == Type::F32 && to.is_float())
        && (to != Type::Tf32 || from == Type::F32)
        && from != Type::Tf32
        && (direction != Some(Round::Away) || to == Type::Tf32);
    if !fine {
        return Err(format!("conversion from {from:?} to {to:?} is not implemented"));
    }
    let needs_integral = from.is_float() && !to.is_float();
    if needs_integral && whole.is_none() {
        return Err("a rounding to integers is missing".into());
    }
    Ok(Arith::Convert(convert))
}
