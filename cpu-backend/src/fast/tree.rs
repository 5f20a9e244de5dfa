//! A batch's segments as attention walks them.
//!
//! Keys and values lie in panels of NR positions, cut at multiples of NR along each path: so that a sum over positions is cut
//! alike whatever the segments are, in training and in decoding. A panel belongs to the segment of its last position; where it begins
//! among the positions of ancestors, it has copies of them.
use kernel::batch::Segment;

use super::settings::Level;

/// A lane of a panel without a row.
pub(super) const NONE: u32 = u32::MAX;

/// Some query rows of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryTile {
    pub segment: usize,
    /// First row, counted from the segment's.
    pub first: usize,
    pub rows: usize,
}

/// A segment with what attention needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub start: usize,
    pub len: usize,
    /// Position of its first row on its path.
    pub offset: usize,
    /// Its first panel.
    pub panel: usize,
    /// Its panels.
    pub panels: usize,
    /// Its ancestors from the root, and itself.
    pub path: Vec<usize>,
}

/// A batch's segments.
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) tiles: Vec<QueryTile>,
    /// The segments of each root, parents first.
    pub(super) groups: Vec<Vec<usize>>,
    /// N.
    pub(super) rows: usize,
    /// NR.
    pub(super) width: usize,
    /// The row in each lane of each panel, or [`NONE`].
    lanes: Vec<u32>,
    /// For each row, where the lanes that hold it begin in `places`; then their end.
    place_of: Vec<u32>,
    /// Lanes, counted through all panels.
    places: Vec<u32>,
}

impl Tree {
    pub(super) fn new(level: Level, segments: &[Segment]) -> Self {
        let (width, height) = level.tile();
        let mut tree = Self {
            nodes: Vec::new(),
            tiles: Vec::new(),
            groups: Vec::new(),
            rows: segments.iter().map(|s| s.start + s.len).max().unwrap_or(0),
            width,
            lanes: Vec::new(),
            place_of: Vec::new(),
            places: Vec::new(),
        };
        let mut group_of = Vec::new();
        for (i, s) in segments.iter().enumerate() {
            let (offset, mut path, group) = match s.parent {
                None => {
                    tree.groups.push(Vec::new());
                    (0, Vec::new(), tree.groups.len() - 1)
                }
                Some(p) => {
                    let parent = &tree.nodes[p];
                    (parent.offset + parent.len, parent.path.clone(), group_of[p])
                }
            };
            path.push(i);
            group_of.push(group);
            tree.groups[group].push(i);
            let first = offset / width;
            let panels = (offset + s.len).div_ceil(width) - first;
            let panel = tree.panels();
            tree.nodes.push(Node {
                start: s.start,
                len: s.len,
                offset,
                panel,
                panels,
                path,
            });
            tree.lanes.resize((panel + panels) * width, NONE);
            tree.fill(i, first * width);
            tree.tiles.extend((0..s.len).step_by(2 * height).map(|j| QueryTile {
                segment: i,
                first: j,
                rows: (2 * height).min(s.len - j),
            }));
        }
        tree.find_places();
        // The longest first, so that no thread is left alone with one at the end.
        let nodes = &tree.nodes;
        tree.tiles
            .sort_by_key(|t| core::cmp::Reverse(nodes[t.segment].offset + t.first));
        tree
    }

    /// Panels of all segments.
    pub(super) fn panels(&self) -> usize {
        self.lanes.len() / self.width
    }

    /// The rows in the lanes of a panel.
    pub(super) fn lanes(&self, panel: usize) -> &[u32] {
        &self.lanes[panel * self.width..][..self.width]
    }

    /// The lanes that hold a row, counted through all panels.
    pub(super) fn places(&self, row: usize) -> &[u32] {
        &self.places[self.place_of[row] as usize..self.place_of[row + 1] as usize]
    }

    /// Runs of positions that a row of `node` sees, in their order, when it sees `own` rows of its own segment: (first panel,
    /// positions). All but the last are whole panels.
    pub(super) fn spans<'a>(&'a self, node: &'a Node, own: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        let begin = |n: &Node| n.offset / self.width * self.width;
        node.path.iter().enumerate().map(move |(i, &n)| {
            let n = &self.nodes[n];
            let end = match node.path.get(i + 1) {
                Some(&next) => begin(&self.nodes[next]),
                None => node.offset + own,
            };
            (n.panel, end - begin(n))
        })
    }

    /// Fills the lanes of node i's panels, from the position at which they begin.
    fn fill(&mut self, i: usize, begin: usize) {
        let Self {
            nodes, lanes, width, ..
        } = self;
        let node = &nodes[i];
        let lanes = &mut lanes[node.panel * *width..];
        for n in node.path.iter().map(|&n| &nodes[n]) {
            for position in n.offset.max(begin)..n.offset + n.len {
                lanes[position - begin] = (n.start + position - n.offset) as u32;
            }
        }
    }

    fn find_places(&mut self) {
        self.place_of = vec![0; self.rows + 1];
        let rows = || self.lanes.iter().enumerate().filter(|&(_, &row)| row != NONE);
        for (_, &row) in rows() {
            self.place_of[row as usize + 1] += 1;
        }
        for i in 0..self.rows {
            self.place_of[i + 1] += self.place_of[i];
        }
        let mut next = self.place_of.clone();
        self.places = vec![0; self.place_of[self.rows] as usize];
        for (lane, &row) in rows() {
            let at = &mut next[row as usize];
            self.places[*at as usize] = lane as u32;
            *at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
