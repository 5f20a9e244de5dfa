//! From the parts of an opcode, `["add", "rn", "ftz", "f32"]`, to an [`Arith`]. What is not implemented is refused, never guessed.

use super::half::Pack;
use super::int64::Sign;
use super::{
    Arith, Binary32, Binary64, Clamp, Combine, Compare, Format16, Mode, Round, Subnormals, Ternary32, Type, Unary32,
    Unary64, int32, int64,
};

mod arithmetic;
mod comparison;
mod logic;

use arithmetic::{add, fma, function, mad, mul24, multiply};
use comparison::{comparison, convert};
use logic::{binary, bits, dot, sad, unary};

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

    /// Of add, sub and mul of f32.
    fn float_mode(&mut self) -> Mode {
        let clamp = if self.take("sat") { Clamp::Saturate } else { Clamp::None };
        Mode {
            round: self.round().unwrap_or_default(),
            subnormals: self.subnormals(),
            clamp,
        }
    }

    /// `.NaN`, and `.xorsign.abs`, which is two parts; alone they are left.
    fn nan_and_sign(&mut self) -> (bool, bool) {
        let both = self.left.contains(&"xorsign") && self.left.contains(&"abs");
        (self.take("NaN"), both && self.take("xorsign") && self.take("abs"))
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
