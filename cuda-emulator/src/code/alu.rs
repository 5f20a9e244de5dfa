//! Moves, selections and arithmetic.

use super::check;
use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::arith::compare::Set;
use crate::arith::{Arith, Binary32, Binary64, Combine, Ternary32, Ternary64, Type, Unary32, Unary64};
use crate::counters::Class;
use crate::ptx::{Bank, Instruction, Operand, Register, VariableSpace};

type Lowered = Result<Vec<(Op, Class)>, String>;

/// Lowers one.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let o = i.operands.as_slice();
    match (i.op[0].as_str(), o) {
        ("mov", [d, a]) => moves(c, m, d, a),
        ("selp", [d, a, b, p]) => {
            let bits = bits(m.last()?)?;
            [d, a, b].into_iter().try_for_each(|o| check::exactly(o, bits))?;
            let p = c.pred(p)?;
            let op = match bits {
                64 => Op::SelD(c.d(d)?, c.d(a)?, c.d(b)?, p),
                16 | 32 => Op::SelR(c.small(d)?, c.small(a)?, c.small(b)?, p),
                _ => return Err("a selection of other than 16, 32 or 64 bits".into()),
            };
            Ok(vec![(op, Class::Other)])
        }
        (name @ ("and" | "or" | "xor" | "not"), [d, rest @ ..]) if m.take("pred") => {
            let combine = match name {
                "and" => Combine::And,
                "or" => Combine::Or,
                _ => Combine::Xor,
            };
            let op = match rest {
                [a] if name == "not" => {
                    let a = c.pred(a)?;
                    Op::MovP(
                        c.p(d)?,
                        Pred {
                            negated: !a.negated,
                            ..a
                        },
                    )
                }
                [a, b] if name != "not" => Op::LogicP(combine, c.p(d)?, c.pred(a)?, c.pred(b)?),
                _ => return Err(format!("{} operands", o.len())),
            };
            Ok(vec![(op, Class::Int)])
        }
        _ => arithmetic(c, m, i),
    }
}

/// Bits of a type of moves.
fn bits(ty: &str) -> Result<u32, String> {
    Ok(match ty {
        "pred" => 1,
        "b16" | "u16" | "s16" => 16,
        "b32" | "u32" | "s32" | "f32" => 32,
        "b64" | "u64" | "s64" | "f64" => 64,
        "b128" => 128,
        _ => return Err(format!("the type .{ty}")),
    })
}

/// Bits of a part of a vector that is moved to or from a register: two of half its width, or four of a quarter.
fn part(bits: u32, parts: &[Operand]) -> Result<u32, String> {
    let width = match parts.len() {
        n @ (2 | 4) => bits / n as u32,
        n => return Err(format!("a vector of {n} elements")),
    };
    if !(8..=32).contains(&width) {
        return Err(format!("{} elements of {bits} bits", parts.len()));
    }
    parts.iter().try_for_each(|o| check::exactly(o, width))?;
    Ok(width)
}

fn moves(c: &mut Context, m: &mut Modifiers, d: &Operand, a: &Operand) -> Lowered {
    let bits = bits(m.last()?)?;
    let one = |op: Op| Ok(vec![(op, Class::Other)]);
    if bits != 128 {
        let whole = [d, a].into_iter().filter(|o| !matches!(o, Operand::Vector(_)));
        whole.into_iter().try_for_each(|o| check::exactly(o, bits))?;
    }
    match (d, a) {
        (d, a) if bits == 1 => one(Op::MovP(c.p(d)?, c.pred(a)?)),
        (d, a) if bits == 128 => {
            let (to, from) = (c.slots(d, 8)?, c.slots(a, 8)?);
            let [[Slot::D(t0), Slot::D(t1)], [Slot::D(f0), Slot::D(f1)]] = [&to[..], &from[..]] else {
                return Err("128 bits are two registers of 64".into());
            };
            // The first must not overwrite what the second reads.
            if t0 == f1 {
                return Err("a move of 128 bits onto half of itself".into());
            }
            Ok(vec![
                (Op::MovD(*t0, *f0), Class::Other),
                (Op::MovD(*t1, *f1), Class::Other),
            ])
        }
        (Operand::Vector(_), Operand::Vector(_)) => Err("a move from vector to vector".into()),
        (Operand::Vector(parts), a) => {
            let width = part(bits, parts)?;
            if bits == 64 && width == 32 {
                return one(Op::Unpack64(c.r(&parts[0])?, c.r(&parts[1])?, c.d(a)?));
            }
            let parts = parts
                .iter()
                .map(|p| c.small(p))
                .collect::<Result<Box<[u32]>, String>>()?;
            one(Op::Unpack(parts, c.slot(a, bits as usize / 8)?, width))
        }
        (d, Operand::Vector(parts)) => {
            let width = part(bits, parts)?;
            if bits == 64 && width == 32 {
                return one(Op::Pack64(c.d(d)?, c.r(&parts[0])?, c.r(&parts[1])?));
            }
            let parts = parts
                .iter()
                .map(|p| c.small(p))
                .collect::<Result<Box<[u32]>, String>>()?;
            one(Op::Pack(c.slot(d, bits as usize / 8)?, parts, width))
        }
        (Operand::Reg(Register { bank: Bank::R, .. }), Operand::Special(name)) if clock(name).is_some() => {
            let shift = clock(name).unwrap_or(0);
            one(Op::ClockR(c.r(d)?, shift))
        }
        (d, Operand::Special(name)) if clock(name).is_some() => one(Op::ClockD(c.d(d)?)),
        (Operand::Reg(Register { bank: Bank::D, .. }), a) => {
            if let Some(op) = stack_address(c, d, a)? {
                return one(op);
            }
            one(Op::MovD(c.d(d)?, c.d(a)?))
        }
        (d, a) => one(Op::MovR(c.small(d)?, c.small(a)?)),
    }
}

/// Clocks: all count the warp instructions of the launch.
fn clock(name: &str) -> Option<u32> {
    match name {
        "%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo" => Some(0),
        "%clock_hi" | "%globaltimer_hi" => Some(32),
        _ => None,
    }
}

/// The address of a variable of a recursive function is on its stack; that of a device function's parameter is nowhere.
fn stack_address(c: &mut Context, d: &Operand, a: &Operand) -> Result<Option<Op>, String> {
    let Operand::Symbol(name, offset) = a else {
        return Ok(None);
    };
    let symbol = c.symbol(name)?;
    match symbol.space {
        Some(VariableSpace::Param) if !c.function.entry => {
            Err("the address of a parameter of a device function".into())
        }
        Some(VariableSpace::Local) if c.recursive => {
            let offset = symbol.address.wrapping_add(*offset as u64).wrapping_sub(c.stack.into());
            Ok(Some(Op::StackAddress(c.d(d)?, offset)))
        }
        _ => Ok(None),
    }
}

/// Banks of the result and the sources of an arithmetic instruction.
fn banks(op: Arith) -> (Bank, &'static [Bank]) {
    use Bank::{D, P, R};
    match op {
        Arith::Unary32(_) => (R, &[R]),
        Arith::Binary32(_) => (R, &[R, R]),
        Arith::Ternary32(_) | Arith::Slct32(_) => (R, &[R, R, R]),
        Arith::Bfi32 | Arith::Lop3 => (R, &[R, R, R, R]),
        Arith::Unary64(_) => (D, &[D]),
        Arith::Binary64(_) => (D, &[D, D]),
        Arith::Ternary64(_) => (D, &[D, D, D]),
        Arith::Shift64(_) => (D, &[D, R]),
        Arith::Count64(_) => (R, &[D]),
        Arith::MulWide(_) => (D, &[R, R]),
        Arith::MadWide(_) => (D, &[R, R, D]),
        Arith::Bfi64 => (D, &[D, D, R, R]),
        Arith::Bfe64(_) => (D, &[D, R, R]),
        Arith::Slct64(_) => (D, &[D, D, R]),
        Arith::Carry32(carry) => (R, if carry.sources() == 3 { &[R, R, R] } else { &[R, R] }),
        Arith::Carry64(carry) => (D, if carry.sources() == 3 { &[D, D, D] } else { &[D, D] }),
        Arith::Setp(setp) => (P, if setp.ty.bits() == 64 { &[D, D] } else { &[R, R] }),
        Arith::Set(set) => (R, if set.setp.ty.bits() == 64 { &[D, D] } else { &[R, R] }),
        Arith::Testp(testp) => (P, if testp.ty.bits() == 64 { &[D] } else { &[R] }),
        Arith::Convert(convert) => {
            let to = if convert.to.bits() == 64 { D } else { R };
            (
                to,
                match (convert.sources(), convert.from.bits()) {
                    (2, _) => &[R, R],
                    (_, 64) => &[D],
                    _ => &[R],
                },
            )
        }
    }
}

fn class(op: Arith) -> Class {
    match op {
        Arith::Unary32(Unary32::Float(..)) => Class::Fp32,
        Arith::Unary32(Unary32::Special(..)) => Class::Special,
        Arith::Unary32(Unary32::Half(..)) | Arith::Binary32(Binary32::Half(..)) => Class::Half,
        Arith::Binary32(Binary32::Float(..)) | Arith::Ternary32(Ternary32::Fma(_)) => Class::Fp32,
        Arith::Ternary32(Ternary32::HalfFma(..)) => Class::Half,
        Arith::Unary64(Unary64::Float(..)) | Arith::Binary64(Binary64::Float(..)) => Class::Fp64,
        Arith::Ternary64(Ternary64::Fma(_)) => Class::Fp64,
        Arith::Setp(setp) | Arith::Set(Set { setp, .. }) => match setp.ty {
            Type::F32 => Class::Fp32,
            Type::F64 => Class::Fp64,
            ty if ty.is_float() => Class::Half,
            _ => Class::Int,
        },
        Arith::Testp(_) => Class::Fp32,
        Arith::Convert(_) => Class::Convert,
        _ => Class::Int,
    }
}

fn of_bank(c: &mut Context, bank: Bank, o: &Operand) -> Result<u32, String> {
    match bank {
        Bank::P => c.p(o),
        Bank::D => c.d(o),
        _ => c.small(o),
    }
}

/// Fails where a register is not as wide as the types say: those of a conversion may be wider.
fn widths(i: &Instruction, op: Arith) -> Result<(), String> {
    let types: Vec<u32> = i.op[1..]
        .iter()
        .filter_map(|t| Type::parse(t))
        .map(Type::bits)
        .collect();
    let (&[first, ..], &[.., last]) = (&types[..], &types[..]) else {
        return Ok(());
    };
    let (to, from) = match op {
        Arith::Convert(_) => {
            let ends = i.operands.iter().zip([first, last, last]);
            return ends.into_iter().try_for_each(|(o, bits)| check::at_least(o, bits));
        }
        Arith::Setp(_) | Arith::Testp(_) => (1, [last; 4]),
        Arith::Slct32(_) | Arith::Slct64(_) => (first, [first, first, 32, 32]),
        _ => match i.op[0].as_str() {
            "mul" | "mad" if i.op.iter().any(|part| part == "wide") => (2 * last, [last, last, 2 * last, 0]),
            "shl" | "shr" => (last, [last, 32, 0, 0]),
            "bfe" => (last, [last, 32, 32, 0]),
            "bfi" => (last, [last, last, 32, 32]),
            "popc" | "clz" | "bfind" => (32, [last; 4]),
            "set" => (first, [last; 4]),
            _ => (last, [last; 4]),
        },
    };
    let [result, sources @ ..] = i.operands.as_slice() else {
        return Ok(());
    };
    if let Operand::Reg(_) = result {
        check::exactly(result, to)?;
    }
    // A predicate that is combined with comes after the sources.
    let is_number = |o: &&Operand| !matches!(o, Operand::Reg(Register { bank: Bank::P, .. }));
    let mut sources = sources.iter().filter(is_number).zip(from);
    sources.try_for_each(|(o, bits)| check::exactly(o, bits))
}

fn arithmetic(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let parts: Vec<&str> = i.op.iter().map(String::as_str).collect();
    let op = crate::arith::decode(&parts)?.ok_or("the instruction is not known here")?;
    m.ignore(|_| true);
    widths(i, op)?;
    let class = class(op);
    let (bank, sources) = banks(op);
    let [to, rest @ ..] = i.operands.as_slice() else {
        return Err("it has no operands".into());
    };
    let mut before = Vec::new();
    let mut s = [0; 4];
    if rest.len() < sources.len() {
        return Err(format!("{} operands are too few", i.operands.len()));
    }
    for (n, (&bank, o)) in sources.iter().zip(rest).enumerate() {
        s[n] = match (bank, o) {
            // The source of a conversion may stand in a wider register.
            (Bank::R, Operand::Reg(r)) if r.bank == Bank::D && matches!(op, Arith::Convert(_)) => {
                let low = c.fresh(Bank::R);
                before.push((Op::Unpack64(low, NONE, c.index(*r)), Class::Other));
                low
            }
            (bank, o) => of_bank(c, bank, o)?,
        };
    }
    let rest = &rest[sources.len()..];
    let mut with = Pred {
        index: NONE,
        negated: false,
    };
    let (to, second) = match to {
        Operand::Pair(a, b) => (of_bank(c, bank, a)?, c.p(b)?),
        to => (of_bank(c, bank, to)?, NONE),
    };
    if second != NONE && !matches!(op, Arith::Setp(_)) {
        return Err("a second result".into());
    }
    let lowered = match op {
        Arith::Setp(setp) | Arith::Set(Set { setp, .. }) => {
            if setp.combine.is_some() {
                with = c.pred(rest.first().ok_or("the predicate to combine with is missing")?)?;
            } else if !rest.is_empty() {
                return Err("an operand too many".into());
            }
            Op::ArithP(
                op,
                Box::new(Extra {
                    to,
                    second,
                    sources: s,
                    with,
                }),
            )
        }
        Arith::Carry32(_) | Arith::Carry64(_) => {
            with.index = c.carry;
            Op::ArithP(
                op,
                Box::new(Extra {
                    to,
                    second,
                    sources: s,
                    with,
                }),
            )
        }
        Arith::Testp(_) => Op::ArithP(
            op,
            Box::new(Extra {
                to,
                second,
                sources: s,
                with,
            }),
        ),
        _ if !rest.is_empty() => return Err("an operand too many".into()),
        Arith::Lop3 => {
            let Some(Operand::Int(table)) = i.operands.get(4) else {
                return Err("the table is no literal".into());
            };
            let table = u8::try_from(*table).map_err(|_| format!("the table {table} has more than 8 bits"))?;
            Op::Lop3(table, to, [s[0], s[1], s[2]])
        }
        _ => Op::Arith(op, to, s),
    };
    before.push((lowered, class));
    Ok(before)
}
