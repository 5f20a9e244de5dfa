//! How long operations take in the model: bandwidths and latencies of an A100 in a PCIe 4 slot. Not a measurement of anything.

use super::device::Architecture;
use super::work::{Launch, Source, Target};
use crate::counters::bound::bound;
use crate::counters::{Counters, Rates};

/// Bytes per us to and from page-locked memory, pageable memory, device memory.
const PINNED: u64 = 24_000;
const PAGEABLE: u64 = 6_000;
const DEVICE: u64 = 750_000;

/// What any operation takes, in ns.
const LATENCY: u64 = 3_000;

/// A copy, in ns.
pub fn copy(source: &Source, target: Target) -> u64 {
    let rows = match target {
        Target::Host(rows) | Target::Device(rows) => rows,
    };
    let rate = match (source, target) {
        (Source::Snapshot(_), _) => PAGEABLE,
        (Source::Host(_), _) | (_, Target::Host(_)) => PINNED,
        _ => DEVICE,
    };
    LATENCY + rows.bytes() * 1000 / rate
}

/// A memset, in ns.
pub fn fill(bytes: u64) -> u64 {
    LATENCY + bytes * 1000 / (2 * DEVICE)
}

/// A kernel, in ns: the bound model, on as many multiprocessors as there are blocks.
pub fn kernel(arch: u32, launch: &Launch, counters: &Counters) -> u64 {
    let a = Architecture::of(arch);
    let blocks: u64 = launch.grid.iter().map(|n| u64::from(*n)).product();
    let busy = blocks.clamp(1, a.multiprocessors as u64);
    let (_, clocks) = bound(counters, Rates::of(arch)).limit();
    LATENCY + (clocks / busy as f64 * 1e6 / f64::from(a.clock)) as u64
}
