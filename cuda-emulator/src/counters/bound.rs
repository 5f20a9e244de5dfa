//! The bound model: for each unit of a multiprocessor the clocks that the counted work keeps it busy. A kernel's modelled time is
//! the largest of the seven. It is a model, not time: latency that is not hidden, misses, clocks and launch gaps are outside it.

use super::{Class, Counters};

/// What a multiprocessor does in one clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Warp instructions issued.
    pub issue: f64,
    /// Operations of matrix instructions of a warp (`mma.sync`) on bf16.
    pub tensor: f64,
    /// The same by `wgmma`.
    pub wgmma: f64,
    /// Lanes of f32 instructions.
    pub fp32: f64,
    /// Lanes of special functions.
    pub special: f64,
    /// Passes through the banks of shared memory.
    pub shared: f64,
    /// Bytes from and to L2.
    pub l2: f64,
    /// Bytes from and to device memory, a multiprocessor's share.
    pub hbm: f64,
}

/// A100.
pub const SM_80: Rates = Rates {
    issue: 4.0,
    tensor: 2048.0,
    wgmma: 2048.0,
    fp32: 64.0,
    special: 16.0,
    shared: 1.0,
    l2: 64.0,
    hbm: 13.4,
};
/// H100.
pub const SM_90: Rates = Rates {
    issue: 4.0,
    tensor: 2540.0,
    wgmma: 4096.0,
    fp32: 128.0,
    special: 16.0,
    shared: 1.0,
    l2: 64.0,
    hbm: 13.9,
};

impl Rates {
    /// Of an architecture, 80 or 90 and above.
    pub fn of(arch: u32) -> Rates {
        if arch >= 90 { SM_90 } else { SM_80 }
    }
}

/// Names of the units, in the order of [`Bound::clocks`].
pub const UNITS: [&str; 7] = ["issue", "tensor", "fp32", "special", "shared", "l2", "hbm"];

/// Clocks of each unit, summed over the multiprocessors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// In the order of [`UNITS`].
    pub clocks: [f64; 7],
}

impl Bound {
    /// The unit that takes longest, and its clocks.
    pub fn limit(&self) -> (&'static str, f64) {
        let mut best = (UNITS[0], self.clocks[0]);
        for (name, clocks) in UNITS.into_iter().zip(self.clocks).skip(1) {
            if clocks > best.1 {
                best = (name, clocks);
            }
        }
        best
    }

    /// The part of the modelled time in which the tensor cores work, 0 to 1.
    pub fn tensor_share(&self) -> f64 {
        let (_, longest) = self.limit();
        if longest > 0.0 { self.clocks[1] / longest } else { 0.0 }
    }
}

/// Applies the model. A warp's instruction takes all 32 lanes of a unit, whichever are active. L2 moves every sector of every
/// request (the L1 cache is left out), device memory each distinct sector once.
pub fn bound(c: &Counters, r: Rates) -> Bound {
    let of = |class: Class| c.warp_instructions[class as usize] as f64;
    let issue = c.warp_instructions.iter().sum::<u64>() as f64;
    let sectors = |moved: u64, other: u64| 32.0 * (moved + other) as f64;
    Bound {
        clocks: [
            issue / r.issue,
            (c.tensor_flops - c.wgmma_flops) as f64 / r.tensor + c.wgmma_flops as f64 / r.wgmma,
            32.0 * of(Class::Fp32) / r.fp32,
            32.0 * of(Class::Special) / r.special,
            (c.shared_load.wavefronts + c.shared_store.wavefronts) as f64 / r.shared,
            sectors(c.load.sectors, c.store.sectors) / r.l2,
            sectors(c.load.distinct, c.store.distinct) / r.hbm,
        ],
    }
}
