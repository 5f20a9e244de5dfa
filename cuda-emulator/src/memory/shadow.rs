//! The race shadow of device memory, and which sectors were touched: what one host thread has for itself.

use super::cell::{Cell, THREAD};
use super::pieces::Pieces;
use super::race::{Clash, Judge, Run, overwritten};

/// Words of a page of the shadow (4 KB of memory).
const WORDS: usize = 1024;

/// The last writer and the readers of each word.
struct Page {
    launch: u32,
    write: [u64; WORDS],
    read: [u64; WORDS],
}

/// For one allocation.
#[derive(Default)]
struct Part {
    pages: Vec<Option<Box<Page>>>,
    loaded: Vec<u64>,
    stored: Vec<u64>,
    touched: bool,
}

/// For all allocations, by number.
#[derive(Default)]
pub struct Shadow {
    launch: u32,
    parts: Vec<Part>,
    touched: Vec<u32>,
    pieces: Pieces,
}

/// The name of a word among the pieces.
fn name(slab: usize, word: usize) -> u64 {
    (slab as u64) << 40 | word as u64
}

impl Page {
    fn new() -> Box<Page> {
        Box::new(Page {
            launch: 0,
            write: [0; WORDS],
            read: [0; WORDS],
        })
    }
}

impl Shadow {
    /// Begins a launch: everything before it is ordered. `live` says which allocations are.
    pub fn start(&mut self, allocations: usize, live: impl Fn(usize) -> bool) {
        self.launch += 1;
        self.pieces.clear();
        self.parts.resize_with(allocations, Part::default);
        for (i, p) in self
            .parts
            .iter_mut()
            .enumerate()
            .filter(|(_, p)| !p.loaded.is_empty() || !p.pages.is_empty())
        {
            if !live(i) {
                *p = Part::default();
            }
        }
    }

    /// Marks the sectors of a range.
    #[inline]
    pub fn touch(&mut self, slab: usize, first: u64, last: u64, store: bool) {
        let part = &mut self.parts[slab];
        if !part.touched {
            part.touched = true;
            self.touched.push(slab as u32);
        }
        let bits = if store { &mut part.stored } else { &mut part.loaded };
        let (from, to) = ((first >> 6) as usize, (last >> 6) as usize);
        if to >= bits.len() {
            bits.resize((to + 1).next_power_of_two(), 0);
        }
        let ones = |n: u64| if n == 64 { u64::MAX } else { (1 << n) - 1 };
        if from == to {
            bits[from] |= ones(last - first + 1) << (first & 63);
        } else {
            bits[from] |= u64::MAX << (first & 63);
            bits[to] |= ones((last & 63) + 1);
            bits[from + 1..to].fill(u64::MAX);
        }
    }

    /// How many sectors were loaded and stored by any of these, which are wiped.
    pub fn distinct(shadows: &mut [Shadow]) -> (u64, u64) {
        let mut count = (0, 0);
        for k in 0..shadows.len() {
            let (mine, rest) = shadows[k..].split_at_mut(1);
            for slab in std::mem::take(&mut mine[0].touched) {
                let part = &mut mine[0].parts[slab as usize];
                for other in rest
                    .iter_mut()
                    .filter_map(|s| s.parts.get_mut(slab as usize))
                    .filter(|p| p.touched)
                {
                    merge(&mut part.loaded, &mut other.loaded);
                    merge(&mut part.stored, &mut other.stored);
                }
                part.touched = false;
                count.0 += take_ones(&mut part.loaded);
                count.1 += take_ones(&mut part.stored);
            }
        }
        count
    }

    /// A page, wiped if it is of an earlier launch.
    #[inline]
    fn page(&mut self, slab: usize, page: usize) -> &mut Page {
        let pages = &mut self.parts[slab].pages;
        if page >= pages.len() {
            pages.resize_with((page + 1).next_power_of_two(), || None);
        }
        let p = pages[page].get_or_insert_with(Page::new);
        if p.launch != self.launch {
            p.launch = self.launch;
            p.write.fill(0);
            p.read.fill(0);
        }
        p
    }

    /// Records and judges an access to `n` words from word `at` of an allocation.
    #[inline]
    pub fn access(&mut self, judge: Judge, slab: usize, at: usize, n: usize, run: Run, store: bool) -> Option<Clash> {
        let mut done = 0;
        while done < n {
            let word = at + done;
            let from = word % WORDS;
            let count = (n - done).min(WORDS - from);
            let mut pieces = std::mem::take(&mut self.pieces);
            let p = self.page(slab, word / WORDS);
            let (write, read) = (&mut p.write[from..from + count], &mut p.read[from..from + count]);
            let part = Run {
                first: Cell(run.cell(done)),
                ..run
            };
            let names = name(slab, word);
            let clash = if store {
                stored(judge, write, read, part, &mut pieces, names)
            } else {
                loaded(judge, write, read, part, &pieces, names)
            };
            self.pieces = pieces;
            if let Some(c) = clash {
                return Some(Clash {
                    word: c.word + done,
                    ..c
                });
            }
            done += count;
        }
        None
    }

    /// The first of these words that was written in this launch, and by whom.
    pub fn writer(&self, slab: usize, words: std::ops::Range<usize>) -> Option<(usize, Cell)> {
        let pages = &self.parts.get(slab)?.pages;
        words.into_iter().find_map(|word| {
            let page = pages.get(word / WORDS)?.as_ref().filter(|p| p.launch == self.launch)?;
            let cell = Cell(page.write[word % WORDS]);
            (cell.0 != 0).then_some((word, cell))
        })
    }

    /// Who wrote and who read a word in this launch.
    fn cells(&self, slab: usize, word: usize) -> (Vec<Cell>, Cell) {
        let page = self.parts.get(slab).and_then(|p| p.pages.get(word / WORDS)?.as_ref());
        let Some(page) = page.filter(|p| p.launch == self.launch) else {
            return (Vec::new(), Cell(0));
        };
        let mut writers = self.pieces.of(name(slab, word)).to_vec();
        writers.push(Cell(page.write[word % WORDS]));
        (writers, Cell(page.read[word % WORDS]))
    }

    /// As [`Shadow::conflict`], of words that several threads of one of the two wrote in parts.
    fn conflict_of_pieces(&self, other: &Shadow) -> Option<(usize, usize, Cell, Cell, bool)> {
        let words = self.pieces.iter().chain(other.pieces.iter()).map(|(word, _)| word);
        words.into_iter().find_map(|word| {
            let (slab, word) = ((word >> 40) as usize, (word & ((1 << 40) - 1)) as usize);
            let ((mine, my_read), (theirs, their_read)) = (self.cells(slab, word), other.cells(slab, word));
            let writes = mine.iter().flat_map(|&x| theirs.iter().map(move |&y| (x, y, true)));
            let reads = mine.iter().map(|&x| (x, their_read, true));
            let read = theirs.iter().map(|&y| (my_read, y, false));
            let found = writes.chain(reads).chain(read).find(|(x, y, _)| x.conflicts(*y));
            found.map(|(x, y, wrote)| (slab, word, x, y, wrote))
        })
    }

    /// Places that both touched and one wrote: allocation, word, and the cells of `self` and the other.
    pub fn conflict(&self, other: &Shadow) -> Option<(usize, usize, Cell, Cell, bool)> {
        for (slab, (a, b)) in self.parts.iter().zip(&other.parts).enumerate() {
            for (page, (p, q)) in a.pages.iter().zip(&b.pages).enumerate() {
                let (Some(p), Some(q)) = (p, q) else { continue };
                if p.launch != self.launch || q.launch != other.launch {
                    continue;
                }
                for i in 0..WORDS {
                    let (pw, qw, pr, qr) = (Cell(p.write[i]), Cell(q.write[i]), Cell(p.read[i]), Cell(q.read[i]));
                    for (x, y, wrote) in [(pw, qw, true), (pw, qr, true), (pr, qw, false)] {
                        if x.conflicts(y) {
                            return Some((slab, page * WORDS + i, x, y, wrote));
                        }
                    }
                }
            }
        }
        self.conflict_of_pieces(other)
    }
}

fn merge(to: &mut Vec<u64>, from: &mut [u64]) {
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    for (t, f) in to.iter_mut().zip(from) {
        *t |= std::mem::take(f);
    }
}

fn take_ones(bits: &mut [u64]) -> u64 {
    bits.iter_mut().map(|b| u64::from(std::mem::take(b).count_ones())).sum()
}

#[inline]
fn loaded(judge: Judge, write: &[u64], read: &mut [u64], run: Run, pieces: &Pieces, names: u64) -> Option<Clash> {
    let mut any = 0;
    for (w, r) in write.iter().zip(read.iter()) {
        any |= w | r;
    }
    if any == 0 {
        for (j, r) in read.iter_mut().enumerate() {
            *r = run.cell(j);
        }
        return None;
    }
    for (j, (w, r)) in write.iter().zip(read.iter_mut()).enumerate() {
        let new = Cell(run.cell(j));
        if (w ^ new.0) & THREAD != 0 && judge.unordered(new, Cell(*w)) {
            return Some(Clash {
                word: j,
                other: Cell(*w),
                wrote: true,
            });
        }
        if let Some(other) = pieces.unordered(judge, names + j as u64, Cell(*w), new, 1) {
            return Some(Clash {
                word: j,
                other,
                wrote: true,
            });
        }
        *r = judge.readers(Cell(*r), new).0;
    }
    None
}

#[inline]
fn stored(
    judge: Judge,
    write: &mut [u64],
    read: &mut [u64],
    run: Run,
    pieces: &mut Pieces,
    names: u64,
) -> Option<Clash> {
    let mut other = 0;
    if run.first.bytes() == 15 {
        for (j, (w, r)) in write.iter().zip(read.iter()).enumerate() {
            // No one, or the same thread.
            let of = |cell: u64| if cell == 0 { 0 } else { (cell ^ run.cell(j)) & THREAD };
            other |= of(*w) | of(*r);
        }
    }
    if other == 0 && run.first.bytes() == 15 && pieces.is_empty() {
        for (j, (w, r)) in write.iter_mut().zip(read.iter_mut()).enumerate() {
            *w = run.cell(j);
            *r = 0;
        }
        return None;
    }
    for (j, (w, r)) in write.iter_mut().zip(read.iter_mut()).enumerate() {
        let new = Cell(run.cell(j));
        if judge.unordered(new, Cell(*w)) {
            return Some(Clash {
                word: j,
                other: Cell(*w),
                wrote: true,
            });
        }
        if judge.races_with_readers(new, Cell(*r)) {
            return Some(Clash {
                word: j,
                other: Cell(*r),
                wrote: false,
            });
        }
        if let Some(other) = pieces.unordered(judge, names + j as u64, Cell(*w), new, 1) {
            return Some(Clash {
                word: j,
                other,
                wrote: true,
            });
        }
        *w = pieces.write(judge, names + j as u64, Cell(*w), new).0;
        *r = overwritten(Cell(*r), new).0;
    }
    None
}
