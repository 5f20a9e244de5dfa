//! The counter-based generator: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A number depends on its key and counter only, never on what was drawn before: a completion does not depend on its
//! batch, a shuffle not on where a run was resumed.

/// Four random words for a key and a counter.
pub fn philox(key: u64, counter: [u32; 4]) -> [u32; 4] {
    philox_lanes(key, counter.map(|c| [c])).map(|[c]| c)
}

/// As [`philox`] for N counters at once, word by word: a loop over lanes that a compiler makes vectors of.
#[inline(always)]
pub fn philox_lanes<const N: usize>(key: u64, counters: [[u32; N]; 4]) -> [[u32; N]; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    let mut c = counters;
    for _ in 0..10 {
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let p0 = 0xD251_1F53_u64 * c[0][i] as u64;
            let p1 = 0xCD9E_8D57_u64 * c[2][i] as u64;
            next[0][i] = (p1 >> 32) as u32 ^ c[1][i] ^ k0;
            next[1][i] = p1 as u32;
            next[2][i] = (p0 >> 32) as u32 ^ c[3][i] ^ k1;
            next[3][i] = p0 as u32;
        }
        c = next;
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

/// Uniform in [0, 1), 53 bits, from two of a counter's words.
pub fn uniform(words: [u32; 4]) -> f64 {
    let bits = ((words[0] as u64) << 32 | words[1] as u64) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// A standard normal number from a counter's words (Box and Muller 1958).
pub fn normal(words: [u32; 4]) -> f64 {
    // Neither radius may be 0: its logarithm is taken.
    let u = (words[0] as f64 + 0.5) / (1u64 << 32) as f64;
    let angle = core::f64::consts::TAU * words[2] as f64 / (1u64 << 32) as f64;
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(angle)
}

#[cfg(test)]
mod tests;
