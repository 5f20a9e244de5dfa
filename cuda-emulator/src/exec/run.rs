//! The interpreter's loop: one warp, one instruction after another, lanes apart where they must be.

use super::block::Block;
use super::warp::{Split, State, Warp, lanes};
use crate::code::{Inst, NONE, Op, Sync};
use crate::counters::Counters;
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
pub enum Flow {
    /// The next one.
    Next,
    /// All lanes go there.
    Jump(u32),
    /// The splits were changed.
    Changed,
    /// The splits were changed, and other warps should have a turn.
    Pause,
}

/// Lanes that have asked for an mbarrier in vain and will ask again. How often they do is not counted: it depends on the order of
/// warps, and hardware lets them sleep.
pub struct Poll {
    /// Where they ask.
    pub pc: u32,
    /// The lanes.
    pub mask: u32,
    /// What was counted before they did anything else.
    pub counters: Counters,
}

/// What a step leads to.
pub type Outcome = Result<Flow, Box<Cause>>;

impl Block<'_, '_> {
    /// Runs a warp until it waits, is done, or has executed `share` instructions.
    pub fn run(&mut self, w: &mut Warp, share: u64) -> Result<Turn, Box<Fault>> {
        let end = self.steps + share;
        self.poll = w.polled.map(|(pc, mask)| {
            let counters = self.worker.counters.clone();
            Box::new(Poll { pc, mask, counters })
        });
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
                // Who asks with all its lanes has no others to let go first.
                w.expired = if w.vain.is_some() && w.splits.len() == 1 {
                    0
                } else {
                    w.expired + 1
                };
                return Ok(Turn::Expired);
            }
        }
    }

    /// Runs one split until the splits change, it meets another, or the share is used up (then true).
    fn stretch(&mut self, w: &mut Warp, current: usize, limit: u32, end: u64) -> Result<bool, Box<Fault>> {
        let program = self.program;
        let Split { mut pc, mask, .. } = w.splits[current];
        let start = pc;
        if self.poll.as_ref().is_some_and(|p| p.mask != mask) {
            self.poll = None;
        }
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
                if let Sync::Warpgroup(op) = sync {
                    return self.warpgroup(w, op, inst, current, pc, m);
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
                if let Some(poll) = self.poll.take()
                    && (poll.pc, poll.mask) == (pc, mask)
                    && poll.counters.moved() == self.worker.counters.moved()
                {
                    self.worker.counters = poll.counters;
                }
                w.polled = None;
                if !self.mbarrier(w, b, m)? {
                    return Ok(Flow::Next);
                }
                w.polled = Some((pc, mask));
                w.splits[current].pc = pc + 1;
                Ok(Flow::Pause)
            }
            Op::Bulk(bulk) => {
                self.bulk(w, bulk, pc, m)?;
                Ok(Flow::Next)
            }
            Op::Watched(watched) => {
                self.touch(w, &watched.touch, m)?;
                self.watched(w, &watched.inner, current, pc, m, mask)
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

    /// An instruction whose registers were looked at.
    fn watched(&mut self, w: &mut Warp, inst: &Inst, current: usize, pc: u32, m: u32, mask: u32) -> Outcome {
        self.step(w, inst, current, pc, m, mask)
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
}

/// The lanes `m` of a split wait where they are; those that the guard leaves out go on.
pub fn wait(w: &mut Warp, current: usize, pc: u32, m: u32, mask: u32, state: State) -> Flow {
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
