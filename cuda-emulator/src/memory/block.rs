//! What a block has for itself: shared and local memory, copies in flight, the order of its warps.

use super::bulk::Flights;
use super::copy::Queue;
use super::order::{Clocks, Scope};
use super::proxy::ProxyFences;
use super::shared::Shared;
use crate::engine::Checks;

/// Memory and order of one block. Reused from block to block.
pub struct BlockMemory {
    pub(super) clocks: Clocks,
    pub(super) shared: Shared,
    /// For each warp the memory of its lanes, one lane after another.
    pub(super) local: Vec<Vec<u8>>,
    pub(super) local_bytes: usize,
    pub(super) copies: Vec<Queue>,
    pub(super) bulk: Flights,
    pub(super) proxy: ProxyFences,
}

impl BlockMemory {
    /// For blocks of `warps` warps with that much shared memory, and local memory for each thread.
    pub fn new(checks: Checks, warps: u32, shared_bytes: usize, local_bytes: usize) -> BlockMemory {
        BlockMemory {
            clocks: Clocks::new(warps),
            shared: Shared::new(shared_bytes, checks.race),
            local: vec![vec![0xcb; 32 * local_bytes]; warps as usize],
            local_bytes,
            copies: vec![Queue::default(); warps as usize],
            bulk: Flights::default(),
            proxy: ProxyFences::default(),
        }
    }

    /// Begins a block: its linear index in the grid. Shared memory is uninitialised again.
    pub fn start(&mut self, block: u32) {
        self.clocks.start(block);
        self.shared.start();
        for l in &mut self.local {
            l.fill(0xcb);
        }
        for c in &mut self.copies {
            c.clear();
        }
        self.bulk.start();
        self.proxy.start();
    }

    /// `bar.warp.sync` (all lanes of it together): orders what these lanes did before with what they do after.
    pub fn warp_sync(&mut self, warp: u32, lanes: u32) {
        self.clocks.warp_sync(warp, lanes);
    }

    /// A warp arrives at barrier 0 to 15, waiting or not.
    pub fn arrive(&mut self, warp: u32, barrier: u32) {
        self.clocks.arrive(warp, barrier);
    }

    /// A barrier is complete: `waiting` has a bit for each warp that waited there and goes on now.
    pub fn complete(&mut self, barrier: u32, waiting: u32) {
        self.clocks.complete(barrier, waiting);
    }

    /// All lanes of a warp have ended.
    pub fn exit(&mut self, warp: u32) {
        self.clocks.exit(warp);
    }

    /// A memory fence (`membar`, `fence`) by a warp.
    pub fn fence(&mut self, warp: u32, scope: Scope) {
        self.clocks.fence(warp, scope);
    }

    /// Whether the block has synchronised so often that its clocks are at their end.
    pub fn is_worn(&self) -> bool {
        self.clocks.worn
    }

    /// `fence.proxy.async` by a warp.
    pub fn proxy_fence(&mut self, warp: u32) {
        self.proxy.add(&mut self.clocks, warp);
    }

    /// A warp has waited for a group of wgmma of its warpgroup.
    pub fn waited(&mut self, warp: u32, number: u32) {
        if self.shared.is_judged() {
            let now = self.clocks.step(warp);
            self.shared.loans.waited(warp / 4, number, warp, now);
        }
    }

    /// A group of wgmma has read this chunk of 16 bytes.
    pub fn give_back(&mut self, chunk: u32, warpgroup: u32, number: u32) {
        if self.shared.is_judged() {
            let reader = super::loans::group(warpgroup, number);
            self.shared.give_back(chunk as usize, reader, 0);
        }
    }

    /// `cp.async.commit_group`.
    pub fn copy_commit(&mut self, warp: u32, lanes: u32) {
        self.copies[warp as usize].commit(lanes);
    }

    /// Copies that a warp has issued and not waited for.
    pub fn copies_in_flight(&self, warp: u32) -> usize {
        self.copies[warp as usize].len()
    }
}
