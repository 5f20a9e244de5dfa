//! The sanitizer: each class of fault, and what must not be held for one.

mod between_blocks;
mod copies;
mod counts;
mod faults;
mod host;
mod races;

use super::{Access, BlockMemory, Conflict, Device, Kind, Order, Raw, Scope, Space, Worker};
use crate::counters::Counters;
use crate::engine::Checks;
use crate::fault::{Cause, FaultKind};

const ALL: u32 = u32::MAX;

/// A device with buffers of 4096 bytes: one initialised, one not.
struct Bed {
    device: Device,
    full: u64,
    empty: u64,
}

impl Bed {
    fn new() -> Bed {
        let mut device = Device::new(1 << 30);
        let full = device.allocate(4096, Kind::Plain).unwrap();
        let empty = device.allocate(4096, Kind::Plain).unwrap();
        let bytes: Vec<u8> = (0..1024u32).flat_map(|i| i.to_le_bytes()).collect();
        device.write(full, &bytes).unwrap();
        Bed { device, full, empty }
    }

    /// A launch of `blocks` blocks of four warps with 1024 bytes of shared memory.
    fn run(&self, blocks: u32) -> Run<'_> {
        let memory = |b| {
            let mut m = BlockMemory::new(Checks::ALL, 4, 1024, 64);
            m.start(b);
            m
        };
        Run {
            worker: Worker::new(&self.device, Checks::ALL, [blocks, 1, 1], [128, 1, 1]),
            blocks: (0..blocks).map(memory).collect(),
        }
    }
}

struct Run<'a> {
    worker: Worker<'a>,
    blocks: Vec<BlockMemory>,
}

/// Lane i at `base + i * step`.
fn row(base: u64, step: u64) -> [u64; 32] {
    std::array::from_fn(|i| base.wrapping_add((i as u64).wrapping_mul(step)))
}

fn access(space: Space, warp: u32, mask: u32, bytes: u32) -> Access {
    Access {
        warp,
        mask,
        space,
        order: Order::Weak,
        scope: Scope::Device,
        bytes,
    }
}

type Outcome = Result<Raw, Box<Cause>>;

impl Run<'_> {
    fn load(&mut self, block: usize, a: Access, at: &[u64; 32]) -> Outcome {
        let mut out = [[0; 32]; 4];
        self.worker.load(&mut self.blocks[block], a, at, &mut out)?;
        Ok(out)
    }

    /// Lane i writes the number i in every word.
    fn store(&mut self, block: usize, a: Access, at: &[u64; 32]) -> Outcome {
        let data = [std::array::from_fn(|i| i as u32); 4];
        self.worker.store(&mut self.blocks[block], a, at, &data)?;
        Ok(data)
    }

    /// Adds 1.
    fn add(&mut self, block: usize, a: Access, at: &[u64; 32]) -> Outcome {
        let mut out = [[0; 32]; 4];
        self.worker
            .atomic(&mut self.blocks[block], a, at, &mut out, &mut |_, old| old + 1)?;
        Ok(out)
    }

    /// All warps of a block meet.
    fn barrier(&mut self, block: usize) {
        self.meet(block, 0, 0b1111);
    }

    /// Some warps meet at a named barrier.
    fn meet(&mut self, block: usize, id: u32, warps: u32) {
        for w in (0..4).filter(|w| warps >> w & 1 != 0) {
            self.blocks[block].arrive(w, id);
        }
        self.blocks[block].complete(id, warps);
    }

    fn counters(self) -> Counters {
        let (c, conflict) = Worker::join(vec![self.worker]);
        assert_eq!(conflict, None);
        c
    }
}

/// Whole warps of 4-byte accesses, the commonest.
fn shared(warp: u32) -> Access {
    access(Space::Shared, warp, ALL, 4)
}

fn global(warp: u32) -> Access {
    access(Space::Global, warp, ALL, 4)
}

fn one(a: Access, lane: u32) -> Access {
    Access { mask: 1 << lane, ..a }
}

#[track_caller]
fn fails(outcome: Outcome, kind: FaultKind, lane: u32, says: &str) {
    let cause = outcome.unwrap_err();
    assert_eq!((cause.kind, cause.lane), (kind, lane), "{}", cause.message);
    assert!(cause.message.contains(says), "{:?} lacks {says:?}", cause.message);
}
