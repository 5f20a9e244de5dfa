//! Attention over the prefix tree, forward.
//!
//! For a tile of query rows and the heads that share their keys: all scores, each a chain over D, the row's exact maximum,
//! exponentials, their sum in lanes by position, then the values, each output a chain over positions. So a row's bits
//! depend on its keys in order and on nothing else: decoding, with another layout of the same keys, repeats them.
use kernel::backend::{Heads, Qkv};

use super::Engine;
use super::buffer::Buffer;
use super::elem::{Elem, get, put};
use super::gemm::{Lhs, Start, tiles};
use super::linear::widen;
use super::out::Out;
use super::pool::{Pool, Scratch};
use super::settings::Level;
use super::simd::{MAX_ROWS, Simd, exp, kernels};
use super::tree::{Block, QueryTile, Tree};

/// Keys by lanes: for each kv head and panel of keys, D x NR numbers.
/// Values by lanes: for each kv head and NR of their D numbers, rows x NR.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub heads: Heads,
    /// NR.
    pub width: usize,
    /// Panels of keys.
    pub panels: usize,
    /// Rows.
    pub rows: usize,
}

impl Layout {
    pub fn new(level: Level, tree: &Tree, heads: Heads) -> Self {
        Self {
            heads,
            width: level.tile().0,
            panels: tree.blocks.len(),
            rows: tree.rows,
        }
    }

    /// Panels that D numbers take.
    pub fn parts(self) -> usize {
        self.heads.head_dim.div_ceil(self.width)
    }

    /// Numbers in all panels of keys.
    pub fn across_len(self) -> usize {
        self.heads.kv_heads * self.panels * self.heads.head_dim * self.width
    }

    /// Where the panel of keys begins.
    pub fn across(self, kv_head: usize, panel: usize) -> usize {
        (kv_head * self.panels + panel) * self.heads.head_dim * self.width
    }

    /// Numbers in all panels of values.
    pub fn along_len(self) -> usize {
        self.heads.kv_heads * self.parts() * self.rows * self.width
    }

    /// Where row `row` of a part of the values is.
    pub fn along(self, kv_head: usize, part: usize, row: usize) -> usize {
        ((kv_head * self.parts() + part) * self.rows + row) * self.width
    }
}

/// How rows (N, K D) are wanted.
pub(super) enum Lay<'a> {
    /// Lanes across the rows: as keys.
    Across(&'a mut [f32]),
    /// Lanes along D: as values.
    Along(&'a mut [f32]),
}

/// Lays out rows, each x as it is wanted.
pub(super) fn lay_out<T: Elem, const N: usize>(
    engine: &Engine,
    pool: &mut Pool,
    tree: &Tree,
    layout: Layout,
    wanted: [(&[T], Lay<'_>); N],
) {
    enum To<'a> {
        Across(Out<'a, f32>),
        Along(Out<'a, f32>),
    }
    let wanted = wanted.map(|(x, lay)| match lay {
        Lay::Across(dst) => (x, To::Across(Out::new(dst))),
        Lay::Along(dst) => (x, To::Along(Out::new(dst))),
    });
    let len = layout.heads.head_dim * layout.width;
    pool.run(layout.heads.kv_heads * layout.panels, &|item, scratch| {
        let (kv_head, panel) = (item / layout.panels, item % layout.panels);
        let block = tree.blocks[panel];
        for (x, to) in &wanted {
            match to {
                To::Across(dst) => {
                    // SAFETY: each item has a panel of its own.
                    let dst = unsafe { dst.slice(layout.across(kv_head, panel), len) };
                    keys_across(engine.level, dst, x, block, kv_head, layout, scratch);
                }
                To::Along(dst) => {
                    for part in 0..layout.parts() {
                        let at = layout.along(kv_head, part, block.start);
                        // SAFETY: each item has the rows of its block.
                        let dst = unsafe { dst.slice(at, block.len * layout.width) };
                        rows_along(engine.level, dst, x, block, kv_head, part, layout);
                    }
                }
            }
        }
    });
}

/// `Ops::attention`.
pub(super) fn attention<T: Elem>(
    engine: &Engine,
    o: &mut [T],
    lse: &mut [f32],
    qkv: &Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    let layout = Layout::new(engine.level, tree, heads);
    let mut team = engine.team();
    let team = &mut *team;
    let keys = team.rooms.a.get(layout.across_len());
    let values = team.rooms.b.get(layout.along_len());
    let wanted = [
        (&*qkv.k.data, Lay::Across(&mut *keys)),
        (&*qkv.v.data, Lay::Along(&mut *values)),
    ];
    lay_out(engine, &mut team.pool, tree, layout, wanted);
    let (keys, values) = (&*keys, &*values);
    let (o, lse) = (Out::new(o), Out::new(lse));
    team.pool.run(tree.tiles.len() * heads.kv_heads, &|item, scratch| {
        let (tile, kv_head) = (tree.tiles[item / heads.kv_heads], item % heads.kv_heads);
        attend(
            engine.level,
            o,
            lse,
            &qkv.q.data,
            keys,
            values,
            tree,
            tile,
            kv_head,
            layout,
            scratch,
        );
    });
}

/// Numbers from a row of scores to the next: room for whole panels past the last key.
pub(super) fn score_stride<S: Simd>(keys: usize) -> usize {
    keys.next_multiple_of(S::NR) + S::NR
}

/// scores -> exp(scale scores - m) in place, m their largest; (m, the sum). Room for a whole vector past the end.
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, scores: &mut [f32], n: usize, scale: f32) -> (f32, f32) {
    let scores = &mut scores[..n.next_multiple_of(S::LANES)];
    scores[n..].fill(f32::NEG_INFINITY);
    let factor = s.splat(scale);
    let mut most = s.splat(f32::NEG_INFINITY);
    for x in scores.chunks_exact_mut(S::LANES) {
        let v = s.mul(s.load(x), factor);
        most = s.max(most, v);
        s.store(x, v);
    }
    let m = s.largest(most);
    let (mv, mut sum) = (s.splat(m), s.splat(0.0));
    for x in scores.chunks_exact_mut(S::LANES) {
        let p = exp(s, s.sub(s.load(x), mv));
        sum = s.add(sum, p);
        s.store(x, p);
    }
    (m, s.sum(sum))
}

kernels! {
    fn keys_across<T>(
        s, dst: &mut [f32], x: &[T], block: Block, kv_head: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let d = layout.heads.head_dim;
        let stride = layout.heads.kv_heads * d;
        let rows = scratch.a.get::<f32>(S::NR * d);
        for (row, dst) in rows.chunks_exact_mut(d).enumerate() {
            if row < block.len {
                widen(s, dst, &x[(block.start + row) * stride + kv_head * d..][..d]);
            } else {
                dst.fill(0.0);
            }
        }
        let whole = d / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            for lane in [0, S::LANES] {
                let (src, dst) = (&rows[lane * d + i..], &mut dst[i * S::NR + lane..]);
                // SAFETY: LANES rows of d numbers from `lane`, LANES rows of NR from `i`.
                unsafe { s.transpose(dst.as_mut_ptr(), S::NR, src.as_ptr(), d) };
            }
        }
        for i in whole..d {
            for lane in 0..S::NR {
                dst[i * S::NR + lane] = rows[lane * d + i];
            }
        }
    }

    fn rows_along<T>(s, dst: &mut [f32], x: &[T], block: Block, kv_head: usize, part: usize, layout: Layout) {
        let d = layout.heads.head_dim;
        let stride = layout.heads.kv_heads * d;
        let from = part * S::NR;
        let columns = S::NR.min(d - from);
        for (row, dst) in dst.chunks_exact_mut(S::NR).enumerate() {
            let x = &x[(block.start + row) * stride + kv_head * d + from..][..columns];
            let (head, tail) = dst.split_at_mut(columns);
            widen(s, head, x);
            tail.fill(0.0);
        }
    }

    fn attend<T>(
        s, o: Out<'_, T>, lse: Out<'_, f32>, q: &[T], keys: &[f32], values: &[f32], tree: &Tree, tile: QueryTile,
        kv_head: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let Heads { heads, kv_heads, head_dim: d } = layout.heads;
        let group = heads / kv_heads;
        let node = &tree.nodes[tile.segment];
        let own = tile.first + tile.rows;
        let seen = node.offset + own;
        let ld = score_stride::<S>(seen);
        let Scratch { a, b, c, .. } = scratch;
        let queries = a.get::<f32>(group * tile.rows * d);
        let scores = b.get::<f32>(group * tile.rows * ld);
        let parts = layout.parts();
        let tile_o = c.get::<f32>(S::MR * S::NR);
        let row = |r: usize| node.start + tile.first + r;

        for (i, dst) in queries.chunks_exact_mut(d).enumerate() {
            let head = kv_head * group + i / tile.rows;
            widen(s, dst, &q[row(i % tile.rows) * heads * d + head * d..][..d]);
        }
        let mut at = 0;
        for (n, len) in tree.spans(node, own) {
            for j in 0..len.div_ceil(S::NR) {
                let panel = &keys[layout.across(kv_head, n.panel + j)..][..d * S::NR];
                for (first, height) in tiles(group * tile.rows, S::MR) {
                    let lhs = Lhs::rows::<f32, f32>(&queries[first * d..(first + height) * d], d);
                    let c = &mut scores[first * ld + at + j * S::NR..][..(height - 1) * ld + S::NR];
                    // SAFETY: `height` rows of d numbers, a panel of d, rows of scores with room for a panel.
                    unsafe {
                        let c = c.as_mut_ptr();
                        s.product(c, ld, height, lhs, panel.as_ptr(), d, Start::Zero);
                    }
                }
            }
            at += len;
        }

        let scale = layout.heads.scale() as f32;
        for (first, height) in tiles(group * tile.rows, S::MR) {
            let mut inverse = [0.0; MAX_ROWS];
            for (r, inverse) in inverse.iter_mut().enumerate().take(height) {
                let i = first + r;
                let scores = &mut scores[i * ld..(i + 1) * ld];
                let visible = node.offset + tile.first + i % tile.rows + 1;
                let (m, sum) = softmax(s, scores, visible, scale);
                scores[visible..seen].fill(0.0);
                *inverse = 1.0 / sum;
                // SAFETY: the piece of work has these heads of these rows to itself.
                unsafe {
                    lse.put(row(i % tile.rows) * heads + kv_head * group + i / tile.rows, m + libm::logf(sum));
                }
            }
            for part in 0..parts {
                let mut at = 0;
                let mut start = Start::Zero;
                for (n, len) in tree.spans(node, own) {
                    let panel = &values[layout.along(kv_head, part, n.start)..][..len * S::NR];
                    let lhs = Lhs::rows::<f32, f32>(&scores[first * ld + at..], ld);
                    // SAFETY: `height` rows of scores, `len` of values, a tile.
                    unsafe {
                        let c = tile_o.as_mut_ptr();
                        s.product(c, S::NR, height, lhs, panel.as_ptr(), len, start);
                    }
                    start = Start::Output;
                    at += len;
                }
                let from = part * S::NR;
                let columns = S::NR.min(d - from);
                for r in 0..height {
                    let i = first + r;
                    let head = kv_head * group + i / tile.rows;
                    // SAFETY: the piece of work has these heads of these rows to itself.
                    let o = unsafe { o.slice(row(i % tile.rows) * heads * d + head * d + from, columns) };
                    normalise(s, o, &tile_o[r * S::NR..], inverse[r]);
                }
            }
        }
    }
}

/// o = sums / l
#[inline(always)]
pub(super) fn normalise<S: Simd, T: Elem>(s: S, o: &mut [T], sums: &[f32], inverse: f32) {
    let inverse = s.splat(inverse);
    for j in (0..o.len()).step_by(S::LANES) {
        put(s, &mut o[j..], s.mul(get(s, &sums[j..]), inverse));
    }
}

#[cfg(test)]
mod tests;
