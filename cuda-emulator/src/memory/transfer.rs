//! Asynchronous copies from device memory to shared memory.

use super::Space;
use super::block::BlockMemory;
use super::bytes;
use super::copy::Pending;
use super::global::Place;
use super::message::Deed;
use super::worker::{Access, Shape, Worker, lanes, shape};
use crate::fault::{Cause, FaultKind};

impl Worker<'_> {
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
        self.warp = access.warp;
        let Access { mask, bytes, .. } = access;
        let mut copy = Pending::new(mask, bytes);
        let reads = Access {
            space: Space::Global,
            ..access
        };
        if self.watched.is_some() {
            self.is_watched(block, reads, from, Deed::Read)?;
        }
        copy.sizes = sizes.map_or([bytes; 32], |s| s.map(|n| n.min(bytes)));
        let first = mask.trailing_zeros() as usize;
        let total = u64::from(mask.count_ones() * bytes);
        let row = matches!(shape(mask, from, bytes), Shape::Row(..))
            && lanes(mask).all(|i| copy.sizes[i] == bytes)
            && self.device.place(from[first], total).is_some();
        let useful = if row {
            let p = self.find(from[first], total, bytes, first, Deed::Read)?;
            self.judge(block, p, total as usize, first, reads, Deed::Read)?;
            self.initialised(p, total as usize, first, bytes)?;
            self.sectors(
                mask,
                from,
                bytes,
                Shape::Row(first, mask.count_ones() as usize),
                false,
                &[p],
            );
            for i in lanes(mask) {
                self.see(
                    &mut copy,
                    i,
                    Place {
                        offset: p.offset + u64::from((i - first) as u32 * bytes),
                        ..p
                    },
                );
            }
            total
        } else {
            self.scattered_sources(block, reads, from, &mut copy)?
        };
        self.counters.copy_bytes += useful;
        self.begin_copy(block, access, to, &mut copy)?;
        block.copies[access.warp as usize].push(copy);
        Ok(())
    }

    /// Remembers where a lane's copy reads, and what it sees there now.
    #[inline]
    fn see(&self, copy: &mut Pending, lane: usize, p: Place) {
        // SAFETY: the caller has found the place.
        unsafe {
            copy.from[lane] = self.device.slab(p.slab).data.add(p.offset as usize);
            copy.content[lane] = content(copy.from[lane], copy.sizes[lane]);
        }
    }

    /// The sources of a copy, lane by lane; the bytes that are read.
    fn scattered_sources(
        &mut self,
        block: &BlockMemory,
        reads: Access,
        from: &[u64; 32],
        copy: &mut Pending,
    ) -> Result<u64, Box<Cause>> {
        let Access { mask, bytes, .. } = reads;
        let mut places = [Place { slab: 0, offset: 0 }; 32];
        let mut reading = 0u32;
        let mut useful = 0;
        for i in lanes(mask) {
            let size = copy.sizes[i];
            if from[i] & u64::from(bytes - 1) != 0 {
                self.find(from[i], bytes.into(), bytes, i, Deed::Read)?;
            }
            if size == 0 {
                continue;
            }
            let p = self.find(from[i], size.into(), 1, i, Deed::Read)?;
            if size.is_multiple_of(4) {
                self.judge(
                    block,
                    p,
                    size as usize,
                    i,
                    Access {
                        bytes: size.next_power_of_two(),
                        ..reads
                    },
                    Deed::Read,
                )?;
            }
            self.initialised(p, size as usize, i, bytes)?;
            places[reading.count_ones() as usize] = p;
            reading |= 1 << i;
            useful += u64::from(size);
            self.see(copy, i, p);
        }
        if reading != 0 {
            self.sectors(reading, from, bytes, Shape::Scattered, false, &places);
            self.counters.load.useful_bytes -= u64::from(reading.count_ones() * bytes) - useful;
        }
        Ok(useful)
    }

    /// `cp.async.wait_group keep`, or `wait_all` (none): performs the copies that must be done now.
    ///
    /// # Errors
    /// Memory that changed or was freed since the copy was issued.
    pub fn copy_wait(
        &mut self,
        block: &mut BlockMemory,
        warp: u32,
        mask: u32,
        keep: Option<u32>,
    ) -> Result<(), Box<Cause>> {
        for copy in block.copies[warp as usize].wait(mask, keep) {
            for i in lanes(copy.mask) {
                // SAFETY: checked when the copy was issued; nothing is freed during a launch.
                let now = unsafe { content(copy.from[i], copy.sizes[i]) };
                if now != copy.content[i] {
                    let message = "the source of a cp.async was written before the copy was waited for".to_string();
                    return Err(Cause::new(FaultKind::InFlight, i as u32, message));
                }
                self.end_copy(block, warp, i, copy.to[i] as usize, copy.bytes, now);
            }
        }
        Ok(())
    }
}

/// Up to 16 bytes, the rest zero.
///
/// # Safety
/// `from` is valid for `size`.
unsafe fn content(from: *mut u8, size: u32) -> u128 {
    let mut value = 0;
    // SAFETY: valid, as the caller says; words are read where they are aligned.
    unsafe {
        if size >= 4 && size.is_power_of_two() && from.addr().is_multiple_of(size as usize) {
            return bytes::load(from, size);
        }
        for k in 0..size as usize {
            value |= bytes::load(from.add(k), 1) << (8 * k);
        }
    }
    value
}
