//! Attention over the prefix tree, forward.
//!
//! For a tile of query rows and the heads that share their keys: all scores, each a sum over D, the row's exact maximum,
//! exponentials, their sum in lanes by position, then the values, each output a sum over positions that is cut at multiples of
//! NR ([`Tree`]). So a row's bits depend on its keys in order and on nothing else: decoding, with another layout of the same
//! keys, repeats them. Where the machine multiplies bf16, the exponentials are rounded to it, as queries, keys and values are.
use kernel::backend::{Heads, Qkv};

use super::Engine;
use super::buffer::Buffer;
use super::elem::{Elem, convert, get, put};
use super::gemm::{Lhs, Mac, Start, pack_columns, tiles};
use super::linear::Tile;
use super::out::Out;
use super::pool::{Pool, Scratch};
use super::settings::Level;
use super::simd::{MAX_ROWS, Simd, exp, kernels};
use super::tree::{NONE, QueryTile, Tree};

/// The product's units of attention: four bytes, whatever they hold.
pub(super) type Unit = u32;

/// Where panels are, in units of four bytes: an f32, or a pair of bf16 where the machine multiplies pairs.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub heads: Heads,
    /// NR.
    pub width: usize,
    /// Panels of NR positions.
    pub panels: usize,
    /// Numbers in a unit.
    per_unit: usize,
}

impl Layout {
    pub fn new<T: Elem>(level: Level, tree: &Tree, heads: Heads) -> Self {
        Self {
            heads,
            width: level.tile().0,
            panels: tree.panels(),
            per_unit: if T::BF16 && level.pairs() { 2 } else { 1 },
        }
    }

    /// Panels that D numbers take.
    pub fn parts(self) -> usize {
        self.heads.head_dim.div_ceil(self.width)
    }

    /// D, to whole units.
    pub fn whole_d(self) -> usize {
        self.heads.head_dim.next_multiple_of(self.per_unit)
    }

    /// Units of a panel with lanes across positions: D x NR.
    pub fn across_size(self) -> usize {
        self.whole_d() / self.per_unit * self.width
    }

    /// Units of a panel with lanes along D: NR positions x NR.
    pub fn along_size(self) -> usize {
        self.width.div_ceil(self.per_unit) * self.width
    }

    /// Units in all panels with lanes across positions.
    pub fn across_len(self) -> usize {
        self.heads.kv_heads * self.panels * self.across_size()
    }

    /// Where such a panel begins.
    pub fn across(self, kv_head: usize, panel: usize) -> usize {
        (kv_head * self.panels + panel) * self.across_size()
    }

    /// Units in all panels with lanes along D.
    pub fn along_len(self) -> usize {
        self.heads.kv_heads * self.parts() * self.panels * self.along_size()
    }

    /// Where such a panel begins, of one part of D.
    pub fn along(self, kv_head: usize, part: usize, panel: usize) -> usize {
        ((kv_head * self.parts() + part) * self.panels + panel) * self.along_size()
    }
}

/// How rows (N, K D) are wanted.
pub(super) enum Lay<'a> {
    /// Lanes across the rows: as keys.
    Across(&'a mut [Unit]),
    /// Lanes along D: as values.
    Along(&'a mut [Unit]),
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
        Across(Out<'a, Unit>),
        Along(Out<'a, Unit>),
    }
    let wanted = wanted.map(|(x, lay)| match lay {
        Lay::Across(dst) => (x, To::Across(Out::new(dst))),
        Lay::Along(dst) => (x, To::Along(Out::new(dst))),
    });
    pool.run(layout.heads.kv_heads * layout.panels, &|item, scratch| {
        let (kv_head, panel) = (item / layout.panels, item % layout.panels);
        let lanes = tree.lanes(panel);
        for (x, to) in &wanted {
            match to {
                To::Across(dst) => {
                    // SAFETY: each item has a panel of its own.
                    let dst = unsafe { dst.slice(layout.across(kv_head, panel), layout.across_size()) };
                    lay_across(engine.level, dst, x, lanes, kv_head, layout, scratch);
                }
                To::Along(dst) => {
                    for part in 0..layout.parts() {
                        // SAFETY: each item has a panel of its own.
                        let dst = unsafe { dst.slice(layout.along(kv_head, part, panel), layout.along_size()) };
                        lay_along(engine.level, dst, x, lanes, kv_head, part, layout, scratch);
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
    let layout = Layout::new::<T>(engine.level, tree, heads);
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

/// Numbers of the left operand where rows of T are multiplied on S.
pub(super) type Left<S, T> = <<T as Elem>::Mac<S> as Mac<S, T>>::Left;

/// Numbers from a row of scores to the next: room for whole panels past the last key.
pub(super) fn score_stride<S: Simd>(keys: usize) -> usize {
    keys.next_multiple_of(S::NR) + S::NR
}

/// Positions that a product over `len` of them goes through: to whole panels where units hold pairs, so that all sums are cut alike.
#[inline(always)]
pub(super) fn whole<S: Simd, T: Elem>(len: usize) -> usize {
    if <T::Mac<S> as Mac<S, T>>::PAIRS {
        len.next_multiple_of(S::NR)
    } else {
        len
    }
}

/// dst, rows of whole D numbers, = row i's D numbers at `x(i)`, exactly.
#[inline(always)]
pub(super) fn left_rows<'a, S: Simd, T: Elem>(
    s: S,
    dst: &mut [Left<S, T>],
    layout: Layout,
    x: impl Fn(usize) -> Option<&'a [T]>,
) {
    let d = layout.heads.head_dim;
    for (i, dst) in dst.chunks_exact_mut(layout.whole_d()).enumerate() {
        match x(i) {
            Some(x) => {
                convert(s, &mut dst[..d], &x[..d]);
                dst[d..].fill(Default::default());
            }
            None => dst.fill(Default::default()),
        }
    }
}

/// dst = the panel of NR `rows`, lanes across them.
#[inline(always)]
pub(super) fn across<S: Simd, T: Elem>(s: S, dst: &mut [Unit], rows: &[Left<S, T>]) {
    let rows: &[Unit] = bytemuck::cast_slice(rows);
    let units = dst.len() / S::NR;
    let whole = units / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        for lane in [0, S::LANES] {
            let (src, dst) = (&rows[lane * units + i..], &mut dst[i * S::NR + lane..]);
            // SAFETY: LANES rows of `units` units from `lane`, LANES rows of NR from `i`.
            unsafe { s.transpose(dst.as_mut_ptr().cast(), S::NR, src.as_ptr().cast(), units) };
        }
    }
    for i in whole..units {
        for lane in 0..S::NR {
            dst[i * S::NR + lane] = rows[lane * units + i];
        }
    }
}

/// scores (+)= left keys', rows of scores `ld` apart, for runs of positions (first panel, positions).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn scores_of<S: Simd, T: Elem>(
    s: S,
    scores: &mut [f32],
    ld: usize,
    left: &[Left<S, T>],
    keys: &[Unit],
    spans: impl Iterator<Item = (usize, usize)>,
    kv_head: usize,
    layout: Layout,
    start: Start,
) {
    let d = layout.whole_d();
    let mut at = 0;
    for (panel, len) in spans {
        for j in 0..len.div_ceil(S::NR) {
            let panel = &keys[layout.across(kv_head, panel + j)..][..layout.across_size()];
            for (first, height) in tiles(left.len() / d, S::MR) {
                let lhs = Lhs::rows::<Left<S, T>, Unit>(&left[first * d..(first + height) * d], d);
                let c = &mut scores[first * ld + at + j * S::NR..][..(height - 1) * ld + S::NR];
                // SAFETY: `height` rows of D numbers, a panel of D, rows of scores with room for a panel.
                unsafe {
                    let (c, panel) = (c.as_mut_ptr(), panel.as_ptr().cast());
                    <T::Mac<S> as Mac<S, T>>::product(s, c, ld, height, lhs, panel, d, start);
                }
            }
        }
        at += len;
    }
}

/// c (height, NR) (+)= weights values, weights in rows `ld` scores apart, for runs of positions (first panel, positions).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn weighted_sum<S: Simd, T: Elem>(
    s: S,
    c: &mut [f32],
    height: usize,
    weights: &[f32],
    ld: usize,
    values: &[Unit],
    spans: impl Iterator<Item = (usize, usize)>,
    (kv_head, part): (usize, usize),
    layout: Layout,
    mut start: Start,
) {
    let c = &mut c[..height * S::NR];
    let mut at = 0;
    for (panel, len) in spans {
        let values = &values[layout.along(kv_head, part, panel)..][..len.div_ceil(S::NR) * layout.along_size()];
        let lhs = weights_from::<S, T>(weights, ld, at);
        // SAFETY: `height` rows of weights to whole panels, panels of `len` values to whole ones, a tile.
        unsafe {
            let (c, values, k) = (c.as_mut_ptr(), values.as_ptr().cast(), whole::<S, T>(len));
            <T::Mac<S> as Mac<S, T>>::product(s, c, S::NR, height, lhs, values, k, start);
        }
        start = Start::Output;
        at += len;
    }
}

/// The weights at the front of rows of scores as the left operand, from position `at`.
#[inline(always)]
pub(super) fn weights_from<S: Simd, T: Elem>(scores: &[f32], ld: usize, at: usize) -> Lhs {
    let weights: &[Left<S, T>] = bytemuck::cast_slice(scores);
    Lhs {
        ptr: weights[at..].as_ptr().cast(),
        row: ld * size_of::<f32>(),
        step: size_of::<Unit>(),
    }
}

/// Weight i .. of a row whose scores from there on were read before: it takes no more room than they do.
#[inline(always)]
pub(super) fn put_weights<S: Simd, T: Elem>(s: S, row: &mut [f32], i: usize, v: S::V) {
    let weights: &mut [Left<S, T>] = bytemuck::cast_slice_mut(row);
    put(s, &mut weights[i..], v);
}

/// Weights i .. of a row, as they are multiplied.
#[inline(always)]
pub(super) fn weights_at<S: Simd, T: Elem>(s: S, row: &[f32], i: usize) -> S::V {
    let weights: &[Left<S, T>] = bytemuck::cast_slice(row);
    get(s, &weights[i..])
}

/// No weight for positions from `visible` to the end of the panel that `seen` ends in.
#[inline(always)]
pub(super) fn no_weights<S: Simd, T: Elem>(row: &mut [f32], visible: usize, seen: usize) {
    let weights: &mut [Left<S, T>] = bytemuck::cast_slice_mut(row);
    weights[visible..seen.next_multiple_of(S::NR)].fill(Default::default());
}

/// A row of scores -> weights exp(scale scores - m), m the largest, for the first n; 0 to the end of the panel that `seen` ends in.
/// (m, their sum before they are rounded.)
#[inline(always)]
pub(super) fn softmax<S: Simd, T: Elem>(s: S, row: &mut [f32], n: usize, seen: usize, scale: f32) -> (f32, f32) {
    let end = n.next_multiple_of(S::LANES);
    row[n..end].fill(f32::NEG_INFINITY);
    let factor = s.splat(scale);
    let mut most = s.splat(f32::NEG_INFINITY);
    for x in row[..end].chunks_exact(S::LANES) {
        most = s.max(most, s.mul(s.load(x), factor));
    }
    let m = s.largest(most);
    let (mv, mut sum) = (s.splat(m), s.splat(0.0));
    for i in (0..end).step_by(S::LANES) {
        let p = exp(s, s.sub(s.mul(s.load(&row[i..]), factor), mv));
        sum = s.add(sum, p);
        put_weights::<S, T>(s, row, i, p);
    }
    no_weights::<S, T>(row, n, seen);
    (m, s.sum(sum))
}

kernels! {
    fn lay_across<T>(
        s, dst: &mut [Unit], x: &[T], lanes: &[u32], kv_head: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let rows = scratch.a.get::<Left<S, T>>(S::NR * layout.whole_d());
        left_rows::<S, T>(s, rows, layout, |i| row_of(x, lanes[i], kv_head, layout));
        across::<S, T>(s, dst, rows);
    }

    fn lay_along<T>(
        s, dst: &mut [Unit], x: &[T], lanes: &[u32], kv_head: usize, part: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let from = part * S::NR;
        let columns = S::NR.min(layout.heads.head_dim - from);
        let rows = scratch.a.get::<T>(S::NR * S::NR);
        for (dst, &lane) in rows.chunks_exact_mut(S::NR).zip(lanes) {
            match row_of(x, lane, kv_head, layout) {
                Some(x) => dst[..columns].copy_from_slice(&x[from..from + columns]),
                None => dst[..columns].fill(T::default()),
            }
        }
        let dst = bytemuck::cast_slice_mut(dst);
        pack_columns::<S, T, T::Mac<S>>(dst, rows, S::NR, S::NR, 0, columns, S::NR);
        let _ = s;
    }

    fn attend<T>(
        s, o: Out<'_, T>, lse: Out<'_, f32>, q: &[T], keys: &[Unit], values: &[Unit], tree: &Tree, tile: QueryTile,
        kv_head: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let Heads { heads, kv_heads, head_dim: d } = layout.heads;
        let group = heads / kv_heads;
        let node = &tree.nodes[tile.segment];
        let own = tile.first + tile.rows;
        let seen = node.offset + own;
        let ld = score_stride::<S>(seen);
        let count = group * tile.rows;
        let Scratch { a, b, .. } = scratch;
        let queries = a.get::<Left<S, T>>(count * layout.whole_d());
        let scores = b.get::<f32>(S::MR * ld);
        // Where query i is in q and o, its head and its row.
        let place = |i: usize| {
            let row = node.start + tile.first + i % tile.rows;
            (row * heads + kv_head * group + i / tile.rows) * d
        };
        left_rows::<S, T>(s, queries, layout, |i| Some(&q[place(i)..]));

        let scale = layout.heads.scale() as f32;
        let sums = &mut Tile::new().0;
        // A tile's scores at a time: they stay in the nearer caches.
        for (first, height) in tiles(count, S::MR) {
            let left = &queries[first * layout.whole_d()..(first + height) * layout.whole_d()];
            scores_of::<S, T>(s, scores, ld, left, keys, tree.spans(node, own), kv_head, layout, Start::Zero);
            let mut inverse = [0.0; MAX_ROWS];
            for (r, inverse) in inverse.iter_mut().enumerate().take(height) {
                let i = first + r;
                let visible = node.offset + tile.first + i % tile.rows + 1;
                let (m, sum) = softmax::<S, T>(s, &mut scores[r * ld..(r + 1) * ld], visible, seen, scale);
                *inverse = 1.0 / sum;
                // SAFETY: the piece of work has these heads of these rows to itself.
                unsafe { lse.put(place(i) / d, m + libm::logf(sum)) };
            }
            for part in 0..layout.parts() {
                let (spans, of) = (tree.spans(node, own), (kv_head, part));
                weighted_sum::<S, T>(s, sums, height, scores, ld, values, spans, of, layout, Start::Zero);
                let from = part * S::NR;
                let columns = S::NR.min(d - from);
                for r in 0..height {
                    // SAFETY: the piece of work has these heads of these rows to itself.
                    let o = unsafe { o.slice(place(first + r) + from, columns) };
                    normalise(s, o, &sums[r * S::NR..], inverse[r]);
                }
            }
        }
    }
}

/// The numbers of kv head `kv_head` in a row of x (N, K D); none of no row.
#[inline(always)]
fn row_of<T>(x: &[T], row: u32, kv_head: usize, layout: Layout) -> Option<&[T]> {
    let Heads { kv_heads, head_dim, .. } = layout.heads;
    (row != NONE).then(|| &x[(row as usize * kv_heads + kv_head) * head_dim..][..head_dim])
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
