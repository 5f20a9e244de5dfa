//! The interpreter's loop: one warp, one instruction after another, lanes apart where they must be.

use super::barrier::Arrival;
use super::block::Block;
use super::warp::{Split, State, Warp, lanes};
use crate::code::{Barrier, BarrierKind, Inst, NONE, Op, Sync};
use crate::fault::{Cause, Fault, FaultKind};

/// Why a warp's turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// All lanes have ended.
    Done,
    /// It waits at a barrier.
    Blocked,
    /// It has had its share.
    Expired,
}

/// What an instruction does to the order of instructions.
enum Flow {
    /// The next one.
    Next,
    /// All lanes go there.
    Jump(u32),
    /// The splits were changed.
    Changed,
    /// The splits were changed, and other warps should have a turn.
    Pause,
}

type Outcome = Result<Flow, Box<Cause>>;

impl Block<'_, '_> {
    /// Runs a warp until it waits, is done, or has executed `share` instructions.
    pub fn run(&mut self, w: &mut Warp, share: u64) -> Result<Turn, Box<Fault>> {
        let end = self.steps + share;
        loop {
            if w.splits.is_empty() {
                return Ok(Turn::Done);
            }
            let Some(current) = self.pick(w)? else {
                return Ok(Turn::Blocked);
            };
            // Lanes further back go first, so that lanes meet again: up to where the next ones stand.
            let pc = w.splits[current].pc;
            let others = w.splits.iter().enumerate().filter(|&(i, s)| i != current && s.pc > pc);
            let limit = others.map(|(_, s)| s.pc).min().unwrap_or(u32::MAX);
            if self.stretch(w, current, limit, end)? {
                w.expired += 1;
                return Ok(Turn::Expired);
            }
        }
    }

    /// Runs one split until the splits change, it meets another, or the share is used up (then true).
    fn stretch(&mut self, w: &mut Warp, current: usize, limit: u32, end: u64) -> Result<bool, Box<Fault>> {
        let program = self.program;
        let Split { mut pc, mask, .. } = w.splits[current];
        let start = pc;
        loop {
            if pc >= limit && pc != start {
                w.splits[current].pc = pc;
                return Ok(false);
            }
            if self.steps >= end {
                w.splits[current].pc = pc;
                return Ok(true);
            }
            self.steps += 1;
            let inst = &program.insts[pc as usize];
            let m = if inst.guard == NONE {
                mask
            } else {
                let p = w.p[inst.guard as usize];
                mask & if inst.negated { !p } else { p }
            };
            self.count(inst, m);
            if m == 0 {
                pc += 1;
                continue;
            }
            match self.step(w, inst, current, pc, m, mask) {
                Ok(Flow::Next) => pc += 1,
                Ok(Flow::Jump(to)) => {
                    // A jump back may pass the place where another split waits.
                    let back = to <= pc;
                    pc = to;
                    if back && w.splits.len() > 1 {
                        w.splits[current].pc = pc;
                        return Ok(false);
                    }
                }
                Ok(Flow::Changed) => return Ok(false),
                Ok(Flow::Pause) => return Ok(true),
                Err(cause) => return Err(self.fault(w, pc, *cause)),
            }
        }
    }

    /// The split to run: the one furthest back, after joining those that stand together. None: the warp waits.
    fn pick(&mut self, w: &mut Warp) -> Result<Option<usize>, Box<Fault>> {
        loop {
            if w.splits.len() > 1 {
                join(&mut w.splits);
            }
            let ready: Vec<usize> = if w.splits.len() == 1 {
                if w.splits[0].state == State::Run {
                    return Ok(Some(0));
                }
                Vec::new()
            } else {
                (0..w.splits.len())
                    .filter(|&i| w.splits[i].state == State::Run)
                    .collect()
            };
            if !ready.is_empty() {
                // Lanes may wait for each other's stores: after a turn that led nowhere, others go first.
                let skip = if w.expired % 2 == 1 {
                    w.expired as usize / 2 + 1
                } else {
                    0
                };
                return Ok(Some(ready[skip % ready.len()]));
            }
            if w.splits.iter().all(|s| s.state == State::Barrier) {
                return Ok(None);
            }
            if !self.meet(w).map_err(|c| self.fault(w, w.splits[0].pc, *c))? {
                return Err(self.stuck(w));
            }
        }
    }

    /// Lanes that wait at different instructions which may be different: `bar.warp.sync` and unaligned barriers.
    fn meet(&mut self, w: &mut Warp) -> Result<bool, Box<Cause>> {
        let insts = &self.program.insts;
        for i in 0..w.splits.len() {
            let State::Gather(need) = w.splits[i].state else {
                continue;
            };
            let warp_sync = |s: &Split| matches!(insts[s.pc as usize].op, Op::Sync(Sync::Warp, _));
            let barrier = |s: &Split| matches!(&insts[s.pc as usize].op, Op::Barrier(b) if !b.aligned);
            let same: &dyn Fn(&Split) -> bool = if warp_sync(&w.splits[i]) {
                &warp_sync
            } else if barrier(&w.splits[i]) {
                &barrier
            } else {
                continue;
            };
            let party: Vec<usize> = (0..w.splits.len())
                .filter(|&j| w.splits[j].state == State::Gather(need) && same(&w.splits[j]))
                .collect();
            let union = party.iter().fold(0, |u, &j| u | w.splits[j].mask);
            if need & w.live & !union != 0 {
                continue;
            }
            if warp_sync(&w.splits[i]) {
                for &j in &party {
                    w.splits[j].pc += 1;
                    w.splits[j].state = State::Run;
                }
                self.warp_synchronised(w, union);
            } else {
                self.arrive_apart(w, &party)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn arrive_apart(&mut self, w: &mut Warp, party: &[usize]) -> Result<(), Box<Cause>> {
        let program = self.program;
        let mut arrivals = Vec::new();
        for &j in party {
            let s = w.splits[j];
            let Op::Barrier(b) = &program.insts[s.pc as usize].op else {
                continue;
            };
            arrivals.push((self.arrival(w, b, s.mask)?, s));
            w.splits[j].pc += 1;
            w.splits[j].state = State::Barrier;
        }
        let Some(&(mut all, first)) = arrivals.first() else {
            return Ok(());
        };
        all.lanes = 0;
        all.predicate = 0;
        for (a, s) in &arrivals {
            if (a.id, a.count, a.kind) != (all.id, all.count, all.kind) {
                let message = "lanes of one warp wait at barriers of different number, count or kind".to_string();
                return Err(Cause::new(
                    FaultKind::DivergentBarrier,
                    s.mask.trailing_zeros(),
                    message,
                ));
            }
            all.lanes |= a.lanes;
            all.predicate |= a.predicate & a.lanes;
        }
        self.arrived(all, first.mask.trailing_zeros())
    }

    /// Nothing can go on within this warp: says where its lanes stand.
    fn stuck(&self, w: &Warp) -> Box<Fault> {
        let insts = &self.program.insts;
        let at_barrier = |s: &&Split| matches!(insts[s.pc as usize].op, Op::Barrier(_));
        let first = w.splits.iter().find(at_barrier).unwrap_or(&w.splits[0]);
        let kind = if w.splits.iter().all(|s| at_barrier(&s)) || matches!(insts[first.pc as usize].op, Op::Barrier(_)) {
            FaultKind::DivergentBarrier
        } else {
            FaultKind::WarpSync
        };
        let mut message = "lanes of one warp wait for each other at different places:".to_string();
        for s in &w.splits {
            let pc = if s.state == State::Barrier { s.pc - 1 } else { s.pc };
            message += &format!(" lanes {:#010x} at {};", s.mask, self.place(pc));
        }
        let ended = !w.live & self.full_mask(w.id);
        if ended != 0 {
            message += &format!(" lanes {ended:#010x} have ended;");
        }
        self.fault(
            w,
            first.pc,
            Cause {
                kind,
                lane: first.mask.trailing_zeros(),
                message,
            },
        )
    }

    #[inline(always)]
    fn step(&mut self, w: &mut Warp, inst: &Inst, current: usize, pc: u32, m: u32, mask: u32) -> Outcome {
        match &inst.op {
            Op::Branch(to) => {
                if m == mask {
                    return Ok(Flow::Jump(*to));
                }
                self.worker.counters.divergent += 1;
                w.splits[current] = Split {
                    pc: pc + 1,
                    mask: mask & !m,
                    state: State::Run,
                };
                w.splits.push(Split {
                    pc: *to,
                    mask: m,
                    state: State::Run,
                });
                Ok(Flow::Changed)
            }
            Op::Exit => {
                self.end(w, current, pc, m, mask);
                Ok(Flow::Changed)
            }
            Op::Sync(sync, members) => {
                let masks = if *members == NONE {
                    &[u32::MAX; 32]
                } else {
                    &w.r[*members as usize].0
                };
                let need = masks[m.trailing_zeros() as usize];
                if lanes(m).any(|i| masks[i] != need) {
                    let masks = *masks;
                    return self.by_groups(
                        w,
                        inst,
                        sync,
                        &masks,
                        Split {
                            pc,
                            mask,
                            state: State::Run,
                        },
                        current,
                        m,
                    );
                }
                if m & !need != 0 {
                    let message = format!("the lane is not in its own mask {need:#010x}");
                    return Err(Cause::new(FaultKind::WarpSync, (m & !need).trailing_zeros(), message));
                }
                if need & w.live & !m != 0 {
                    self.uncount(inst, m);
                    return Ok(wait(w, current, pc, m, mask, State::Gather(need)));
                }
                self.together(w, sync, m)?;
                Ok(Flow::Next)
            }
            Op::Barrier(_) => self.barrier(w, inst, current, pc, m, mask),
            Op::BranchIndexed(index, targets) => {
                let index = w.r[*index as usize].0;
                let mut to = [0; 32];
                for i in lanes(m) {
                    to[i] = *targets.get(index[i] as usize).ok_or_else(|| {
                        let message = format!("index {} into {} branch targets", index[i], targets.len());
                        Cause::new(FaultKind::Undefined, i as u32, message)
                    })?;
                }
                Ok(self.scatter(w, current, pc, m, mask, &to))
            }
            Op::Call(call) => {
                let to = self.call(w, call, pc, m)?;
                Ok(self.scatter(w, current, pc, m, mask, &to))
            }
            Op::Return(function) => {
                let to = self.give_back(w, *function, m);
                Ok(self.scatter(w, current, pc, m, mask, &to))
            }
            Op::Trap => Err(Cause::new(FaultKind::Trap, m.trailing_zeros(), "trap".into())),
            Op::Mbarrier(b) => {
                if !self.mbarrier(w, b, m)? {
                    return Ok(Flow::Next);
                }
                w.splits[current].pc = pc + 1;
                Ok(Flow::Pause)
            }
            Op::Yield => {
                w.splits[current].pc = pc + 1;
                Ok(Flow::Pause)
            }
            _ => {
                self.execute(w, inst, m)?;
                Ok(Flow::Next)
            }
        }
    }

    /// Lanes with different masks stand at one `.sync` instruction: groups that have nothing to do with each other. One that is
    /// complete executes it; the others come after it.
    #[allow(clippy::too_many_arguments)]
    fn by_groups(
        &mut self,
        w: &mut Warp,
        inst: &Inst,
        sync: &Sync,
        masks: &[u32; 32],
        split: Split,
        current: usize,
        m: u32,
    ) -> Outcome {
        let Split { pc, mask, .. } = split;
        self.uncount(inst, m);
        let group_of = |lane: usize| lanes(m).filter(|&i| masks[i] == masks[lane]).fold(0, |g, i| g | 1 << i);
        let mut left = m;
        let mut union = 0;
        let mut complete = 0;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let (need, group) = (masks[first], group_of(first));
            let strangers = need & m & !group;
            if strangers != 0 {
                let other = strangers.trailing_zeros();
                let message = format!("masks {need:#010x} and {:#010x} meet", masks[other as usize]);
                return Err(Cause::new(FaultKind::WarpSync, other, message));
            }
            if group & !need != 0 {
                let lane = (group & !need).trailing_zeros();
                let message = format!("the lane is not in its own mask {need:#010x}");
                return Err(Cause::new(FaultKind::WarpSync, lane, message));
            }
            if need & w.live & !group == 0 {
                complete = group;
            }
            union |= need;
            left &= !group;
        }
        if complete != 0 {
            self.count(inst, complete);
            self.together(w, sync, complete)?;
            w.splits[current].mask = mask & !complete;
            w.splits[current].pc = pc;
            let ahead = Split {
                pc: pc + 1,
                mask: complete,
                state: State::Run,
            };
            w.splits.push(ahead);
            return Ok(Flow::Changed);
        }
        Ok(wait(w, current, pc, m, mask, State::Gather(union)))
    }

    /// Lanes go to places of their own.
    fn scatter(&mut self, w: &mut Warp, current: usize, pc: u32, m: u32, mask: u32, to: &[u32; 32]) -> Flow {
        let first = to[m.trailing_zeros() as usize];
        if m == mask && lanes(m).all(|i| to[i] == first) {
            return Flow::Jump(first);
        }
        self.worker.counters.divergent += 1;
        let rest = mask & !m;
        w.splits.remove(current);
        if rest != 0 {
            w.splits.push(Split {
                pc: pc + 1,
                mask: rest,
                state: State::Run,
            });
        }
        let mut left = m;
        while left != 0 {
            let target = to[left.trailing_zeros() as usize];
            let group = lanes(left).filter(|&i| to[i] == target).fold(0, |g, i| g | 1 << i);
            w.splits.push(Split {
                pc: target,
                mask: group,
                state: State::Run,
            });
            left &= !group;
        }
        Flow::Changed
    }

    fn end(&mut self, w: &mut Warp, current: usize, pc: u32, m: u32, mask: u32) {
        w.live &= !m;
        if m == mask {
            w.splits.remove(current);
        } else {
            w.splits[current] = Split {
                pc: pc + 1,
                mask: mask & !m,
                state: State::Run,
            };
        }
        // Who waited for these lanes looks again.
        for s in w.splits.iter_mut().filter(|s| matches!(s.state, State::Gather(_))) {
            s.state = State::Run;
        }
    }

    fn arrival(&self, w: &Warp, b: &Barrier, m: u32) -> Result<Arrival, Box<Cause>> {
        let first = m.trailing_zeros();
        let of = |register: u32| {
            if register == NONE {
                0
            } else {
                w.r[register as usize].0[first as usize]
            }
        };
        let (id, count) = (of(b.id), of(b.count));
        if let Some(i) = lanes(m).find(|&i| w.r[b.id as usize].0[i] != id) {
            let message = "lanes of one warp name different barriers".to_string();
            return Err(Cause::new(FaultKind::DivergentBarrier, i as u32, message));
        }
        Ok(Arrival {
            warp: w.id,
            id,
            count,
            kind: b.kind,
            lanes: m,
            predicate: w.pred(b.predicate),
        })
    }

    fn arrived(&mut self, a: Arrival, lane: u32) -> Result<(), Box<Cause>> {
        self.worker.counters.barriers += 1;
        self.memory.arrive(a.warp, a.id);
        let complete = self.barriers.arrive(a);
        match complete.map_err(|message| Cause::new(FaultKind::DivergentBarrier, lane, message))? {
            None => {}
            Some(complete) => self.memory.complete(complete.id, complete.waiting),
        }
        Ok(())
    }

    fn barrier(&mut self, w: &mut Warp, inst: &Inst, current: usize, pc: u32, m: u32, mask: u32) -> Outcome {
        let Op::Barrier(b) = &inst.op else {
            return Ok(Flow::Next);
        };
        if w.live & !m != 0 {
            self.uncount(inst, m);
            return Ok(wait(w, current, pc, m, mask, State::Gather(u32::MAX)));
        }
        let arrival = self.arrival(w, b, m)?;
        self.arrived(arrival, m.trailing_zeros())?;
        if b.kind == BarrierKind::Arrive {
            return Ok(Flow::Next);
        }
        w.splits[current] = Split {
            pc: pc + 1,
            mask: m,
            state: State::Barrier,
        };
        Ok(Flow::Changed)
    }

    /// Lets a warp go on whose barrier is complete, with the result of its reduction.
    pub fn resume(&mut self, w: &mut Warp) {
        let program = self.program;
        let (true_threads, one_false) = self.barriers.results[w.id as usize];
        for i in 0..w.splits.len() {
            let s = w.splits[i];
            if s.state != State::Barrier {
                continue;
            }
            w.splits[i].state = State::Run;
            let Op::Barrier(b) = &program.insts[s.pc as usize - 1].op else {
                continue;
            };
            match b.kind {
                BarrierKind::Popc => w.set_r(s.mask, b.to, &[true_threads; 32]),
                BarrierKind::And => w.set_p(s.mask, b.to, if one_false { 0 } else { u32::MAX }),
                BarrierKind::Or => w.set_p(s.mask, b.to, if true_threads > 0 { u32::MAX } else { 0 }),
                BarrierKind::Sync | BarrierKind::Arrive => {}
            }
        }
    }
}

/// The lanes `m` of a split wait where they are; those that the guard leaves out go on.
fn wait(w: &mut Warp, current: usize, pc: u32, m: u32, mask: u32, state: State) -> Flow {
    w.splits[current] = Split { pc, mask: m, state };
    if m != mask {
        w.splits.push(Split {
            pc: pc + 1,
            mask: mask & !m,
            state: State::Run,
        });
    }
    Flow::Changed
}

/// Sorts by place, and makes one of those that stand together before the same instruction.
fn join(splits: &mut Vec<Split>) {
    splits.sort_by_key(|s| s.pc);
    let mut i = 0;
    while i + 1 < splits.len() {
        let (a, b) = (splits[i], splits[i + 1]);
        if a.pc == b.pc && a.state != State::Barrier && b.state != State::Barrier {
            splits[i] = Split {
                pc: a.pc,
                mask: a.mask | b.mask,
                state: State::Run,
            };
            splits.remove(i + 1);
        } else {
            i += 1;
        }
    }
}
