//! Loads, stores, atomics, copies, addresses, fences.

use super::check;
use super::context::Context;
use super::modifiers::Modifiers;
use super::op::*;
use crate::counters::Class;
use crate::memory::{Order, Scope};
use crate::ptx::{Bank, Instruction, Operand, VariableSpace};

type Lowered = Result<Vec<(Op, Class)>, String>;

/// Lowers one.
pub fn lower(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    match i.op[0].as_str() {
        "ld" | "ldu" => load_store(c, m, &i.operands, true),
        "st" => load_store(c, m, &i.operands, false),
        "atom" => atomic(c, m, &i.operands, true),
        "red" => atomic(c, m, &i.operands, false),
        "cp" => copy(c, m, i),
        "cvta" => convert(c, m, &i.operands),
        "isspacep" => {
            let space = m.find(space).ok_or("a state space is missing")?;
            let [p, a] = exactly(&i.operands)?;
            Ok(vec![(Op::IsSpace(c.p(p)?, c.d(a)?, space), Class::Int)])
        }
        "membar" | "fence" => Ok(vec![(fence(m, i)?, Class::Sync)]),
        "prefetch" | "prefetchu" | "applypriority" => {
            m.ignore(|x| space(x).is_some() || x.starts_with('L') || x.starts_with("evict") || x == "tensormap");
            Ok(vec![(Op::Nop, Class::Other)])
        }
        "createpolicy" => {
            m.ignore(|x| x.starts_with("L2::") || ["fractional", "range", "cvt", "global", "b64"].contains(&x));
            let to = i.operands.first().ok_or("a result is missing")?;
            Ok(vec![(Op::MovD(c.d(to)?, c.constant64(0)), Class::Other)])
        }
        _ => Err("the instruction is not known here".into()),
    }
}

/// Fences of memory, and of proxies, which order nothing between threads by themselves.
fn fence(m: &mut Modifiers, i: &Instruction) -> Result<Op, String> {
    if !i.operands.is_empty() {
        return Err("a fence of a place in memory".into());
    }
    if m.take("proxy") {
        if m.take("async") {
            // One that is for global memory does nothing for shared memory, where the emulator looks for it.
            return Ok(match m.find(space) {
                None | Some(Space::Shared) => Op::ProxyFence,
                Some(Space::Global) => Op::Nop,
                Some(_) => return Err("a fence of another space".into()),
            });
        }
        // No place has two addresses here.
        return if m.take("alias") {
            Ok(Op::Nop)
        } else {
            Err("a fence of this proxy".into())
        };
    }
    if m.take("mbarrier_init") {
        // For other blocks of a cluster, and there are none.
        let is_whole = m.take("release") && m.take("cluster");
        return if is_whole {
            Ok(Op::Nop)
        } else {
            Err(".release.cluster was expected".into())
        };
    }
    let names: &[(&str, Scope)] = if i.op[0] == "membar" {
        &[("cta", Scope::Block), ("gl", Scope::Device), ("sys", Scope::Device)]
    } else {
        m.one_of(&[("sc", ()), ("acq_rel", ()), ("acquire", ()), ("release", ())]);
        // A cluster is one block.
        &[
            ("cta", Scope::Block),
            ("cluster", Scope::Block),
            ("gpu", Scope::Device),
            ("sys", Scope::Device),
        ]
    };
    Ok(Op::Fence(m.one_of(names).ok_or("a scope is missing")?))
}

fn exactly<const N: usize>(operands: &[Operand]) -> Result<&[Operand; N], String> {
    operands
        .try_into()
        .map_err(|_| format!("{} operands where {N} were expected", operands.len()))
}

/// The space a modifier names.
pub fn space(name: &str) -> Option<Space> {
    Some(match name {
        "global" => Space::Global,
        // A cluster is one block.
        "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
        "local" => Space::Local,
        "const" => Space::Const,
        "param" | "param::entry" | "param::func" => Space::Param,
        _ => return None,
    })
}

fn element(name: &str) -> Option<(usize, bool)> {
    Some(match name {
        "b8" | "u8" => (1, false),
        "s8" => (1, true),
        "b16" | "u16" | "f16" | "bf16" => (2, false),
        "s16" => (2, true),
        "b32" | "u32" | "f32" | "f16x2" | "bf16x2" => (4, false),
        "s32" => (4, true),
        "b64" | "u64" | "s64" | "f64" => (8, false),
        "b128" => (16, false),
        _ => return None,
    })
}

/// How far a strong access reaches; a cluster is one block.
fn scope(m: &mut Modifiers) -> Scope {
    let named = m.one_of(&[
        ("cta", Scope::Block),
        ("cluster", Scope::Block),
        ("gpu", Scope::Device),
        ("sys", Scope::Device),
    ]);
    named.unwrap_or(Scope::Device)
}

/// What a cache does with the line changes no value. Returns whether a cache policy is among the operands.
fn caches(m: &mut Modifiers) -> bool {
    let policy = m.take("L2::cache_hint");
    m.ignore(|x| {
        x.starts_with("L1::")
            || x.starts_with("L2::")
            || matches!(x, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "unified")
    });
    policy
}

fn order(m: &mut Modifiers) -> Option<Order> {
    m.one_of(&[
        ("weak", Order::Weak),
        ("volatile", Order::Relaxed),
        ("mmio", Order::Relaxed),
        ("relaxed", Order::Relaxed),
        ("acquire", Order::Acquire),
        ("release", Order::Release),
        ("acq_rel", Order::AcquireRelease),
    ])
}

fn class(space: Space) -> Class {
    match space {
        Space::Global | Space::Generic => Class::Global,
        Space::Shared => Class::Shared,
        Space::Local => Class::Local,
        Space::Param | Space::Const | Space::Frame => Class::Const,
    }
}

/// Parameters are the kernel's, or in the thread's frame.
fn param_space(c: &Context, o: &Operand) -> Result<Space, String> {
    if let Operand::Address(base, _) = o
        && let Operand::Symbol(name, _) = &**base
    {
        let own = c.function.params.iter().any(|p| p.name == *name);
        return Ok(if c.function.entry && own {
            Space::Param
        } else {
            Space::Frame
        });
    }
    Ok(if c.function.entry { Space::Param } else { Space::Frame })
}

/// The address, and the space: as the modifier says, else that of the variable, else generic.
pub fn place(c: &mut Context, named: Option<Space>, o: &Operand) -> Result<(Address, Space), String> {
    let (mut address, variable) = c.address(o)?;
    let space = match named {
        Some(Space::Param) => param_space(c, o)?,
        Some(space) => space,
        None => match variable {
            Some(VariableSpace::Shared) => Space::Shared,
            Some(VariableSpace::Local) => Space::Local,
            Some(VariableSpace::Param) => param_space(c, o)?,
            _ => Space::Generic,
        },
    };
    if !address.wide && space == Space::Generic {
        return Err("a generic address of 32 bits".into());
    }
    // 32-bit registers hold addresses of shared, local and parameter memory only.
    if !address.wide && matches!(space, Space::Global | Space::Const) {
        return Err("a global address of 32 bits".into());
    }
    if address.wide && address.base == NONE {
        address.base = c.constant64(0);
    }
    Ok((address, space))
}

/// Fails where an access is not within one parameter of a call, or begins within a word.
fn in_frame(c: &Context, at: &Operand, bytes: usize) -> Result<(), String> {
    let (name, offset) = match at {
        Operand::Address(base, offset) => match &**base {
            Operand::Symbol(name, 0) => (name, *offset),
            _ => return Err("the parameter of a function by other than its name".into()),
        },
        _ => return Err("no address".into()),
    };
    let symbol = c.symbol(name)?;
    let room = usize::try_from(offset).ok().and_then(|at| symbol.bytes.checked_sub(at));
    if room.is_none_or(|room| bytes > room) {
        return Err(format!(
            "{bytes} bytes at byte {offset} of the parameter {name} of {} bytes",
            symbol.bytes
        ));
    }
    if !(symbol.address as usize + offset as usize).is_multiple_of(bytes.min(4)) {
        return Err(format!(
            "{bytes} bytes at byte {offset} of the parameter {name}, within a word"
        ));
    }
    Ok(())
}

fn load_store(c: &mut Context, m: &mut Modifiers, operands: &[Operand], load: bool) -> Lowered {
    let (element, signed) = m.find(element).ok_or("a type is missing")?;
    let named = m.find(space);
    let is_constant = load && named == Some(Space::Global) && m.take("nc");
    let order = order(m).unwrap_or(if is_constant { Order::ReadOnly } else { Order::Weak });
    if is_constant && order != Order::ReadOnly {
        return Err("an order of memory that nobody writes".into());
    }
    let scope = scope(m);
    let policy = caches(m);
    let count = m.one_of(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
    let operands = if policy {
        &operands[..operands.len().saturating_sub(1)]
    } else {
        operands
    };
    let [first, second] = exactly(operands)?;
    let (data, at) = if load { (first, second) } else { (second, first) };
    let (address, space) = place(c, named, at)?;
    check::at_least(data, 8 * element as u32)?;
    let slots = c.slots(data, element)?;
    if slots.len() != count * element.div_ceil(8).max(1) {
        return Err(format!(
            "{} registers for {count} elements of {element} bytes",
            slots.len()
        ));
    }
    if count * element > 16 {
        return Err("more than 16 bytes a thread".into());
    }
    if space == Space::Frame {
        in_frame(c, at, count * element)?;
    }
    if !load && matches!(space, Space::Const | Space::Param) {
        return Err("a store to memory that is for reading only".into());
    }
    c.program.blocks_meet |= order.is_strong() && matches!(space, Space::Global | Space::Generic);
    let access = Box::new(Access {
        space,
        order,
        scope,
        element,
        signed,
        slots,
        address,
    });
    Ok(vec![(
        if load { Op::Load(access) } else { Op::Store(access) },
        class(space),
    )])
}

fn atomic(c: &mut Context, m: &mut Modifiers, operands: &[Operand], returns: bool) -> Lowered {
    let named = m.find(space);
    let order = order(m).unwrap_or(Order::Relaxed);
    let scope = scope(m);
    let policy = m.take("L2::cache_hint");
    m.take("noftz");
    let count = m.one_of(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
    let op = m
        .one_of(&[
            ("add", AtomicOp::Add),
            ("min", AtomicOp::Min),
            ("max", AtomicOp::Max),
            ("and", AtomicOp::And),
            ("or", AtomicOp::Or),
            ("xor", AtomicOp::Xor),
            ("exch", AtomicOp::Exch),
            ("cas", AtomicOp::Cas),
            ("inc", AtomicOp::Inc),
            ("dec", AtomicOp::Dec),
        ])
        .ok_or("an operation is missing")?;
    let ty = m.find(atomic_type).ok_or("a type is missing")?;
    atomic_allowed(op, ty)?;
    let operands = if policy {
        &operands[..operands.len().saturating_sub(1)]
    } else {
        operands
    };
    let (to, rest) = match operands {
        [to, rest @ ..] if returns => (Some(to), rest),
        rest => (None, rest),
    };
    let (at, b, new) = match (op, rest) {
        (AtomicOp::Cas, [at, b, new]) => (at, b, Some(new)),
        (AtomicOp::Cas, _) => return Err("cas takes a value to compare and a new one".into()),
        (_, [at, b]) => (at, b, None),
        _ => return Err(format!("{} operands", operands.len())),
    };
    let (address, space) = place(c, named, at)?;
    if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
        return Err("an atomic outside global and shared memory".into());
    }
    let bytes = ty.bytes();
    if count > 1 {
        vector_allowed(op, ty, count, space)?;
        let fits = |o: &Operand| *o == Operand::Sink || matches!(o, Operand::Vector(list) if list.len() == count);
        if !to.is_none_or(fits) {
            return Err(format!("{count} results were expected"));
        }
    }
    [to, Some(b), new]
        .into_iter()
        .flatten()
        .try_for_each(|o| check::exactly(o, 8 * bytes as u32))?;
    let to = to.map_or(Ok(Vec::new()), |o| c.slots(o, bytes))?;
    let b = c.slots(b, bytes)?;
    let new = new.map_or(Ok(Vec::new()), |o| c.slots(o, bytes))?;
    let one = bytes.div_ceil(8);
    if b.len() != count * one || !new.is_empty() && new.len() != one || count == 1 && to.len() > one {
        return Err(format!("{} registers for {count} elements", b.len()));
    }
    c.program.has_global_atomics |= space != Space::Shared;
    c.program.blocks_meet |= space != Space::Shared;
    let atomic = Atomic {
        space,
        order,
        scope,
        op,
        ty,
        to,
        b,
        new,
        address,
    };
    Ok(vec![(Op::Atomic(Box::new(atomic)), Class::Atomic)])
}

fn atomic_type(name: &str) -> Option<AtomicType> {
    Some(match name {
        "b16" => AtomicType::U16,
        "b32" | "u32" => AtomicType::U32,
        "s32" => AtomicType::S32,
        "b64" | "u64" => AtomicType::U64,
        "s64" => AtomicType::S64,
        "f16" => AtomicType::F16,
        "f16x2" => AtomicType::F16x2,
        "bf16" => AtomicType::Bf16,
        "bf16x2" => AtomicType::Bf16x2,
        "f32" => AtomicType::F32,
        "f64" => AtomicType::F64,
        "b128" => AtomicType::B128,
        _ => return None,
    })
}

/// The table of PTX ISA 9.7.13 (atom).
fn atomic_allowed(op: AtomicOp, ty: AtomicType) -> Result<(), String> {
    use AtomicType::*;
    let fits = match op {
        AtomicOp::Add => !matches!(ty, U16 | B128),
        AtomicOp::Min | AtomicOp::Max => !matches!(ty, U16 | F32 | F64 | B128),
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, U32 | U64),
        AtomicOp::Exch => matches!(ty, U32 | U64 | B128),
        AtomicOp::Cas => matches!(ty, U16 | U32 | U64 | B128),
        AtomicOp::Inc | AtomicOp::Dec => ty == U32,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("no atomic {op:?} of {ty:?}"))
    }
}

/// Vectors of atomics: PTX ISA 9.7.13, "Vector forms".
fn vector_allowed(op: AtomicOp, ty: AtomicType, count: usize, space: Space) -> Result<(), String> {
    use AtomicType::*;
    let most = match ty {
        F32 if op == AtomicOp::Add => 4,
        F16 | Bf16 => 8,
        F16x2 | Bf16x2 => 4,
        _ => 1,
    };
    if count > most {
        return Err(format!("no atomic {op:?} of {count} {ty:?}"));
    }
    if space == Space::Shared {
        return Err("an atomic of vectors outside global memory".into());
    }
    Ok(())
}

fn copy(c: &mut Context, m: &mut Modifiers, i: &Instruction) -> Lowered {
    let operands = i.operands.as_slice();
    if !m.take("async") {
        return Err("only cp.async is known".into());
    }
    if m.take("bulk") {
        return super::bulk::lower(c, m, i);
    }
    if m.take("mbarrier") {
        return super::mbarrier::lower(c, m, i);
    }
    if m.take("commit_group") {
        return Ok(vec![(Op::CopyCommit, Class::Sync)]);
    }
    if m.take("wait_all") {
        return Ok(vec![(Op::CopyWait(None), Class::Sync)]);
    }
    if m.take("wait_group") {
        let [Operand::Int(n)] = operands else {
            return Err("the number of groups is no literal".into());
        };
        return Ok(vec![(Op::CopyWait(Some(*n as u32)), Class::Sync)]);
    }
    let policy = caches(m);
    let (to, from) = (m.find(space), m.find(space));
    if (to, from) != (Some(Space::Shared), Some(Space::Global)) {
        return Err("cp.async goes from global to shared memory".into());
    }
    let operands = if policy {
        &operands[..operands.len().saturating_sub(1)]
    } else {
        operands
    };
    let (to, from, bytes, rest) = match operands {
        [to, from, Operand::Int(bytes), rest @ ..] => (to, from, *bytes as u32, rest),
        _ => return Err("the size is no literal".into()),
    };
    if ![4, 8, 16].contains(&bytes) {
        return Err(format!("a copy of {bytes} bytes"));
    }
    let mut ignore = Pred {
        index: NONE,
        negated: false,
    };
    let mut size = NONE;
    match rest {
        [] => {}
        [o @ Operand::Reg(r)] if r.bank == Bank::P => ignore = c.pred(o)?,
        [o @ Operand::Not(_)] => ignore = c.pred(o)?,
        [o] => size = c.r(o)?,
        _ => return Err("too many operands".into()),
    }
    let (to, _) = place(c, Some(Space::Shared), to)?;
    let (from, _) = place(c, Some(Space::Global), from)?;
    Ok(vec![(
        Op::CopyAsync(Box::new(CopyAsync {
            bytes,
            to,
            from,
            size,
            ignore,
        })),
        Class::Shared,
    )])
}

fn convert(c: &mut Context, m: &mut Modifiers, operands: &[Operand]) -> Lowered {
    let to = m.take("to");
    let space = m.find(space).ok_or("a state space is missing")?;
    if !m.take("u64") {
        return Err("addresses of 64 bits only".into());
    }
    let [d, a] = exactly(operands)?;
    let (d, a) = (c.d(d)?, c.d(a)?);
    Ok(vec![(
        if to {
            Op::FromGeneric(d, a, space)
        } else {
            Op::ToGeneric(d, a, space)
        },
        Class::Int,
    )])
}
