//! Barriers, and what lanes of a warp do together.

use super::check;
use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::arith::warp::{Reduce, Shuffle, Vote};
use crate::counters::Class;
use crate::ptx::{Instruction, Operand};
use crate::tensor::{self, Matrix, Tensor};

type Lowered = Result<Vec<(Op, Class)>, String>;

const NO_PRED: Pred = Pred {
    index: NONE,
    negated: false,
};

/// Lowers one.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let o = i.operands.as_slice();
    let (op, class) = match i.op[0].as_str() {
        "bar" | "barrier" => (barrier(c, m, o, i.op[0] == "bar")?, Class::Sync),
        "shfl" => (shuffle(c, m, o)?, Class::Sync),
        "vote" => (vote(c, m, o)?, Class::Sync),
        "match" => (matching(c, m, o)?, Class::Sync),
        "redux" => (redux(c, m, o)?, Class::Sync),
        "elect" => {
            want(m, "sync")?;
            let [Operand::Pair(lane, p), mask] = o else {
                return Err(operands(o));
            };
            (Op::Sync(Sync::Elect(c.r(lane)?, c.p(p)?), c.r(mask)?), Class::Sync)
        }
        "activemask" => {
            want(m, "b32")?;
            let [d] = o else { return Err(operands(o)) };
            (Op::ActiveMask(c.r(d)?), Class::Sync)
        }
        _ => return matrix(c, m, i),
    };
    Ok(vec![(op, class)])
}

fn operands(o: &[Operand]) -> String {
    format!("operands {o:?} are not of a form known here")
}

fn want(m: &mut Modifiers, name: &str) -> Result<(), String> {
    if m.take(name) {
        Ok(())
    } else {
        Err(format!("known only with .{name}"))
    }
}

fn barrier(c: &mut Context, m: &mut Modifiers, o: &[Operand], bar: bool) -> Result<Op, String> {
    if m.take("warp") {
        want(m, "sync")?;
        let [mask] = o else { return Err(operands(o)) };
        return Ok(Op::Sync(Sync::Warp, c.r(mask)?));
    }
    m.take("cta");
    // `bar` is `barrier.aligned`.
    let aligned = m.take("aligned") || bar;
    if m.take("red") {
        let kind = m.one_of(&[
            ("popc", BarrierKind::Popc),
            ("and", BarrierKind::And),
            ("or", BarrierKind::Or),
        ]);
        let kind = kind.ok_or("a reduction is missing")?;
        want(m, if kind == BarrierKind::Popc { "u32" } else { "pred" })?;
        let (d, id, count, p) = match o {
            [d, id, p] => (d, id, None, p),
            [d, id, count, p] => (d, id, Some(count), p),
            _ => return Err(operands(o)),
        };
        let to = if kind == BarrierKind::Popc { c.r(d)? } else { c.p(d)? };
        let count = count.map_or(Ok(NONE), |n| c.r(n))?;
        let barrier = Barrier {
            kind,
            aligned,
            id: c.r(id)?,
            count,
            predicate: c.pred(p)?,
            to,
        };
        return Ok(Op::Barrier(Box::new(barrier)));
    }
    let kind = m.one_of(&[("sync", BarrierKind::Sync), ("arrive", BarrierKind::Arrive)]);
    let kind = kind.ok_or("sync, arrive or red is missing")?;
    let (id, count) = match o {
        [id] if kind == BarrierKind::Sync => (id, NONE),
        [id, count] => (id, c.r(count)?),
        _ => return Err(operands(o)),
    };
    let barrier = Barrier {
        kind,
        aligned,
        id: c.r(id)?,
        count,
        predicate: NO_PRED,
        to: NONE,
    };
    Ok(Op::Barrier(Box::new(barrier)))
}

fn shuffle(c: &mut Context, m: &mut Modifiers, o: &[Operand]) -> Result<Op, String> {
    want(m, "sync")?;
    want(m, "b32")?;
    let mode = m.one_of(&[
        ("up", Shuffle::Up),
        ("down", Shuffle::Down),
        ("bfly", Shuffle::Butterfly),
        ("idx", Shuffle::Index),
    ]);
    let mode = mode.ok_or("a mode is missing")?;
    let [d, a, b, clamp, mask] = o else {
        return Err(operands(o));
    };
    let (d, p) = match d {
        Operand::Pair(d, p) => (c.r(d)?, c.p(p)?),
        d => (c.r(d)?, NONE),
    };
    let mask = c.r(mask)?;
    Ok(Op::Sync(Sync::Shuffle(mode, d, p, c.r(a)?, c.r(b)?, c.r(clamp)?), mask))
}

fn vote(c: &mut Context, m: &mut Modifiers, o: &[Operand]) -> Result<Op, String> {
    want(m, "sync")?;
    let [d, a, mask] = o else { return Err(operands(o)) };
    let (source, mask) = (c.pred(a)?, c.r(mask)?);
    if m.take("ballot") {
        want(m, "b32")?;
        return Ok(Op::Sync(Sync::Ballot(c.r(d)?, source), mask));
    }
    let mode = m.one_of(&[("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uniform)]);
    want(m, "pred")?;
    Ok(Op::Sync(
        Sync::Vote(mode.ok_or("a mode is missing")?, c.p(d)?, source),
        mask,
    ))
}

fn matching(c: &mut Context, m: &mut Modifiers, o: &[Operand]) -> Result<Op, String> {
    want(m, "sync")?;
    let all = m
        .one_of(&[("all", true), ("any", false)])
        .ok_or("any or all is missing")?;
    let bytes = m.one_of(&[("b32", 4), ("b64", 8)]).ok_or("a type is missing")?;
    let [d, a, mask] = o else { return Err(operands(o)) };
    check::exactly(a, 8 * bytes as u32)?;
    let a = c.slot(a, bytes)?;
    let mask = c.r(mask)?;
    let sync = match (all, d) {
        (false, d) => Sync::MatchAny(c.r(d)?, a),
        (true, Operand::Pair(d, p)) => Sync::MatchAll(c.r(d)?, c.p(p)?, a),
        (true, d) => Sync::MatchAll(c.r(d)?, NONE, a),
    };
    Ok(Op::Sync(sync, mask))
}

fn redux(c: &mut Context, m: &mut Modifiers, o: &[Operand]) -> Result<Op, String> {
    want(m, "sync")?;
    let ty = m
        .one_of(&[("u32", 'u'), ("s32", 's'), ("b32", 'b')])
        .ok_or("a type is missing")?;
    let names = ["add", "min", "max", "and", "or", "xor"];
    let name = m
        .find(|x| names.iter().find(|n| **n == x).copied())
        .ok_or("an operation is missing")?;
    let op = match (name, ty) {
        ("add", 'u' | 's') => Reduce::Add,
        ("min", 's') => Reduce::MinS,
        ("min", 'u') => Reduce::MinU,
        ("max", 's') => Reduce::MaxS,
        ("max", 'u') => Reduce::MaxU,
        ("and", 'b') => Reduce::And,
        ("or", 'b') => Reduce::Or,
        ("xor", 'b') => Reduce::Xor,
        _ => return Err(format!("no redux.sync.{name} of this type")),
    };
    let [d, a, mask] = o else { return Err(operands(o)) };
    Ok(Op::Sync(Sync::Redux(op, c.r(d)?, c.r(a)?), c.r(mask)?))
}

fn registers(c: &mut Context, o: &Operand, count: usize, wide: bool) -> Result<Box<[u32]>, String> {
    let list = match o {
        Operand::Vector(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.len() != count {
        return Err(format!("{} registers where {count} were expected", list.len()));
    }
    list.iter().map(|o| if wide { c.d(o) } else { c.r(o) }).collect()
}

fn matrix(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let parts: Vec<&str> = i.op.iter().map(String::as_str).collect();
    let tensor = tensor::decode(&parts)?.ok_or("the instruction is not known here")?;
    let space = m.find(super::access::space).unwrap_or(Space::Generic);
    m.ignore(|_| true);
    let mut op = MatrixOp {
        tensor,
        d: Box::default(),
        a: Box::default(),
        b: Box::default(),
        c: Box::default(),
        address: Address {
            base: NONE,
            wide: true,
            offset: 0,
        },
        space,
        stride: NONE,
    };
    let o = i.operands.as_slice();
    let class = match (tensor, o) {
        (Tensor::Mma(mma), [d, a, b, addend]) => {
            let wide = mma.is_wide();
            op.d = registers(c, d, mma.result().registers(), wide)?;
            op.a = registers(c, a, mma.fragment(Matrix::A).registers(), wide)?;
            op.b = registers(c, b, mma.fragment(Matrix::B).registers(), wide)?;
            op.c = registers(c, addend, mma.fragment(Matrix::C).registers(), wide)?;
            Class::Tensor
        }
        (Tensor::WmmaMultiply(multiply), [d, a, b, addend]) => {
            let wide = multiply.is_wide();
            let [na, nb, nc, nd] = multiply.registers();
            op.d = registers(c, d, nd, wide)?;
            op.a = registers(c, a, na, wide)?;
            op.b = registers(c, b, nb, wide)?;
            op.c = registers(c, addend, nc, wide)?;
            Class::Tensor
        }
        (Tensor::Load(matrices), [d, at]) | (Tensor::Store(matrices), [at, d]) => {
            op.d = registers(c, d, matrices.count, false)?;
            op.address = c.address(at)?.0;
            if !matches!(space, Space::Shared | Space::Generic) {
                return Err("matrices are in shared memory".into());
            }
            Class::Shared
        }
        (Tensor::Transpose, [d, a]) => {
            op.d = registers(c, d, 1, false)?;
            op.a = registers(c, a, 1, false)?;
            Class::Sync
        }
        (Tensor::WmmaLoad(transfer), [d, at, stride @ ..]) | (Tensor::WmmaStore(transfer), [at, d, stride @ ..]) => {
            op.d = registers(c, d, transfer.registers(), transfer.is_wide())?;
            op.address = c.address(at)?.0;
            op.stride = match stride {
                [stride] => c.r(stride)?,
                _ => return Err("the stride is missing".into()),
            };
            if space == Space::Shared {
                Class::Shared
            } else {
                Class::Global
            }
        }
        _ => return Err(operands(o)),
    };
    Ok(vec![(Op::Sync(Sync::Matrix(Box::new(op)), NONE), class)])
}
