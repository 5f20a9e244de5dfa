//! The order of samples, a pure function of seed, epoch and length, so that a run resumes from (epoch, index).
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The permutation of `0..n` of one epoch: Fisher-Yates, its draws SplitMix64 in counter mode (draw i depends on the key and i
/// only). Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
///
/// # Panics
/// When n does not fit in u32.
pub fn permutation(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    let n = u32::try_from(n).unwrap_or_else(|_| panic!("permutation: {n} samples do not fit in u32"));
    let key = mix(mix(seed).wrapping_add(epoch));
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        // The high half of a 64 x 64 bit product: uniform to 2^-32 relative for any n here.
        let j = (u128::from(draw(key, u64::from(i))) * (u128::from(i) + 1)) >> 64;
        order.swap(i as usize, j as usize);
    }
    order
}

/// SplitMix64's output number `counter` (from 0) after the state `key`.
fn draw(key: u64, counter: u64) -> u64 {
    mix(key.wrapping_add(counter.wrapping_mul(GAMMA)))
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's step: adds the golden gamma, then finalises.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// In which order to go through the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are.
    Sequential,
    /// A new permutation each epoch.
    Shuffled {
        /// The key, with the epoch's number.
        seed: u64,
    },
}

/// Where a run is in its data: all that a checkpoint has to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Epochs done.
    pub epoch: u64,
    /// Samples of this epoch done.
    pub index: usize,
}

/// Endless sample numbers, epoch after epoch.
#[derive(Clone, Debug)]
pub struct Sampler {
    len: usize,
    order: Order,
    cursor: Cursor,
    /// The current epoch's permutation; empty when sequential.
    current: Vec<u32>,
}

impl Sampler {
    /// The samples `0..len` from `cursor` on.
    ///
    /// # Panics
    /// When `len` is 0 or the cursor is beyond it: the checkpoint's data is another.
    pub fn new(len: usize, order: Order, cursor: Cursor) -> Self {
        assert!(
            cursor.index < len.max(1) && len > 0,
            "sampler: index {} of {len} samples",
            cursor.index
        );
        let mut sampler = Self {
            len,
            order,
            cursor,
            current: Vec::new(),
        };
        sampler.shuffle();
        sampler
    }

    /// Where the next sample is.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn shuffle(&mut self) {
        if let Order::Shuffled { seed } = self.order {
            self.current = permutation(seed, self.cursor.epoch, self.len);
        }
    }
}

impl Iterator for Sampler {
    type Item = usize;

    /// The next sample; never `None`.
    fn next(&mut self) -> Option<usize> {
        let index = self.cursor.index;
        let sample = self.current.get(index).map_or(index, |i| *i as usize);
        self.cursor.index += 1;
        if self.cursor.index == self.len {
            self.cursor = Cursor {
                epoch: self.cursor.epoch + 1,
                index: 0,
            };
            self.shuffle();
        }
        Some(sample)
    }
}
