//! Attention over the prefix tree, backward.
//!
//! A piece of work is one query head of all segments that share a root: it goes through their query tiles in order,
//! makes the probabilities again from the saved log-sum-exp, writes dq, and adds to dk and dv of that head. The heads
//! that share keys are added up at the end, in order. So no two pieces write the same number.
use kernel::backend::{Heads, Qkv, QkvMut};

use super::Engine;
use super::attention::{Lay, Layout, lay_out, score_stride};
use super::buffer::Buffer;
use super::elem::{Elem, put};
use super::gemm::{Lhs, Start, tiles};
use super::linear::{Tile, widen};
use super::out::Out;
use super::pool::Scratch;
use super::simd::{Simd, exp, kernels};
use super::tree::Tree;

/// Scores that a tile of queries may have, where it has a choice of its height.
const SCORES: usize = 32 << 10;

/// What a piece of work reads.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    q: &'a [T],
    o: &'a [T],
    d_o: &'a [T],
    lse: &'a [f32],
    keys_across: &'a [f32],
    keys_along: &'a [f32],
    values_across: &'a [f32],
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
    let layout = Layout::new(level, tree, heads);
    let mut team = engine.team();
    let team = &mut *team;
    let (across, along) = (layout.across_len(), layout.along_len());
    let (keys_across, rest) = team.rooms.a.get::<f32>(2 * across + along).split_at_mut(across);
    let (values_across, keys_along) = rest.split_at_mut(across);
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

    // By query head: for each part of D, rows x NR, as the values are laid out.
    let per_head = layout.parts() * layout.rows * layout.width;
    let dk = team.rooms.b.get::<f32>(heads.heads * per_head);
    let dv = team.rooms.c.get::<f32>(heads.heads * per_head);
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
            layout,
            scratch,
        );
    });

    let (dk, dv) = (&*dk, &*dv);
    let (k_out, v_out) = (Out::new(&mut d.k.data), Out::new(&mut d.v.data));
    pool.run(tree.blocks.len() * heads.kv_heads, &|item, _| {
        let (block, kv_head) = (tree.blocks[item / heads.kv_heads], item % heads.kv_heads);
        for row in block.start..block.start + block.len {
            let at = (row * heads.kv_heads + kv_head) * heads.head_dim;
            for (out, by_head) in [(k_out, dk), (v_out, dv)] {
                // SAFETY: each item has this head of its rows.
                let out = unsafe { out.slice(at, heads.head_dim) };
                add_heads(level, out, by_head, row, kv_head, layout);
            }
        }
    });
}

kernels! {
    /// out = the sum over the query heads of `kv_head`.
    fn add_heads<T>(s, out: &mut [T], by_head: &[f32], row: usize, kv_head: usize, layout: Layout) {
        let group = layout.heads.heads / layout.heads.kv_heads;
        for (part, out) in out.chunks_mut(S::NR).enumerate() {
            for i in (0..out.len()).step_by(S::LANES) {
                let mut sum = s.splat(0.0);
                for head in kv_head * group..(kv_head + 1) * group {
                    sum = s.add(sum, s.load(&by_head[layout.along(head, part, row) + i..]));
                }
                put(s, &mut out[i..], sum);
            }
        }
    }

    fn attend_bwd<T>(
        s, dq: Out<'_, T>, dk: Out<'_, f32>, dv: Out<'_, f32>, inputs: Inputs<'_, T>, tree: &Tree, group: &[usize],
        head: usize, layout: Layout, scratch: &mut Scratch,
    ) {
        let parts = layout.parts();
        for &n in group {
            let n = &tree.nodes[n];
            for part in 0..parts {
                // SAFETY: the piece of work has this head of these segments to itself.
                unsafe {
                    dk.slice(layout.along(head, part, n.start), n.len * S::NR).fill(0.0);
                    dv.slice(layout.along(head, part, n.start), n.len * S::NR).fill(0.0);
                }
            }
        }
        for &n in group {
            let node = &tree.nodes[n];
            let most = SCORES / (node.offset + node.len) / S::MR * S::MR;
            let most = most.clamp(S::MR, 4 * S::MR);
            for first in (0..node.len).step_by(most) {
                let rows = most.min(node.len - first);
                query_tile(s, dq, dk, dv, inputs, tree, n, first, rows, head, layout, scratch);
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
    layout: Layout,
    scratch: &mut Scratch,
) {
    let Heads {
        heads,
        kv_heads,
        head_dim: d,
    } = layout.heads;
    let kv_head = head / (heads / kv_heads);
    let scale = layout.heads.scale() as f32;
    let node = &tree.nodes[segment];
    let own = first + rows;
    let seen = node.offset + own;
    let ld = score_stride::<S>(seen);
    let parts = layout.parts();
    let Scratch {
        a, b, c, d: e, e: f, ..
    } = scratch;
    let p = a.get::<f32>(rows * ld);
    let ds = b.get::<f32>(rows * ld);
    let (queries, d_o) = c.get::<f32>(2 * rows * d).split_at_mut(rows * d);
    let (queries_along, d_o_along) = e
        .get::<f32>(2 * parts * rows * S::NR)
        .split_at_mut(parts * rows * S::NR);
    let dots = f.get::<f32>(rows);

    for r in 0..rows {
        let at = ((node.start + first + r) * heads + head) * d;
        let (q_row, d_o_row) = (&mut queries[r * d..][..d], &mut d_o[r * d..][..d]);
        widen(s, q_row, &inputs.q[at..at + d]);
        widen(s, d_o_row, &inputs.d_o[at..at + d]);
        // A chain over D, as do v' is: for a row that sees one key, o = v, and their difference is exactly 0.
        let mut dot = s.splat(0.0);
        for (&d_o, o) in d_o_row.iter().zip(&inputs.o[at..at + d]) {
            dot = s.fma(s.splat(d_o), s.splat(o.to_f32()), dot);
        }
        dots[r] = s.first(dot);
        for part in 0..parts {
            let from = part * S::NR;
            let columns = S::NR.min(d - from);
            for (dst, src) in [(&mut *queries_along, &*q_row), (&mut *d_o_along, &*d_o_row)] {
                let dst = &mut dst[(part * rows + r) * S::NR..][..S::NR];
                dst[..columns].copy_from_slice(&src[from..from + columns]);
                dst[columns..].fill(0.0);
            }
        }
    }

    // s = q k', and do v' beside it.
    for (scores, left, across) in [
        (&mut *p, &*queries, inputs.keys_across),
        (&mut *ds, &*d_o, inputs.values_across),
    ] {
        let mut at = 0;
        for (n, len) in tree.spans(node, own) {
            for j in 0..len.div_ceil(S::NR) {
                let panel = &across[layout.across(kv_head, n.panel + j)..][..d * S::NR];
                for (row, height) in tiles(rows, S::MR) {
                    let lhs = Lhs::rows::<f32, f32>(&left[row * d..(row + height) * d], d);
                    let c = &mut scores[row * ld + at + j * S::NR..][..(height - 1) * ld + S::NR];
                    // SAFETY: `height` rows of d numbers, a panel of d, rows of scores with room for a panel.
                    unsafe {
                        let c = c.as_mut_ptr();
                        s.product(c, ld, height, lhs, panel.as_ptr(), d, Start::Zero);
                    }
                }
            }
            at += len;
        }
    }

    // p = exp(s - lse), ds = p (do v' - D) scale.
    for r in 0..rows {
        let visible = node.offset + first + r + 1;
        let lse = inputs.lse[(node.start + first + r) * heads + head];
        let (p, ds) = (&mut p[r * ld..(r + 1) * ld], &mut ds[r * ld..(r + 1) * ld]);
        let (factor, minus_lse, dot) = (s.splat(scale), s.splat(-lse), s.splat(dots[r]));
        for i in (0..visible).step_by(S::LANES) {
            let q = exp(s, s.fma(s.load(&p[i..]), factor, minus_lse));
            s.store(&mut p[i..], q);
            let d = s.mul(s.mul(q, s.sub(s.load(&ds[i..]), dot)), factor);
            s.store(&mut ds[i..], d);
        }
        p[visible..seen].fill(0.0);
        ds[visible..seen].fill(0.0);
    }

    let tile = &mut Tile::new().0;
    for part in 0..parts {
        let from = part * S::NR;
        let columns = S::NR.min(d - from);
        for (row, height) in tiles(rows, S::MR) {
            let (mut at, mut start) = (0, Start::Zero);
            for (n, len) in tree.spans(node, own) {
                let panel = &inputs.keys_along[layout.along(kv_head, part, n.start)..][..len * S::NR];
                let lhs = Lhs::rows::<f32, f32>(&ds[row * ld + at..], ld);
                // SAFETY: `height` rows of ds, `len` of keys, a tile.
                unsafe {
                    let c = tile.as_mut_ptr();
                    s.product(c, S::NR, height, lhs, panel.as_ptr(), len, start);
                }
                (at, start) = (at + len, Start::Output);
            }
            for r in 0..height {
                let at = ((node.start + first + row + r) * heads + head) * d + from;
                // SAFETY: the piece of work has this head of these rows to itself.
                let dq = unsafe { dq.slice(at, columns) };
                for i in (0..columns).step_by(S::LANES) {
                    put(s, &mut dq[i..], s.load(&tile[r * S::NR + i..]));
                }
            }
        }

        // dv += p' do, dk += ds' q.
        let mut at = 0;
        for (n, len) in tree.spans(node, own) {
            for (key, height) in tiles(len, S::MR) {
                let place = layout.along(head, part, n.start + key);
                for (sums, left, right) in [(dv, &*p, &*d_o_along), (dk, &*ds, &*queries_along)] {
                    // SAFETY: the piece of work has this head of these segments to itself.
                    let sums = unsafe { sums.slice(place, height * S::NR) };
                    let lhs = Lhs {
                        ptr: left[at + key..].as_ptr().cast(),
                        row: size_of::<f32>(),
                        step: ld * size_of::<f32>(),
                    };
                    let panel = &right[part * rows * S::NR..][..rows * S::NR];
                    // SAFETY: `rows` rows of at least at + key + height scores, a panel of `rows`, `height` rows of sums.
                    unsafe {
                        let c = sums.as_mut_ptr();
                        s.product(c, S::NR, height, lhs, panel.as_ptr(), rows, Start::Output);
                    }
                }
            }
            at += len;
        }
    }
}
