//! Branches, calls, and what ends or delays a thread.

use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::counters::Class;
use crate::ptx::{Instruction, Operand, VariableSpace};

type Lowered = Result<Vec<(Op, Class)>, String>;

/// The end of the function at hand.
pub fn leave(c: &Context) -> (Op, Class) {
    let op = if c.function.entry {
        Op::Exit
    } else {
        Op::Return(c.number)
    };
    (op, Class::Control)
}

/// Lowers one; a branch gets its target when all of the function is lowered.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction, provided: &[&str]) -> Lowered {
    let op = match i.op[0].as_str() {
        "bra" => {
            m.take("uni");
            Op::Branch(0)
        }
        "brx" => {
            m.take("uni");
            if !m.take("idx") {
                return Err("brx is known with .idx only".into());
            }
            let [index, Operand::Symbol(list, 0)] = i.operands.as_slice() else {
                return Err("an index and a list of targets were expected".into());
            };
            let targets = c
                .function
                .branch_targets
                .get(list)
                .ok_or_else(|| format!("no list {list}"))?;
            c.jumps.push((c.program.insts.len(), targets.clone()));
            Op::BranchIndexed(c.r(index)?, Box::default())
        }
        "call" => {
            m.take("uni");
            call(c, &i.operands, provided)?
        }
        "ret" => {
            m.take("uni");
            return Ok(vec![leave(c)]);
        }
        "exit" => Op::Exit,
        "trap" | "brkpt" => Op::Trap,
        "nanosleep" => {
            m.take("u32");
            Op::Yield
        }
        // Hints to a scheduler that is not emulated: every launch waits for the one before it.
        "griddepcontrol" => {
            m.ignore(|x| matches!(x, "launch_dependents" | "wait"));
            Op::Nop
        }
        "setmaxnreg" => {
            m.ignore(|x| matches!(x, "inc" | "dec" | "sync" | "aligned" | "u32"));
            Op::Nop
        }
        _ => {
            m.take("mask");
            Op::Nop
        }
    };
    Ok(vec![(op, Class::Control)])
}

fn call(c: &mut Context, operands: &[Operand], provided: &[&str]) -> Result<Op, String> {
    let (results, rest) = match operands {
        [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
        rest => (&[][..], rest),
    };
    let (callee, arguments) = match rest {
        [callee, Operand::List(arguments), ..] => (callee, arguments.as_slice()),
        [callee, ..] => (callee, &[][..]),
        [] => return Err("nothing is called".into()),
    };
    let callee = match callee {
        Operand::Symbol(name, 0) => match c.numbers.get(name) {
            Some(&number) => Callee::Function(number),
            None if provided.contains(&name.as_str()) => {
                return builtin(name, &variables(c, arguments)?, &variables(c, results)?);
            }
            None => {
                return Err(format!(
                    "the function {name} has no body, and the emulator does not provide it"
                ));
            }
        },
        register => Callee::Register(c.d(register)?),
    };
    let (arguments, results) = (variables(c, arguments)?, variables(c, results)?);
    if let Callee::Function(number) = callee {
        let routine = &c.program.functions[number as usize];
        check(&routine.params, &arguments)?;
        check(&routine.returns, &results)?;
    }
    Ok(Op::Call(Box::new(Call {
        callee,
        arguments,
        results,
    })))
}

fn check(declared: &[(u32, u32)], given: &[(u32, u32)]) -> Result<(), String> {
    let sizes = |list: &[(u32, u32)]| list.iter().map(|p| p.1).collect::<Vec<u32>>();
    if sizes(declared) == sizes(given) {
        Ok(())
    } else {
        Err("parameters of other sizes than declared".into())
    }
}

fn variables(c: &Context, list: &[Operand]) -> Result<Vec<(u32, u32)>, String> {
    let place = |o: &Operand| match o {
        Operand::Symbol(name, 0) => {
            let symbol = c.symbol(name)?;
            if symbol.space != Some(VariableSpace::Param) {
                return Err(format!("{name} is no parameter variable"));
            }
            Ok((symbol.address as u32, symbol.bytes as u32))
        }
        o => Err(format!("the parameter {o:?} is no parameter variable")),
    };
    list.iter().map(place).collect()
}

fn builtin(name: &str, arguments: &[(u32, u32)], results: &[(u32, u32)]) -> Result<Op, String> {
    let (which, expected): (Builtin, &[u32]) = match name {
        "vprintf" => (Builtin::Printf, &[8, 8]),
        _ => (Builtin::AssertFail, &[8, 8, 4, 8, 8]),
    };
    let sizes: Vec<u32> = arguments.iter().map(|a| a.1).collect();
    if sizes != expected {
        return Err(format!("{name} with parameters of {sizes:?} bytes"));
    }
    let offsets = arguments.iter().map(|a| a.0).collect();
    Ok(Op::Builtin(which, offsets, results.first().map_or(NONE, |r| r.0)))
}
