//! Shared memory that asynchronous operations use: words that a bulk copy or a wgmma still reads, words that a bulk copy wrote, and which
//! wgmma read a word last.
//!
//! While 16 bytes are read their cells in the record of writers say so ([`LENT`]), and the writers that the record had are kept here.

use super::cell::{CLOCK, Cell, IN_FLIGHT};
use super::race::{Clash, Judge};
use super::shared::Shared;

/// In the record of writers: an asynchronous operation reads the word. No clock is as late.
pub const LENT: u64 = (0x3_ffff << CLOCK) | 1 << (CLOCK - 1);
/// In the record of readers: a group of wgmma read the word. The lower bits are the warpgroup and the number of the group.
const GROUP: u64 = 0x3_ffff << CLOCK;
/// Position of the warpgroup.
const WARPGROUP: u32 = 32;
/// Warpgroups of a block.
const WARPGROUPS: usize = 8;

/// Bytes of what is lent together.
pub const CHUNK: usize = 16;
/// Words in it.
const WORDS: usize = CHUNK / 4;

/// The record. Empty until an asynchronous operation needs it.
#[derive(Default)]
pub struct Loans {
    /// For each chunk, how many operations read it.
    uses: Vec<u16>,
    /// The cells of the words that are lent.
    lent: Vec<u64>,
    /// The cell of each word that a bulk copy wrote last, as it was then.
    landed: Vec<u64>,
    /// The cell of the group of another warpgroup that read a word before the last.
    before: Vec<u64>,
    /// For each warpgroup and group of wgmma, the clocks at which its warps waited; 0: not yet.
    waited: [Vec<[u32; 4]>; WARPGROUPS],
}

/// The words of a chunk, of so many in all.
fn words_of(chunk: usize, words: usize) -> std::ops::Range<usize> {
    chunk * WORDS..((chunk + 1) * WORDS).min(words)
}

/// Whether a cell of the record of readers is that of a group of wgmma.
pub fn is_group(cell: Cell) -> bool {
    cell.0 >= GROUP
}

/// The cell of a group.
pub fn group(warpgroup: u32, number: u32) -> u64 {
    GROUP | u64::from(warpgroup) << WARPGROUP | u64::from(number)
}

impl Loans {
    /// Begins a block.
    pub fn start(&mut self) {
        self.uses.fill(0);
        self.landed.fill(0);
        self.before.fill(0);
        self.waited.iter_mut().for_each(Vec::clear);
    }

    fn prepare(&mut self, words: usize) {
        if self.landed.len() < words {
            self.uses.resize(words.div_ceil(WORDS), 0);
            self.lent.resize(words, 0);
            self.landed.resize(words, 0);
            self.before.resize(words, 0);
        }
    }

    /// The writer of a word, whether it is lent or not.
    #[inline(always)]
    pub fn writer(&self, cell: u64, word: usize) -> u64 {
        if cell == LENT { self.lent[word] } else { cell }
    }

    /// A warp has waited for a group of its warpgroup, at this clock.
    pub fn waited(&mut self, warpgroup: u32, number: u32, warp: u32, clock: u32) {
        let list = &mut self.waited[warpgroup as usize % WARPGROUPS];
        if list.len() <= number as usize {
            list.resize(number as usize + 1, [0; 4]);
        }
        let at = &mut list[number as usize][warp as usize % 4];
        if *at == 0 {
            *at = clock;
        }
    }

    /// The warp of a group that the write is not ordered behind: one that is behind the wait of any of them is behind the reads of all.
    pub fn racing_group(&mut self, judge: Judge, new: Cell, old: Cell, word: usize) -> Option<Cell> {
        let before = Cell(std::mem::take(&mut self.before[word]));
        let races = |cell| self.races(judge, new, cell);
        races(old).or_else(|| if before.0 == 0 { None } else { races(before) })
    }

    fn races(&self, judge: Judge, new: Cell, old: Cell) -> Option<Cell> {
        let warpgroup = (old.0 >> WARPGROUP) as u32 & 7;
        let waited = self.waited[warpgroup as usize].get(old.0 as u32 as usize)?;
        let mut last = None;
        for (i, &clock) in waited.iter().enumerate().filter(|w| *w.1 != 0) {
            let warp = 4 * warpgroup + i as u32;
            if warp == new.warp() || judge.clocks.after_warp(judge.published, new.warp(), warp, clock) {
                return None;
            }
            last = Some(Cell::new(clock, new.block(), warp, 0, 15, false));
        }
        last
    }
}

impl Shared {
    /// Judges an asynchronous read of a chunk, as a read by `new`. `last` is a writer known to be ordered, kept from call to call.
    /// The clocks of ordinary writers are noted in `generic`, one more than they are.
    #[inline]
    pub(super) fn read_by_async(
        &mut self,
        judge: Judge,
        chunk: usize,
        new: Cell,
        last: &mut u64,
        generic: &mut [u32; 32],
    ) -> Option<Clash> {
        let words = self.words();
        let (write, _, _, loans) = self.records();
        loans.prepare(words);
        for word in words_of(chunk, words) {
            let w = loans.writer(write[word], word);
            if w == *last || w == 0 {
                continue;
            }
            let old = Cell(w);
            if w == IN_FLIGHT || judge.unordered(new, old) {
                return Some(Clash {
                    word,
                    other: old,
                    wrote: true,
                });
            }
            if loans.landed[word] == w {
                *last = w;
            } else {
                let at = &mut generic[old.warp() as usize];
                *at = (*at).max(old.clock() + 1);
            }
        }
        None
    }

    /// An operation begins to read a chunk.
    pub(super) fn lend(&mut self, chunk: usize) {
        let words = self.words();
        let (write, _, _, loans) = self.records();
        loans.prepare(words);
        loans.uses[chunk] += 1;
        if loans.uses[chunk] == 1 {
            for word in words_of(chunk, words) {
                loans.lent[word] = std::mem::replace(&mut write[word], LENT);
            }
        }
    }

    /// An operation has read a chunk: `reader` is put into the record, and `warps` as those that read.
    pub(super) fn give_back(&mut self, chunk: usize, reader: u64, warps: u32) {
        let words = self.words();
        let (write, read, readers, loans) = self.records();
        loans.uses[chunk] -= 1;
        for word in words_of(chunk, words) {
            if loans.uses[chunk] == 0 {
                write[word] = loans.lent[word];
            }
            let old = std::mem::replace(&mut read[word], reader);
            if is_group(Cell(old)) && is_group(Cell(reader)) && (old ^ reader) >> WARPGROUP != 0 {
                loans.before[word] = old;
            }
            readers[word] = warps;
        }
    }

    /// A bulk copy has written words, as a store of `cell`.
    pub(super) fn landed_in_bulk(&mut self, at: usize, n: usize, cell: Cell) {
        let words = self.words();
        self.landed(at, n, cell);
        let loans = &mut self.loans;
        loans.prepare(words);
        loans.landed[at..at + n].fill(cell.0);
    }

    fn words(&self) -> usize {
        self.bytes.div_ceil(4)
    }
}
