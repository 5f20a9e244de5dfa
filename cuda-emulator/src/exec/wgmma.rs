//! `wgmma`: four warps multiply together, each when it comes to it.
//!
//! A warp's rows of the product are computed when the warp issues it. What is in flight from then on, the registers and the operands in
//! shared memory, is marked until the wait, so that what may come too early or too late on hardware is a fault in any order. The wait of
//! a warp is over when all four have issued what it waits for; then the operands of the group are free, for all four.

use super::block::Block;
use super::run::{Flow, Outcome};
use super::warp::{Vain, Warp, lanes};
use crate::code::{Inst, Left, Touch, Warpgroup, WgmmaOp};
use crate::fault::{Cause, FaultKind};
use crate::tensor::wgmma::{Columns, Descriptor, product};
use std::collections::VecDeque;

/// Warps of a warpgroup.
const WARPS: u32 = 4;

/// What a warp knows of its registers.
#[derive(Default)]
pub struct Registers {
    /// For each register the group that uses it, from 1.
    used: Vec<u32>,
    /// The instruction that does.
    by: Vec<u32>,
    /// For each register the number of fences there were when it was last touched, plus one.
    touched: Vec<u32>,
    /// Fences so far.
    fences: u32,
    /// Groups that were committed.
    committed: u32,
    /// Groups that were waited for.
    complete: u32,
    /// Multiplications that were issued.
    issued: usize,
}

impl Registers {
    /// Of so many registers.
    pub fn new(count: usize) -> Registers {
        Registers {
            used: vec![0; count],
            by: vec![0; count],
            touched: vec![0; count],
            ..Registers::default()
        }
    }

    /// Begins a block.
    pub fn start(&mut self) {
        let count = self.used.len();
        if count != 0 {
            *self = Registers::new(count);
        }
    }

    fn in_flight(&self, r: u32) -> bool {
        self.used[r as usize] > self.complete
    }
}

/// A multiplication that is not complete.
struct Issued {
    pc: u32,
    a: Option<u64>,
    b: u64,
    adds: bool,
    /// Warps of the group that have issued it.
    warps: u32,
    /// Numbers of the chunks of shared memory it reads.
    chunks: Vec<u32>,
    columns: Vec<Columns>,
}

/// The multiplications of a warpgroup.
#[derive(Default)]
struct Queue {
    issued: VecDeque<Issued>,
    /// How many are complete.
    complete: usize,
    /// Groups that are complete.
    groups: u32,
    /// How many multiplications were issued when a group was committed.
    ends: Vec<usize>,
}

/// The warpgroups of a block.
#[derive(Default)]
pub struct Warpgroups(Vec<Queue>);

impl Warpgroups {
    /// Begins a block.
    pub fn start(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, warp: u32) -> &mut Queue {
        let i = (warp / WARPS) as usize;
        if self.0.len() <= i {
            self.0.resize_with(i + 1, Queue::default);
        }
        &mut self.0[i]
    }

    /// A multiplication that not all four warps of its group have issued: a warp that has, the instruction, and those that have.
    pub fn incomplete(&self) -> Option<(u32, u32, u32)> {
        self.0.iter().zip(0..).find_map(|(queue, group)| {
            let i = queue.issued.iter().find(|i| i.warps != 15)?;
            Some((WARPS * group + i.warps.trailing_zeros(), i.pc, i.warps))
        })
    }
}

fn undefined(lane: usize, message: String) -> Box<Cause> {
    Cause::new(FaultKind::Undefined, lane as u32, message)
}

impl Block<'_, '_> {
    /// Executes one, with the lanes `m` of the warp; `current` is the split.
    pub fn warpgroup(&mut self, w: &mut Warp, op: &Warpgroup, inst: &Inst, current: usize, pc: u32, m: u32) -> Outcome {
        if m != u32::MAX {
            let message = format!("only lanes {m:#010x} execute it: a wgmma takes whole warps");
            return Err(Cause::new(FaultKind::WarpSync, m.trailing_zeros(), message));
        }
        match op {
            Warpgroup::Fence => w.wgmma.fences += 1,
            Warpgroup::Multiply(op) => self.multiply(w, op, pc)?,
            Warpgroup::Commit => {
                let (ends, at) = (&mut self.warpgroups.of(w.id).ends, w.wgmma.committed as usize);
                match ends.get(at) {
                    None => ends.push(w.wgmma.issued),
                    Some(&end) if end == w.wgmma.issued => {}
                    Some(&end) => {
                        let message = format!(
                            "commits {} wgmma where another warp of the warpgroup has committed {end}",
                            w.wgmma.issued
                        );
                        return Err(undefined(0, message));
                    }
                }
                w.wgmma.committed += 1;
            }
            Warpgroup::Wait(keep) => {
                if !self.wait_for_group(w, *keep)? {
                    self.uncount(inst, m);
                    w.splits[current].pc = pc;
                    w.vain = Some(Vain::Warpgroup);
                    return Ok(Flow::Pause);
                }
                w.vain = None;
            }
        }
        Ok(Flow::Next)
    }

    fn multiply(&mut self, w: &mut Warp, op: &WgmmaOp, pc: u32) -> Result<(), Box<Cause>> {
        let wgmma = op.wgmma;
        let (group, place) = (w.id / WARPS, (w.id % WARPS) as usize);
        let warps = super::block::warps_of(self.launch.block);
        if WARPS * (group + 1) > warps {
            let message = format!("the block has {warps} warps: warp {} is in no whole warpgroup", w.id);
            return Err(Cause::new(FaultKind::WarpSync, 0, message));
        }
        let same = |register: u32| {
            let row = &w.d[register as usize].0;
            match row.iter().position(|&v| v != row[0]) {
                None => Ok(row[0]),
                Some(lane) => Err(undefined(lane, "lanes name different matrices".to_string())),
            }
        };
        let b = same(op.b)?;
        let a = match &op.a {
            Left::Shared(a) => Some(same(*a)?),
            Left::Registers(_) => None,
        };
        let adds = match w.pred(op.scale_d) {
            0 => false,
            u32::MAX => true,
            p => {
                let message = "lanes differ in whether the accumulator is added".to_string();
                return Err(undefined(p.trailing_ones() as usize % 32, message));
            }
        };
        self.registers_ready(w, op)?;
        let descriptor = |bits| Descriptor::of(bits).map_err(|message| undefined(0, message));
        let (of_a, of_b) = (a.map(descriptor).transpose()?, descriptor(b)?);
        let chunks_b = |i: usize| of_b.chunk(wgmma.major_b, wgmma.n, i);
        let count_b = Descriptor::chunks(wgmma.n);
        let bytes_b = self
            .worker
            .read_operand(self.memory, w.id, (0..count_b).map(chunks_b))?;
        let rows = match (&op.a, of_a) {
            (Left::Registers(list), _) => wgmma.register_rows(&list.map(|r| &w.r[r as usize].0)),
            (Left::Shared(_), None) => return Ok(()),
            (Left::Shared(_), Some(of_a)) => {
                let chunks = (0..Descriptor::chunks(16)).map(|i| of_a.chunk_of_warp(wgmma.major_a, place, i));
                let bytes = self.worker.read_operand(self.memory, w.id, chunks)?;
                wgmma.rows(&bytes)
            }
        };
        let queue = self.warpgroups.of(w.id);
        let index = w.wgmma.issued - queue.complete;
        if index == queue.issued.len() {
            let chunks_a = of_a
                .iter()
                .flat_map(|of_a| (0..Descriptor::chunks(64)).map(move |i| of_a.chunk(wgmma.major_a, 64, i)));
            let chunks = self
                .worker
                .lend(self.memory, chunks_a.chain((0..count_b).map(chunks_b)))?;
            let counters = &mut self.worker.counters;
            counters.tensor_flops += wgmma.flops();
            counters.wgmma_flops += wgmma.flops();
            counters.shared_load.requests += 1;
            counters.shared_load.wavefronts += chunks.len() as u64 / 8;
            counters.shared_load.ideal += chunks.len() as u64 / 8;
            queue.issued.push_back(Issued {
                pc,
                a,
                b,
                adds,
                warps: 0,
                chunks,
                columns: wgmma.columns(&bytes_b),
            });
        }
        let issued = &mut queue.issued[index];
        if (issued.pc, issued.a, issued.b, issued.adds) != (pc, a, b, adds) {
            let other = self.program.places[issued.pc as usize].line;
            let message = format!(
                "warps of one warpgroup execute different wgmma: another is at PTX line {other}, or its matrices or scale-d differ"
            );
            return Err(undefined(0, message));
        }
        issued.warps |= 1 << place;
        for (list, columns) in op.d.chunks(4).zip(&issued.columns) {
            let mut before = [[0; 32]; 4];
            if adds {
                for (to, &r) in before.iter_mut().zip(list) {
                    *to = w.r[r as usize].0;
                }
            }
            let after = product(&rows, columns, &before);
            for (&r, value) in list.iter().zip(&after) {
                w.r[r as usize].0 = *value;
            }
        }
        if issued.warps == 15 {
            issued.columns = Vec::new();
        }
        let used = w.wgmma.committed + 1;
        for &r in op.d.iter().chain(registers_of_a(op)) {
            w.wgmma.used[r as usize] = used;
            w.wgmma.by[r as usize] = pc;
        }
        w.wgmma.issued += 1;
        Ok(())
    }

    /// Fails where no `wgmma.fence` lies between another access to a register and this wgmma.
    fn registers_ready(&self, w: &Warp, op: &WgmmaOp) -> Result<(), Box<Cause>> {
        let r = &w.wgmma;
        if r.fences == 0 {
            let message = "the first wgmma of a warp, and no wgmma.fence before it".to_string();
            return Err(undefined(0, message));
        }
        let touched = |&&reg: &&u32| r.touched[reg as usize] == r.fences + 1 && !r.in_flight(reg);
        if op.d.iter().chain(registers_of_a(op)).find(touched).is_some() {
            let message = "a register of the wgmma was read or written, and no wgmma.fence lies between".to_string();
            return Err(undefined(0, message));
        }
        // The registers of A of one that is in flight are only read.
        let written = registers_of_a(op).iter().find(|&&reg| r.in_flight(reg));
        if let Some(&reg) = written
            && op.d.contains(&reg)
        {
            return Err(undefined(0, "a register is both A and D".to_string()));
        }
        Ok(())
    }

    /// Waits for all groups but the last `keep`; false: other warps must come first.
    fn wait_for_group(&mut self, w: &mut Warp, keep: u32) -> Result<bool, Box<Cause>> {
        let target = w.wgmma.committed.saturating_sub(keep);
        if target <= w.wgmma.complete {
            return Ok(true);
        }
        let group = w.id / WARPS;
        let queue = self.warpgroups.of(w.id);
        let end = queue.ends[target as usize - 1];
        let due = end.saturating_sub(queue.complete);
        if let Some(missing) = queue.issued.iter().take(due).find(|i| i.warps != 15) {
            let ended =
                (0..WARPS).find(|i| missing.warps >> i & 1 == 0 && self.barriers.live >> (WARPS * group + i) & 1 == 0);
            if let Some(ended) = ended {
                let line = self.program.places[missing.pc as usize].line;
                let message = format!(
                    "warp {} has ended without the wgmma at PTX line {line}, which takes the four warps of a warpgroup",
                    WARPS * group + ended
                );
                return Err(Cause::new(FaultKind::WarpSync, 0, message));
            }
            return Ok(false);
        }
        while queue.groups < target {
            let end = queue.ends[queue.groups as usize];
            while queue.complete < end
                && let Some(done) = queue.issued.pop_front()
            {
                queue.complete += 1;
                for chunk in done.chunks {
                    self.memory.give_back(chunk, group, queue.groups);
                }
            }
            queue.groups += 1;
        }
        for number in w.wgmma.complete..target {
            self.memory.waited(w.id, number);
        }
        w.wgmma.complete = target;
        Ok(true)
    }

    /// An instruction touches registers that wgmma use.
    pub fn touch(&self, w: &mut Warp, touch: &Touch, m: u32) -> Result<(), Box<Cause>> {
        let lane = lanes(m).next().unwrap_or(0) as u32;
        let fault = |w: &Warp, r: u32| {
            let place = self.place(w.wgmma.by[r as usize]);
            let message = format!("a register of the wgmma at {place} is used before wgmma.wait_group");
            Err(Cause::new(FaultKind::InFlight, lane, message))
        };
        match touch {
            Touch::Access(list) => {
                let now = w.wgmma.fences + 1;
                for &r in list {
                    if w.wgmma.in_flight(r) {
                        return fault(w, r);
                    }
                    w.wgmma.touched[r as usize] = now;
                }
            }
            Touch::Set(to) => {
                if w.wgmma.in_flight(*to) {
                    return fault(w, *to);
                }
            }
            Touch::Move(to, from) => {
                let (to, from) = (*to as usize, *from as usize);
                if w.wgmma.in_flight(to as u32) && !w.wgmma.in_flight(from as u32) {
                    return fault(w, to as u32);
                }
                let r = &mut w.wgmma;
                r.used[to] = r.used[from];
                r.by[to] = r.by[from];
                r.touched[to] = r.touched[from];
            }
        }
        Ok(())
    }
}

fn registers_of_a(op: &WgmmaOp) -> &[u32] {
    match &op.a {
        Left::Registers(list) => list,
        Left::Shared(_) => &[],
    }
}
