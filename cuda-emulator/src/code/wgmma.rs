//! `wgmma`: the instructions of a warpgroup, and which instructions touch their registers.
//!
//! Registers of a wgmma must not be touched until it was waited for. So that this is checked where it can happen and nowhere else, each
//! other instruction with such a register among its operands is wrapped as [`Op::Watched`]. Compilers copy these registers about, in places
//! where an access would be wrong; NVIDIA's assembler makes them one. So a `mov` passes on the state of a register to the other.

use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::counters::Class;
use crate::ptx::{Bank, Function, Instruction, Operand, Register};
use crate::tensor::wgmma::{Major, Scale, Wgmma};
use std::collections::HashSet;

type Lowered = Result<Vec<(Op, Class)>, String>;

/// Where A is.
#[derive(Clone, Debug)]
pub enum Left {
    /// In shared memory: 64-bit register of the descriptor.
    Shared(u32),
    /// In these registers.
    Registers([u32; 4]),
}

/// `wgmma.mma_async`.
#[derive(Clone, Debug)]
pub struct WgmmaOp {
    /// Shape, types, layouts and signs.
    pub wgmma: Wgmma,
    /// Accumulators.
    pub d: Box<[u32]>,
    /// A.
    pub a: Left,
    /// 64-bit register of the descriptor of B.
    pub b: u32,
    /// Whether D is added.
    pub scale_d: Pred,
}

/// Instructions of a warpgroup.
#[derive(Clone, Debug)]
pub enum Warpgroup {
    /// `wgmma.mma_async`
    Multiply(WgmmaOp),
    /// `wgmma.fence`
    Fence,
    /// `wgmma.commit_group`
    Commit,
    /// `wgmma.wait_group`
    Wait(u32),
}

/// What an instruction does to registers of wgmma.
#[derive(Clone, Debug)]
pub enum Touch {
    /// Reads or writes them.
    Access(Box<[u32]>),
    /// Sets one to a constant.
    Set(u32),
    /// Copies the second to the first.
    Move(u32, u32),
}

/// An instruction that touches registers of wgmma.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What it does to them.
    pub touch: Touch,
    /// The instruction.
    pub inner: Inst,
}

/// Lowers one.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    if !c.target.ends_with('a') {
        return Err(format!("wgmma needs .target sm_90a, not {}", c.target));
    }
    let o = i.operands.as_slice();
    let parts: Vec<&str> = i.op[1..].iter().map(String::as_str).collect();
    m.ignore(|_| true);
    let (op, class) = match (parts.as_slice(), o) {
        (["fence", "sync", "aligned"], []) => (Warpgroup::Fence, Class::Sync),
        (["commit_group", "sync", "aligned"], []) => (Warpgroup::Commit, Class::Sync),
        (["wait_group", "sync", "aligned"], [Operand::Int(n)]) => (Warpgroup::Wait(*n as u32), Class::Sync),
        (["mma_async", "sync", "aligned", rest @ ..], _) => {
            (Warpgroup::Multiply(multiply(c, Wgmma::parse(rest)?, o)?), Class::Tensor)
        }
        _ => return Err("this modifier or operand is not implemented".into()),
    };
    c.program.has_wgmma = true;
    Ok(vec![(Op::Sync(Sync::Warpgroup(Box::new(op)), NONE), class)])
}

fn multiply(c: &mut Context, mut wgmma: Wgmma, o: &[Operand]) -> Result<WgmmaOp, String> {
    let (d, a, b, scale_d, scale_a, scale_b, trans_a, trans_b) = match o {
        [d, a @ Operand::Vector(_), b, scale_d, scale_a, scale_b, trans_b] => {
            (d, a, b, scale_d, scale_a, scale_b, None, trans_b)
        }
        [d, a, b, scale_d, scale_a, scale_b, trans_a, trans_b] => {
            (d, a, b, scale_d, scale_a, scale_b, Some(trans_a), trans_b)
        }
        _ => return Err(format!("{} operands", o.len())),
    };
    wgmma.scale_a = scale(scale_a)?;
    wgmma.scale_b = scale(scale_b)?;
    wgmma.major_a = trans_a.map_or(Ok(Major::K), major)?;
    wgmma.major_b = major(trans_b)?;
    let a = match a {
        Operand::Vector(list) => {
            let registers: Result<Vec<u32>, String> = list.iter().map(|o| c.r(o)).collect();
            let four = registers?.try_into();
            Left::Registers(four.map_err(|_| "A is held in four registers")?)
        }
        a => Left::Shared(c.d(a)?),
    };
    let Operand::Vector(list) = d else {
        return Err("D is a list of registers".into());
    };
    if list.len() != wgmma.n / 2 {
        return Err(format!("{} registers where {} were expected", list.len(), wgmma.n / 2));
    }
    let d: Result<Box<[u32]>, String> = list.iter().map(|o| c.r(o)).collect();
    Ok(WgmmaOp {
        wgmma,
        d: d?,
        a,
        b: c.d(b)?,
        scale_d: c.pred(scale_d)?,
    })
}

fn scale(o: &Operand) -> Result<Scale, String> {
    match o {
        Operand::Int(1) => Ok(Scale::Plain),
        Operand::Int(n) if *n as i64 == -1 => Ok(Scale::Negated),
        _ => Err("imm-scale is 1 or -1".into()),
    }
}

fn major(o: &Operand) -> Result<Major, String> {
    match o {
        Operand::Int(0) => Ok(Major::K),
        Operand::Int(1) => Ok(Major::Mn),
        _ => Err("imm-trans is 0 or 1".into()),
    }
}

fn is_multiply(i: &Instruction) -> bool {
    i.op[0] == "wgmma" && i.op.get(1).is_some_and(|m| m == "mma_async")
}

/// The 32-bit registers among operands.
fn registers(o: &Operand, out: &mut Vec<u32>) {
    match o {
        Operand::Reg(Register {
            bank: Bank::R, index, ..
        }) => out.push(*index),
        Operand::Address(base, _) => registers(base, out),
        Operand::Indexed(a, b) | Operand::Pair(a, b) => {
            registers(a, out);
            registers(b, out);
        }
        Operand::Vector(list) | Operand::List(list) => list.iter().for_each(|o| registers(o, out)),
        _ => {}
    }
}

/// A copy between two 32-bit registers.
fn copied(i: &Instruction) -> Option<(u32, u32)> {
    match (i.op[0].as_str(), i.operands.as_slice()) {
        (
            "mov",
            [
                Operand::Reg(Register {
                    bank: Bank::R,
                    index: to,
                    ..
                }),
                Operand::Reg(Register {
                    bank: Bank::R,
                    index: from,
                    ..
                }),
            ],
        ) => Some((*to, *from)),
        _ => None,
    }
}

/// The registers that wgmma of a function use, and those they are copied to or from.
pub fn registers_of(f: &Function) -> HashSet<u32> {
    let mut set = HashSet::new();
    for i in f.body.iter().filter(|i| is_multiply(i)) {
        let mut list = Vec::new();
        i.operands.iter().take(2).for_each(|o| registers(o, &mut list));
        set.extend(list);
    }
    if set.is_empty() {
        return set;
    }
    let copies: Vec<(u32, u32)> = f.body.iter().filter_map(copied).collect();
    let mut grown = true;
    while std::mem::take(&mut grown) {
        for (a, b) in &copies {
            if set.contains(a) != set.contains(b) {
                set.extend([*a, *b]);
                grown = true;
            }
        }
    }
    set
}

/// What an instruction does to the registers of the set; `base` is where the function's registers begin.
pub fn touch(i: &Instruction, set: &HashSet<u32>, base: u32) -> Option<Touch> {
    if set.is_empty() || is_multiply(i) {
        return None;
    }
    let mut list = Vec::new();
    i.operands.iter().for_each(|o| registers(o, &mut list));
    list.retain(|r| set.contains(r));
    if list.is_empty() {
        return None;
    }
    if let Some((to, from)) = copied(i) {
        return Some(Touch::Move(base + to, base + from));
    }
    Some(match (i.op[0].as_str(), list.as_slice()) {
        ("mov", [to]) if matches!(i.operands[1], Operand::Int(_) | Operand::F32(_)) => Touch::Set(base + to),
        _ => Touch::Access(list.iter().map(|r| base + r).collect()),
    })
}
