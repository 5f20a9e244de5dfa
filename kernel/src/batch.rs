//! The batch: a packed prefix tree. No padding anywhere.
//!
//! A batch is one run of N tokens cut into segments; a segment may name an earlier one as its parent. A row attends to
//! its own segment causally and to all of its ancestors. Every operation but attention sees only rows. One layout gives
//! packing without contamination, a preference pair with its prompt computed once, and a group of completions with
//! theirs computed once, forward and backward, with exactly the gradient of the unshared computation.
//!
//! A prediction is a (row, target) pair, not a property of the row: the last row of a shared prompt predicts the first
//! token of each of its completions.
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// A run of rows `start .. start + len` that continues its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub start: usize,
    /// Rows, at least one.
    pub len: usize,
    /// An earlier segment that this one continues.
    pub parent: Option<usize>,
}

/// Why a batch could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// A segment of no tokens.
    EmptySegment,
    /// `parent` names no earlier segment.
    NoSuchParent {
        /// The number given.
        parent: usize,
        /// Segments there are.
        segments: usize,
    },
    /// A token id that the vocabulary does not have.
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// V.
        vocab: usize,
    },
    /// The first token of a sequence has nothing before it that could predict it.
    NothingBefore,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptySegment => write!(f, "batch: a segment has no tokens"),
            Self::NoSuchParent { parent, segments } => {
                write!(f, "batch: parent {parent} is not one of the {segments} segments before")
            }
            Self::TokenOutOfRange { id, vocab } => {
                write!(f, "batch: token id {id} is outside the vocabulary of {vocab}")
            }
            Self::NothingBefore => write!(f, "batch: the first token of a sequence cannot be predicted"),
        }
    }
}

impl core::error::Error for BatchError {}

/// A packed prefix tree of tokens with the predictions asked of it. Built segment by segment; each step is checked.
#[derive(Clone, Debug)]
pub struct Batch {
    vocab: usize,
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Batch {
    /// An empty batch for a model of `vocab` tokens.
    pub fn new(vocab: usize) -> Self {
        Self {
            vocab,
            ids: Vec::new(),
            positions: Vec::new(),
            segments: Vec::new(),
            rows: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Adds a segment of `tokens` after `parent` (or a root); its positions follow the parent's. Returns its number.
    pub fn segment(&mut self, parent: Option<usize>, tokens: &[u32]) -> Result<usize, BatchError> {
        if tokens.is_empty() {
            return Err(BatchError::EmptySegment);
        }
        self.check_tokens(tokens)?;
        let first = match parent {
            None => 0,
            Some(p) => self.last_row(p)?.map_or(0, |row| self.positions[row as usize] + 1),
        };
        self.segments.push(Segment {
            start: self.ids.len(),
            len: tokens.len(),
            parent,
        });
        self.ids.extend_from_slice(tokens);
        self.positions.extend((first..).take(tokens.len()));
        Ok(self.segments.len() - 1)
    }

    /// Asks for the prediction of every token of `tokens` as the continuation of `parent`: of all but the first where
    /// there is no parent. The last token needs no row of its own. Returns the numbers of the predictions.
    pub fn completion(&mut self, parent: Option<usize>, tokens: &[u32]) -> Result<Range<usize>, BatchError> {
        self.check_tokens(tokens)?;
        let begin = self.rows.len();
        if let (Some(p), Some(&first)) = (parent, tokens.first()) {
            let row = self.last_row(p)?.ok_or(BatchError::NothingBefore)?;
            self.rows.push(row);
            self.targets.push(first);
        }
        if tokens.len() > 1 {
            let start = self.ids.len() as u32;
            self.segment(parent, &tokens[..tokens.len() - 1])?;
            self.rows.extend((start..).take(tokens.len() - 1));
            self.targets.extend_from_slice(&tokens[1..]);
        }
        Ok(begin..self.rows.len())
    }

    /// Adds one sequence with a mask on its tokens, and asks for the prediction of each token whose mask is true; a
    /// token with nothing before it is never asked for. Rows after the last prediction are left out. Returns the numbers
    /// of the predictions, in the order of tokens.
    pub fn sequence(&mut self, tokens: &[u32], mask: impl Fn(usize) -> bool) -> Result<Range<usize>, BatchError> {
        self.check_tokens(tokens)?;
        let begin = self.rows.len();
        let start = self.ids.len() as u32;
        let Some(last) = (1..tokens.len()).rev().find(|&t| mask(t)) else {
            return Ok(begin..begin);
        };
        self.segment(None, &tokens[..last])?;
        for t in (1..=last).filter(|&t| mask(t)) {
            self.rows.push(start + t as u32 - 1);
            self.targets.push(tokens[t]);
        }
        Ok(begin..self.rows.len())
    }

    /// The last row of a segment.
    fn last_row(&self, segment: usize) -> Result<Option<u32>, BatchError> {
        let s = self.segments.get(segment).ok_or(BatchError::NoSuchParent {
            parent: segment,
            segments: self.segments.len(),
        })?;
        Ok((s.start + s.len).checked_sub(1).map(|row| row as u32))
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), BatchError> {
        match tokens.iter().find(|&&id| id as usize >= self.vocab) {
            Some(&id) => Err(BatchError::TokenOutOfRange { id, vocab: self.vocab }),
            None => Ok(()),
        }
    }

    /// N, rows of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// P, predictions.
    pub fn predictions(&self) -> usize {
        self.rows.len()
    }

    /// Token ids (N).
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Positions (N): distance from the root of the row's path.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The segments, parents before children.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The row each prediction is made from (P).
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The token each prediction is asked about (P).
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }
}

#[cfg(test)]
mod tests;
