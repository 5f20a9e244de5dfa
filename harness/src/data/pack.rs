//! Packing samples into training sequences and cutting those that are too long, as TRL does; on lengths, so that
//! it knows no tokenizer.
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

#[cfg(test)]
mod tests;

/// TRL's `packing_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Best fit decreasing; of a sample that is too long the start is kept.
    #[default]
    Bfd,
    /// Best fit decreasing; a sample that is too long is split into several.
    BfdSplit,
    /// One stream of tokens cut every `max_length`, through samples.
    Wrapped,
}

/// TRL's `truncation_mode`: which part of a sample that is too long is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationMode {
    /// Its start.
    #[default]
    KeepStart,
    /// Its end.
    KeepEnd,
}

/// A part of a sample in a packed sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which sample.
    pub sample: usize,
    /// Which of its tokens.
    pub tokens: Range<usize>,
}

/// What was cut off, to be said and logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncation {
    /// Samples longer than the limit.
    pub samples: usize,
    /// Tokens lost from them.
    pub tokens: usize,
}

impl Truncation {
    /// One line for the log, where something was cut.
    pub fn warning(&self, max_length: usize) -> Option<String> {
        let (samples, tokens) = (self.samples, self.tokens);
        (samples > 0).then(|| {
            format!(
                "{samples} samples are longer than max_length = {max_length} and were cut; {tokens} tokens are lost"
            )
        })
    }
}

/// Which tokens of each sample are kept, and what that loses.
pub fn truncate(lengths: &[usize], max_length: usize, mode: TruncationMode) -> (Vec<Range<usize>>, Truncation) {
    let mut cut = Truncation::default();
    let kept = lengths.iter().map(|&len| {
        let over = len.saturating_sub(max_length);
        cut.samples += usize::from(over > 0);
        cut.tokens += over;
        match mode {
            TruncationMode::KeepStart => 0..len - over,
            TruncationMode::KeepEnd => over..len,
        }
    });
    (kept.collect(), cut)
}

/// Packs samples of the given lengths into sequences of at most `max_length` tokens: the sequences, in order, each with its
/// pieces in order, and what was cut (only by [`Strategy::Bfd`]). Empty samples are left out. The result is TRL's `pack_dataset` on
/// one batch; TRL packs every 1,000 rows apart, here all at once, so it may need fewer sequences.
///
/// # Panics
/// When `max_length` is 0.
pub fn pack(lengths: &[usize], max_length: usize, strategy: Strategy) -> (Vec<Vec<Piece>>, Truncation) {
    assert!(max_length > 0, "pack: max_length is 0");
    let whole = lengths
        .iter()
        .enumerate()
        .map(|(sample, &len)| Piece { sample, tokens: 0..len });
    let whole = whole.filter(|piece| !piece.tokens.is_empty());
    match strategy {
        Strategy::Bfd => {
            let (kept, cut) = truncate(lengths, max_length, TruncationMode::KeepStart);
            let pieces = whole.map(|piece| Piece {
                tokens: kept[piece.sample].clone(),
                ..piece
            });
            (best_fit_decreasing(pieces.collect(), max_length), cut)
        }
        Strategy::BfdSplit => {
            let parts = whole.flat_map(|Piece { sample, tokens }| {
                let part = move |start| Piece {
                    sample,
                    tokens: start..tokens.end.min(start + max_length),
                };
                (0..tokens.end).step_by(max_length).map(part)
            });
            (best_fit_decreasing(parts.collect(), max_length), Truncation::default())
        }
        Strategy::Wrapped => (wrapped(whole, max_length), Truncation::default()),
    }
}

/// Longest first (a stable sort), each into the fullest sequence it fits in; of equally full ones, the one that became so first.
fn best_fit_decreasing(mut pieces: Vec<Piece>, max_length: usize) -> Vec<Vec<Piece>> {
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.tokens.len()));
    let mut bins: Vec<Vec<Piece>> = Vec::new();
    let mut by_space: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for piece in pieces {
        let len = piece.tokens.len();
        let best = by_space
            .range_mut(len..)
            .next()
            .and_then(|(space, queue)| Some((*space, queue.pop_front()?, queue.is_empty())));
        let (space, bin) = match best {
            Some((space, bin, last)) => {
                if last {
                    by_space.remove(&space);
                }
                (space, bin)
            }
            None => {
                bins.push(Vec::new());
                (max_length, bins.len() - 1)
            }
        };
        bins[bin].push(piece);
        if space > len {
            by_space.entry(space - len).or_default().push_back(bin);
        }
    }
    bins
}

fn wrapped(pieces: impl Iterator<Item = Piece>, max_length: usize) -> Vec<Vec<Piece>> {
    let mut bins: Vec<Vec<Piece>> = Vec::new();
    let mut space = 0;
    for Piece { sample, tokens } in pieces {
        let mut start = tokens.start;
        while start < tokens.end {
            if space == 0 {
                bins.push(Vec::new());
                space = max_length;
            }
            let end = tokens.end.min(start + space);
            if let Some(bin) = bins.last_mut() {
                bin.push(Piece {
                    sample,
                    tokens: start..end,
                });
            }
            space -= end - start;
            start = end;
        }
    }
    bins
}
