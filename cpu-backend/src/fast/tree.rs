//! A batch's segments as attention walks them.
use kernel::batch::Segment;

use super::settings::Level;

/// A run of up to NR keys of one segment: a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

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
    /// Its first panel of keys.
    pub panel: usize,
    /// Its ancestors from the root, and itself.
    pub path: Vec<usize>,
}

/// A batch's segments.
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) blocks: Vec<Block>,
    pub(super) tiles: Vec<QueryTile>,
    /// The segments of each root, parents first.
    pub(super) groups: Vec<Vec<usize>>,
    /// N.
    pub(super) rows: usize,
}

impl Tree {
    pub(super) fn new(level: Level, segments: &[Segment]) -> Self {
        let (width, height) = level.tile();
        let mut tree = Self {
            nodes: Vec::new(),
            blocks: Vec::new(),
            tiles: Vec::new(),
            groups: Vec::new(),
            rows: segments.iter().map(|s| s.start + s.len).max().unwrap_or(0),
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
            tree.nodes.push(Node {
                start: s.start,
                len: s.len,
                offset,
                panel: tree.blocks.len(),
                path,
            });
            tree.blocks.extend((0..s.len).step_by(width).map(|j| Block {
                start: s.start + j,
                len: width.min(s.len - j),
            }));
            tree.tiles.extend((0..s.len).step_by(2 * height).map(|j| QueryTile {
                segment: i,
                first: j,
                rows: (2 * height).min(s.len - j),
            }));
        }
        // The longest first, so that no thread is left alone with one at the end.
        let nodes = &tree.nodes;
        tree.tiles
            .sort_by_key(|t| core::cmp::Reverse(nodes[t.segment].offset + t.first));
        tree
    }

    /// Runs of keys that a row of `node` sees, in the order of positions, when it sees `own` rows of its own segment:
    /// (the run's node, rows).
    pub(super) fn spans<'a>(&'a self, node: &'a Node, own: usize) -> impl Iterator<Item = (&'a Node, usize)> + Clone {
        let last = node.path.len() - 1;
        node.path.iter().enumerate().map(move |(i, &n)| {
            let n = &self.nodes[n];
            (n, if i == last { own } else { n.len })
        })
    }
}
