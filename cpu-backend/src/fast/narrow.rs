//! AdamW on parameters and moments of compute precision, stored by stochastic rounding.
use kernel::optim::Kept;
use kernel::random::philox_lanes;
use kernel::rounding::{BLOCK, Dither};

use super::elem::{Elem, get};
use super::rows::Constants;
use super::simd::{MAX_LANES, Simd, kernels};

/// Counters that are worked on side by side.
const LANES: usize = 16;
/// Numbers that they serve.
const PIECE: usize = LANES * BLOCK;

/// The random bits of one tensor in one optimizer step.
#[derive(Clone, Copy)]
pub(super) struct Bits {
    pub dither: Dither,
    pub step: u64,
}

impl Bits {
    /// Those of the PIECE numbers from block `first` on.
    #[inline(always)]
    fn piece(self, what: Kept, first: usize) -> [u16; PIECE] {
        let counter = self.dither.counter(self.step, what, first as u32);
        let mut counters = counter.map(|c| [c; LANES]);
        for (lane, block) in counters[0].iter_mut().enumerate() {
            *block = block.wrapping_add(lane as u32);
        }
        let words = philox_lanes(self.dither.seed, counters);
        let mut bits = [0; PIECE];
        for (lane, bits) in bits.chunks_exact_mut(BLOCK).enumerate() {
            for (pair, words) in bits.chunks_exact_mut(2).zip(&words) {
                pair[0] = words[lane] as u16;
                pair[1] = (words[lane] >> 16) as u16;
            }
        }
        bits
    }
}

kernels! {
    /// One step on rows of `cols` numbers: those of p are `stride` apart, those of m, v and grad follow each other. The first
    /// number is number `first` of its tensor. `kernel::backend::Vector::adamw_narrow`.
    pub(super) fn adamw_narrow<T>(
        s, p: &mut [T], stride: usize, m: &mut [T], v: &mut [T], grad: &[f32], cols: usize, k: Constants, bits: Bits, first: usize,
    ) {
        let rows = p.chunks_mut(stride).zip(m.chunks_exact_mut(cols)).zip(v.chunks_exact_mut(cols)).zip(grad.chunks_exact(cols));
        for (row, (((p, m), v), grad)) in rows.enumerate() {
            let first = first + row * cols;
            let mut done = 0;
            while done < cols {
                let skip = (first + done) % BLOCK;
                let range = done..(done + PIECE - skip).min(cols);
                let random = Kept::ALL.map(|what| bits.piece(what, (first + done) / BLOCK));
                done = range.end;
                let parts = [&mut p[range.clone()], &mut m[range.clone()], &mut v[range.clone()]];
                piece(s, parts, &grad[range], k, &random, skip);
            }
        }
    }
}

/// One step on at most PIECE numbers, whose bits begin at `skip`. No fused product: every instruction set gives the same bits.
#[inline(always)]
fn piece<S: Simd, T: Elem>(
    s: S,
    pmv: [&mut [T]; 3],
    grad: &[f32],
    k: Constants,
    random: &[[u16; PIECE]; 3],
    skip: usize,
) {
    let n = grad.len();
    let [grad_scale, keep, b1, c1, b2, c2, rate, root, eps] =
        [k.grad_scale, k.keep, k.b1, k.c1, k.b2, k.c2, k.rate, k.root, k.eps].map(|x| s.splat(x));
    // As computed: a last vector may go over the end.
    let mut new = [[0.0; PIECE + MAX_LANES]; 3];
    for i in (0..n).step_by(S::LANES) {
        let g = s.mul(grad_scale, get(s, &grad[i..]));
        let [p, m, v] = [0, 1, 2].map(|j: usize| get(s, &pmv[j][i..]));
        let m = s.add(s.mul(b1, m), s.mul(c1, g));
        let v = s.add(s.mul(b2, v), s.mul(c2, s.mul(g, g)));
        let step = s.div(m, s.add(s.mul(s.sqrt(v), root), eps));
        let p = s.add(s.mul(rate, step), s.mul(keep, p));
        for (new, x) in new.iter_mut().zip([p, m, v]) {
            s.store(&mut new[i..], x);
        }
    }
    for ((out, new), random) in pmv.into_iter().zip(&new).zip(random) {
        for ((y, &x), &random) in out.iter_mut().zip(new).zip(&random[skip..]) {
            *y = T::dithered(x, random);
        }
    }
}

#[cfg(test)]
mod tests;
