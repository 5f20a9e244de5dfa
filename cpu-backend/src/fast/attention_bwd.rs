//! Attention over the prefix tree, backward.
//!
//! A piece of work is one query head of all segments that share a root: it goes through their query tiles in order, through the
//! keys of each block by block, makes the probabilities again from the saved log-sum-exp, adds to dq, and to dk and dv of that head. The
//! heads that share keys are added up at the end, in order. So no two pieces write the same number.
use kernel::backend::{Heads, Qkv, QkvMut};

use super::Engine;
use super::attention::{
    Lay, Layout, Left, Unit, across, lay_out, left_rows, no_weights, put_weights, scores_of, weighted_sum, whole,
};
use super::buffer::Buffer;
use super::elem::{Elem, convert, put};
use super::gemm::{Lhs, Mac, Start, pack_columns, tiles};
use super::linear::Tile;
use super::out::Out;
use super::pool::Scratch;
use super::simd::{Simd, exp, kernels};
use super::tree::Tree;

/// Panels of keys in a block: its scores stay in the nearer caches.
const BLOCK: usize = 4;

/// What a piece of work reads.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    q: &'a [T],
    o: &'a [T],
    d_o: &'a [T],
    lse: &'a [f32],
    keys_across: &'a [Unit],
    keys_along: &'a [Unit],
    values_across: &'a [Unit],
}

/// `Ops::attention_bwd`.
#[allow(clippy::too_many_arguments)]
pub(super) fn attention_bwd<T: Elem>(
    engine: &Engine,
    d: QkvMut<'_, Buffer<T>>,
    d_o: &[T],
    o: &[T],
    lse: &[f32],
    qkv: &Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    let level = engine.level;
    let layout = Layout::new::<T>(level, tree, heads);
    let mut team = engine.team();
    let team = &mut *team;
    let (len, along) = (layout.across_len(), layout.along_len());
    let (keys_across, rest) = team.rooms.a.get::<Unit>(2 * len + along).split_at_mut(len);
    let (values_across, keys_along) = rest.split_at_mut(len);
    let pool = &mut team.pool;
    let wanted = [
        (&*qkv.k.data, Lay::Across(&mut *keys_across)),
        (&*qkv.k.data, Lay::Along(&mut *keys_along)),
        (&*qkv.v.data, Lay::Across(&mut *values_across)),
    ];
    lay_out(engine, pool, tree, layout, wanted);
    let inputs = Inputs {
        q: &qkv.q.data,
        o,
        d_o,
        lse,
        keys_across,
        keys_along,
        values_across,
    };

    let sums = Sums { layout };
    let dk = team.rooms.b.get::<f32>(sums.len());
    let dv = team.rooms.c.get::<f32>(sums.len());
    let (dk_out, dv_out, dq) = (Out::new(dk), Out::new(dv), Out::new(&mut d.q.data));
    pool.run(tree.groups.len() * heads.heads, &|item, scratch| {
        let (group, head) = (item / heads.heads, item % heads.heads);
        attend_bwd(
            level,
            dq,
            dk_out,
            dv_out,
            inputs,
            tree,
            &tree.groups[group],
            head,
            sums,
            scratch,
        );
    });

    let (dk, dv) = (&*dk, &*dv);
    let (k_out, v_out) = (Out::new(&mut d.k.data), Out::new(&mut d.v.data));
    pool.run(tree.rows.div_ceil(ROWS) * heads.kv_heads, &|item, _| {
        let (first, kv_head) = (item / heads.kv_heads * ROWS, item % heads.kv_heads);
        for row in first..(first + ROWS).min(tree.rows) {
            let at = (row * heads.kv_heads + kv_head) * heads.head_dim;
            for (out, by_head) in [(k_out, dk), (v_out, dv)] {
                // SAFETY: each item has this head of its rows.
                let out = unsafe { out.slice(at, heads.head_dim) };
                add_up(level, out, by_head, tree.places(row), kv_head, sums);
            }
        }
    });
}

/// Rows in a piece of the last work.
const ROWS: usize = 32;

/// Where sums over queries are: for each query head, part of D and panel of keys NR x NR.
#[derive(Clone, Copy)]
struct Sums {
    layout: Layout,
}

impl Sums {
    fn len(self) -> usize {
        self.at(self.layout.heads.heads, 0, 0)
    }

    /// Where the panel begins.
    fn at(self, head: usize, part: usize, panel: usize) -> usize {
        let Layout { width, panels, .. } = self.layout;
        ((head * self.layout.parts() + part) * panels + panel) * width * width
    }
}

kernels! {
    /// out = the sums of a row's lanes, over the query heads of `kv_head`.
    fn add_up<T>(s, out: &mut [T], by_head: &[f32], places: &[u32], kv_head: usize, sums: Sums) {
        let group = sums.layout.heads.heads / sums.layout.heads.kv_heads;
        for (part, out) in out.chunks_mut(S::NR).enumerate() {
            for i in (0..out.len()).step_by(S::LANES) {
                let mut sum = s.splat(0.0);
                for head in kv_head * group..(kv_head + 1) * group {
                    let first = sums.at(head, part, 0) + i;
                    for &lane in places {
                        sum = s.add(sum, s.load(&by_head[first + lane as usize * S::NR..]));
                    }
                }
                put(s, &mut out[i..], sum);
            }
        }
    }

    fn attend_bwd<T>(
        s, dq: Out<'_, T>, dk: Out<'_, f32>, dv: Out<'_, f32>, inputs: Inputs<'_, T>, tree: &Tree, group: &[usize],
        head: usize, sums: Sums, scratch: &mut Scratch,
    ) {
        for n in group.iter().map(|&n| &tree.nodes[n]) {
            for part in 0..sums.layout.parts() {
                for out in [dk, dv] {
                    // SAFETY: the piece of work has this head of these segments to itself.
                    unsafe { out.slice(sums.at(head, part, n.panel), n.panels * S::NR * S::NR) }.fill(0.0);
                }
            }
        }
        for &n in group {
            let node = &tree.nodes[n];
            for first in (0..node.len).step_by(4 * S::MR) {
                let rows = (4 * S::MR).min(node.len - first);
                query_tile(s, dq, dk, dv, inputs, tree, n, first, rows, head, sums, scratch);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn query_tile<S: Simd, T: Elem>(
    s: S,
    dq: Out<'_, T>,
    dk: Out<'_, f32>,
    dv: Out<'_, f32>,
    inputs: Inputs<'_, T>,
    tree: &Tree,
    segment: usize,
    first: usize,
    rows: usize,
    head: usize,
    sums: Sums,
    scratch: &mut Scratch,
) {
    let layout = sums.layout;
    let Heads {
        heads,
        kv_heads,
        head_dim: d,
    } = layout.heads;
    let kv_head = head / (heads / kv_heads);
    let scale = layout.heads.scale() as f32;
    let node = &tree.nodes[segment];
    let own = first + rows;
    let ld = BLOCK * S::NR;
    let whole_d = layout.whole_d();
    let Scratch {
        a, b, c, d: e, e: f, ..
    } = scratch;
    let p = a.get::<f32>(rows * ld);
    let ds = b.get::<f32>(rows * ld);
    let (queries, d_o) = c.get::<Left<S, T>>(2 * rows * whole_d).split_at_mut(rows * whole_d);
    let (dots, dq_sums) = f.get::<f32>(rows + layout.parts() * rows * S::NR).split_at_mut(rows);
    // Where row r is in q and o.
    let place = |r: usize| ((node.start + first + r) * heads + head) * d;
    left_rows::<S, T>(s, queries, layout, |r| Some(&inputs.q[place(r)..]));
    left_rows::<S, T>(s, d_o, layout, |r| Some(&inputs.d_o[place(r)..]));

    // D = do o, the same sum as do v' is: for a row that sees one key, o = v, and their difference is exactly 0.
    let tile = &mut Tile::new().0;
    {
        let (o_rows, panel) = (S::NR * whole_d, layout.across_size());
        let o = e.get::<u32>(panel + o_rows);
        let (panel, o_rows) = o.split_at_mut(panel);
        let o_rows: &mut [Left<S, T>] = &mut bytemuck::cast_slice_mut(o_rows)[..S::NR * whole_d];
        for (row, height) in tiles(rows, S::MR.min(S::NR)) {
            left_rows::<S, T>(s, o_rows, layout, |r| (r < height).then(|| &inputs.o[place(row + r)..]));
            across::<S, T>(s, panel, o_rows);
            let lhs = Lhs::rows::<Left<S, T>, Unit>(&d_o[row * whole_d..(row + height) * whole_d], whole_d);
            // SAFETY: `height` rows of D numbers, a panel of D, a tile.
            unsafe {
                let (c, panel) = (tile.as_mut_ptr(), panel.as_ptr().cast());
                <T::Mac<S> as Mac<S, T>>::product(s, c, S::NR, height, lhs, panel, whole_d, Start::Zero);
            }
            for r in 0..height {
                dots[row + r] = tile[r * S::NR + r];
            }
        }
    }

    // Queries and do as right operands.
    let steps = <T::Mac<S> as Mac<S, T>>::steps(rows);
    let (size, parts) = (steps * S::NR, layout.parts());
    let (panels, packed) = e
        .get::<Unit>(2 * parts * size + S::MR * steps)
        .split_at_mut(2 * parts * size);
    for (panels, x) in panels.chunks_exact_mut(parts * size).zip([inputs.d_o, inputs.q]) {
        for (part, panel) in panels.chunks_exact_mut(size).enumerate() {
            let (from, panel) = (part * S::NR, bytemuck::cast_slice_mut(panel));
            pack_columns::<S, T, T::Mac<S>>(panel, &x[place(0)..], heads * d, rows, from, d - from, S::NR);
        }
    }
    let (d_o_along, queries_along) = panels.split_at(parts * size);

    // The position at which the block begins.
    let mut begin = 0;
    let spans = tree.spans(node, own);
    for (panel, len) in spans.flat_map(|(panel, len)| blocks(panel, len, S::NR)) {
        let block = || core::iter::once((panel, len));
        // s = q k', and do v' beside it.
        for (scores, left, keys) in [
            (&mut *p, &*queries, inputs.keys_across),
            (&mut *ds, &*d_o, inputs.values_across),
        ] {
            scores_of::<S, T>(s, scores, ld, left, keys, block(), kv_head, layout, Start::Zero);
        }

        // p = exp(s - lse), ds = p (do v' - D) scale.
        for r in 0..rows {
            let visible = (node.offset + first + r + 1).saturating_sub(begin).min(len);
            let lse = inputs.lse[(node.start + first + r) * heads + head];
            let (p, ds) = (&mut p[r * ld..(r + 1) * ld], &mut ds[r * ld..(r + 1) * ld]);
            let (factor, minus_lse, dot) = (s.splat(scale), s.splat(-lse), s.splat(dots[r]));
            for i in (0..visible).step_by(S::LANES) {
                let q = exp(s, s.fma(s.load(&p[i..]), factor, minus_lse));
                let d = s.mul(s.mul(q, s.sub(s.load(&ds[i..]), dot)), factor);
                put_weights::<S, T>(s, p, i, q);
                put_weights::<S, T>(s, ds, i, d);
            }
            no_weights::<S, T>(p, visible, len);
            no_weights::<S, T>(ds, visible, len);
        }

        // dq += ds k.
        let start = if begin == 0 { Start::Zero } else { Start::Output };
        for (part, sums) in dq_sums.chunks_exact_mut(rows * S::NR).enumerate() {
            for (row, height) in tiles(rows, S::MR) {
                let (sums, ds, keys) = (&mut sums[row * S::NR..], &ds[row * ld..], inputs.keys_along);
                weighted_sum::<S, T>(s, sums, height, ds, ld, keys, block(), (kv_head, part), layout, start);
            }
        }

        // dv += p' do, dk += ds' q.
        for (out, weights, panels) in [(dv, &*p, d_o_along), (dk, &*ds, queries_along)] {
            for (key, height) in tiles(whole::<S, T>(len), S::MR) {
                let lhs = weights_across::<S, T>(s, packed, weights, ld, rows, key, height);
                for (part, along) in panels.chunks_exact(size).enumerate() {
                    // SAFETY: the piece of work has this head of these segments to itself.
                    let sums = unsafe { out.slice(sums.at(head, part, panel) + key * S::NR, height * S::NR) };
                    // SAFETY: `rows` weights of `height` keys, a panel of `rows`, `height` rows of sums.
                    unsafe {
                        let (c, along) = (sums.as_mut_ptr(), along.as_ptr().cast());
                        <T::Mac<S> as Mac<S, T>>::product(s, c, S::NR, height, lhs, along, rows, Start::Output);
                    }
                }
            }
        }
        begin += len;
    }

    for (part, sums) in dq_sums.chunks_exact(rows * S::NR).enumerate() {
        let from = part * S::NR;
        let columns = S::NR.min(d - from);
        for (r, sums) in sums.chunks_exact(S::NR).enumerate() {
            // SAFETY: the piece of work has this head of these rows to itself.
            let dq = unsafe { dq.slice(place(r) + from, columns) };
            convert(s, dq, &sums[..columns]);
        }
    }
}

/// A run of `len` positions from a panel on, in blocks: (first panel, positions).
fn blocks(panel: usize, len: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len.div_ceil(BLOCK * width)).map(move |i| (panel + i * BLOCK, (BLOCK * width).min(len - i * BLOCK * width)))
}

/// The weights that `height` keys from `key` have in `rows` rows, keys as rows of the left operand: where they lie, or packed.
#[inline(always)]
fn weights_across<S: Simd, T: Elem>(
    s: S,
    packed: &mut [Unit],
    weights: &[f32],
    ld: usize,
    rows: usize,
    key: usize,
    height: usize,
) -> Lhs {
    type M<S, T> = <T as Elem>::Mac<S>;
    if !M::<S, T>::PAIRS {
        return Lhs {
            ptr: weights[key..].as_ptr().cast(),
            row: size_of::<f32>(),
            step: ld * size_of::<f32>(),
        };
    }
    let weights: &[T] = bytemuck::cast_slice(weights);
    let packed = bytemuck::cast_slice_mut(packed);
    M::<S, T>::pack_left(s, packed, weights, 2 * ld, rows, key, height);
    M::<S, T>::packed_left(packed, M::<S, T>::steps(rows))
}
