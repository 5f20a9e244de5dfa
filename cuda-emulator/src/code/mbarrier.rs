//! `mbarrier`: barriers that are objects in shared memory.

use super::access::{place, space};
use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::counters::Class;
use crate::ptx::{Bank, Instruction, Operand};

type Lowered = Result<Vec<(Op, Class)>, String>;

/// Lowers one, or `cp.async.mbarrier.arrive`.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let named = m.find(space).unwrap_or(Space::Generic);
    // All threads see one memory in one order, whatever the scope.
    m.ignore(|x| {
        matches!(
            x,
            "b64" | "relaxed" | "acquire" | "release" | "cta" | "cluster" | "gpu" | "sys"
        )
    });
    let o = i.operands.as_slice();
    let copies = i.op[0] == "cp";
    let kind = m.find(|x| {
        Some(match x {
            "init" => MbarrierKind::Init,
            "inval" => MbarrierKind::Inval,
            "expect_tx" => MbarrierKind::ExpectTx,
            "complete_tx" => MbarrierKind::CompleteTx,
            "arrive" => MbarrierKind::Arrive,
            "arrive_drop" => MbarrierKind::ArriveDrop,
            "test_wait" | "try_wait" => MbarrierKind::Wait,
            "pending_count" => MbarrierKind::PendingCount,
            _ => return None,
        })
    });
    let mut b = Mbarrier {
        kind: kind.ok_or("an operation is missing")?,
        space: named,
        to: Slot::None,
        address: Address {
            base: NONE,
            wide: true,
            offset: 0,
        },
        value: Slot::None,
        parity: m.take("parity"),
        transactions: false,
        after_copies: copies,
    };
    let arrive = matches!(b.kind, MbarrierKind::Arrive | MbarrierKind::ArriveDrop);
    if copies {
        // Without .noinc the arrival is one more than was expected: the count stays as it is.
        b.value = Slot::R(c.constant32(m.take("noinc").into()));
        let [at] = o else {
            return Err("one address was expected".into());
        };
        b.address = at_shared(c, &mut b.space, at)?;
        return done(b);
    }
    b.transactions = arrive && m.take("expect_tx");
    if arrive {
        m.take("noComplete");
    }
    match (b.kind, o) {
        (MbarrierKind::PendingCount, [to, state]) => {
            b.to = Slot::R(c.r(to)?);
            b.value = Slot::D(c.d(state)?);
            return done(b);
        }
        (MbarrierKind::Inval, [at]) => b.address = at_shared(c, &mut b.space, at)?,
        (MbarrierKind::Init | MbarrierKind::ExpectTx | MbarrierKind::CompleteTx, [at, value]) => {
            b.address = at_shared(c, &mut b.space, at)?;
            b.value = Slot::R(c.r(value)?);
        }
        (MbarrierKind::Arrive | MbarrierKind::ArriveDrop, [to, at, count @ ..]) => {
            b.to = if *to == Operand::Sink {
                Slot::None
            } else {
                Slot::D(c.d(to)?)
            };
            b.address = at_shared(c, &mut b.space, at)?;
            b.value = match count {
                [] if !b.transactions => Slot::R(c.constant32(1)),
                [count] => Slot::R(c.r(count)?),
                _ => return Err("operands of another number".into()),
            };
        }
        // A hint of how long to wait may follow.
        (MbarrierKind::Wait, [to, at, state] | [to, at, state, _]) => {
            b.to = match to {
                Operand::Reg(r) if r.bank == Bank::P => Slot::R(c.p(to)?),
                _ => return Err("the result is a predicate".into()),
            };
            b.address = at_shared(c, &mut b.space, at)?;
            b.value = if b.parity {
                Slot::R(c.r(state)?)
            } else {
                Slot::D(c.d(state)?)
            };
        }
        _ => return Err("operands of another number".into()),
    }
    done(b)
}

fn done(b: Mbarrier) -> Lowered {
    Ok(vec![(Op::Mbarrier(Box::new(b)), Class::Sync)])
}

fn at_shared(c: &mut Context, named: &mut Space, o: &Operand) -> Result<Address, String> {
    let (address, space) = place(c, if *named == Space::Generic { None } else { Some(*named) }, o)?;
    if !matches!(space, Space::Shared | Space::Generic) {
        return Err("an mbarrier is in shared memory".into());
    }
    *named = space;
    Ok(address)
}
