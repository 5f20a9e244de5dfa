//! Where lanes of a warp wait for each other or for other warps: which goes on, which meet, which are stuck.

use super::barrier::Arrival;
use super::block::Block;
use super::run::{Flow, Outcome, wait};
use super::warp::{Split, State, Warp, lanes};
use crate::code::{Barrier, BarrierKind, Inst, NONE, Op, Sync};
use crate::fault::{Cause, Fault, FaultKind};

impl Block<'_, '_> {
    /// The split to run: the one furthest back, after joining those that stand together. None: the warp waits.
    pub fn pick(&mut self, w: &mut Warp) -> Result<Option<usize>, Box<Fault>> {
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

    /// Lanes reach a barrier of the block.
    pub fn barrier(&mut self, w: &mut Warp, inst: &Inst, current: usize, pc: u32, m: u32, mask: u32) -> Outcome {
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
