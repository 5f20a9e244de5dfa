//! Attention over packed sequences and prefix trees.
use kernel::backend::Heads;
use kernel::batch::Segment;

use super::Sizes;
use crate::case::{Call, Case, Kind};
use crate::host::{Host, Rng};

/// Segments from their (length, parent), one after the other.
pub fn segments(parts: &[(usize, Option<usize>)]) -> Vec<Segment> {
    let mut start = 0;
    let place = |&(len, parent): &(usize, Option<usize>)| {
        start += len;
        Segment {
            start: start - len,
            len,
            parent,
        }
    };
    parts.iter().map(place).collect()
}

/// Sizes of attention.
pub fn heads(heads: usize, kv_heads: usize, head_dim: usize) -> Heads {
    Heads {
        heads,
        kv_heads,
        head_dim,
    }
}

type Tree = &'static [(usize, Option<usize>)];

/// A shared prompt with siblings, one of them a single row, and a stranger.
const SHARED: Tree = &[(5, None), (3, Some(0)), (1, Some(0)), (2, None), (4, Some(0))];
/// A path of four segments with a stranger between.
const NESTED: Tree = &[
    (2, None),
    (1, Some(0)),
    (3, None),
    (2, Some(1)),
    (1, Some(3)),
    (2, Some(0)),
];
/// The same beyond a tile.
const LONG: Tree = &[
    (70, None),
    (66, Some(0)),
    (5, Some(0)),
    (1, Some(1)),
    (33, None),
    (40, Some(1)),
    (1, Some(4)),
];

/// One row beyond the largest tile, in a segment and its child, and a grandchild.
const BEYOND: Tree = &[(129, None), (130, Some(0)), (2, Some(1))];

/// Cases of attention, in training and in decoding.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    let list: Vec<(Tree, Heads)> = match sizes {
        Sizes::Small => vec![
            (&[(4, None)], heads(1, 1, 2)),
            (SHARED, heads(2, 1, 4)),
            (NESTED, heads(4, 2, 2)),
        ],
        Sizes::Full => vec![
            (&[(1, None)], heads(1, 1, 8)),
            (&[(2, None)], heads(3, 1, 16)),
            (&[(7, None)], heads(2, 2, 10)),
            (&[(31, None)], heads(4, 2, 32)),
            (&[(64, None)], heads(2, 1, 64)),
            (&[(65, None)], heads(2, 1, 24)),
            (&[(150, None)], heads(3, 1, 64)),
            (&[(1, None), (1, None), (1, None)], heads(2, 1, 8)),
            (&[(3, None), (1, None), (64, None), (17, None)], heads(4, 2, 80)),
            (SHARED, heads(2, 1, 8)),
            (SHARED, heads(14, 2, 64)),
            (NESTED, heads(4, 4, 16)),
            (NESTED, heads(9, 3, 64)),
            (LONG, heads(6, 2, 128)),
            (LONG, heads(4, 1, 96)),
            (BEYOND, heads(2, 1, 40)),
            (BEYOND, heads(1, 1, 104)),
        ],
    };
    let mut cases: Vec<Case> = list.iter().flat_map(|&(tree, heads)| of(tree, heads)).collect();
    if sizes == Sizes::Full {
        cases.extend(sharp());
    }
    cases
}

fn of(tree: Tree, heads: Heads) -> Vec<Case> {
    let parts: Vec<String> = tree
        .iter()
        .map(|(n, parent)| parent.map_or(format!("{n}"), |p| format!("{n}<{p}")))
        .collect();
    let label = format!(
        "{} of {} heads {}x{}",
        parts.join(" "),
        heads.heads,
        heads.kv_heads,
        heads.head_dim
    );
    let mut rng = Rng::new(&label);
    let segments = segments(tree);
    let n = tree.iter().map(|t| t.0).sum();
    let [q, k, v] = [heads.heads, heads.kv_heads, heads.kv_heads].map(|h| rng.matrix(n, h * heads.head_dim));
    both(&label, segments, heads, [q, k, v])
}

/// Scores of +-64, exact in every precision: the softmax all but picks one key, and e^s overflows unless the maximum is
/// taken off.
fn sharp() -> Vec<Case> {
    let heads = heads(2, 1, 16);
    let mut rng = Rng::new("sharp");
    let mut sign = |x: &mut f64| *x = if rng.uniform() < 0.5 { -4.0 } else { 4.0 };
    let [mut q, mut k, v] = [2, 1, 1].map(|h| Rng::new("sharp values").matrix(40, h * 16));
    q.data.iter_mut().chain(&mut k.data).for_each(&mut sign);
    both("sharp", segments(&[(33, None), (7, Some(0))]), heads, [q, k, v])
}

fn both(label: &str, segments: Vec<Segment>, heads: Heads, qkv: [Host; 3]) -> Vec<Case> {
    let n = qkv[0].rows;
    let attention = Call::Attention {
        segments: segments.clone(),
        heads,
    };
    let decode = Call::AttentionDecode { segments, heads };
    let case = |call| {
        let case = Case::new(call, label);
        let named = ["q", "k", "v"].into_iter().zip(&qkv);
        let case = named.fold(case, |case, (name, x)| case.reads(name, Kind::Buf, x.clone()));
        case.writes("o", Kind::Buf, qkv[0].shape())
    };
    vec![case(attention).saves("lse", Kind::Acc, (n, heads.heads)), case(decode)]
}
