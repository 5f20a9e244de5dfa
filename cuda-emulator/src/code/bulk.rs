//! Bulk copies: `cp.async.bulk` and `cp.async.bulk.tensor`.

use super::access::{place, space};
use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::counters::Class;
use crate::ptx::{Instruction, Operand};

type Lowered = Result<Vec<(Op, Class)>, String>;

/// What lies in device memory.
#[derive(Clone, Debug)]
pub enum Outside {
    /// Bytes: their address, and the register that says how many.
    Line(Address, u32),
    /// A box of a tensor: the generic address of its map, and the registers of the coordinates, the innermost first.
    Tensor(Address, Box<[u32]>),
}

/// A bulk copy, or what has to do with groups of them.
#[derive(Clone, Debug)]
pub enum Bulk {
    /// To shared memory, there; its bytes are counted by the mbarrier at the last address.
    Load(Outside, Address, Address),
    /// From shared memory, there.
    Store(Outside, Address),
    /// `cp.async.bulk.commit_group`
    Commit,
    /// `cp.async.bulk.wait_group`: all but the last of this number are done.
    Wait(u32),
    /// `cp.async.bulk.wait_group.read`: all but the last of this number have read their source.
    WaitRead(u32),
}

/// Lowers one; `cp.async.bulk` is taken.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    if c.target < "sm_90" {
        return Err(format!("bulk copies need .target sm_90, not {}", c.target));
    }
    let o = i.operands.as_slice();
    if m.take("commit_group") {
        return done(Bulk::Commit, Class::Sync);
    }
    if m.take("wait_group") {
        let [Operand::Int(n)] = o else {
            return Err("the number of groups is no literal".into());
        };
        let read = m.take("read");
        let n = *n as u32;
        return done(if read { Bulk::WaitRead(n) } else { Bulk::Wait(n) }, Class::Sync);
    }
    let rank = if m.take("tensor") {
        let rank = m.one_of(&[("1d", 1), ("2d", 2), ("3d", 3), ("4d", 4), ("5d", 5)]);
        m.take("tile");
        Some(rank.ok_or("the number of dimensions is missing")?)
    } else {
        None
    };
    let (to, from) = (m.find(space), m.find(space));
    let o = match o {
        [o @ .., _] if m.take("L2::cache_hint") => o,
        o => o,
    };
    match (to, from) {
        (Some(Space::Shared), Some(Space::Global)) => {
            if !m.take("mbarrier::complete_tx::bytes") {
                return Err("a bulk copy to shared memory is known with .mbarrier::complete_tx::bytes only".into());
            }
            let (to, outside, barrier) = match (rank, o) {
                (None, [to, from, size, barrier]) => (to, line(c, from, size)?, barrier),
                (Some(rank), [to, map, barrier]) => (to, tensor(c, map, rank)?, barrier),
                _ => return Err("operands of another number".into()),
            };
            let (to, barrier) = (shared(c, to)?, shared(c, barrier)?);
            done(Bulk::Load(outside, to, barrier), Class::Shared)
        }
        (Some(Space::Global), Some(Space::Shared)) => {
            if !m.take("bulk_group") {
                return Err("a bulk copy to global memory is known with .bulk_group only".into());
            }
            let (outside, from) = match (rank, o) {
                (None, [to, from, size]) => (line(c, to, size)?, from),
                (Some(rank), [map, from]) => (tensor(c, map, rank)?, from),
                _ => return Err("operands of another number".into()),
            };
            done(Bulk::Store(outside, shared(c, from)?), Class::Shared)
        }
        _ => Err("bulk copies go from global to shared memory or back".into()),
    }
}

fn done(bulk: Bulk, class: Class) -> Lowered {
    Ok(vec![(Op::Bulk(Box::new(bulk)), class)])
}

fn shared(c: &mut Context, o: &Operand) -> Result<Address, String> {
    Ok(place(c, Some(Space::Shared), o)?.0)
}

fn line(c: &mut Context, at: &Operand, size: &Operand) -> Result<Outside, String> {
    Ok(Outside::Line(place(c, Some(Space::Global), at)?.0, c.r(size)?))
}

fn tensor(c: &mut Context, o: &Operand, rank: usize) -> Result<Outside, String> {
    let Operand::Indexed(map, coordinates) = o else {
        return Err("a tensor map with coordinates was expected".into());
    };
    let list = match &**coordinates {
        Operand::Vector(list) if list.len() == rank => list,
        _ => return Err(format!("{rank} coordinates were expected")),
    };
    let (mut map, space) = place(c, None, map)?;
    match space {
        Space::Generic => {}
        // A parameter by its name.
        Space::Param => map.offset += super::context::PARAM_WINDOW as i64,
        _ => return Err("the address of a tensor map is generic".into()),
    }
    if !map.wide {
        return Err("the address of a tensor map has 64 bits".into());
    }
    let coordinates: Result<Box<[u32]>, String> = list.iter().map(|o| c.r(o)).collect();
    Ok(Outside::Tensor(map, coordinates?))
}
