//! Accesses to shared memory.

use super::block::BlockMemory;
use super::bytes;
use super::cell::Cell;
use super::copy::Pending;
use super::global::{different, last_of_equals};
use super::message::Deed;
use super::race::{Judge, Run};
use super::worker::{Access, Raw, Shape, Worker, lanes, shape};
use super::{Order, Scope};
use crate::counters::wavefronts;
use crate::fault::{Cause, FaultKind};

/// Places in shared memory have names of their own among the places that order is published at.
pub(super) const PLACES: u64 = 1 << 63;

impl Worker<'_> {
    /// Fails where a range is not in the block's shared memory, or not aligned.
    #[inline]
    pub(super) fn in_shared(
        &self,
        block: &BlockMemory,
        at: u64,
        n: u64,
        align: u32,
        lane: usize,
        deed: Deed,
    ) -> Result<usize, Box<Cause>> {
        let size = block.shared.bytes as u64;
        if at > size || n > size - at {
            let message = format!(
                "{} of {n} bytes at {at:#x} of shared memory of {size} bytes",
                deed.noun()
            );
            return Err(Cause::new(FaultKind::OutOfBounds, lane as u32, message));
        }
        if at & u64::from(align - 1) != 0 {
            let message = format!("{} of {align} bytes at {at:#x} of shared memory", deed.noun());
            return Err(Cause::new(FaultKind::Misaligned, lane as u32, message));
        }
        Ok(at as usize)
    }

    #[inline]
    pub(super) fn shared_initialised(
        &self,
        block: &mut BlockMemory,
        at: usize,
        n: usize,
        first: usize,
        each: u32,
    ) -> Result<(), Box<Cause>> {
        if !self.checks.init {
            return Ok(());
        }
        // SAFETY: the range was checked, and the marks are as long as the memory.
        let bad = unsafe { bytes::first_unset(block.shared.init().add(at), n) };
        bad.map_or(Ok(()), |bad| {
            let message = format!("read of byte {:#x} of shared memory: nothing has written it", at + bad);
            Err(Cause::new(
                FaultKind::Uninitialised,
                first as u32 + bad as u32 / each,
                message,
            ))
        })
    }

    #[inline]
    fn judge_shared(
        &self,
        block: &mut BlockMemory,
        at: usize,
        n: usize,
        lane: usize,
        access: Access,
        deed: Deed,
    ) -> Result<(), Box<Cause>> {
        if !self.checks.race {
            return Ok(());
        }
        let strong = access.order.is_strong();
        let BlockMemory { clocks, shared, .. } = block;
        let clocks = &*clocks;
        let each = access.bytes;
        let now = clocks.now(access.warp);
        let judge = Judge {
            clocks,
            published: &self.published,
        };
        let mut run = |word: usize, n: usize, run: Run| {
            if deed.writes() {
                shared.stored(judge, word, n, run)
            } else {
                shared.loaded(judge, word, n, run)
            }
        };
        let clash = if at.is_multiple_of(4) && n.is_multiple_of(4) {
            let first = Cell::new(now, clocks.block, access.warp, lane as u32, 15, strong);
            run(at / 4, n / 4, Run::lanes(first, each)).map(|c| (c, lane + c.word * 4 / each as usize, at / 4 + c.word))
        } else {
            (0..n / each as usize).find_map(|k| {
                let start = at + k * each as usize;
                let mask = ((1u32 << each) - 1) << (start % 4);
                let cell = Cell::new(now, clocks.block, access.warp, (lane + k) as u32, mask, strong);
                run(start / 4, 1, Run::one(cell)).map(|c| (c, lane + k, start / 4))
            })
        };
        clash.map_or(Ok(()), |(c, lane, word)| {
            let place = format!("shared memory at {:#x}", 4 * word);
            Err(self.clash(clocks, c, lane as u32, deed, FaultKind::SharedRace, place))
        })
    }

    #[inline]
    fn synchronise_shared(&mut self, block: &mut BlockMemory, access: Access, addresses: &[u64; 32], deed: Deed) {
        if !access.order.is_strong() || !self.checks.race {
            return;
        }
        let acquire = matches!(access.order, Order::Acquire | Order::AcquireRelease);
        let release = matches!(access.order, Order::Release | Order::AcquireRelease);
        if release && deed.writes() {
            block.clocks.fence(access.warp, Scope::Device);
        }
        for i in lanes(access.mask) {
            let place = PLACES | u64::from(block.clocks.block) << 32 | addresses[i];
            if deed.reads() {
                if acquire {
                    block.clocks.acquire(&self.published, access.warp, place);
                } else if access.order != Order::Poll {
                    block
                        .clocks
                        .observe(&self.published, access.warp, place, false, Scope::Device);
                }
            }
            if deed.writes() {
                block
                    .clocks
                    .publish(&mut self.published, access.warp, place, Scope::Device);
            }
        }
    }

    #[inline]
    fn count_banks(&mut self, mask: u32, addresses: &[u64; 32], bytes: u32, shape: Shape, store: bool) {
        let (passes, ideal) = match shape {
            Shape::Row(first, n) => {
                let per = (128 / bytes.max(4)) as usize;
                let phases = ((first + n - 1) / per - first / per + 1) as u64;
                (phases, phases)
            }
            _ => wavefronts(mask, addresses, bytes),
        };
        let banks = if store {
            &mut self.counters.shared_store
        } else {
            &mut self.counters.shared_load
        };
        banks.requests += 1;
        banks.wavefronts += passes;
        banks.ideal += ideal;
    }

    /// Whether all lanes' accesses are aligned and inside the memory.
    fn all_inside(&self, block: &BlockMemory, mask: u32, addresses: &[u64; 32], bytes: u32) -> bool {
        let room = block.shared.bytes as u64;
        lanes(mask).fold(true, |ok, i| {
            let a = addresses[i];
            ok & (a < room) & (room.wrapping_sub(a) >= bytes.into()) & (a & u64::from(bytes - 1) == 0)
        })
    }

    /// Records loads of whole words that need no judgement; false where they may.
    #[inline]
    fn loads_quietly(&self, block: &mut BlockMemory, access: Access, addresses: &[u64; 32]) -> bool {
        let Access { mask, bytes, warp, .. } = access;
        if !self.checks.race || bytes < 4 || !self.all_inside(block, mask, addresses, bytes) {
            return false;
        }
        let BlockMemory { clocks, shared, .. } = block;
        let strong = access.order.is_strong();
        let first = Cell::new(clocks.now(warp), clocks.block, warp, 0, 15, strong);
        match bytes {
            4 => shared.loaded_quietly::<1>(clocks.floor, first, mask, addresses),
            8 => shared.loaded_quietly::<2>(clocks.floor, first, mask, addresses),
            _ => shared.loaded_quietly::<4>(clocks.floor, first, mask, addresses),
        }
    }

    /// Loads from shared memory.
    pub(super) fn load_shared(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
    ) -> Result<(), Box<Cause>> {
        let Access { mask, bytes, .. } = access;
        self.synchronise_shared(block, access, addresses, Deed::Read);
        let mut shape = shape(mask, addresses, bytes);
        let first = mask.trailing_zeros() as usize;
        if let Shape::Row(_, n) = shape
            && addresses[first].saturating_add(n as u64 * u64::from(bytes)) > block.shared.bytes as u64
        {
            shape = Shape::Scattered;
        }
        self.count_banks(mask, addresses, bytes, shape, false);
        if let Shape::Row(_, n) = shape {
            let total = n * bytes as usize;
            let at = self.in_shared(block, addresses[first], total as u64, bytes, first, Deed::Read)?;
            self.judge_shared(block, at, total, first, access, Deed::Read)?;
            self.shared_initialised(block, at, total, first, bytes)?;
            // SAFETY: `in_shared` has checked range and alignment.
            unsafe { bytes::load_lanes(block.shared.data().add(at), bytes, first, n, out) };
            return Ok(());
        }
        let quiet = self.loads_quietly(block, access, addresses);
        for i in lanes(mask) {
            let at = self.in_shared(block, addresses[i], bytes.into(), bytes, i, Deed::Read)?;
            if !quiet {
                self.judge_shared(block, at, bytes as usize, i, access, Deed::Read)?;
            }
            self.shared_initialised(block, at, bytes as usize, i, bytes)?;
            // SAFETY: `in_shared` has checked range and alignment.
            let value = unsafe { bytes::load(block.shared.data().add(at), bytes) };
            bytes::put(out, i, bytes, value);
        }
        Ok(())
    }

    /// Stores to shared memory.
    pub(super) fn store_shared(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        data: &Raw,
    ) -> Result<(), Box<Cause>> {
        let Access { mask, bytes, .. } = access;
        let mut shape = shape(mask, addresses, bytes);
        let first = mask.trailing_zeros() as usize;
        if let Shape::Row(_, n) = shape
            && addresses[first].saturating_add(n as u64 * u64::from(bytes)) > block.shared.bytes as u64
        {
            shape = Shape::Scattered;
        }
        self.count_banks(mask, addresses, bytes, shape, true);
        if let Shape::Row(_, n) = shape {
            let total = n * bytes as usize;
            let at = self.in_shared(block, addresses[first], total as u64, bytes, first, Deed::Write)?;
            self.judge_shared(block, at, total, first, access, Deed::Write)?;
            // SAFETY: `in_shared` has checked range and alignment; the marks are as long as the memory.
            unsafe {
                bytes::store_lanes(block.shared.data().add(at), bytes, first, n, data);
                bytes::set(block.shared.init().add(at), total);
            }
        } else {
            for i in lanes(mask) {
                self.in_shared(block, addresses[i], bytes.into(), bytes, i, Deed::Write)?;
            }
            let last = last_of_equals(mask, addresses, bytes, data).map_err(|(lane, other)| {
                let place = format!("shared memory at {:#x}", addresses[lane]);
                different(FaultKind::SharedRace, lane, other, &place)
            })?;
            for i in lanes(mask) {
                let at = addresses[i] as usize;
                if last >> i & 1 != 0 {
                    self.judge_shared(block, at, bytes as usize, i, access, Deed::Write)?;
                }
                // SAFETY: `in_shared` has checked range and alignment; the marks are as long as the memory.
                unsafe {
                    bytes::store(block.shared.data().add(at), bytes, bytes::get(data, i, bytes));
                    bytes::set(block.shared.init().add(at), bytes as usize);
                }
            }
        }
        self.synchronise_shared(block, access, addresses, Deed::Write);
        Ok(())
    }

    /// Atomics on shared memory.
    pub(super) fn atomic_shared(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
        step: &mut dyn FnMut(usize, u128) -> u128,
    ) -> Result<(), Box<Cause>> {
        let order = if access.order.is_strong() {
            access.order
        } else {
            Order::Relaxed
        };
        let access = Access { order, ..access };
        let Access { mask, bytes, .. } = access;
        self.count_atomic(mask, addresses);
        self.synchronise_shared(block, access, addresses, Deed::Read);
        for i in lanes(mask) {
            let at = self.in_shared(block, addresses[i], bytes.into(), bytes, i, Deed::Atomic)?;
            self.judge_shared(block, at, bytes as usize, i, access, Deed::Atomic)?;
            self.shared_initialised(block, at, bytes as usize, i, bytes)?;
            // SAFETY: `in_shared` has checked range and alignment; the marks are as long as the memory.
            unsafe {
                let cell = block.shared.data().add(at);
                let old = bytes::load(cell, bytes);
                bytes::put(out, i, bytes, old);
                bytes::store(cell, bytes, step(i, old));
                bytes::set(block.shared.init().add(at), bytes as usize);
            }
        }
        self.synchronise_shared(block, access, addresses, Deed::Write);
        Ok(())
    }

    /// The shared side of a copy that is issued: a write, from now on until it is waited for.
    pub(super) fn begin_copy(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        to: &[u64; 32],
        copy: &mut Pending,
    ) -> Result<(), Box<Cause>> {
        let Access { mask, bytes, .. } = access;
        let shape = shape(mask, to, bytes);
        self.count_banks(mask, to, bytes, shape, true);
        let floor = block.clocks.floor;
        let quiet = self.checks.race
            && self.all_inside(block, mask, to, bytes)
            && block.shared.claimed_quietly(floor, bytes as usize, mask, to);
        copy.to = to.map(|a| a as u32);
        for i in lanes(if quiet { 0 } else { mask }) {
            let at = self.in_shared(block, to[i], bytes.into(), bytes, i, Deed::Write)?;
            self.judge_shared(block, at, bytes as usize, i, access, Deed::Write)?;
            block.shared.in_flight(at / 4, bytes as usize / 4);
        }
        Ok(())
    }

    /// The shared side of a copy that is done.
    pub(super) fn end_copy(
        &mut self,
        block: &mut BlockMemory,
        warp: u32,
        lane: usize,
        at: usize,
        bytes: u32,
        value: u128,
    ) {
        let clocks = &block.clocks;
        let cell = Cell::new(clocks.now(warp), clocks.block, warp, lane as u32, 15, false);
        block.shared.landed(at / 4, bytes as usize / 4, cell);
        // SAFETY: range and alignment were checked when the copy was issued.
        unsafe {
            bytes::store(block.shared.data().add(at), bytes, value);
            bytes::set(block.shared.init().add(at), bytes as usize);
        }
    }
}
