//! What happens before what: clocks of the warps of a block, and what blocks publish to each other.
//!
//! Each warp has a clock that moves at every synchronisation. An access of warp v at clock t is ordered before what warp w does
//! now if `seen[w][v] > t`. Lanes of one warp are ordered by `bar.warp.sync` and by barriers only, as NVIDIA's manual says:
//! not by shuffles and votes. Between blocks there is order only through a fence, a strong write (atomic, volatile, relaxed,
//! release) to some place, a strong read of that place, and a fence or a barrier after it.

use super::cell::{BLOCKS, LAST_CLOCK};
use std::collections::HashMap;

/// Warps of a block.
pub const WARPS: usize = 32;
/// Barriers of a block.
const BARRIERS: usize = 16;

/// How far a fence reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The block (`.cta`).
    Block,
    /// The device or more (`.gpu`, `.sys`).
    Device,
}

/// Of the number of a log: what its own block published there, and nothing else, is known. A read of the block's scope tells no more.
const OWN: u32 = 1 << 31;

/// What one block published at one place: its warps' clocks, and what it knew of others.
struct Entry {
    block: u32,
    scope: Scope,
    clocks: [u32; WARPS],
    known: Vec<(u32, u32)>,
}

/// All that was published at one place, in order.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    by_block: HashMap<u32, Vec<u32>>,
}

/// What blocks of one launch published to each other, by place.
#[derive(Default)]
pub struct Published {
    logs: Vec<Log>,
    by_address: HashMap<u64, u32>,
}

impl Published {
    /// Number of the log of a place.
    fn number(&mut self, address: u64) -> u32 {
        *self.by_address.entry(address).or_insert_with(|| {
            self.logs.push(Log::default());
            self.logs.len() as u32 - 1
        })
    }

    fn push(&mut self, address: u64, entry: Entry) {
        let number = self.number(address);
        let log = &mut self.logs[number as usize];
        let at = log.entries.len() as u32;
        log.by_block.entry(entry.block).or_default().push(at);
        log.entries.push(entry);
    }

    /// Whether block `me`, which knows these prefixes of logs, is after what that warp did at that clock.
    pub(super) fn ordered(&self, me: u32, known: &[(u32, u32)], block: u32, warp: u32, clock: u32) -> bool {
        let mut stack: Vec<(u32, u32, u32)> = known.iter().map(|k| (k.0, k.1, me)).collect();
        // By log and by the block that knows of it.
        let mut visited: HashMap<(u32, u32), u32> = HashMap::new();
        while let Some((log, len, reader)) = stack.pop() {
            let done = visited.entry((log, reader)).or_insert(0);
            let from = *done;
            if len <= from {
                continue;
            }
            *done = len;
            let reaches = |e: &Entry| e.block == reader || log & OWN == 0 && e.scope == Scope::Device;
            let log = &self.logs[(log & !OWN) as usize];
            if let Some(at) = log.by_block.get(&block) {
                // Each warp of a block publishes what it knows itself.
                let i = at.partition_point(|&i| i < len);
                let mut entries = at[..i].iter().rev().map(|&i| &log.entries[i as usize]);
                if entries.any(|e| reaches(e) && e.clocks[warp as usize] > clock) {
                    return true;
                }
            }
            for e in log.entries[from as usize..len as usize].iter().filter(|e| reaches(e)) {
                stack.extend(e.known.iter().map(|k| (k.0, k.1, e.block)));
            }
        }
        false
    }
}

/// What a warp would publish: the clocks it knew when it last passed a fence.
#[derive(Clone, Default)]
struct Fenced {
    clocks: [u32; WARPS],
    known: Vec<(u32, u32)>,
}

/// The last fences: of the block's scope and of the device's.
type Fences = [Option<Box<Fenced>>; 2];

impl Fenced {
    fn join(&mut self, other: &Fenced) {
        for (a, b) in self.clocks.iter_mut().zip(&other.clocks) {
            *a = (*a).max(*b);
        }
        join_known(&mut self.known, &other.known);
    }
}

fn join_known(to: &mut Vec<(u32, u32)>, from: &[(u32, u32)]) {
    for &(log, len) in from {
        match to.iter_mut().find(|k| k.0 == log) {
            Some(k) => k.1 = k.1.max(len),
            None => to.push((log, len)),
        }
    }
}

#[derive(Clone, Default)]
struct Warp {
    now: u32,
    /// What lanes of this warp did before this clock is ordered for all of them.
    floor: u32,
    /// `[b][a]`: the same from lane a to lane b, where only some lanes synchronised.
    lanes: Option<Box<[[u32; 32]; 32]>>,
    seen: [u32; WARPS],
    known: Vec<(u32, u32)>,
    /// Read by a strong load or an atomic; known after a fence or a barrier.
    pending: Vec<(u32, u32)>,
    /// Logs of places in shared memory, and how much of them was taken over.
    taken: Vec<(u32, u32)>,
    fenced: Fences,
}

#[derive(Clone, Default)]
struct Barrier {
    clocks: [u32; WARPS],
    now: u32,
    known: Vec<(u32, u32)>,
    fenced: Fences,
}

/// The clocks of one block.
pub struct Clocks {
    /// Linear index of the block.
    pub block: u32,
    /// What anyone did before this clock is ordered for everyone in the block: the last barrier of all its warps.
    pub floor: u32,
    /// Whether some warps synchronised without the others since then.
    pub partial: bool,
    /// Whether a clock has come to its end: from then on not every race is seen.
    pub worn: bool,
    live: u32,
    warps: Vec<Warp>,
    barriers: Vec<Barrier>,
    /// What ended warps knew.
    ended: Barrier,
}

impl Clocks {
    /// For blocks of that many warps.
    pub fn new(warps: u32) -> Clocks {
        Clocks {
            block: 0,
            floor: 0,
            partial: false,
            worn: false,
            live: 0,
            warps: vec![Warp::default(); warps as usize],
            barriers: vec![Barrier::default(); BARRIERS],
            ended: Barrier::default(),
        }
    }

    /// Begins a block.
    pub fn start(&mut self, block: u32) {
        self.block = block & BLOCKS;
        self.floor = 1;
        self.partial = false;
        self.worn = false;
        let n = self.warps.len() as u32;
        self.live = if n == 32 { u32::MAX } else { (1 << n) - 1 };
        self.warps.fill(Warp {
            now: 1,
            ..Warp::default()
        });
        self.barriers.fill(Barrier::default());
        self.ended = Barrier::default();
    }

    /// The clock of a warp.
    #[inline(always)]
    pub fn now(&self, warp: u32) -> u32 {
        self.warps[warp as usize].now
    }

    /// Whether what another warp of this block did at that clock is ordered before what this warp does now.
    pub fn after_warp(&self, published: &Published, warp: u32, other: u32, clock: u32) -> bool {
        clock >= LAST_CLOCK
            || self.warps[warp as usize].seen[other as usize] > clock
            || self.after_block(published, warp, self.block, other, clock)
    }

    /// What is known of another warp: accesses before this clock are ordered.
    #[inline(always)]
    pub fn seen(&self, warp: u32, other: u32) -> u32 {
        self.warps[warp as usize].seen[other as usize]
    }

    /// The same between lanes of one warp.
    #[inline(always)]
    pub fn after_lane(&self, warp: u32, lane: u32, other: u32, clock: u32) -> bool {
        let w = &self.warps[warp as usize];
        clock < w.floor
            || clock >= LAST_CLOCK
            || w.lanes
                .as_ref()
                .is_some_and(|l| l[lane as usize][other as usize & 31] > clock)
    }

    /// Whether a warp knows anything of other blocks.
    pub fn knows_others(&self, warp: u32) -> bool {
        !self.warps[warp as usize].known.is_empty()
    }

    /// Whether what a warp of another block did at that clock is ordered before what this warp does now.
    pub fn after_block(&self, published: &Published, warp: u32, block: u32, other: u32, clock: u32) -> bool {
        let known = &self.warps[warp as usize].known;
        !known.is_empty() && (clock >= LAST_CLOCK || published.ordered(self.block, known, block, other, clock))
    }

    fn tick(&mut self, warp: u32) -> u32 {
        let w = &mut self.warps[warp as usize];
        w.now = (w.now + 1).min(LAST_CLOCK);
        self.worn |= w.now == LAST_CLOCK;
        w.now
    }

    /// `bar.warp.sync`.
    pub fn warp_sync(&mut self, warp: u32, lanes: u32) {
        let now = self.tick(warp);
        let w = &mut self.warps[warp as usize];
        learn(w);
        if lanes == u32::MAX {
            w.floor = now;
            w.lanes = None;
            return;
        }
        let floor = w.floor;
        let table = w.lanes.get_or_insert_with(|| Box::new([[floor; 32]; 32]));
        let members = (0..32).filter(|i| lanes >> i & 1 != 0);
        let mut joined = [0; 32];
        for m in members.clone() {
            for (j, t) in joined.iter_mut().zip(&table[m]) {
                *j = (*j).max(*t);
            }
        }
        for m in members.clone() {
            joined[m] = now;
        }
        for m in members {
            table[m] = joined;
        }
    }

    /// A warp arrives at a barrier: what it did so far will be ordered before what those do that wait there.
    pub fn arrive(&mut self, warp: u32, barrier: u32) {
        let w = &mut self.warps[warp as usize];
        let b = &mut self.barriers[barrier as usize % BARRIERS];
        learn(w);
        give(w, b, warp);
        self.tick(warp);
    }

    /// A barrier is complete; these warps waited.
    pub fn complete(&mut self, barrier: u32, waiting: u32) {
        let mut b = std::mem::take(&mut self.barriers[barrier as usize % BARRIERS]);
        let all = self.live & !waiting == 0;
        if all {
            take(&mut b, &self.ended);
        }
        let now = (b.now + 1).min(LAST_CLOCK);
        self.worn |= now == LAST_CLOCK;
        for i in (0..self.warps.len()).filter(|i| waiting >> i & 1 != 0) {
            let w = &mut self.warps[i];
            w.now = w.now.max(now);
            w.floor = w.now;
            w.lanes = None;
            for (s, c) in w.seen.iter_mut().zip(&b.clocks) {
                *s = (*s).max(*c);
            }
            join_known(&mut w.known, &b.known);
            join_fenced(&mut w.fenced, &b.fenced);
        }
        if all {
            // The clocks of all warps are equal now, and later than all that was.
            let latest = self.warps.iter().map(|w| w.now).max().unwrap_or(0);
            for i in (0..self.warps.len()).filter(|i| waiting >> i & 1 != 0) {
                self.warps[i].now = latest;
                self.warps[i].floor = latest;
            }
            self.floor = latest;
            self.partial = false;
        } else {
            self.partial = true;
        }
    }

    /// A warp has ended: barriers do not wait for it any more.
    pub fn exit(&mut self, warp: u32) {
        let w = &mut self.warps[warp as usize];
        learn(w);
        give(w, &mut self.ended, warp);
        self.live &= !(1 << warp);
    }

    /// A fence by a warp. What its lanes did is before it: lanes are not told apart here.
    pub fn fence(&mut self, warp: u32, scope: Scope) {
        let w = &mut self.warps[warp as usize];
        learn(w);
        let mut clocks = w.seen;
        clocks[warp as usize] = w.now + 1;
        let now = Fenced {
            clocks,
            known: w.known.clone(),
        };
        for s in [Scope::Block, Scope::Device].into_iter().filter(|&s| s <= scope) {
            w.fenced[s as usize].get_or_insert_default().join(&now);
        }
        self.tick(warp);
    }

    /// A strong write by a warp: what it knew at its last fence is published there. A release is a fence and such a write.
    pub fn publish(&self, published: &mut Published, warp: u32, address: u64, reach: Scope) {
        for scope in [Scope::Block, Scope::Device].into_iter().filter(|&s| s <= reach) {
            let Some(fenced) = &self.warps[warp as usize].fenced[scope as usize] else {
                continue;
            };
            let number = published.number(address);
            let log = &published.logs[number as usize];
            let same = |e: &Entry| e.block == self.block && e.scope == scope && e.clocks == fenced.clocks;
            if log.entries.iter().rev().take(2).any(same) {
                continue;
            }
            let known = fenced.known.iter().copied().filter(|k| k.0 & !OWN != number).collect();
            let entry = Entry {
                block: self.block,
                scope,
                clocks: fenced.clocks,
                known,
            };
            published.push(address, entry);
        }
    }

    /// A strong read by a warp: it knows what was published there after its next fence or barrier, or at once if it acquires.
    pub fn observe(&mut self, published: &Published, warp: u32, address: u64, acquire: bool, reach: Scope) {
        let Some(&number) = published.by_address.get(&address) else {
            return;
        };
        let w = &mut self.warps[warp as usize];
        let own = if reach == Scope::Block { OWN } else { 0 };
        let len = published.logs[number as usize].entries.len() as u32;
        join_known(&mut w.pending, &[(number | own, len)]);
        if acquire {
            learn(w);
        }
    }

    /// An asynchronous operation that this warp has issued is done, and says so at a place, as a release there would. Returns the
    /// clock at which it counts as done by the warp.
    pub fn done(&mut self, published: &mut Published, warp: u32, address: u64) -> u32 {
        let now = self.now(warp);
        let mut clocks = [0; WARPS];
        clocks[warp as usize] = now + 1;
        published.push(
            address,
            Entry {
                block: self.block,
                scope: Scope::Device,
                clocks,
                known: Vec::new(),
            },
        );
        self.tick(warp);
        now
    }

    /// As [`Clocks::observe`] with acquisition, for a place in the block's own shared memory: what was published there is taken
    /// over at once. That tells nothing of other blocks but what the publishers knew of them.
    pub fn acquire(&mut self, published: &Published, warp: u32, address: u64) {
        let Some(&number) = published.by_address.get(&address) else {
            return;
        };
        let w = &mut self.warps[warp as usize];
        let entries = &published.logs[number as usize].entries;
        let at = w.taken.iter().position(|t| t.0 == number).unwrap_or_else(|| {
            w.taken.push((number, 0));
            w.taken.len() - 1
        });
        let before = std::mem::replace(&mut w.taken[at].1, entries.len() as u32);
        for e in &entries[before as usize..] {
            for (s, c) in w.seen.iter_mut().zip(&e.clocks) {
                *s = (*s).max(*c);
            }
            join_known(&mut w.known, &e.known);
        }
        learn(w);
    }

    /// Lanes of a warp know of what another of its lanes did up to a clock.
    pub fn tell(&mut self, warp: u32, lanes: u32, of: u32, clock: u32) {
        let w = &mut self.warps[warp as usize];
        let floor = w.floor;
        let table = w.lanes.get_or_insert_with(|| Box::new([[floor; 32]; 32]));
        for i in (0..32).filter(|i| lanes >> i & 1 != 0) {
            let known = &mut table[i][of as usize];
            *known = (*known).max(clock + 1);
        }
    }

    /// What a warp knows: the clocks of others and its own, and what it knows of logs. Its clock moves.
    pub fn knowledge(&mut self, warp: u32) -> (u32, [u32; WARPS], Vec<(u32, u32)>) {
        let w = &self.warps[warp as usize];
        let (now, mut seen, known) = (w.now, w.seen, w.known.clone());
        seen[warp as usize] = now + 1;
        self.tick(warp);
        (now, seen, known)
    }

    /// Moves a warp's clock and returns what it was.
    pub fn step(&mut self, warp: u32) -> u32 {
        let now = self.now(warp);
        self.tick(warp);
        now
    }
}

fn learn(w: &mut Warp) {
    if !w.pending.is_empty() {
        let pending = std::mem::take(&mut w.pending);
        join_known(&mut w.known, &pending);
    }
}

fn join_fenced(to: &mut Fences, from: &Fences) {
    for (to, from) in to.iter_mut().zip(from) {
        if let Some(from) = from {
            to.get_or_insert_default().join(from);
        }
    }
}

fn give(w: &Warp, b: &mut Barrier, warp: u32) {
    for (c, s) in b.clocks.iter_mut().zip(&w.seen) {
        *c = (*c).max(*s);
    }
    b.clocks[warp as usize] = w.now + 1;
    b.now = b.now.max(w.now);
    join_known(&mut b.known, &w.known);
    join_fenced(&mut b.fenced, &w.fenced);
}

fn take(b: &mut Barrier, ended: &Barrier) {
    for (c, s) in b.clocks.iter_mut().zip(&ended.clocks) {
        *c = (*c).max(*s);
    }
    b.now = b.now.max(ended.now);
    join_known(&mut b.known, &ended.known);
    join_fenced(&mut b.fenced, &ended.fenced);
}
