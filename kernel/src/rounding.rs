//! Stochastic rounding to bfloat16: up or down with the odds that make the mean exact (Gupta et al. 2015, "Deep learning
//! with limited numerical precision", arXiv 1502.02551, section 3).
//!
//! A number between two neighbours a < b of bfloat16 becomes b with probability (x - a) / (b - a), else a, so E\[round(x)\] = x:
//! steps far smaller than the distance of a and b add up, where rounding to nearest loses every one of them.
use crate::optim::Kept;
use crate::random::philox;

/// Numbers that one call of the generator serves, 16 bits each.
pub const BLOCK: usize = 8;

/// What random bits are drawn for, beside the optimizer step and the number's place in its tensor: so they are the same for
/// any number of threads, on any machine and after a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dither {
    /// Of the run.
    pub seed: u64,
    /// The parameter's number in the canonical order.
    pub tensor: u32,
}

impl Dither {
    /// The counter of the numbers 8 `block` .. 8 `block` + 8 (row-major) in optimizer step number `step`; the key is the seed.
    pub fn counter(self, step: u64, what: Kept, block: u32) -> [u32; 4] {
        let stream = self.tensor * Kept::ALL.len() as u32 + what as u32;
        // The last word of a counter that draws a token is 0; here it is not.
        [block, stream, step as u32, !((step >> 32) as u32)]
    }

    /// The bits of number `i`: half i mod 2, the low one first, of word i mod 8 / 2 of its block.
    pub fn bits(self, step: u64, what: Kept, i: usize) -> u16 {
        let words = philox(self.seed, self.counter(step, what, (i / BLOCK) as u32));
        (words[i % BLOCK / 2] >> (16 * (i % 2))) as u16
    }
}

/// The bits of x as bfloat16, rounded away from zero where `random` and the sixteen bits of x that are cut carry together. A
/// number of bfloat16 stays as it is, infinity too; what is beyond the largest one can become infinity; NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32, random: u16) -> u16 {
    let bits = x.to_bits();
    // A quiet one, whose payload cannot carry into the sign.
    let (up, nan) = (bits.wrapping_add(random as u32), bits | 0x40_0000);
    ((if x.is_nan() { nan } else { up }) >> 16) as u16
}

#[cfg(test)]
mod tests;
