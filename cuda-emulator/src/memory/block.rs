//! What a block has for itself: shared and local memory, copies in flight, the order of its warps.

use crate::engine::Checks;

/// Memory and order of one block. Reused from block to block.
pub struct BlockMemory;

impl BlockMemory {
    /// For blocks of `warps` warps with that much shared memory, and local memory for each thread.
    pub fn new(checks: Checks, warps: u32, shared_bytes: usize, local_bytes: usize) -> BlockMemory {
        let _ = (checks, warps, shared_bytes, local_bytes);
        BlockMemory
    }

    /// Begins a block: its linear index in the grid. Shared memory is uninitialised again.
    pub fn start(&mut self, block: u32) {
        let _ = block;
    }

    /// `bar.warp.sync` (all lanes of it together): orders what these lanes did before with what they do after.
    pub fn warp_sync(&mut self, warp: u32, lanes: u32) {
        let _ = (warp, lanes);
    }

    /// A warp arrives at barrier 0 to 15, waiting or not.
    pub fn arrive(&mut self, warp: u32, barrier: u32) {
        let _ = (warp, barrier);
    }

    /// A barrier is complete: `waiting` has a bit for each warp that waited there and goes on now.
    pub fn complete(&mut self, barrier: u32, waiting: u32) {
        let _ = (barrier, waiting);
    }

    /// All lanes of a warp have ended.
    pub fn exit(&mut self, warp: u32) {
        let _ = warp;
    }

    /// A memory fence (`membar`, `fence`) of scope gpu or wider by these lanes.
    pub fn fence(&mut self, warp: u32, lanes: u32) {
        let _ = (warp, lanes);
    }

    /// `cp.async.commit_group`.
    pub fn copy_commit(&mut self, warp: u32, lanes: u32) {
        let _ = (warp, lanes);
    }
}
