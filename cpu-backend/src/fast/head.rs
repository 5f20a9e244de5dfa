//! The head: log-probability of the target, entropy and log-sum-exp of each row, and their gradients, without all logits
//! ever being in memory.
//!
//! The vocabulary is cut into blocks of [`BLOCK`] tokens. A piece of work has one block and goes through the rows with it:
//! forward it leaves each row's largest logit m, sum of e^(z - m) and sum of e^(z - m) (z - m) of the block, which are put
//! together in the order of blocks. Backward it makes the block's logits again, adds to the block's rows of dw, and
//! to a sum of dh that belongs to its group of blocks; the groups' sums are added up in order. The groups are fixed by
//! the vocabulary, not by the threads.
use kernel::backend::{HeadCotangent, HeadOut};

use super::Engine;
use super::buffer::Buffer;
use super::elem::{Elem, get, put};
use super::gemm::{F32Mac, Lhs, Mac, Start, pack_columns, tiles};
use super::linear::{MAX_TILE, left, right};
use super::out::Out;
use super::pool::Scratch;
use super::simd::{Simd, exp, kernels};
use super::weight::{Weight, transpose, transposed_len};

/// Tokens in a block of the vocabulary.
const BLOCK: usize = 128;

/// Rows whose partial sums are kept at a time, forward.
const ROWS: usize = 1024;

/// Rows whose gradients are made at a time, backward.
const ROWS_BWD: usize = 512;

/// Sums of dh.
const GROUPS: usize = 16;

/// Numbers that a block leaves of a row: m, sum e^(z - m), sum e^(z - m) (z - m).
const PARTIAL: usize = 3;

/// `Ops::head`.
pub(super) fn head<T: Elem>(
    engine: &Engine,
    mut out: HeadOut<'_, Buffer<f32>>,
    h: &[T],
    w: &Weight<T>,
    targets: &[u32],
    temperature: f64,
) {
    let level = engine.level;
    let layout = w.layout();
    let (vocab, c) = (layout.rows, layout.cols);
    let blocks = vocab.div_ceil(BLOCK);
    let inverse = (1.0 / temperature) as f32;
    let mut team = engine.team();
    let team = &mut *team;
    for start in (0..targets.len()).step_by(ROWS) {
        let rows = ROWS.min(targets.len() - start);
        let (h, targets) = (&h[start * c..(start + rows) * c], &targets[start..start + rows]);
        let partial = team.rooms.a.get::<f32>(rows * blocks * PARTIAL);
        let chosen = team.rooms.b.get::<f32>(rows);
        let outs = (Out::new(&mut *partial), Out::new(&mut *chosen));
        team.pool.run(blocks, &|block, scratch| {
            forward(level, outs.0, outs.1, h, w, targets, block, inverse, scratch);
        });
        for i in 0..rows {
            let parts = &partial[i * blocks * PARTIAL..][..blocks * PARTIAL];
            put_together(&mut out, start + i, parts, chosen[i]);
        }
    }
}

/// `Decode::logp`: [`head`] from logits (n, V) that are there already, by the same sums.
pub(super) fn logp(
    engine: &Engine,
    mut out: HeadOut<'_, Buffer<f32>>,
    z: &[f32],
    vocab: usize,
    targets: &[u32],
    temperature: f64,
) {
    let level = engine.level;
    let blocks = vocab.div_ceil(BLOCK);
    let inverse = (1.0 / temperature) as f32;
    let mut team = engine.team();
    let team = &mut *team;
    let partial = team.rooms.a.get::<f32>(targets.len() * blocks * PARTIAL);
    let sums = Out::new(&mut *partial);
    team.pool.run(targets.len(), &|i, scratch| {
        // SAFETY: each item has the sums of its row.
        let sums = unsafe { sums.slice(i * blocks * PARTIAL, blocks * PARTIAL) };
        row_statistics(level, sums, &z[i * vocab..(i + 1) * vocab], inverse, scratch);
    });
    for (i, &target) in targets.iter().enumerate() {
        let parts = &partial[i * blocks * PARTIAL..][..blocks * PARTIAL];
        put_together(&mut out, i, parts, z[i * vocab + target as usize] * inverse);
    }
}

/// Row i of the head's outputs, from what its blocks left and the target's logit.
fn put_together(out: &mut HeadOut<'_, Buffer<f32>>, i: usize, parts: &[f32], chosen: f32) {
    let (mut m, mut sum, mut moment) = (f32::NEG_INFINITY, 0.0, 0.0);
    for part in parts.chunks_exact(PARTIAL) {
        // NaN must not be lost in a maximum.
        m = if part[0] > m || part[0].is_nan() { part[0] } else { m };
    }
    for part in parts.chunks_exact(PARTIAL) {
        let down = part[0] - m;
        let factor = libm::expf(down);
        sum += factor * part[1];
        moment += factor * (part[2] + down * part[1]);
    }
    let log = libm::logf(sum);
    out.logp.data[i] = chosen - m - log;
    out.entropy.data[i] = log - moment / sum;
    out.lse.data[i] = m + log;
    out.best.data[i] = -log;
}

/// What the backward pass reads of each row.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    h: &'a [T],
    targets: &'a [u32],
    dlogp: &'a [f32],
    dentropy: &'a [f32],
    lse: &'a [f32],
    entropy: &'a [f32],
    inverse: f32,
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
    for start in (0..targets.len()).step_by(ROWS_BWD) {
        let range = start..(start + ROWS_BWD).min(targets.len());
        let count = range.len();
        let rows = Rows {
            h: &h[range.start * c..range.end * c],
            targets: &targets[range.clone()],
            dlogp: &cotangent.dlogp.data[range.clone()],
            dentropy: &cotangent.dentropy.data[range.clone()],
            lse: &cotangent.lse.data[range.clone()],
            entropy: &cotangent.entropy.data[range.clone()],
            inverse: (1.0 / temperature) as f32,
        };
        let panel = 4 * width * count.next_multiple_of(2);
        let packed = team.rooms.a.get::<u8>(panels * panel);
        let out = Out::new(&mut *packed);
        team.pool.run(panels, &|p, _| {
            // SAFETY: each item has a panel of its own.
            let dst = unsafe { out.slice(p * panel, panel) };
            super::linear::pack(level, dst, rows.h, c, count, p * width, width);
        });
        let packed = &*packed;
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
    fn forward<T>(
        s, partial: Out<'_, f32>, chosen: Out<'_, f32>, h: &[T], w: &Weight<T>, targets: &[u32], block: usize,
        inverse: f32, scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Mac<S>;
        let layout = w.layout();
        let (vocab, k) = (layout.rows, layout.cols);
        let blocks = vocab.div_ceil(BLOCK);
        let tokens = BLOCK.min(vocab - block * BLOCK);
        let panels = tokens.div_ceil(S::NR);
        let Scratch { a, b, c, .. } = scratch;
        let w = &w.panels()[block * (BLOCK / S::NR) * layout.len()..][..panels * layout.len()];
        let packed = right::<S, T>(s, w, a.get(if T::BF16 { w.len() } else { 0 }));
        let size = S::NR * M::<S, T>::steps(k);
        let z = b.get::<f32>(S::MR * BLOCK);
        let widened = c.get::<f32>(if T::BF16 { S::MR * k } else { 0 });
        for (first, height) in tiles(targets.len(), S::MR) {
            let lhs = left::<S, T>(s, &h[first * k..(first + height) * k], k, widened);
            for (p, panel) in packed.chunks_exact(size.max(1)).enumerate() {
                // SAFETY: `height` rows of k numbers, a panel of k, rows of BLOCK logits with room for the panel.
                unsafe {
                    let z = z[p * S::NR..].as_mut_ptr();
                    M::<S, T>::product(s, z, BLOCK, height, lhs, panel.as_ptr(), k, Start::Zero);
                }
            }
            for r in 0..height {
                let z = &mut z[r * BLOCK..(r + 1) * BLOCK];
                let row = first + r;
                let sums = statistics(s, z, tokens, inverse);
                // SAFETY: each item has the sums of its block.
                unsafe { partial.slice((row * blocks + block) * PARTIAL, PARTIAL) }.copy_from_slice(&sums);
                let target = targets[row] as usize;
                if target / BLOCK == block {
                    // SAFETY: a target is in one block.
                    unsafe { chosen.put(row, z[target % BLOCK]) };
                }
            }
        }
    }

    /// What each block leaves of a row of logits.
    fn row_statistics(s, sums: &mut [f32], z: &[f32], inverse: f32, scratch: &mut Scratch) {
        let block = scratch.a.get::<f32>(BLOCK);
        for (sums, z) in sums.chunks_exact_mut(PARTIAL).zip(z.chunks(BLOCK)) {
            block[..z.len()].copy_from_slice(z);
            sums.copy_from_slice(&statistics(s, block, z.len(), inverse));
        }
    }

    fn backward<T>(
        s, dw: Out<'_, f32>, dh: &mut [f32], rows: Rows<'_, T>, w: &Weight<T>, packed: &[u8], panel_bytes: usize,
        block: usize, scratch: &mut Scratch,
    ) {
        type M<S, T> = <T as Elem>::Mac<S>;
        type X<S, T> = <<T as Elem>::Mac<S> as Mac<S, T>>::X;
        let layout = w.layout();
        let (vocab, k) = (layout.rows, layout.cols);
        let count = rows.targets.len();
        let begin = block * BLOCK;
        let tokens = BLOCK.min(vocab - begin);
        let panels = tokens.div_ceil(S::NR);
        let hidden = k.div_ceil(S::NR);
        let per_unit = if M::<S, T>::PAIRS { 2 } else { 1 };
        let units = BLOCK / per_unit;
        let steps = M::<S, T>::steps(count);
        let Scratch { a, b, c, d, e, f } = scratch;

        let all = w.panels();
        let mine = &all[begin / S::NR * layout.len()..][..panels * layout.len()];
        let forward = right::<S, T>(s, mine, a.get(if T::BF16 { mine.len() } else { 0 }));
        let size = S::NR * M::<S, T>::steps(k);
        let widened = b.get::<f32>(if T::BF16 { S::MR * k } else { 0 });
        let z = c.get::<f32>((S::MR + 1) * BLOCK);
        // dz by units along the tokens, and by units along the rows in tiles of MR tokens.
        let across = d.get::<X<S, T>>(count * units);
        let down = e.get::<X<S, T>>(tokens.div_ceil(S::MR) * steps * S::MR);
        for (first, height) in tiles(count, S::MR) {
            let lhs = left::<S, T>(s, &rows.h[first * k..(first + height) * k], k, widened);
            for (p, panel) in forward.chunks_exact(size.max(1)).enumerate() {
                // SAFETY: `height` rows of k numbers, a panel of k, rows of BLOCK logits with room for the panel.
                unsafe {
                    let z = z[p * S::NR..].as_mut_ptr();
                    M::<S, T>::product(s, z, BLOCK, height, lhs, panel.as_ptr(), k, Start::Zero);
                }
            }
            for r in 0..height {
                let row = first + r;
                let z = &mut z[r * BLOCK..(r + 1) * BLOCK];
                gradient_of_logits(s, z, tokens, begin, row, rows);
                for (x, z) in across[row * units..(row + 1) * units].iter_mut().zip(z.chunks_exact(per_unit)) {
                    *x = M::<S, T>::unit_f32(z[0], z[per_unit - 1]);
                }
            }
        }
        for (t, down) in down.chunks_exact_mut(S::MR * steps).enumerate() {
            tile_of_rows::<S, T>(down, across, count, t * S::MR, tokens - t * S::MR);
        }

        // dh += dz w
        let back = f.get::<X<S, T>>(transposed_len::<S, T>(tokens));
        let mut tile = [0.0; MAX_TILE];
        for p in 0..hidden {
            let inputs = p * S::NR..((p + 1) * S::NR).min(k);
            transpose(s, back, all, layout, inputs, begin..begin + tokens);
            for (first, height) in tiles(count, S::MR) {
                let lhs = Lhs {
                    ptr: across[first * units..].as_ptr().cast(),
                    row: units * size_of::<X<S, T>>(),
                    step: size_of::<X<S, T>>(),
                };
                let sum = &mut dh[(first * hidden + p) * S::NR..][..((height - 1) * hidden + 1) * S::NR];
                // SAFETY: `height` rows of BLOCK numbers, a panel of `tokens` to whole units, rows of sums.
                unsafe {
                    let (ld, n) = (hidden * S::NR, tokens.next_multiple_of(per_unit));
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
                let lhs = Lhs::packed(down, S::MR);
                // SAFETY: `count` rows of MR units, a panel of `count`, both to whole units; the tile MR x NR.
                unsafe {
                    let (c, n) = (tile.as_mut_ptr(), steps * per_unit);
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

/// A tile of MR tokens from token `first`, by units along the rows, from dz by units along the tokens.
#[inline(always)]
fn tile_of_rows<S: Simd, T: Elem>(
    down: &mut [<T::Mac<S> as Mac<S, T>>::X],
    across: &[<T::Mac<S> as Mac<S, T>>::X],
    rows: usize,
    first: usize,
    columns: usize,
) {
    if <T::Mac<S> as Mac<S, T>>::PAIRS {
        let numbers: &[T] = bytemuck::cast_slice(across);
        pack_columns::<S, T, T::Mac<S>>(down, numbers, BLOCK, rows, first, columns, S::MR);
    } else {
        let (down, numbers) = (bytemuck::cast_slice_mut(down), bytemuck::cast_slice(across));
        pack_columns::<S, f32, F32Mac>(down, numbers, BLOCK, rows, first, columns, S::MR);
    }
}

/// z *= 1 / temperature; m, sum e^(z - m) and sum e^(z - m) (z - m) of the first `tokens`.
#[inline(always)]
fn statistics<S: Simd>(s: S, z: &mut [f32], tokens: usize, inverse: f32) -> [f32; PARTIAL] {
    // What lies past the vocabulary counts nothing: e^(z - m) is 0, and finite beside z - m.
    z[tokens..].fill(-1e30);
    let (factor, mut most) = (s.splat(inverse), s.splat(f32::NEG_INFINITY));
    for z in z[..tokens.next_multiple_of(S::LANES)].chunks_exact_mut(S::LANES) {
        let v = s.mul(s.load(z), factor);
        most = s.max(most, v);
        s.store(z, v);
    }
    let m = s.largest(most);
    let (mv, mut sum, mut moment) = (s.splat(m), s.splat(0.0), s.splat(0.0));
    for z in z[..tokens.next_multiple_of(S::LANES)].chunks_exact(S::LANES) {
        let down = s.sub(s.load(z), mv);
        let p = exp(s, down);
        sum = s.add(sum, p);
        moment = s.fma(p, down, moment);
    }
    [m, s.sum(sum), s.sum(moment)]
}

/// z -> dz = (dlogp (e_y - p) - dentropy p (log p + H)) / temperature; 0 past the vocabulary.
#[inline(always)]
fn gradient_of_logits<S: Simd, T: Elem>(
    s: S,
    z: &mut [f32],
    tokens: usize,
    begin: usize,
    row: usize,
    rows: Rows<'_, T>,
) {
    let inverse = s.splat(rows.inverse);
    let minus_lse = s.splat(-rows.lse[row]);
    let (dlogp, dentropy) = (s.splat(rows.dlogp[row]), s.splat(rows.dentropy[row]));
    let entropy = s.splat(rows.entropy[row]);
    let minus = s.splat(-rows.inverse);
    for z in z[..tokens.next_multiple_of(S::LANES)].chunks_exact_mut(S::LANES) {
        let logp = s.fma(s.load(z), inverse, minus_lse);
        let slope = s.fma(dentropy, s.add(logp, entropy), dlogp);
        s.store(z, s.mul(s.mul(exp(s, logp), slope), minus));
    }
    z[tokens..].fill(0.0);
    let target = rows.targets[row] as usize;
    if (begin..begin + tokens).contains(&target) {
        z[target - begin] += rows.dlogp[row] * rows.inverse;
    }
}

#[cfg(test)]
mod tests;
