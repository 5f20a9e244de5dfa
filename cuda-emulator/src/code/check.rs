//! What holds for the operands of every instruction: results are registers, sources have a value, registers are as wide as the type says
//! (PTX ISA 9.4, "Type Information for Instructions and Operands").

use crate::ptx::{Instruction, Operand};

/// Fails where a result is no register, or a source is `_`.
pub fn operands(i: &Instruction) -> Result<(), String> {
    let (to, from) = i.operands.split_at(results(i).min(i.operands.len()));
    to.iter().try_for_each(|o| match o {
        Operand::Sink if !may_drop(&i.op[0]) => Err("a result that is dropped".into()),
        o => result(o),
    })?;
    from.iter().try_for_each(source)
}

/// Operands that are results, from the first on.
pub fn results(i: &Instruction) -> usize {
    let has = |name: &str| i.op.iter().any(|part| part == name);
    match i.op[0].as_str() {
        "st" | "red" | "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent"
        | "griddepcontrol" | "setmaxnreg" | "prefetch" | "prefetchu" | "applypriority" | "discard" | "cp"
        | "membar" | "fence" | "stmatrix" => 0,
        "wmma" => usize::from(!has("store")),
        "wgmma" => usize::from(has("mma_async")),
        "bar" | "barrier" => usize::from(has("red")),
        "mbarrier" => ["arrive", "arrive_drop", "test_wait", "try_wait", "pending_count"]
            .iter()
            .any(|name| has(name))
            .into(),
        _ => 1,
    }
}

/// Whether the result as a whole may be `_`.
fn may_drop(name: &str) -> bool {
    matches!(name, "atom" | "mbarrier" | "setp" | "match" | "elect")
}

fn result(o: &Operand) -> Result<(), String> {
    match o {
        Operand::Reg(_) | Operand::Sink => Ok(()),
        Operand::Vector(list) => list.iter().try_for_each(result),
        Operand::Pair(a, b) => result(a).and_then(|()| result(b)),
        o => Err(format!("the result {o:?} is no register")),
    }
}

fn source(o: &Operand) -> Result<(), String> {
    match o {
        Operand::Sink => Err("a source that is _".into()),
        Operand::Vector(list) | Operand::List(list) => list.iter().try_for_each(source),
        Operand::Pair(a, b) | Operand::Indexed(a, b) => source(a).and_then(|()| source(b)),
        Operand::Address(base, _) => source(base),
        _ => Ok(()),
    }
}

/// Fails where a register, or one of a vector, has another number of bits.
pub fn exactly(o: &Operand, bits: u32) -> Result<(), String> {
    width(o, bits, |has| has == bits)
}

/// Fails where a register, or one of a vector, has fewer bits, or those of a vector differ: loads, stores and conversions.
pub fn at_least(o: &Operand, bits: u32) -> Result<(), String> {
    width(o, bits, |has| has >= bits)?;
    let Operand::Vector(list) = o else { return Ok(()) };
    let mut widths = list.iter().filter_map(|o| match o {
        Operand::Reg(r) => Some(r.bits),
        _ => None,
    });
    let first = widths.next();
    if widths.any(|bits| Some(bits) != first) {
        return Err("registers of several widths".into());
    }
    Ok(())
}

fn width(o: &Operand, bits: u32, fits: impl Fn(u32) -> bool) -> Result<(), String> {
    let list = match o {
        Operand::Vector(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let other = list.iter().find_map(|o| match o {
        Operand::Reg(r) if !fits(r.bits) => Some(r.bits),
        _ => None,
    });
    other.map_or(Ok(()), |has| Err(format!("a register of {has} bits for {bits} bits")))
}
