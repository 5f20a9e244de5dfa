//! The packed prefix tree as the kernels read it: lists of tiles of rows, and the spans of rows that each tile meets.
use kernel::batch::Segment;

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

/// Rows of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The kernels without tensor cores.
    R32,
    /// Keys of wide heads.
    R64,
    /// Queries, and keys of narrow heads.
    R128,
}

impl Rows {
    const ALL: [Self; 3] = [Self::R32, Self::R64, Self::R128];

    /// How many.
    pub const fn get(self) -> usize {
        32 << self as usize
    }
}

/// A batch's segments on the device.
pub struct Tree {
    rows: usize,
    /// What the addresses below lie in.
    _memory: Buffer<u32>,
    /// By `Rows`.
    queries: [Tiles; 3],
    keys: [Tiles; 3],
}

/// Tiles of queries with the keys they attend to, or of keys with the queries that attend to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    /// (start, end, first span, last span) of each.
    pub tiles: u64,
    /// (start, end) of each.
    pub spans: u64,
    /// Tiles there are.
    pub count: usize,
}

impl Tree {
    pub(crate) fn new<T: Element>(b: &Cuda<T>, segments: &[Segment]) -> Result<Self, Error> {
        let (ancestors, descendants) = (ancestors(segments), descendants(segments));
        let mut memory = Vec::new();
        let mut append = |list: List| {
            let at = memory.len();
            memory.extend(list.tiles.iter().flatten());
            let spans = memory.len();
            memory.extend(list.spans.iter().flatten());
            memory.resize(memory.len().next_multiple_of(4), 0);
            (at, spans, list.tiles.len())
        };
        let queries = Rows::ALL.map(|rows| append(List::queries(segments, &ancestors, rows.get())));
        let keys = Rows::ALL.map(|rows| append(List::keys(segments, &descendants, rows.get())));
        let memory = Buffer::copied(b, &memory)?;
        let address = |at: usize| memory.address() + (at * size_of::<u32>()) as u64;
        let tiles = |(tiles, spans, count)| Tiles {
            tiles: address(tiles),
            spans: address(spans),
            count,
        };
        let (queries, keys) = (queries.map(tiles), keys.map(tiles));
        Ok(Self {
            rows: segments.iter().map(|s| s.len).sum(),
            _memory: memory,
            queries,
            keys,
        })
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tiles of queries with the spans of keys.
    pub(super) fn queries(&self, rows: Rows) -> Tiles {
        self.queries[rows as usize]
    }

    /// Tiles of keys with the spans of queries.
    pub(super) fn keys(&self, rows: Rows) -> Tiles {
        self.keys[rows as usize]
    }
}

/// Rows start .. end.
type Span = [u32; 2];

fn span(s: &Segment) -> Span {
    [s.start as u32, (s.start + s.len) as u32]
}

/// Adds a run of rows; one that touches the last becomes part of it.
fn push(spans: &mut Vec<Span>, next: Span) {
    match spans.last_mut() {
        Some(last) if last[1] == next[0] => last[1] = next[1],
        _ => spans.push(next),
    }
}

/// For each segment the rows of its path, root first, itself last.
fn ancestors(segments: &[Segment]) -> Vec<Vec<Span>> {
    let mut paths: Vec<Vec<Span>> = Vec::with_capacity(segments.len());
    for s in segments {
        let mut path = s.parent.map(|p| paths[p].clone()).unwrap_or_default();
        push(&mut path, span(s));
        paths.push(path);
    }
    paths
}

/// For each segment its rows and those of all that descend from it, in the order of rows.
fn descendants(segments: &[Segment]) -> Vec<Vec<Span>> {
    let mut below = vec![Vec::new(); segments.len()];
    for (i, s) in segments.iter().enumerate() {
        let mut next = Some(i);
        while let Some(ancestor) = next {
            push(&mut below[ancestor], span(s));
            next = segments[ancestor].parent;
        }
    }
    below
}

/// Tiles and spans on the host.
#[derive(Debug, PartialEq, Eq)]
struct List {
    tiles: Vec<[u32; 4]>,
    spans: Vec<Span>,
}

impl List {
    fn queries(segments: &[Segment], paths: &[Vec<Span>], rows: usize) -> Self {
        Self::new(segments, paths, rows, |[start, end], tile| end.min(tile[1]) - start)
    }

    fn keys(segments: &[Segment], below: &[Vec<Span>], rows: usize) -> Self {
        Self::new(segments, below, rows, |[start, end], tile| end - start.max(tile[0]))
    }

    /// The segments in tiles of at most `rows`, those that meet most rows first: blocks start in this order, and the last
    /// ones to end should be short.
    fn new(segments: &[Segment], met: &[Vec<Span>], rows: usize, rows_met: impl Fn(Span, Span) -> u32) -> Self {
        let mut tiles = Vec::new();
        let mut spans = Vec::new();
        for (s, met) in segments.iter().zip(met) {
            let first = spans.len() as u32;
            spans.extend(met);
            let last = spans.len() as u32;
            for start in (s.start..s.start + s.len).step_by(rows) {
                let tile = [start as u32, (s.start + s.len).min(start + rows) as u32];
                let work: u32 = met.iter().map(|&span| rows_met(span, tile)).sum();
                tiles.push((work, [tile[0], tile[1], first, last]));
            }
        }
        tiles.sort_by_key(|&(work, _)| core::cmp::Reverse(work));
        Self {
            tiles: tiles.into_iter().map(|(_, tile)| tile).collect(),
            spans,
        }
    }
}

#[cfg(test)]
mod tests;
