//! When two accesses are a race, and how the record of readers is kept.

use super::cell::{Cell, IN_FLIGHT, LANE, NARROW, STRONG, WHO, Who};
use super::order::{Clocks, Published};

/// A race, or an access to a copy in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Word of the run.
    pub word: usize,
    /// Who was there before; [`IN_FLIGHT`] for a copy.
    pub other: Cell,
    /// What the other did.
    pub wrote: bool,
}

/// What a run of words is accessed by: the cell of its first word, and how the lane goes on from word to word.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Cell of the first word.
    pub first: Cell,
    /// Lanes for each word (as a power of two) for narrow accesses.
    pub up: u32,
    /// Words for each lane (as a power of two) for wide accesses.
    pub down: u32,
}

impl Run {
    /// Consecutive lanes from the one in `first`, each with that many bytes, whole words together.
    #[inline(always)]
    pub fn lanes(first: Cell, bytes: u32) -> Run {
        match bytes {
            1 => Run {
                first: first.with(Who::Quad).with_bytes(15),
                up: 2,
                down: 0,
            },
            2 => Run {
                first: first.with(Who::Pair).with_bytes(15),
                up: 1,
                down: 0,
            },
            _ => Run {
                first,
                up: 0,
                down: bytes.trailing_zeros() - 2,
            },
        }
    }

    /// One lane has all words.
    #[inline(always)]
    pub fn one(first: Cell) -> Run {
        Run { first, up: 0, down: 8 }
    }

    /// The cell of word `j`.
    #[inline(always)]
    pub fn cell(self, j: usize) -> u64 {
        self.first.0 + ((((j as u64) << self.up) >> self.down) << LANE)
    }
}

/// What an access is judged by.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// The clocks of its block.
    pub clocks: &'a Clocks,
    /// What blocks told each other.
    pub published: &'a Published,
}

impl Judge<'_> {
    /// Whether a cell of one warp conflicts with a new access and nothing orders them.
    #[inline]
    pub fn unordered(self, new: Cell, old: Cell) -> bool {
        if !old.conflicts(new) {
            return false;
        }
        let c = self.clocks;
        if old.block() != new.block() {
            return !c.after_block(self.published, new.warp(), old.block(), old.warp(), old.clock());
        }
        if old.warp() != new.warp() {
            return !c.after_warp(self.published, new.warp(), old.warp(), old.clock());
        }
        if old.same_lanes(new) {
            return false;
        }
        let common = old.bytes() & new.bytes();
        (0..4).filter(|k| common >> k & 1 != 0).any(|k| {
            let (before, now) = (old.owner(k), new.owner(k).unwrap_or(new.lane()));
            before != Some(now) && !c.after_lane(new.warp(), now, before.unwrap_or(old.lane()), old.clock())
        })
    }

    /// Whether a write races with the readers that a cell of global memory stands for.
    #[inline]
    pub fn races_with_readers(self, new: Cell, old: Cell) -> bool {
        if !old.conflicts(new) {
            return false;
        }
        let c = self.clocks;
        match old.who() {
            Who::Blocks => {
                // Of several blocks one is another. Without any news from other blocks nothing orders it.
                old.block() != new.block() && self.unordered(new, old) || !c.knows_others(new.warp())
            }
            Who::Warps if old.block() == new.block() => {
                let known = old.clock() < c.floor;
                let last = old.warp() != new.warp() && self.unordered(new, old);
                !known && (last || !c.partial && !c.knows_others(new.warp()))
            }
            _ => self.unordered(new, old),
        }
    }

    /// The record of readers of a word of global memory after one more read.
    #[inline]
    pub fn readers(self, old: Cell, new: Cell) -> Cell {
        if old.0 == 0 || (old.0 ^ new.0) & (STRONG | NARROW) != 0 {
            return new;
        }
        let c = self.clocks;
        let common = old.bytes() & new.bytes();
        let several = |who| {
            if common == 0 {
                new
            } else {
                new.with(who).with_bytes(common)
            }
        };
        if old.block() != new.block() {
            let after = c.after_block(self.published, new.warp(), old.block(), old.warp(), old.clock());
            return if after && old.who() != Who::Blocks {
                new
            } else {
                several(Who::Blocks)
            };
        }
        if old.who() == Who::Blocks {
            return several(Who::Blocks);
        }
        if old.clock() < c.floor {
            return new;
        }
        if old.who() == Who::Warps || old.warp() != new.warp() {
            let after = old.who() != Who::Warps && c.after_warp(self.published, new.warp(), old.warp(), old.clock());
            return if after { new } else { several(Who::Warps) };
        }
        if old.clock() != new.clock() || common == new.bytes() && old.same_lanes(new) && old.who() == new.who() {
            return new;
        }
        old.joined(new).unwrap_or_else(|| several(Who::Lanes))
    }

    /// The record of the last write of a word after one more; none where one cell cannot say it.
    #[inline]
    pub fn writer(self, old: Cell, new: Cell) -> Option<Cell> {
        if old.0 == 0 || old.0 == IN_FLIGHT || old.bytes() & !new.bytes() == 0 {
            Some(new)
        } else {
            old.joined(new)
        }
    }
}

/// A record of readers after a write to some of the bytes: what it overwrote need not be remembered.
#[inline(always)]
pub fn overwritten(readers: Cell, by: Cell) -> Cell {
    let left = readers.bytes() & !by.bytes();
    if left == 0 { Cell(0) } else { readers.with_bytes(left) }
}

/// As [`Who::Lanes`] in its place.
pub const LANES: u64 = (Who::Lanes as u64) << WHO;
