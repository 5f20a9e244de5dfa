//! The head: log-probability of the target, entropy and log-sum-exp of each row, and their gradients, without all logits
//! ever being in memory.
//!
//! The vocabulary is cut into blocks of [`BLOCK`] tokens. A piece of work has one block and goes through the rows with it:
//! forward it leaves each row's largest logit m, sum of e^(z - m) and sum of e^(z - m) (z - m) of the block, which are put
//! together in the order of blocks. Backward it makes the block's logits again, adds to the block's rows of dw, and
//! to a sum of dh that belongs to its group of blocks; the groups' sums are added up in order. The groups are fixed by
//! the vocabulary, not by the threads.
use kernel::backend::HeadOut;

use super::Engine;
use super::buffer::{Buffer, Room};
use super::elem::Elem;
use super::gemm::{Start, tiles};
use super::matmul::{Matmul, Rows, right, room_of_panel};
use super::out::Out;
use super::pool::Scratch;
use super::simd::{Simd, exp, kernels};
use super::weight::Weight;

/// Tokens in a block of the vocabulary.
pub(super) const BLOCK: usize = 256;

/// Rows whose partial sums are kept at a time, forward.
pub(super) const ROWS: usize = 1024;

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
        let h = Rows::new(h, c).lay(level, &mut team.pool, &mut team.rooms.c, 0..rows);
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

/// The panels of a block of the vocabulary, as the product reads them.
pub(super) type Block<'a, S, T> = &'a [<<T as Elem>::Large<S> as Matmul<S, T>>::X];

/// The panels of a block.
#[inline(always)]
pub(super) fn block_of<'a, S: Simd, T: Elem>(
    s: S,
    w: &'a Weight<T>,
    block: usize,
    room: &'a mut Room,
) -> Block<'a, S, T> {
    let layout = w.layout();
    let panels = BLOCK.min(layout.rows - block * BLOCK).div_ceil(S::NR);
    let mine = &w.panels()[block * (BLOCK / S::NR) * layout.len()..][..panels * layout.len()];
    let each = room_of_panel::<S, T, T::Large<S>>(layout.cols);
    right::<S, T, T::Large<S>>(s, mine, layout.len(), room.get(panels * each))
}

/// Room for a tile of rows as the left operand.
#[inline(always)]
pub(super) fn room_of_rows<S: Simd, T: Elem>(room: &mut Room, k: usize) -> &mut [f32] {
    room.get(S::MR * T::Large::<S>::room(k))
}

/// z (height, BLOCK) (+)= rows of h from row `first`, k numbers each, times the block's panels.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn logits<S: Simd, T: Elem>(
    s: S,
    z: &mut [f32],
    h: Rows<'_, T>,
    (first, height): (usize, usize),
    panels: Block<'_, S, T>,
    room: &mut [f32],
    k: usize,
    start: Start,
) {
    let size = S::NR * T::Large::<S>::steps(k);
    let lhs = h.left(s, (first, height), room);
    for (p, panel) in panels.chunks_exact(size.max(1)).enumerate() {
        let z = &mut z[p * S::NR..][..(height - 1) * BLOCK + S::NR];
        // SAFETY: `height` rows of k numbers, a panel of k, rows of BLOCK logits with room for the panel.
        unsafe { T::Large::<S>::product(s, z.as_mut_ptr(), BLOCK, height, lhs, panel.as_ptr(), k, start) };
    }
}

kernels! {
    fn forward<T>(
        s, partial: Out<'_, f32>, chosen: Out<'_, f32>, h: Rows<'_, T>, w: &Weight<T>, targets: &[u32], block: usize,
        inverse: f32, scratch: &mut Scratch,
    ) {
        let (vocab, k) = (w.layout().rows, w.layout().cols);
        let blocks = vocab.div_ceil(BLOCK);
        let tokens = BLOCK.min(vocab - block * BLOCK);
        let Scratch { a, b, c, .. } = scratch;
        let packed = block_of::<S, T>(s, w, block, a);
        let z = b.get::<f32>(S::MR * BLOCK);
        let room = room_of_rows::<S, T>(c, k);
        for (first, height) in tiles(targets.len(), S::MR) {
            logits::<S, T>(s, z, h, (first, height), packed, room, k, Start::Zero);
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
}

/// z *= 1 / temperature; m, sum e^(z - m) and sum e^(z - m) (z - m) of the first `tokens`.
#[inline(always)]
pub(super) fn statistics<S: Simd>(s: S, z: &mut [f32], tokens: usize, inverse: f32) -> [f32; PARTIAL] {
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

#[cfg(test)]
mod tests;
