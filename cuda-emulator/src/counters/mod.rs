//! What was executed and moved, and the bound model over it.
//!
//! All counts are exact: they depend on the program, its launch and its data, not on the order of blocks and warps nor on the
//! host's threads. Where lanes of a warp go apart is decided by the data too, so the count of a warp's instructions is as exact.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the counters |
//! | [`banks`] | passes through the banks of shared memory |
//! | [`bound`](mod@bound) | the bound model |
//! | [`report`] | the sums of launches by kernel and shape: JSON, a table |

pub mod banks;
pub mod bound;
pub mod report;
#[cfg(test)]
mod tests;

pub use banks::wavefronts;
pub use bound::{Bound, Rates, bound};

/// Number of instruction classes.
pub const CLASSES: usize = 15;

/// Class of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Integer and logic.
    Int,
    /// f32.
    Fp32,
    /// f64.
    Fp64,
    /// f16 and bf16.
    Half,
    /// Special functions.
    Special,
    /// Conversions.
    Convert,
    /// Global memory, generic addresses.
    Global,
    /// Shared memory, ldmatrix, cp.async.
    Shared,
    /// Local memory.
    Local,
    /// Constants and parameters.
    Const,
    /// Matrix instructions.
    Tensor,
    /// Barriers, shuffles, votes, fences.
    Sync,
    /// Branches and calls.
    Control,
    /// Atomics.
    Atomic,
    /// Moves, selections, the rest.
    Other,
}

/// Accesses to device memory in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions.
    pub requests: u64,
    /// Bytes that lanes asked for.
    pub useful_bytes: u64,
    /// 32-byte sectors, counted once for each request that touches them.
    pub sectors: u64,
    /// 32-byte sectors, counted once for the launch.
    pub distinct: u64,
}

/// Accesses to shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Banks {
    /// Warp instructions.
    pub requests: u64,
    /// Passes through the 32 banks that they took.
    pub wavefronts: u64,
    /// Passes that they would have taken without conflicts.
    pub ideal: u64,
}

/// What one launch (or the sum of several) executed and moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Launches in the sum.
    pub launches: u64,
    /// Blocks.
    pub blocks: u64,
    /// Instructions of warps by [`Class`].
    pub warp_instructions: [u64; CLASSES],
    /// Instructions of threads by [`Class`].
    pub thread_instructions: [u64; CLASSES],
    /// f32 operations: 2 for a fused multiply-add.
    pub fp32_flops: u64,
    /// Operations of matrix instructions.
    pub tensor_flops: u64,
    /// Those of wgmma among them.
    pub wgmma_flops: u64,
    /// Loads from device memory, the sources of cp.async among them.
    pub load: Traffic,
    /// Stores to device memory.
    pub store: Traffic,
    /// Bytes that cp.async brought.
    pub copy_bytes: u64,
    /// Loads from shared memory, ldmatrix among them.
    pub shared_load: Banks,
    /// Stores to shared memory, destinations of cp.async among them.
    pub shared_store: Banks,
    /// Atomics: warp instructions.
    pub atomics: u64,
    /// Atomics: passes, one for each lane at the busiest address of a request.
    pub atomic_serial: u64,
    /// Requests to local memory.
    pub local: u64,
    /// Barriers that warps arrived at.
    pub barriers: u64,
    /// Branches that split a warp.
    pub divergent: u64,
}

impl Counters {
    /// A number that changes when memory is written or warps meet.
    pub fn moved(&self) -> u64 {
        self.store.requests + self.shared_store.requests + self.atomics + self.barriers + self.local + self.tensor_flops
    }

    /// Adds another's. Distinct sectors are added too: those of two launches.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            launches,
            blocks,
            warp_instructions,
            thread_instructions,
            ..
        } = other;
        self.launches += launches;
        self.blocks += blocks;
        for (a, b) in self.warp_instructions.iter_mut().zip(warp_instructions) {
            *a += b;
        }
        for (a, b) in self.thread_instructions.iter_mut().zip(thread_instructions) {
            *a += b;
        }
        self.fp32_flops += other.fp32_flops;
        self.tensor_flops += other.tensor_flops;
        self.wgmma_flops += other.wgmma_flops;
        for (a, b) in [(&mut self.load, &other.load), (&mut self.store, &other.store)] {
            a.requests += b.requests;
            a.useful_bytes += b.useful_bytes;
            a.sectors += b.sectors;
            a.distinct += b.distinct;
        }
        self.copy_bytes += other.copy_bytes;
        for (a, b) in [
            (&mut self.shared_load, &other.shared_load),
            (&mut self.shared_store, &other.shared_store),
        ] {
            a.requests += b.requests;
            a.wavefronts += b.wavefronts;
            a.ideal += b.ideal;
        }
        self.atomics += other.atomics;
        self.atomic_serial += other.atomic_serial;
        self.local += other.local;
        self.barriers += other.barriers;
        self.divergent += other.divergent;
    }
}
