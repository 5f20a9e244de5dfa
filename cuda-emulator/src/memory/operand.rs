//! What wgmma read in shared memory.

use super::block::BlockMemory;
use super::bytes;
use super::cell::Cell;
use super::loans::CHUNK;
use super::message::Deed;
use super::race::{Clash, Judge};
use super::worker::Worker;
use crate::fault::{Cause, FaultKind};

impl Worker<'_> {
    /// Reads 16 bytes at each of these addresses, for a warp.
    ///
    /// # Errors
    /// What the access does wrong: also what ordinary instructions wrote there with no `fence.proxy.async` after it.
    pub fn read_operand(
        &mut self,
        block: &mut BlockMemory,
        warp: u32,
        addresses: impl Iterator<Item = u64>,
    ) -> Result<Vec<[u8; CHUNK]>, Box<Cause>> {
        self.warp = warp;
        let (mut last, mut generic) = (0, [0; 32]);
        let mut out = Vec::with_capacity(addresses.size_hint().0);
        for address in addresses {
            let at = self.in_shared(block, address, CHUNK as u64, CHUNK as u32, 0, Deed::Read)?;
            self.judge_async(block, at, warp, 0, &mut last, &mut generic)?;
            self.shared_initialised(block, at, CHUNK, 0, u32::MAX)?;
            // SAFETY: `in_shared` has checked range and alignment.
            let value = unsafe { bytes::load(block.shared.data().add(at), CHUNK as u32) };
            out.push(value.to_le_bytes());
        }
        self.fenced(block, &generic, warp, 0)?;
        Ok(out)
    }

    /// Chunks at these addresses are read from now on, until they are given back.
    ///
    /// # Errors
    /// One that is outside the block's shared memory.
    pub fn lend(
        &mut self,
        block: &mut BlockMemory,
        addresses: impl Iterator<Item = u64>,
    ) -> Result<Vec<u32>, Box<Cause>> {
        let mut chunks = Vec::with_capacity(addresses.size_hint().0);
        for address in addresses {
            let at = self.in_shared(block, address, CHUNK as u64, CHUNK as u32, 0, Deed::Read)?;
            chunks.push((at / CHUNK) as u32);
        }
        if block.shared.is_judged() {
            for &chunk in &chunks {
                block.shared.lend(chunk as usize);
            }
        }
        Ok(chunks)
    }

    /// Judges an asynchronous read of the chunk at `at` by a lane.
    pub(super) fn judge_async(
        &mut self,
        block: &mut BlockMemory,
        at: usize,
        warp: u32,
        lane: u32,
        last: &mut u64,
        generic: &mut [u32; 32],
    ) -> Result<(), Box<Cause>> {
        if !block.shared.is_judged() {
            return Ok(());
        }
        let BlockMemory { clocks, shared, .. } = block;
        let judge = Judge {
            clocks,
            published: &self.published,
        };
        let new = Cell::new(clocks.now(warp), clocks.block, warp, lane, 15, false);
        let clash = shared.read_by_async(judge, at / CHUNK, new, last, generic);
        clash.map_or(Ok(()), |clash| {
            let place = format!("shared memory at {:#x}", 4 * clash.word);
            let clash = Clash { word: 0, ..clash };
            Err(self.clash(&block.clocks, clash, lane, Deed::Read, FaultKind::SharedRace, place))
        })
    }

    /// Fails where no `fence.proxy.async` lies between ordinary writes (each warp's clock plus one) and a warp.
    pub(super) fn fenced(
        &self,
        block: &BlockMemory,
        generic: &[u32; 32],
        warp: u32,
        lane: u32,
    ) -> Result<(), Box<Cause>> {
        let (clocks, proxy) = (&block.clocks, &block.proxy);
        for (writer, &clock) in generic.iter().enumerate().filter(|g| *g.1 != 0) {
            if !proxy.between(clocks, &self.published, writer as u32, clock - 1, warp) {
                let message = format!(
                    "asynchronous read of shared memory that warp {writer} wrote by ordinary instructions: no fence.proxy.async lies between"
                );
                return Err(Cause::new(FaultKind::Proxy, lane, message));
            }
        }
        Ok(())
    }
}
