//! Shared memory of a block and its shadows.

use super::cell::{BYTES, CLOCK, Cell, IN_FLIGHT, LANE, STRONG, WARP, WHO};
use super::loans::{self, LENT, Loans};
use super::pieces::Pieces;
use super::race::{Clash, Judge, LANES, Run, overwritten};
use super::worker::lanes;

/// Poison of memory that nothing has written.
const POISON: u64 = 0xcbcb_cbcb_cbcb_cbcb;

/// Shared memory.
pub struct Shared {
    /// Bytes the kernel may use.
    pub bytes: usize,
    data: Vec<u64>,
    /// One byte for each byte: 0xff where it was written.
    init: Vec<u64>,
    write: Vec<u64>,
    read: Vec<u64>,
    /// Which warps read a word, since the last barrier of all warps.
    readers: Vec<u32>,
    pieces: Pieces,
    /// What bulk copies and wgmma do to the memory.
    pub(super) loans: Loans,
}

impl Shared {
    /// Of that size.
    pub fn new(bytes: usize, race: bool) -> Shared {
        let words = if race { bytes.div_ceil(4) } else { 0 };
        let long = bytes.div_ceil(8);
        Shared {
            bytes,
            data: vec![POISON; long],
            init: vec![0; long],
            write: vec![0; words],
            read: vec![0; words],
            readers: vec![0; words],
            pieces: Pieces::default(),
            loans: Loans::default(),
        }
    }

    /// Begins a block.
    pub fn start(&mut self) {
        self.data.fill(POISON);
        self.init.fill(0);
        self.write.fill(0);
        self.read.fill(0);
        self.readers.fill(0);
        self.pieces.clear();
        self.loans.start();
    }

    /// The content.
    #[inline(always)]
    pub fn data(&mut self) -> *mut u8 {
        self.data.as_mut_ptr().cast()
    }

    /// The record of what is initialised.
    #[inline(always)]
    pub fn init(&mut self) -> *mut u8 {
        self.init.as_mut_ptr().cast()
    }

    /// Records and judges a load of `n` words from word `at`.
    #[inline]
    pub fn loaded(&mut self, judge: Judge, at: usize, n: usize, run: Run) -> Option<Clash> {
        let write = &self.write[at..at + n];
        let read = &mut self.read[at..at + n];
        let readers = &mut self.readers[at..at + n];
        // Cells from before the last barrier of all warps are smaller.
        let key = u64::from(judge.clocks.floor) << CLOCK;
        if write.iter().fold(false, |bad, &w| bad | (w >= key)) {
            for (j, &w) in write.iter().enumerate() {
                let w = self.loans.writer(w, at + j);
                let new = Cell(run.cell(j));
                if w >= key && (w == IN_FLIGHT || judge.unordered(new, Cell(w))) {
                    return Some(Clash {
                        word: j,
                        other: Cell(w),
                        wrote: true,
                    });
                }
                if let Some(other) = self.pieces.unordered(judge, (at + j) as u64, Cell(w), new, key) {
                    return Some(Clash {
                        word: j,
                        other,
                        wrote: true,
                    });
                }
            }
        }
        let bit = 1 << run.first.warp();
        for (j, (r, mask)) in read.iter_mut().zip(readers).enumerate() {
            (*r, *mask) = reader(*r, run.cell(j), *mask, bit, key);
        }
        None
    }

    /// Records and judges a store.
    #[inline]
    pub fn stored(&mut self, judge: Judge, at: usize, n: usize, run: Run) -> Option<Clash> {
        let write = &mut self.write[at..at + n];
        let read = &mut self.read[at..at + n];
        let readers = &mut self.readers[at..at + n];
        let key = u64::from(judge.clocks.floor) << CLOCK;
        let quiet = write
            .iter()
            .zip(read.iter())
            .fold(true, |quiet, (&w, &r)| quiet & (w < key) & (r < key));
        if quiet && run.first.bytes() == 15 {
            for (j, w) in write.iter_mut().enumerate() {
                *w = run.cell(j);
            }
            return None;
        }
        for (j, w) in write.iter_mut().enumerate() {
            let (new, old) = (Cell(run.cell(j)), Cell(read[j]));
            if *w >= key && (*w >= LENT || judge.unordered(new, Cell(*w))) {
                return Some(Clash {
                    word: j,
                    other: Cell(*w),
                    wrote: true,
                });
            }
            if old.0 >= key
                && let Some(other) = if loans::is_group(old) {
                    self.loans.racing_group(judge, new, old, at + j)
                } else {
                    racing_reader(judge, new, old, readers[j])
                }
            {
                return Some(Clash {
                    word: j,
                    other,
                    wrote: false,
                });
            }
            let word = (at + j) as u64;
            if let Some(other) = self.pieces.unordered(judge, word, Cell(*w), new, key) {
                return Some(Clash {
                    word: j,
                    other,
                    wrote: true,
                });
            }
            *w = if *w >= key {
                self.pieces.write(judge, word, Cell(*w), new).0
            } else {
                new.0
            };
            read[j] = overwritten(old, new).0;
        }
        None
    }

    /// Records loads of `W` words by each lane of the mask, at aligned places inside the memory, if all that was written there
    /// came before the last barrier of all warps: the usual case. Otherwise false, and the lanes are to be judged one by one.
    #[inline]
    pub fn loaded_quietly<const W: usize>(&mut self, floor: u32, first: Cell, mask: u32, at: &[u64; 32]) -> bool {
        let key = u64::from(floor) << CLOCK;
        let bit = 1 << first.warp();
        for lane in lanes(mask) {
            let word = (at[lane] / 4) as usize;
            let Ok(write) = <&[u64; W]>::try_from(&self.write[word..word + W]) else {
                return false;
            };
            if write.iter().fold(false, |bad, &w| bad | (w >= key)) {
                return false;
            }
            let new = first.0 + ((lane as u64) << LANE);
            let Ok(read) = <&mut [u64; W]>::try_from(&mut self.read[word..word + W]) else {
                return false;
            };
            let Ok(readers) = <&mut [u32; W]>::try_from(&mut self.readers[word..word + W]) else {
                return false;
            };
            for (r, mask) in read.iter_mut().zip(readers) {
                (*r, *mask) = reader(*r, new, *mask, bit, key);
            }
        }
        true
    }

    /// The same for the destinations of copies, which are in flight then.
    #[inline]
    pub fn claimed_quietly(&mut self, floor: u32, bytes: usize, mask: u32, at: &[u64; 32]) -> bool {
        let key = u64::from(floor) << CLOCK;
        let words = |lane: usize| (at[lane] / 4) as usize..at[lane] as usize / 4 + bytes / 4;
        for lane in lanes(mask) {
            let (write, read) = (&mut self.write[words(lane)], &self.read[words(lane)]);
            if write
                .iter()
                .zip(read)
                .fold(false, |bad, (&w, &r)| bad | (w >= key) | (r >= key))
            {
                // What was there came before the barrier: it may as well be forgotten.
                for before in lanes(mask).take_while(|&l| l < lane) {
                    self.write[words(before)].fill(0);
                }
                return false;
            }
            write.fill(IN_FLIGHT);
        }
        true
    }

    /// Whether accesses are recorded.
    pub(super) fn is_judged(&self) -> bool {
        !self.write.is_empty()
    }

    /// The records of who wrote and read words, and which warps read them.
    pub(super) fn records(&mut self) -> (&mut [u64], &mut [u64], &mut [u32], &mut Loans) {
        (&mut self.write, &mut self.read, &mut self.readers, &mut self.loans)
    }

    /// Marks words as the destination of a copy in flight.
    pub fn in_flight(&mut self, at: usize, n: usize) {
        if !self.write.is_empty() {
            self.write[at..at + n].fill(IN_FLIGHT);
        }
    }

    /// The copy is done, and was a store of `cell`.
    pub fn landed(&mut self, at: usize, n: usize, cell: Cell) {
        if !self.write.is_empty() {
            self.write[at..at + n].fill(cell.0);
            self.read[at..at + n].fill(0);
        }
    }
}

/// The last reader of a word and the warps that read it since the last barrier of all warps, after one more read.
#[inline(always)]
fn reader(old: u64, new: u64, readers: u32, bit: u32, key: u64) -> (u64, u32) {
    let joins = old >= key && (old ^ new) & (BYTES | STRONG) == 0;
    // Another lane of the warp at the same clock.
    let several = joins && (old ^ new) >> WARP == 0 && (old ^ new) & (31 << LANE | 7 << WHO) != 0;
    (
        new | if several { LANES } else { 0 },
        if joins { readers } else { 0 } | bit,
    )
}

/// Of the warps that read a word since the last barrier of all warps, one that the write is not ordered behind.
fn racing_reader(judge: Judge, new: Cell, old: Cell, readers: u32) -> Option<Cell> {
    if !old.conflicts(new) {
        return None;
    }
    let c = judge.clocks;
    let me = new.warp();
    if old.warp() == me {
        if judge.unordered(new, old) {
            return Some(old);
        }
    } else if !c.after_warp(judge.published, me, old.warp(), old.clock()) {
        return Some(old);
    }
    // Of the others it is only known that they read since then.
    let mut others = readers & !(1 << me) & !(1 << old.warp());
    while others != 0 {
        let q = others.trailing_zeros();
        others &= others - 1;
        if c.seen(me, q) <= c.floor && !c.knows_others(me) {
            return Some(Cell::new(old.clock(), old.block(), q, 0, old.bytes(), old.strong()));
        }
    }
    None
}
