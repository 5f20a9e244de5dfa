//! The tangent of attention over the prefix tree, tile by tile as the forward pass.
use kernel::backend::{Heads, Qkv};

use super::Engine;
use super::attention::{Lay, Layout, lay_out, score_stride};
use super::buffer::Buffer;
use super::elem::{Elem, get, put};
use super::gemm::{Lhs, Start, tiles};
use super::linear::{Tile, widen};
use super::out::Out;
use super::pool::Scratch;
use super::simd::{MAX_ROWS, exp, kernels};
use super::tree::{QueryTile, Tree};

/// What a piece of work reads. Keys and values are laid out, each with its tangent.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    q: [&'a [T]; 2],
    o: &'a [T],
    lse: &'a [f32],
    keys: [&'a [f32]; 2],
    values: [&'a [f32]; 2],
}

/// `Tangent::attention_jvp`.
#[allow(clippy::too_many_arguments)]
pub(super) fn attention_jvp<T: Elem>(
    engine: &Engine,
    o_dot: &mut [T],
    qkv_dot: &Qkv<'_, Buffer<T>>,
    o: &[T],
    lse: &[f32],
    qkv: &Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    let layout = Layout::new(engine.level, tree, heads);
    let mut team = engine.team();
    let team = &mut *team;
    let (across, along) = (layout.across_len(), layout.along_len());
    let (keys, keys_dot) = team.rooms.a.get::<f32>(2 * across).split_at_mut(across);
    let (values, values_dot) = team.rooms.b.get::<f32>(2 * along).split_at_mut(along);
    let wanted = [
        (&*qkv.k.data, Lay::Across(&mut *keys)),
        (&*qkv_dot.k.data, Lay::Across(&mut *keys_dot)),
        (&*qkv.v.data, Lay::Along(&mut *values)),
        (&*qkv_dot.v.data, Lay::Along(&mut *values_dot)),
    ];
    lay_out(engine, &mut team.pool, tree, layout, wanted);
    let inputs = Inputs {
        q: [&qkv.q.data, &qkv_dot.q.data],
        o,
        lse,
        keys: [keys, keys_dot],
        values: [values, values_dot],
    };
    let o_dot = Out::new(o_dot);
    team.pool.run(tree.tiles.len() * heads.kv_heads, &|item, scratch| {
        let (tile, kv_head) = (tree.tiles[item / heads.kv_heads], item % heads.kv_heads);
        attend(engine.level, o_dot, inputs, tree, tile, kv_head, layout, scratch);
    });
}

kernels! {
    fn attend<T>(
        s, o_dot: Out<'_, T>, inputs: Inputs<'_, T>, tree: &Tree, tile: QueryTile, kv_head: usize, layout: Layout,
        scratch: &mut Scratch,
    ) {
        let Heads { heads, kv_heads, head_dim: d } = layout.heads;
        let group = heads / kv_heads;
        let node = &tree.nodes[tile.segment];
        let own = tile.first + tile.rows;
        let seen = node.offset + own;
        let ld = score_stride::<S>(seen);
        let count = group * tile.rows;
        let Scratch { a, b, .. } = scratch;
        let (queries, queries_dot) = a.get::<f32>(2 * count * d).split_at_mut(count * d);
        let (scores, scores_dot) = b.get::<f32>(2 * count * ld).split_at_mut(count * ld);
        let row = |i: usize| node.start + tile.first + i % tile.rows;
        let head = |i: usize| kv_head * group + i / tile.rows;

        for (queries, q) in [&mut *queries, &mut *queries_dot].into_iter().zip(inputs.q) {
            for (i, dst) in queries.chunks_exact_mut(d).enumerate() {
                widen(s, dst, &q[(row(i) * heads + head(i)) * d..][..d]);
            }
        }
        // s = q k', s_dot = q_dot k' + q k_dot'.
        let mut at = 0;
        for (n, len) in tree.spans(node, own) {
            for j in 0..len.div_ceil(S::NR) {
                let place = layout.across(kv_head, n.panel + j);
                let [k, k_dot] = inputs.keys.map(|k| &k[place..][..d * S::NR]);
                for (first, height) in tiles(count, S::MR) {
                    let place = first * ld + at + j * S::NR;
                    let len = (height - 1) * ld + S::NR;
                    let c = scores[place..][..len].as_mut_ptr();
                    let c_dot = scores_dot[place..][..len].as_mut_ptr();
                    for (c, q, k, start) in [
                        (c, &*queries, k, Start::Zero),
                        (c_dot, &*queries_dot, k, Start::Zero),
                        (c_dot, &*queries, k_dot, Start::Output),
                    ] {
                        let lhs = Lhs::rows::<f32, f32>(&q[first * d..(first + height) * d], d);
                        // SAFETY: `height` rows of d numbers, a panel of d, rows of scores with room for a panel.
                        unsafe { s.product(c, ld, height, lhs, k.as_ptr(), d, start) };
                    }
                }
            }
            at += len;
        }

        let scale = s.splat(layout.heads.scale() as f32);
        let out = &mut Tile::new().0;
        for (first, height) in tiles(count, S::MR) {
            // p and p s_dot in place; sum p s_dot.
            let mut means = [0.0; MAX_ROWS];
            for (r, mean) in means.iter_mut().enumerate().take(height) {
                let i = first + r;
                let (p, dot) = (&mut scores[i * ld..(i + 1) * ld], &mut scores_dot[i * ld..(i + 1) * ld]);
                let visible = node.offset + tile.first + i % tile.rows + 1;
                let whole = visible.next_multiple_of(S::LANES);
                p[visible..whole].fill(f32::NEG_INFINITY);
                dot[visible..whole].fill(0.0);
                let (minus_lse, mut sum) = (s.splat(-inputs.lse[row(i) * heads + head(i)]), s.splat(0.0));
                for j in (0..visible).step_by(S::LANES) {
                    let q = exp(s, s.fma(s.load(&p[j..]), scale, minus_lse));
                    s.store(&mut p[j..], q);
                    let q = s.mul(q, s.mul(s.load(&dot[j..]), scale));
                    s.store(&mut dot[j..], q);
                    sum = s.add(sum, q);
                }
                p[visible..seen].fill(0.0);
                dot[visible..seen].fill(0.0);
                *mean = s.sum(sum);
            }
            // o_dot = (p s_dot) v + p v_dot - (sum p s_dot) o.
            for part in 0..layout.parts() {
                let mut start = Start::Zero;
                for (weights, values) in [&*scores_dot, &*scores].into_iter().zip(inputs.values) {
                    let mut at = 0;
                    for (n, len) in tree.spans(node, own) {
                        let panel = &values[layout.along(kv_head, part, n.start)..][..len * S::NR];
                        let lhs = Lhs::rows::<f32, f32>(&weights[first * ld + at..], ld);
                        // SAFETY: `height` rows of scores, `len` of values, a tile.
                        unsafe { s.product(out.as_mut_ptr(), S::NR, height, lhs, panel.as_ptr(), len, start) };
                        start = Start::Output;
                        at += len;
                    }
                }
                let from = part * S::NR;
                let columns = S::NR.min(d - from);
                for r in 0..height {
                    let at = (row(first + r) * heads + head(first + r)) * d + from;
                    let o = &inputs.o[at..at + columns];
                    // SAFETY: the piece of work has these heads of these rows to itself.
                    let o_dot = unsafe { o_dot.slice(at, columns) };
                    let minus_mean = s.splat(-means[r]);
                    for j in (0..columns).step_by(S::LANES) {
                        let sum = s.load(&out[r * S::NR + j..]);
                        put(s, &mut o_dot[j..], s.fma(minus_mean, get(s, &o[j..]), sum));
                    }
                }
            }
        }
    }
}
