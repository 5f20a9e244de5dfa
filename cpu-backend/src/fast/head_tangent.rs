//! The head's Fisher matrix and the exact KL divergence, by blocks of the vocabulary as the head itself.
//!
//! Both go through the vocabulary twice: once for a mean under p, once for what differs from it. So neither loses digits
//! where two numbers of the size of a logit differ by little.
use kernel::backend::{Dual, HeadIn};

use super::Engine;
use super::buffer::Buffer;
use super::elem::Elem;
use super::gemm::{Start, tiles};
use super::head::{BLOCK, ROWS, block_of, logits, room_of_rows, statistics};
use super::head_bwd::{Of, Rows, gradients, logits_and_tangents};
use super::matmul;
use super::out::Out;
use super::pool::Scratch;
use super::simd::{Simd, exp, kernels};
use super::weight::Weight;

/// Tokens that a mean is summed over at a time: z_dot less its mean cancels, and a longer chain rounds more.
const CHAIN: usize = 128;

/// `Tangent::head_fisher`.
#[allow(clippy::too_many_arguments)]
pub(super) fn head_fisher<T: Elem>(
    engine: &Engine,
    dh: &mut [T],
    dw: &mut [f32],
    weight: &[f32],
    lse: &[f32],
    h: &Dual<'_, Buffer<T>>,
    w: &Dual<'_, Weight<T>>,
    temperature: f64,
) {
    let (level, n, c) = (engine.level, h.x.rows, h.x.cols);
    let blocks = w.x.rows.div_ceil(BLOCK);
    let (w, w_dot) = (&w.x.data, &w.x_dot.data);
    for start in (0..n).step_by(ROWS) {
        let range = start..(start + ROWS).min(n);
        let count = range.len();
        let mut mean = [0.0; ROWS];
        let rows = |mean| Rows {
            h: matmul::Rows::new(&h.x.data[range.start * c..range.end * c], c),
            lse: &lse[range.clone()],
            inverse: (1.0 / temperature) as f32,
            of: Of::Fisher {
                h_dot: matmul::Rows::new(&h.x_dot.data[range.start * c..range.end * c], c),
                w_dot,
                weight: &weight[range.clone()],
                mean,
            },
        };
        {
            let mut team = engine.team();
            let team = &mut *team;
            let partial = team.rooms.a.get::<f32>(count * blocks * 2);
            let out = Out::new(&mut *partial);
            let zeros: &[f32] = &[0.0; ROWS];
            let mut rows = rows(&zeros[..count]);
            rows.lay(level, &mut team.pool, [&mut team.rooms.b, &mut team.rooms.c]);
            team.pool.run(blocks, &|block, scratch| {
                means(level, out, rows, w, block, scratch);
            });
            for (mean, parts) in mean.iter_mut().zip(partial.chunks_exact(blocks * 2)) {
                let sum = |i: usize| parts.iter().skip(i).step_by(2).sum::<f32>();
                // Divided by sum p, so that the rounding of a saved lse does not show as a mean.
                *mean = sum(0) / sum(1);
            }
        }
        gradients(
            engine,
            &mut dh[range.start * c..range.end * c],
            dw,
            rows(&mean[..count]),
            w,
        );
    }
}

/// What the KL divergence reads.
#[derive(Clone, Copy)]
struct Pair<'a, T> {
    old: (matmul::Rows<'a, T>, &'a Weight<T>),
    new: (matmul::Rows<'a, T>, &'a Weight<T>),
    rows: usize,
    inverse: f32,
}

/// `Tangent::head_kl`. With d = z_new - z_old and d^ = d - <p, d>: KL = log <p, e^d> - <p, d> = log(1 + <p, e^d^ - 1 - d^>), a
/// mean of numbers none of which is negative.
pub(super) fn head_kl<T: Elem>(
    engine: &Engine,
    kl: &mut [f32],
    old: &HeadIn<'_, Buffer<T>, Weight<T>>,
    new: &HeadIn<'_, Buffer<T>, Weight<T>>,
    temperature: f64,
) {
    let (level, n, c) = (engine.level, old.h.rows, old.h.cols);
    let blocks = old.w.rows.div_ceil(BLOCK);
    let mut team = engine.team();
    let team = &mut *team;
    for start in (0..n).step_by(ROWS) {
        let count = ROWS.min(n - start);
        let wide = start * c..(start + count) * c;
        let mut lay = |h, room| matmul::Rows::new(h, c).lay(level, &mut team.pool, room, 0..count);
        let pair = Pair {
            old: (lay(&old.h.data[wide.clone()], &mut team.rooms.b), &old.w.data),
            new: (lay(&new.h.data[wide], &mut team.rooms.c), &new.w.data),
            rows: count,
            inverse: (1.0 / temperature) as f32,
        };
        let partial = team.rooms.a.get::<f32>(count * blocks * PAIRED);
        let out = Out::new(&mut *partial);
        team.pool.run(blocks, &|block, scratch| {
            differences(level, out, pair, block, scratch);
        });
        // lse of the old logits, <p, d>, lse of the new logits.
        let mut centre = [[0.0; 3]; ROWS];
        for (centre, parts) in centre.iter_mut().zip(partial.chunks_exact(blocks * PAIRED)) {
            let [m, sum, mean] = together(parts, 0);
            let [new_m, new_sum, _] = together(parts, 3);
            *centre = [m + libm::logf(sum), mean / sum, new_m + libm::logf(new_sum)];
        }
        let out = Out::new(&mut *partial);
        team.pool.run(blocks, &|block, scratch| {
            excess(level, out, pair, &centre, block, scratch);
        });
        let rows = kl[start..start + count]
            .iter_mut()
            .zip(partial.chunks(blocks))
            .zip(centre);
        for ((kl, parts), [lse, mean, new_lse]) in rows {
            let excess: f32 = parts.iter().sum();
            // Policies that are far apart: the mean overflows before its logarithm does, and there is nothing to cancel.
            *kl = if excess < 1.0 {
                libm::log1pf(excess)
            } else {
                new_lse - lse - mean
            };
        }
    }
}

/// Numbers that a block leaves of a row: m, sum e^(z - m), sum e^(z - m) d of the old logits z; m, sum e^(z - m), and nothing
/// of the new ones.
const PAIRED: usize = 6;

/// The m, sum and moment of all blocks, from those of each at `from` of its numbers.
fn together(parts: &[f32], from: usize) -> [f32; 3] {
    let mut m = f32::NEG_INFINITY;
    for part in parts.chunks_exact(PAIRED) {
        // NaN must not be lost in a maximum.
        m = if part[from] > m || part[from].is_nan() {
            part[from]
        } else {
            m
        };
    }
    let (mut sum, mut moment) = (0.0, 0.0);
    for part in parts.chunks_exact(PAIRED) {
        let factor = libm::expf(part[from] - m);
        sum += factor * part[from + 1];
        moment += factor * part[from + 2];
    }
    [m, sum, moment]
}

kernels! {
    /// partial (rows, blocks, 2) = sum p z_dot and sum p of the block.
    fn means<T>(
        s, partial: Out<'_, f32>, rows: Rows<'_, T>, w: &Weight<T>, block: usize, scratch: &mut Scratch,
    ) {
        let Of::Fisher { w_dot, .. } = rows.of else {
            return;
        };
        let (vocab, k) = (w.layout().rows, w.layout().cols);
        let blocks = vocab.div_ceil(BLOCK);
        let tokens = BLOCK.min(vocab - block * BLOCK);
        let Scratch { a, b, c, d, .. } = scratch;
        let panels = [block_of::<S, T>(s, w, block, a), block_of::<S, T>(s, w_dot, block, d)];
        let (z, z_dot) = b.get::<f32>(2 * S::MR * BLOCK).split_at_mut(S::MR * BLOCK);
        let room = room_of_rows::<S, T>(c, k);
        let inverse = s.splat(rows.inverse);
        for (first, height) in tiles(rows.lse.len(), S::MR) {
            logits_and_tangents::<S, T>(s, z, z_dot, rows, k, (first, height), panels, room);
            for r in 0..height {
                let (z, z_dot) = (&mut z[r * BLOCK..][..BLOCK], &mut z_dot[r * BLOCK..][..BLOCK]);
                // What lies past the vocabulary counts nothing.
                z[tokens..].fill(-1e30);
                z_dot[tokens..].fill(0.0);
                let minus_lse = s.splat(-rows.lse[first + r]);
                let mut sums = [0.0; 2];
                for chain in (0..tokens).step_by(CHAIN) {
                    let (mut sum, mut mass) = (s.splat(0.0), s.splat(0.0));
                    for i in (chain..tokens.min(chain + CHAIN)).step_by(S::LANES) {
                        let p = exp(s, s.fma(s.load(&z[i..]), inverse, minus_lse));
                        sum = s.fma(p, s.mul(s.load(&z_dot[i..]), inverse), sum);
                        mass = s.add(mass, p);
                    }
                    sums[0] += s.sum(sum);
                    sums[1] += s.sum(mass);
                }
                // SAFETY: each item has the sums of its block.
                let out = unsafe { partial.slice(((first + r) * blocks + block) * 2, 2) };
                out.copy_from_slice(&sums);
            }
        }
    }

    /// partial (rows, blocks, PAIRED) of the block.
    fn differences<T>(s, partial: Out<'_, f32>, pair: Pair<'_, T>, block: usize, scratch: &mut Scratch) {
        let blocks = pair.old.1.layout().rows.div_ceil(BLOCK);
        both::<S, T>(s, pair, block, scratch, |row, z, d, tokens| {
            let [m, sum, _] = statistics(s, z, tokens, pair.inverse);
            let (mv, factor, mut mean) = (s.splat(m), s.splat(pair.inverse), s.splat(0.0));
            for i in (0..tokens).step_by(S::LANES) {
                let p = exp(s, s.sub(s.load(&z[i..]), mv));
                let difference = s.mul(s.load(&d[i..]), factor);
                mean = s.fma(p, difference, mean);
                s.store(&mut d[i..], s.add(s.load(&z[i..]), difference));
            }
            let [new_m, new_sum, _] = statistics(s, d, tokens, 1.0);
            // SAFETY: each item has the sums of its block.
            let out = unsafe { partial.slice((row * blocks + block) * PAIRED, PAIRED) };
            out.copy_from_slice(&[m, sum, s.sum(mean), new_m, new_sum, 0.0]);
        });
    }

    /// partial (rows, blocks) = sum p (e^x - 1 - x) of the block, x = d - <p, d>; `centre` begins with lse and <p, d>.
    fn excess<T>(
        s, partial: Out<'_, f32>, pair: Pair<'_, T>, centre: &[[f32; 3]], block: usize, scratch: &mut Scratch,
    ) {
        let blocks = pair.old.1.layout().rows.div_ceil(BLOCK);
        both::<S, T>(s, pair, block, scratch, |row, z, d, tokens| {
            let [lse, mean, _] = centre[row].map(|x| s.splat(x));
            let (factor, mut sum) = (s.splat(pair.inverse), s.splat(0.0));
            z[tokens..].fill(-1e30);
            for i in (0..tokens).step_by(S::LANES) {
                let logp = s.sub(s.mul(s.load(&z[i..]), factor), lse);
                let x = s.sub(s.mul(s.load(&d[i..]), factor), mean);
                sum = s.add(sum, excess_of(s, logp, x));
            }
            // SAFETY: each item has the sums of its block.
            unsafe { partial.put(row * blocks + block, s.sum(sum)) };
        });
    }
}

/// p (e^x - 1 - x) with p = e^logp. x in two parts, x = near + far with |near| <= 1/2 and far = 0 where x is near: near by its
/// series, far with p inside the exponential, where it does not overflow before the result does.
#[inline(always)]
fn excess_of<S: Simd>(s: S, logp: S::V, x: S::V) -> S::V {
    let near = s.min(s.splat(0.5), s.max(s.splat(-0.5), x));
    let far = s.sub(x, near);
    let mut series = s.splat(1.0 / 40320.0);
    for c in [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = s.fma(series, near, s.splat(c));
    }
    let series = s.mul(series, s.mul(near, near));
    let leap = s.sub(exp(s, s.add(logp, x)), exp(s, s.add(logp, near)));
    s.fma(exp(s, logp), s.sub(series, far), leap)
}

/// Calls `each(row, old logits, new minus old, tokens)` for every row of the block, not divided by the temperature; the
/// differences past the vocabulary are 0.
#[inline(always)]
fn both<S: Simd, T: Elem>(
    s: S,
    pair: Pair<'_, T>,
    block: usize,
    scratch: &mut Scratch,
    mut each: impl FnMut(usize, &mut [f32], &mut [f32], usize),
) {
    let (vocab, k) = (pair.old.1.layout().rows, pair.old.1.layout().cols);
    let tokens = BLOCK.min(vocab - block * BLOCK);
    let Scratch { a, b, c, d, .. } = scratch;
    let old = block_of::<S, T>(s, pair.old.1, block, a);
    let new = block_of::<S, T>(s, pair.new.1, block, d);
    let (z, y) = b.get::<f32>(2 * S::MR * BLOCK).split_at_mut(S::MR * BLOCK);
    let room = room_of_rows::<S, T>(c, k);
    for tile in tiles(pair.rows, S::MR) {
        logits::<S, T>(s, z, pair.old.0, tile, old, room, k, Start::Zero);
        logits::<S, T>(s, y, pair.new.0, tile, new, room, k, Start::Zero);
        for r in 0..tile.1 {
            let (z, y) = (&mut z[r * BLOCK..][..BLOCK], &mut y[r * BLOCK..][..BLOCK]);
            for i in (0..tokens).step_by(S::LANES) {
                let d = s.sub(s.load(&y[i..]), s.load(&z[i..]));
                s.store(&mut y[i..], d);
            }
            y[tokens..].fill(0.0);
            each(tile.0 + r, z, y, tokens);
        }
    }
}
