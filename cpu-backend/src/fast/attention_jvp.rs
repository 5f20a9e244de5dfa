//! The tangent of attention over the prefix tree, tile by tile as the forward pass.
use kernel::backend::{Heads, Qkv};

use super::Engine;
use super::attention::{
    Lay, Layout, Left, Unit, lay_out, left_rows, no_weights, put_weights, score_stride, scores_of, weighted_sum,
    weights_at,
};
use super::buffer::Buffer;
use super::elem::{Elem, get, put};
use super::gemm::{Mac, Start, tiles};
use super::linear::Tile;
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
    keys: [&'a [Unit]; 2],
    values: [&'a [Unit]; 2],
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
    let layout = Layout::new::<T>(engine.level, tree, heads);
    let mut team = engine.team();
    let team = &mut *team;
    let (across, along) = (layout.across_len(), layout.along_len());
    let (keys, keys_dot) = team.rooms.a.get::<Unit>(2 * across).split_at_mut(across);
    let (values, values_dot) = team.rooms.b.get::<Unit>(2 * along).split_at_mut(along);
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
        let len = count * layout.whole_d();
        let (queries, queries_dot) = a.get::<Left<S, T>>(2 * len).split_at_mut(len);
        // The weights p s_dot cancel in their sum: where weights are rounded to bf16, what is left of them is weighed too.
        let rounded = <T::Mac<S> as Mac<S, T>>::PAIRS;
        let (scores, rest) = b.get::<f32>(if rounded { 3 } else { 2 } * count * ld).split_at_mut(count * ld);
        let (scores_dot, scores_left) = rest.split_at_mut(count * ld);
        let row = |i: usize| node.start + tile.first + i % tile.rows;
        let head = |i: usize| kv_head * group + i / tile.rows;

        for (queries, q) in [&mut *queries, &mut *queries_dot].into_iter().zip(inputs.q) {
            left_rows::<S, T>(s, queries, layout, |i| Some(&q[(row(i) * heads + head(i)) * d..]));
        }
        // s = q k', s_dot = q_dot k' + q k_dot'.
        let [k, k_dot] = inputs.keys;
        let spans = || tree.spans(node, own);
        scores_of::<S, T>(s, scores, ld, queries, k, spans(), kv_head, layout, Start::Zero);
        scores_of::<S, T>(s, scores_dot, ld, queries_dot, k, spans(), kv_head, layout, Start::Zero);
        scores_of::<S, T>(s, scores_dot, ld, queries, k_dot, spans(), kv_head, layout, Start::Output);

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
                    let q_dot = s.mul(q, s.mul(s.load(&dot[j..]), scale));
                    put_weights::<S, T>(s, p, j, q);
                    put_weights::<S, T>(s, dot, j, q_dot);
                    if rounded {
                        let left = &mut scores_left[i * ld..(i + 1) * ld];
                        put_weights::<S, T>(s, left, j, s.sub(q_dot, weights_at::<S, T>(s, dot, j)));
                    }
                    sum = s.add(sum, q_dot);
                }
                no_weights::<S, T>(p, visible, seen);
                no_weights::<S, T>(dot, visible, seen);
                if rounded {
                    no_weights::<S, T>(&mut scores_left[i * ld..(i + 1) * ld], visible, seen);
                }
                *mean = s.sum(sum);
            }
            // o_dot = (p s_dot) v + p v_dot - (sum p s_dot) o.
            for part in 0..layout.parts() {
                for (weights, values, start) in [
                    (&*scores_dot, inputs.values[0], Start::Zero),
                    (&*scores_left, inputs.values[0], Start::Output),
                    (&*scores, inputs.values[1], Start::Output),
                ] {
                    if weights.is_empty() {
                        continue;
                    }
                    let (weights, of) = (&weights[first * ld..], (kv_head, part));
                    weighted_sum::<S, T>(s, out, height, weights, ld, values, spans(), of, layout, start);
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
