//! Writers of parts of words, beside the last one: a cell holds one thread, and threads that write the bytes of a word one by one are several.

use super::cell::Cell;
use super::race::Judge;
use std::collections::BTreeMap;

/// For words that several threads wrote in parts: those of earlier ones that nobody has overwritten since.
#[derive(Default)]
pub struct Pieces(BTreeMap<u64, Vec<Cell>>);

impl Pieces {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there are none anywhere.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An earlier writer of a part of the word, whose last writer is `last`, that nothing orders before a new access. Cells below `key` are.
    #[inline]
    pub fn unordered(&self, judge: Judge, word: u64, last: Cell, new: Cell, key: u64) -> Option<Cell> {
        if self.0.is_empty() || matches!(last.bytes(), 0 | 15) {
            return None;
        }
        let found = self.0.get(&word)?;
        found.iter().copied().find(|&c| c.0 >= key && judge.unordered(new, c))
    }

    /// A write of the word, whose last writer was `last`, by `new`. Returns the cell of its last writer now.
    #[inline]
    pub fn write(&mut self, judge: Judge, word: u64, last: Cell, new: Cell) -> Cell {
        if new.bytes() == 15 {
            if !self.0.is_empty() && last.bytes() != 15 {
                self.0.remove(&word);
            }
            return new;
        }
        match judge.writer(last, new) {
            Some(cell) => cell,
            None => {
                self.put_aside(word, last, new);
                new
            }
        }
    }

    /// Keeps what `new` leaves of `last`.
    #[cold]
    fn put_aside(&mut self, word: u64, last: Cell, new: Cell) {
        let list = self.0.entry(word).or_default();
        // Of a word that was whole nothing else was left.
        if last.bytes() == 15 {
            list.clear();
        }
        list.push(last);
        list.retain_mut(|c| {
            *c = c.with_bytes(c.bytes() & !new.bytes());
            c.bytes() != 0
        });
        if list.is_empty() {
            self.0.remove(&word);
        }
    }

    /// All of them, by word.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[Cell])> {
        self.0.iter().map(|(word, list)| (*word, list.as_slice()))
    }

    /// Those of a word.
    pub fn of(&self, word: u64) -> &[Cell] {
        self.0.get(&word).map_or(&[], Vec::as_slice)
    }
}
