//! Accesses to device memory.

use super::block::BlockMemory;
use super::bytes;
use super::cell::Cell;
use super::device::Kind;
use super::message::Deed;
use super::race::{Judge, Run};
use super::worker::{Access, Raw, Shape, Worker, lanes, shape};
use super::{Order, Scope, Space};
use crate::fault::{Cause, FaultKind};

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 32;

/// Where an access lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub slab: usize,
    pub offset: u64,
}

impl Worker<'_> {
    /// Where a range lies, if it may be accessed.
    #[inline]
    pub(super) fn find(&self, address: u64, n: u64, align: u32, lane: usize, deed: Deed) -> Result<Place, Box<Cause>> {
        let lane = lane as u32;
        if address & u64::from(align - 1) != 0 {
            let message = format!(
                "{} of {align} bytes at {address:#x}: {} beyond a multiple",
                deed.noun(),
                address % u64::from(align)
            );
            return Err(Cause::new(FaultKind::Misaligned, lane, message));
        }
        let Some((slab, offset)) = self.device.place(address, n) else {
            let (kind, message) = self.device.describe(address, n);
            return Err(Cause::new(kind, lane, format!("{} of {message}", deed.noun())));
        };
        if deed.writes() && self.device.slab(slab).what.kind == Kind::Constant {
            let message = format!("{} of a constant at {address:#x}", deed.noun());
            return Err(Cause::new(FaultKind::ReadOnly, lane, message));
        }
        Ok(Place { slab, offset })
    }

    /// Fails where bytes were not written.
    #[inline]
    pub(super) fn initialised(&self, p: Place, n: usize, first: usize, each: u32) -> Result<(), Box<Cause>> {
        let slab = self.device.slab(p.slab);
        if !self.checks.init || slab.init.is_null() {
            return Ok(());
        }
        // SAFETY: `find` has checked the range, and the marks are as long as the memory.
        let bad = unsafe { bytes::first_unset(slab.init.add(p.offset as usize), n) };
        bad.map_or(Ok(()), |bad| {
            let at = p.offset + bad as u64;
            let what = slab.what;
            let message = format!(
                "read of byte {at} of the allocation of {} bytes at {:#x}: nothing has written it",
                what.bytes, what.address
            );
            Err(Cause::new(
                FaultKind::Uninitialised,
                first as u32 + bad as u32 / each,
                message,
            ))
        })
    }

    /// Marks bytes as written.
    #[inline]
    pub(super) fn written(&self, p: Place, n: usize) {
        let slab = self.device.slab(p.slab);
        if !slab.init.is_null() {
            // SAFETY: `find` has checked the range, and the marks are as long as the memory.
            unsafe { bytes::set(slab.init.add(p.offset as usize), n) };
        }
    }

    /// Judges an access of consecutive lanes or of one.
    #[inline]
    pub(super) fn judge(
        &mut self,
        block: &BlockMemory,
        p: Place,
        n: usize,
        lane: usize,
        access: Access,
        deed: Deed,
    ) -> Result<(), Box<Cause>> {
        if !self.checks.race {
            return Ok(());
        }
        let strong = access.order.is_strong();
        let clocks = &block.clocks;
        let (at, from) = ((p.offset / 4) as usize, p.offset as usize % 4);
        let each = access.bytes;
        let now = clocks.now(access.warp);
        let judge = Judge {
            clocks,
            published: &self.published,
        };
        if access.order == Order::ReadOnly {
            self.unwritten(p, n, lane)?;
        }
        let narrow = strong && access.scope == Scope::Block;
        let cell = |lane: usize, bytes: u32| {
            let cell = Cell::new(now, clocks.block, access.warp, lane as u32, bytes, strong);
            if narrow { cell.narrowed() } else { cell }
        };
        let clash = if from == 0 && n.is_multiple_of(4) {
            self.shadow
                .access(
                    judge,
                    p.slab,
                    at,
                    n / 4,
                    Run::lanes(cell(lane, 15), each),
                    deed.writes(),
                )
                .map(|c| (c, lane + c.word * 4 / each as usize))
        } else {
            // Pieces of words, lane by lane.
            let mut clash = None;
            for k in 0..n / each as usize {
                let start = p.offset as usize + k * each as usize;
                let mask = ((1u32 << each) - 1) << (start % 4);
                let run = Run::one(cell(lane + k, mask));
                let found = self.shadow.access(judge, p.slab, start / 4, 1, run, deed.writes());
                if let Some(c) = found {
                    clash = Some((c, lane + k));
                    break;
                }
            }
            clash
        };
        clash.map_or(Ok(()), |(c, lane)| {
            let address = self.device.slab(p.slab).what.address + 4 * (p.offset / 4 + c.word as u64);
            let place = format!("device memory at {address:#x}");
            Err(self.clash(clocks, c, lane as u32, deed, FaultKind::GlobalRace, place))
        })
    }

    /// Fails where this kernel wrote what it reads as memory that nobody writes.
    #[cold]
    fn unwritten(&self, p: Place, n: usize, lane: usize) -> Result<(), Box<Cause>> {
        let words = (p.offset / 4) as usize..(p.offset as usize + n).div_ceil(4);
        let Some((word, writer)) = self.shadow.writer(p.slab, words) else {
            return Ok(());
        };
        let address = self.device.slab(p.slab).what.address + 4 * word as u64;
        let who = self.name(writer.block(), writer.warp(), writer.lane());
        let message = format!(
            "ld.global.nc of device memory at {address:#x}: {who} wrote it in this kernel, and what the non-coherent cache holds may be older"
        );
        Err(Cause::new(FaultKind::GlobalRace, lane as u32, message))
    }

    /// What a strong access publishes and learns.
    #[inline]
    fn synchronise(&mut self, block: &mut BlockMemory, access: Access, addresses: &[u64; 32], deed: Deed) {
        if !access.order.is_strong() || !self.checks.race {
            return;
        }
        let acquire = matches!(access.order, Order::Acquire | Order::AcquireRelease);
        let release = matches!(access.order, Order::Release | Order::AcquireRelease);
        // Once for all lanes, or the clock would soon come to its end.
        if release && deed.writes() {
            block.clocks.fence(access.warp, access.scope);
        }
        for i in lanes(access.mask) {
            if deed.reads() {
                block
                    .clocks
                    .observe(&self.published, access.warp, addresses[i], acquire, access.scope);
            }
            if deed.writes() {
                block
                    .clocks
                    .publish(&mut self.published, access.warp, addresses[i], access.scope);
            }
        }
    }

    /// Counts the sectors of a request.
    #[inline]
    pub(super) fn sectors(
        &mut self,
        mask: u32,
        addresses: &[u64; 32],
        bytes: u32,
        shape: Shape,
        store: bool,
        places: &[Place],
    ) {
        let n = u64::from(mask.count_ones());
        let mut count = 0;
        match (shape, places) {
            (Shape::Row(..) | Shape::Same, &[p, ..]) => {
                let total = if shape == Shape::Same {
                    bytes.into()
                } else {
                    n * u64::from(bytes)
                };
                let (first, last) = (p.offset / SECTOR, (p.offset + total - 1) / SECTOR);
                count = last - first + 1;
                self.shadow.touch(p.slab, first, last, store);
            }
            _ => {
                let mut seen = [0u64; 32];
                for (lane, p) in lanes(mask).zip(places) {
                    let sector = addresses[lane] / SECTOR;
                    if !seen[..count as usize].contains(&sector) {
                        seen[count as usize] = sector;
                        count += 1;
                        self.shadow.touch(p.slab, p.offset / SECTOR, p.offset / SECTOR, store);
                    }
                }
            }
        }
        let traffic = if store {
            &mut self.counters.store
        } else {
            &mut self.counters.load
        };
        traffic.requests += 1;
        traffic.useful_bytes += n * u64::from(bytes);
        traffic.sectors += count;
    }

    /// Loads from device memory. A read is judged, and so remembered, before it is looked whether anything was written: what another host
    /// thread writes at the same time is then a race for both, whoever was first.
    pub(super) fn load_global(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
    ) -> Result<(), Box<Cause>> {
        if self.watched.is_some() {
            self.is_watched(block, access, addresses, Deed::Read)?;
        }
        let Access { mask, bytes, .. } = access;
        // An acquiring load learns before it is judged itself.
        self.synchronise(block, access, addresses, Deed::Read);
        let mut shape = shape(mask, addresses, bytes);
        let first = mask.trailing_zeros() as usize;
        let constant = access.space == Space::Const;
        if let Shape::Row(_, n) = shape
            && self
                .device
                .place(addresses[first], (n as u64) * u64::from(bytes))
                .is_none()
        {
            shape = Shape::Scattered;
        }
        match shape {
            Shape::Row(_, n) => {
                let total = n * bytes as usize;
                let p = self.find(addresses[first], total as u64, bytes, first, Deed::Read)?;
                self.judge(block, p, total, first, access, Deed::Read)?;
                self.initialised(p, total, first, bytes)?;
                if !constant {
                    self.sectors(mask, addresses, bytes, shape, false, &[p]);
                }
                let from = self.device.slab(p.slab).data;
                // SAFETY: `find` has checked range and alignment.
                unsafe { bytes::load_lanes(from.add(p.offset as usize), bytes, first, n, out) };
            }
            Shape::Same => {
                let p = self.find(addresses[first], bytes.into(), bytes, first, Deed::Read)?;
                for i in lanes(mask) {
                    self.judge(block, p, bytes as usize, i, access, Deed::Read)?;
                }
                self.initialised(p, bytes as usize, first, bytes)?;
                if !constant {
                    self.sectors(mask, addresses, bytes, shape, false, &[p]);
                }
                // SAFETY: `find` has checked range and alignment.
                let value = unsafe { bytes::load(self.device.slab(p.slab).data.add(p.offset as usize), bytes) };
                for i in lanes(mask) {
                    bytes::put(out, i, bytes, value);
                }
            }
            Shape::Scattered => {
                let mut places = [Place { slab: 0, offset: 0 }; 32];
                for (k, i) in lanes(mask).enumerate() {
                    let p = self.find(addresses[i], bytes.into(), bytes, i, Deed::Read)?;
                    places[k] = p;
                    self.judge(block, p, bytes as usize, i, access, Deed::Read)?;
                    self.initialised(p, bytes as usize, i, bytes)?;
                    // SAFETY: `find` has checked range and alignment.
                    let value = unsafe { bytes::load(self.device.slab(p.slab).data.add(p.offset as usize), bytes) };
                    bytes::put(out, i, bytes, value);
                }
                if !constant {
                    self.sectors(mask, addresses, bytes, shape, false, &places);
                }
            }
        }
        Ok(())
    }

    /// Stores to device memory.
    pub(super) fn store_global(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        data: &Raw,
    ) -> Result<(), Box<Cause>> {
        if self.watched.is_some() {
            self.is_watched(block, access, addresses, Deed::Write)?;
        }
        let Access { mask, bytes, .. } = access;
        let mut shape = shape(mask, addresses, bytes);
        let first = mask.trailing_zeros() as usize;
        if let Shape::Row(_, n) = shape
            && self
                .device
                .place(addresses[first], (n as u64) * u64::from(bytes))
                .is_none()
        {
            shape = Shape::Scattered;
        }
        if let Shape::Row(_, n) = shape {
            let total = n * bytes as usize;
            let p = self.find(addresses[first], total as u64, bytes, first, Deed::Write)?;
            self.judge(block, p, total, first, access, Deed::Write)?;
            self.sectors(mask, addresses, bytes, shape, true, &[p]);
            let to = self.device.slab(p.slab).data;
            // SAFETY: `find` has checked range and alignment.
            unsafe { bytes::store_lanes(to.add(p.offset as usize), bytes, first, n, data) };
            self.written(p, total);
        } else {
            let mut places = [Place { slab: 0, offset: 0 }; 32];
            for (k, i) in lanes(mask).enumerate() {
                places[k] = self.find(addresses[i], bytes.into(), bytes, i, Deed::Write)?;
            }
            let last = last_of_equals(mask, addresses, bytes, data).map_err(|(lane, other)| {
                let place = format!("device memory at {:#x}", addresses[lane]);
                different(FaultKind::GlobalRace, lane, other, &place)
            })?;
            for (k, i) in lanes(mask).enumerate() {
                let p = places[k];
                if last >> i & 1 != 0 {
                    self.judge(block, p, bytes as usize, i, access, Deed::Write)?;
                }
                // SAFETY: `find` has checked range and alignment.
                unsafe {
                    let to = self.device.slab(p.slab).data.add(p.offset as usize);
                    bytes::store(to, bytes, bytes::get(data, i, bytes));
                }
                self.written(p, bytes as usize);
            }
            self.sectors(mask, addresses, bytes, shape, true, &places);
        }
        self.synchronise(block, access, addresses, Deed::Write);
        Ok(())
    }

    /// Atomics on device memory.
    pub(super) fn atomic_global(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
        step: &mut dyn FnMut(usize, u128) -> u128,
    ) -> Result<(), Box<Cause>> {
        if self.watched.is_some() {
            self.is_watched(block, access, addresses, Deed::Atomic)?;
        }
        // What is not said to be weak is strong in an atomic.
        let order = if access.order.is_strong() {
            access.order
        } else {
            Order::Relaxed
        };
        let access = Access { order, ..access };
        let Access { mask, bytes, .. } = access;
        self.count_atomic(mask, addresses);
        self.synchronise(block, access, addresses, Deed::Read);
        for i in lanes(mask) {
            let p = self.find(addresses[i], bytes.into(), bytes, i, Deed::Atomic)?;
            self.judge(block, p, bytes as usize, i, access, Deed::Atomic)?;
            self.initialised(p, bytes as usize, i, bytes)?;
            // SAFETY: `find` has checked range and alignment. Kernels with atomics run on one thread.
            unsafe {
                let at = self.device.slab(p.slab).data.add(p.offset as usize);
                let old = bytes::load(at, bytes);
                bytes::put(out, i, bytes, old);
                bytes::store(at, bytes, step(i, old));
            }
            self.written(p, bytes as usize);
        }
        self.synchronise(block, access, addresses, Deed::Write);
        Ok(())
    }

    /// Counts an atomic and how often lanes meet at one address.
    pub(super) fn count_atomic(&mut self, mask: u32, addresses: &[u64; 32]) {
        let meet = |i: usize| lanes(mask).filter(|&j| addresses[j] == addresses[i]).count() as u64;
        self.counters.atomics += 1;
        self.counters.atomic_serial += lanes(mask).map(meet).max().unwrap_or(0);
    }
}

/// Where several lanes of one store write the same place they must write the same: then the last of them stands for all.
///
/// # Errors
/// Two lanes that write different values.
pub(super) fn last_of_equals(mask: u32, addresses: &[u64; 32], bytes: u32, data: &Raw) -> Result<u32, (usize, usize)> {
    let mut rising = true;
    let mut before = None;
    for i in lanes(mask) {
        rising &= before.is_none_or(|b| addresses[i] >= b + u64::from(bytes));
        before = Some(addresses[i]);
    }
    if rising {
        return Ok(mask);
    }
    let mut last = mask;
    for i in lanes(mask) {
        for j in lanes(mask & (u32::MAX << i << 1)) {
            if addresses[i] == addresses[j] {
                last &= !(1 << i);
                if bytes::get(data, i, bytes) != bytes::get(data, j, bytes) {
                    return Err((j, i));
                }
            }
        }
    }
    Ok(last)
}

/// The fault of two lanes that write different values to one place.
pub(super) fn different(kind: FaultKind, lane: usize, other: usize, place: &str) -> Box<Cause> {
    let message =
        format!("write after write: lanes {other} and {lane} write different values to {place} in one instruction");
    Cause::new(kind, lane as u32, message)
}
