//! The head's gradients, from cotangents of log-probs and entropies or from a tangent; see [`super::head`].
use core::ops::Range;

use kernel::backend::HeadCotangent;

use super::Engine;
use super::buffer::{Buffer, Room};
use super::elem::{Elem, get, put};
use super::gemm::{Lhs, Start, tiles};
use super::head::{BLOCK, Block, block_of, logits, room_of_rows};
use super::linear::{Tile, fetch_rows, packed_bytes};
use super::matmul::{self, Matmul};
use super::out::Out;
use super::pool::{Pool, Scratch};
use super::settings::Level;
use super::simd::{Simd, exp, kernels};
use super::weight::{Weight, transpose, transposed_len};

/// Rows whose gradients are made at a time, backward.
const ROWS_BWD: usize = 512;

/// Sums of dh.
const GROUPS: usize = 16;

/// What the backward pass reads of each row.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub h: matmul::Rows<'a, T>,
    pub lse: &'a [f32],
    /// 1 / temperature.
    pub inverse: f32,
    pub of: Of<'a, T>,
}

/// What the logits' cotangents are made of.
#[derive(Clone, Copy)]
pub(super) enum Of<'a, T> {
    /// dz = (dlogp (e_y - p) - dentropy p (log p + H)) / temperature.
    Scores {
        targets: &'a [u32],
        dlogp: &'a [f32],
        dentropy: &'a [f32],
        entropy: &'a [f32],
    },
    /// dz = weight p (z_dot - mean) / temperature.
    Fisher {
        h_dot: matmul::Rows<'a, T>,
        w_dot: &'a Weight<T>,
        weight: &'a [f32],
        mean: &'a [f32],
    },
}

impl<'a, T: Elem> Rows<'a, T> {
    /// Lays h and its tangent out for several pieces of work.
    pub fn lay(&mut self, level: Level, pool: &mut Pool, [room, room_dot]: [&'a mut Room; 2]) {
        let all = 0..self.count();
        self.h = self.h.lay(level, pool, room, all.clone());
        if let Of::Fisher { h_dot, .. } = &mut self.of {
            *h_dot = h_dot.lay(level, pool, room_dot, all);
        }
    }

    fn count(&self) -> usize {
        self.lse.len()
    }

    /// These of them.
    pub fn range(&self, r: Range<usize>) -> Self {
        Self {
            h: self.h.range(r.clone()),
            lse: &self.lse[r.clone()],
            inverse: self.inverse,
            of: match self.of {
                Of::Scores {
                    targets,
                    dlogp,
                    dentropy,
                    entropy,
                } => Of::Scores {
                    targets: &targets[r.clone()],
                    dlogp: &dlogp[r.clone()],
                    dentropy: &dentropy[r.clone()],
                    entropy: &entropy[r],
                },
                Of::Fisher {
                    h_dot,
                    w_dot,
                    weight,
                    mean,
                } => Of::Fisher {
                    h_dot: h_dot.range(r.clone()),
                    w_dot,
                    weight: &weight[r.clone()],
                    mean: &mean[r],
                },
            },
        }
    }
}

/// `Ops::head_bwd`.
#[allow(clippy::too_many_arguments)]
pub(super) fn head_bwd<T: Elem>(
    engine: &Engine,
    dh: &mut [T],
    dw: &mut [f32],
    cotangent: &HeadCotangent<'_, Buffer<f32>>,
    h: &[T],
    w: &Weight<T>,
    targets: &[u32],
    temperature: f64,
) {
    let n = targets.len();
    let rows = Rows {
        h: matmul::Rows::new(h, w.layout().cols),
        lse: &cotangent.lse.data[..n],
        inverse: (1.0 / temperature) as f32,
        of: Of::Scores {
            targets,
            dlogp: &cotangent.dlogp.data,
            dentropy: &cotangent.dentropy.data,
            entropy: &cotangent.entropy.data,
        },
    };
    gradients(engine, dh, dw, rows, w);
}

/// dh = dz w, dw += dz' h.
pub(super) fn gradients<T: Elem>(engine: &Engine, dh: &mut [T], dw: &mut [f32], all: Rows<'_, T>, w: &Weight<T>) {
    let level = engine.level;
    let layout = w.layout();
    let (vocab, c) = (layout.rows, layout.cols);
    let width = layout.width;
    let panels = c.div_ceil(width);
    let blocks = vocab.div_ceil(BLOCK);
    let groups = blocks.min(GROUPS);
    let mut team = engine.team();
    let team = &mut *team;
    let dw = Out::new(dw);
    for start in (0..all.count()).step_by(ROWS_BWD) {
        let range = start..(start + ROWS_BWD).min(all.count());
        let count = range.len();
        let mut rows = all.range(range.clone());
        let panel = packed_bytes::<T>(level, count);
        let packed = team.rooms.a.get::<u8>(panels * panel);
        let out = Out::new(&mut *packed);
        team.pool.run(panels, &|p, _| {
            // SAFETY: each item has a panel of its own.
            let dst = unsafe { out.slice(p * panel, panel) };
            super::linear::pack(level, dst, rows.h.numbers(), c, count, p * width);
        });
        let packed = &*packed;
        rows.lay(level, &mut team.pool, [&mut team.rooms.c, &mut team.rooms.d]);
        let sums = team.rooms.b.get::<f32>(groups * count * panels * width);
        let out = Out::new(&mut *sums);
        team.pool.run(groups, &|group, scratch| {
            let len = count * panels * width;
            // SAFETY: each item has a sum of its own.
            let sum = unsafe { out.slice(group * len, len) };
            sum.fill(0.0);
            for block in group * blocks / groups..(group + 1) * blocks / groups {
                backward(level, dw, sum, rows, w, packed, panel, block, scratch);
            }
        });
        let sums = &*sums;
        let dh = Out::new(&mut dh[range.start * c..range.end * c]);
        team.pool.run(count, &|r, _| {
            // SAFETY: each item has a row of its own.
            let dh = unsafe { dh.slice(r * c, c) };
            add_groups(level, dh, &sums[r * panels * width..], count * panels * width);
        });
    }
}

kernels! {
    fn backward<T>(
        s, dw: Out<'_, f32>, dh: &mut [f32], rows: Rows<'_, T>, w: &Weight<T>, packed: &[u8], panel_bytes: usize,
        block: usize, scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Large<S>;
        type X<S, T> = <<T as Elem>::Large<S> as Matmul<S, T>>::X;
        let layout = w.layout();
        let (vocab, k) = (layout.rows, layout.cols);
        let count = rows.count();
        let begin = block * BLOCK;
        let tokens = BLOCK.min(vocab - begin);
        let hidden = k.div_ceil(S::NR);
        let units = M::<S, T>::steps(BLOCK);
        let steps = M::<S, T>::steps(count);
        let Scratch { a, b, c, d, e, f } = scratch;

        let all = w.panels();
        let forward = block_of::<S, T>(s, w, block, a);
        let forward_dot = match rows.of {
            Of::Fisher { w_dot, .. } => block_of::<S, T>(s, w_dot, block, f),
            Of::Scores { .. } => &[],
        };
        let room = room_of_rows::<S, T>(b, k);
        let (z, z_dot) = c.get::<f32>((2 * S::MR + 1) * BLOCK).split_at_mut(S::MR * BLOCK);
        // dz by units along the tokens, and by units along the rows in tiles of MR tokens.
        let across = d.get::<X<S, T>>(count * units);
        let down = e.get::<X<S, T>>(tokens.div_ceil(S::MR) * steps * S::MR);
        for (first, height) in tiles(count, S::MR) {
            logits_and_tangents::<S, T>(s, z, z_dot, rows, k, (first, height), [forward, forward_dot], room);
            for r in 0..height {
                let row = first + r;
                let z = &mut z[r * BLOCK..(r + 1) * BLOCK];
                gradient_of_logits(s, z, &z_dot[r * BLOCK..(r + 1) * BLOCK], tokens, begin, row, rows);
                M::<S, T>::store_row(s, &mut across[row * units..(row + 1) * units], z);
            }
        }
        for (t, down) in down.chunks_exact_mut(S::MR * steps).enumerate() {
            M::<S, T>::turn(s, down, across, BLOCK, count, t * S::MR, tokens - t * S::MR);
        }

        // dh += dz w
        let back = f.get::<X<S, T>>(transposed_len::<S, T>(tokens));
        let tile = &mut Tile::new().0;
        for p in 0..hidden {
            let inputs = p * S::NR..((p + 1) * S::NR).min(k);
            transpose(s, back, all, layout, inputs, begin..begin + tokens);
            for (first, height) in tiles(count, S::MR) {
                let lhs = Lhs::rows::<X<S, T>, X<S, T>>(&across[first * units..], units);
                let sum = &mut dh[(first * hidden + p) * S::NR..][..((height - 1) * hidden + 1) * S::NR];
                // SAFETY: `height` rows of BLOCK numbers, a panel of `tokens` to whole units, rows of sums.
                unsafe {
                    let (ld, n) = (hidden * S::NR, tokens.next_multiple_of(M::<S, T>::PER_UNIT));
                    M::<S, T>::product(s, sum.as_mut_ptr(), ld, height, lhs, back.as_ptr(), n, Start::Output);
                }
            }
        }

        // dw += dz' h
        let panels: &[X<S, T>] = bytemuck::cast_slice(packed);
        let panel_units = panel_bytes / size_of::<X<S, T>>();
        for (p, panel) in panels.chunks_exact(panel_units).enumerate() {
            let columns = S::NR.min(k - p * S::NR);
            for (t, down) in down.chunks_exact(S::MR * steps).enumerate() {
                let first = t * S::MR;
                let height = S::MR.min(tokens - first);
                let lhs = M::<S, T>::packed_left(down, steps);
                fetch_rows(s, dw, (begin + first, height), k, p * S::NR);
                // SAFETY: `count` rows of MR units, a panel of `count`, both to whole units; the tile MR x NR.
                unsafe {
                    let (c, n) = (tile.as_mut_ptr(), steps * M::<S, T>::PER_UNIT);
                    M::<S, T>::product(s, c, S::NR, height, lhs, panel.as_ptr(), n, Start::Zero);
                }
                for r in 0..height {
                    // SAFETY: the piece of work has these rows to itself.
                    let dw = unsafe { dw.slice((begin + first + r) * k + p * S::NR, columns) };
                    for i in (0..columns).step_by(S::LANES) {
                        let sum = s.add(get(s, &dw[i..]), s.load(&tile[r * S::NR + i..]));
                        put(s, &mut dw[i..], sum);
                    }
                }
            }
        }
    }

    /// dh = the groups' sums, `stride` apart, in order.
    fn add_groups<T>(s, dh: &mut [T], sums: &[f32], stride: usize) {
        for i in (0..dh.len()).step_by(S::LANES) {
            let mut sum = s.splat(0.0);
            for group in sums.chunks(stride) {
                sum = s.add(sum, s.load(&group[i..]));
            }
            put(s, &mut dh[i..], sum);
        }
    }
}

/// A tile's logits, and where there are tangents z_dot = h_dot w' + h w_dot'; neither divided by the temperature.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn logits_and_tangents<S: Simd, T: Elem>(
    s: S,
    z: &mut [f32],
    z_dot: &mut [f32],
    rows: Rows<'_, T>,
    k: usize,
    tile: (usize, usize),
    [panels, panels_dot]: [Block<'_, S, T>; 2],
    room: &mut [f32],
) {
    logits::<S, T>(s, z, rows.h, tile, panels, room, k, Start::Zero);
    if let Of::Fisher { h_dot, .. } = rows.of {
        logits::<S, T>(s, z_dot, h_dot, tile, panels, room, k, Start::Zero);
        logits::<S, T>(s, z_dot, rows.h, tile, panels_dot, room, k, Start::Output);
    }
}

/// z -> dz, as [`Of`] has it; 0 past the vocabulary.
#[inline(always)]
fn gradient_of_logits<S: Simd, T: Elem>(
    s: S,
    z: &mut [f32],
    z_dot: &[f32],
    tokens: usize,
    begin: usize,
    row: usize,
    rows: Rows<'_, T>,
) {
    let inverse = s.splat(rows.inverse);
    let minus_lse = s.splat(-rows.lse[row]);
    let whole = tokens.next_multiple_of(S::LANES);
    match rows.of {
        Of::Scores {
            targets,
            dlogp,
            dentropy,
            entropy,
        } => {
            let (slope, dentropy) = (s.splat(dlogp[row]), s.splat(dentropy[row]));
            let entropy = s.splat(entropy[row]);
            let minus = s.splat(-rows.inverse);
            for z in z[..whole].chunks_exact_mut(S::LANES) {
                let logp = s.fma(s.load(z), inverse, minus_lse);
                let slope = s.fma(dentropy, s.add(logp, entropy), slope);
                s.store(z, s.mul(s.mul(exp(s, logp), slope), minus));
            }
            z[tokens..].fill(0.0);
            let target = targets[row] as usize;
            if (begin..begin + tokens).contains(&target) {
                z[target - begin] += dlogp[row] * rows.inverse;
            }
        }
        Of::Fisher { weight, mean, .. } => {
            let minus_mean = s.splat(-mean[row]);
            let factor = s.splat(weight[row] * rows.inverse);
            for (z, z_dot) in z[..whole].chunks_exact_mut(S::LANES).zip(z_dot.chunks_exact(S::LANES)) {
                let p = exp(s, s.fma(s.load(z), inverse, minus_lse));
                let slope = s.fma(s.load(z_dot), inverse, minus_mean);
                s.store(z, s.mul(s.mul(p, slope), factor));
            }
            z[tokens..].fill(0.0);
        }
    }
}
