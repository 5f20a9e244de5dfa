//! Loads, stores, atomics and asynchronous copies of a kernel.

use super::block::BlockMemory;
use super::device::Device;
use super::{Order, Space};
use crate::counters::Counters;
use crate::engine::Checks;
use crate::fault::Cause;

/// Data of one access: word `w` of lane `i` is `[w][i]`. Accesses of 1 and 2 bytes are zero-extended words.
pub type Raw = [[u32; 32]; 4];

/// Who does what, for all lanes of a warp.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Warp in the block.
    pub warp: u32,
    /// Lanes that take part, not zero.
    pub mask: u32,
    /// Space.
    pub space: Space,
    /// Order.
    pub order: Order,
    /// Bytes of one lane, all elements together: 1, 2, 4, 8, 16.
    pub bytes: u32,
}

/// Two blocks that were run by different workers touched one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: u64,
    /// Linear index of the block to run again to find the instruction.
    pub block: u32,
    /// Thread in that block: warp and lane.
    pub thread: (u32, u32),
    /// What happened.
    pub message: String,
}

/// What one host thread has for itself during a launch.
pub struct Worker<'a> {
    /// What was counted so far: the interpreter adds what it alone knows.
    pub counters: Counters,
    device: &'a Device,
}

impl<'a> Worker<'a> {
    /// For one launch with that grid and block.
    pub fn new(device: &'a Device, checks: Checks, grid: [u32; 3], block: [u32; 3]) -> Worker<'a> {
        let _ = (checks, grid, block);
        Worker {
            counters: Counters::default(),
            device,
        }
    }

    /// Loads. Lanes outside the mask of `out` keep what they have or not.
    ///
    /// # Errors
    /// What the access does wrong.
    pub fn load(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
    ) -> Result<(), Box<Cause>> {
        let _ = (block, access, addresses, out, self.device);
        Ok(())
    }

    /// Stores.
    ///
    /// # Errors
    /// What the access does wrong.
    pub fn store(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        data: &Raw,
    ) -> Result<(), Box<Cause>> {
        let _ = (block, access, addresses, data);
        Ok(())
    }

    /// Reads, computes and writes, one lane after another: `step(lane, old)` gives the new value. The old values come back in
    /// `out`, as from a load.
    ///
    /// # Errors
    /// What the access does wrong.
    pub fn atomic(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
        step: &mut dyn FnMut(usize, u128) -> u128,
    ) -> Result<(), Box<Cause>> {
        let _ = (block, access, addresses, out, step);
        Ok(())
    }

    /// `cp.async`: a copy of `access.bytes` (4, 8, 16) from device memory to shared memory for each lane, of which `sizes` bytes
    /// (all, where it is none) are read and the rest become zero. The copy happens at the last legal moment.
    ///
    /// # Errors
    /// What the access does wrong.
    pub fn copy(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        to: &[u64; 32],
        from: &[u64; 32],
        sizes: Option<&[u32; 32]>,
    ) -> Result<(), Box<Cause>> {
        let _ = (block, access, to, from, sizes);
        Ok(())
    }

    /// `cp.async.wait_group keep`, or `wait_all` (none): performs the copies that must be done now.
    ///
    /// # Errors
    /// Memory that changed or was freed since the copy was issued.
    pub fn copy_wait(
        &mut self,
        block: &mut BlockMemory,
        warp: u32,
        lanes: u32,
        keep: Option<u32>,
    ) -> Result<(), Box<Cause>> {
        let _ = (block, warp, lanes, keep);
        Ok(())
    }

    /// Joins the workers of one launch: their counters, and conflicts between blocks of different workers.
    pub fn join(workers: Vec<Worker<'a>>) -> (Counters, Option<Conflict>) {
        let mut all = Counters::default();
        for w in workers {
            all.add(&w.counters);
        }
        (all, None)
    }

    /// In a launch that was found racy by [`Worker::join`]: the first access of that thread to that address is the fault.
    pub fn watch(&mut self, conflict: Conflict) {
        let _ = conflict;
    }
}
