//! Work that was issued and has not run: a graph of operations, from which an adversary picks.
//!
//! Nothing runs when it is issued. A synchronisation names the operations that it waits for; then those and what they depend on run, and
//! nothing else: whoever forgot to wait for the rest sees memory as it was before. Among operations without an order between them, seed 0
//! takes the one that was issued last; any other seed draws, and draws operations that nobody waited for as well.
//!
//! Time is a model, not the host's clock: an operation starts when it was issued and all that it depends on has ended, and takes as long as
//! the model of the device says. So it does not depend on the order in which the emulator runs things, and never goes backwards.

use super::abi::{Context, Stream};
use super::work::Work;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Number of an operation, in the order of issue.
pub type OpId = u64;

/// One operation.
pub struct Op {
    /// Where it was issued.
    pub stream: Stream,
    /// Whose error a failure is.
    pub context: Context,
    /// What it does.
    pub work: Work,
    /// Operations that must end first.
    after: BTreeSet<OpId>,
    /// Operations that have this one in `after`.
    before: Vec<OpId>,
    /// Modelled time in ns before which it cannot start.
    pub ready: u64,
    /// Whether it was started and goes on elsewhere: a host function.
    pub running: bool,
    /// How often somebody asked whether it was done.
    polls: u32,
}

/// The operations that have not ended.
pub struct Queue {
    pending: BTreeMap<OpId, Op>,
    woken: Vec<OpId>,
    next: OpId,
    seed: u64,
    random: u64,
    /// Modelled time of the host in ns.
    pub clock: u64,
}

/// Modelled time that the host takes to issue an operation, in ns.
const ISSUE: u64 = 2_000;

/// Questions "is it done?" that are answered "no" before the device goes on by itself.
const PATIENCE: u32 = 3;

impl Queue {
    /// No operations.
    pub fn new(seed: u64) -> Queue {
        Queue {
            pending: BTreeMap::new(),
            woken: Vec::new(),
            next: 1,
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            clock: 0,
        }
    }

    /// Adds an operation that runs after those of `after` that have not ended, and not before the modelled time `ready`.
    pub fn push(&mut self, stream: Stream, context: Context, work: Work, after: &[OpId], ready: u64) -> OpId {
        let id = self.next;
        self.next += 1;
        self.clock += ISSUE;
        let after: BTreeSet<OpId> = after.iter().copied().filter(|a| self.pending.contains_key(a)).collect();
        for a in &after {
            if let Some(op) = self.pending.get_mut(a) {
                op.before.push(id);
            }
        }
        let op = Op {
            stream,
            context,
            work,
            after,
            before: Vec::new(),
            ready: ready.max(self.clock),
            running: false,
            polls: 0,
        };
        self.pending.insert(id, op);
        id
    }

    /// Whether operation `id` has not ended.
    pub fn is_pending(&self, id: OpId) -> bool {
        self.pending.contains_key(&id)
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// The operation, if it has not ended.
    pub fn get(&self, id: OpId) -> Option<&Op> {
        self.pending.get(&id)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: OpId) -> Option<&mut Op> {
        self.pending.get_mut(&id)
    }

    /// All operations that have not ended, in the order of issue.
    pub fn iter(&self) -> impl Iterator<Item = (OpId, &Op)> {
        self.pending.iter().map(|(id, op)| (*id, op))
    }

    /// `targets` and all that they depend on, as far as it has not ended.
    pub fn closure(&self, targets: &[OpId]) -> BTreeSet<OpId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<OpId> = targets.to_vec();
        while let Some(id) = open.pop() {
            if let Some(op) = self.pending.get(&id)
                && found.insert(id)
            {
                open.extend(&op.after);
            }
        }
        found
    }

    /// All operations that wait, over however many steps, for `id`.
    pub fn later(&self, id: OpId) -> BTreeSet<OpId> {
        let mut found = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let before = self.pending.get(&id).map_or(&[][..], |op| &op.before);
            open.extend(before.iter().filter(|b| found.insert(**b)));
        }
        found
    }

    /// Those of `needed` that wait for nothing.
    pub fn ready(&self, needed: &BTreeSet<OpId>) -> BTreeSet<OpId> {
        needed.iter().copied().filter(|id| self.is_ready(*id)).collect()
    }

    fn is_ready(&self, id: OpId) -> bool {
        self.pending
            .get(&id)
            .is_some_and(|op| op.after.is_empty() && !op.running)
    }

    /// Takes the next operation to run out of those that are ready. An allocation runs when nothing else can: who uses its memory without
    /// waiting for it is then found out.
    pub fn pick(&mut self, ready: &mut BTreeSet<OpId>) -> Option<OpId> {
        let allocates = |id: &OpId| {
            self.pending
                .get(id)
                .is_some_and(|op| matches!(op.work, Work::Allocate(_)))
        };
        let mut choice: Vec<OpId> = ready.iter().copied().filter(|id| !allocates(id)).collect();
        if choice.is_empty() {
            choice = ready.iter().copied().collect();
        }
        let last = *choice.last()?;
        let id = match self.seed {
            0 => last,
            _ => choice[self.draw(choice.len() as u64) as usize],
        };
        ready.remove(&id);
        Some(id)
    }

    /// Operations that have become ready since the last time.
    pub fn woken(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.woken)
    }

    /// Operations that run although nobody waits for them: none for seed 0.
    pub fn early(&mut self) -> Vec<OpId> {
        if self.seed == 0 {
            return Vec::new();
        }
        let is_work = |op: &Op| !matches!(op.work, Work::Allocate(_));
        let all: Vec<OpId> = self.iter().filter(|(_, op)| is_work(op)).map(|(id, _)| id).collect();
        all.into_iter().filter(|_| self.draw(4) == 0).collect()
    }

    /// Takes an operation out that ended at the modelled time `end`; those that waited for it may start then.
    pub fn finish(&mut self, id: OpId, end: u64) -> Option<Op> {
        let op = self.pending.remove(&id)?;
        for b in &op.before {
            if let Some(later) = self.pending.get_mut(b) {
                later.after.remove(&id);
                later.ready = later.ready.max(end);
                if later.after.is_empty() {
                    self.woken.push(*b);
                }
            }
        }
        Some(op)
    }

    /// Counts one question whether operation `id` is done; true if the device should now go on by itself, so that a loop of questions ends.
    pub fn ask(&mut self, id: OpId) -> bool {
        self.pending.get_mut(&id).is_some_and(|op| {
            op.polls += 1;
            op.polls > PATIENCE
        })
    }

    /// A number below n, the same in every run with the same seed.
    fn draw(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n
    }
}
