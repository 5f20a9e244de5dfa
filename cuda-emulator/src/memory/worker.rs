//! Loads, stores, atomics and asynchronous copies of a kernel: which space, and what is common to all spaces.

use super::block::BlockMemory;
use super::device::Device;
use super::message::Deed;
use super::order::{Published, Scope};
use super::shadow::Shadow;
use super::{LOCAL_WINDOW, Order, SHARED_WINDOW, Space};
use crate::counters::Counters;
use crate::engine::Checks;
use crate::fault::{Cause, FaultKind};

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
    /// How far a strong one reaches.
    pub scope: Scope,
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
    /// Whether this thread writes there.
    pub writes: bool,
    /// What happened.
    pub message: String,
}

/// What one host thread has for itself during a launch.
pub struct Worker<'a> {
    /// What was counted so far: the interpreter adds what it alone knows.
    pub counters: Counters,
    pub(super) device: &'a Device,
    pub(super) checks: Checks,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shadow: Shadow,
    pub(super) published: Published,
    pub(super) watched: Option<Conflict>,
    /// The warp of the access that is being judged.
    pub(super) warp: u32,
}

/// How the lanes' addresses lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lane after lane without a gap, from this lane on, so many.
    Row(usize, usize),
    /// All at one address.
    Same,
    /// Otherwise.
    Scattered,
}

/// Finds the shape of an access.
#[inline]
pub(super) fn shape(mask: u32, addresses: &[u64; 32], bytes: u32) -> Shape {
    let first = mask.trailing_zeros() as usize;
    let a0 = addresses[first];
    if mask == u32::MAX {
        let (mut row, mut same) = (0, 0);
        for (i, &a) in addresses.iter().enumerate() {
            row |= a ^ a0.wrapping_add(i as u64 * u64::from(bytes));
            same |= a ^ a0;
        }
        return match (row, same) {
            (0, _) => Shape::Row(0, 32),
            (_, 0) => Shape::Same,
            _ => Shape::Scattered,
        };
    }
    let n = mask.count_ones() as usize;
    let lanes = || (first..32).filter(|&i| mask >> i & 1 != 0);
    let run = (mask >> first).wrapping_add(1).is_power_of_two();
    if run && lanes().all(|i| addresses[i] == a0.wrapping_add((i - first) as u64 * u64::from(bytes))) {
        Shape::Row(first, n)
    } else if lanes().all(|i| addresses[i] == a0) {
        Shape::Same
    } else {
        Shape::Scattered
    }
}

/// Lanes of a mask, in order.
#[inline(always)]
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let lane = left.trailing_zeros() as usize;
        left &= left - 1;
        Some(lane)
    })
}

/// The window a generic address lies in: 0 device and host memory, 1 shared, 2 local.
fn window(address: u64) -> usize {
    const SIZE: u64 = 1 << 24;
    if address.wrapping_sub(SHARED_WINDOW) < SIZE {
        1
    } else if address.wrapping_sub(LOCAL_WINDOW) < SIZE {
        2
    } else {
        0
    }
}

impl<'a> Worker<'a> {
    /// For one launch with that grid and block.
    pub fn new(device: &'a Device, checks: Checks, grid: [u32; 3], block: [u32; 3]) -> Worker<'a> {
        let pool = device.shadows.lock().map(|mut s| s.pop());
        let mut shadow = pool.ok().flatten().unwrap_or_default();
        shadow.start(device.slabs(), |i| device.slab(i).what.live);
        Worker {
            counters: Counters::default(),
            device,
            checks,
            grid,
            block,
            shadow,
            published: Published::default(),
            watched: None,
            warp: 0,
        }
    }

    /// Whether an address lies in a constant variable.
    pub fn is_constant(&self, address: u64) -> bool {
        let found = self.device.find(address);
        found.is_some_and(|a| a.live && a.kind == super::device::Kind::Constant)
    }

    /// Loads. Lanes outside the mask of `out` keep what they have or not.
    ///
    /// # Errors
    /// What the access does wrong.
    #[inline]
    pub fn load(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        out: &mut Raw,
    ) -> Result<(), Box<Cause>> {
        self.warp = access.warp;
        match access.space {
            Space::Global | Space::Const => self.load_global(block, access, addresses, out),
            Space::Shared => self.load_shared(block, access, addresses, out),
            Space::Local => self.local(block, access, addresses, Deed::Read, out),
            Space::Generic => self.split(access, addresses, |w, a, at| w.load(block, a, at, out)),
        }
    }

    /// Stores.
    ///
    /// # Errors
    /// What the access does wrong.
    #[inline]
    pub fn store(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        data: &Raw,
    ) -> Result<(), Box<Cause>> {
        self.warp = access.warp;
        match access.space {
            Space::Global | Space::Const => self.store_global(block, access, addresses, data),
            Space::Shared => self.store_shared(block, access, addresses, data),
            Space::Local => self.local(block, access, addresses, Deed::Write, &mut { *data }),
            Space::Generic => self.split(access, addresses, |w, a, at| w.store(block, a, at, data)),
        }
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
        self.warp = access.warp;
        match access.space {
            Space::Global | Space::Const => self.atomic_global(block, access, addresses, out, step),
            Space::Shared => self.atomic_shared(block, access, addresses, out, step),
            Space::Local => {
                self.local(block, access, addresses, Deed::Read, out)?;
                let mut data = *out;
                for lane in lanes(access.mask) {
                    let new = step(lane, super::bytes::get(out, lane, access.bytes));
                    super::bytes::put(&mut data, lane, access.bytes, new);
                }
                self.local(block, access, addresses, Deed::Write, &mut data)
            }
            Space::Generic => self.split(access, addresses, |w, a, at| w.atomic(block, a, at, out, step)),
        }
    }

    /// Does a generic access window by window.
    fn split(
        &mut self,
        access: Access,
        addresses: &[u64; 32],
        mut part: impl FnMut(&mut Self, Access, &[u64; 32]) -> Result<(), Box<Cause>>,
    ) -> Result<(), Box<Cause>> {
        let mut masks = [0u32; 3];
        for i in lanes(access.mask) {
            masks[window(addresses[i])] |= 1 << i;
        }
        let spaces = [
            (Space::Global, 0),
            (Space::Shared, SHARED_WINDOW),
            (Space::Local, LOCAL_WINDOW),
        ];
        for (mask, (space, base)) in masks.into_iter().zip(spaces).filter(|p| p.0 != 0) {
            let at = addresses.map(|a| a.wrapping_sub(base));
            part(self, Access { mask, space, ..access }, &at)?;
        }
        Ok(())
    }

    /// Loads or stores of the lanes' own memory.
    fn local(
        &mut self,
        block: &mut BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        deed: Deed,
        data: &mut Raw,
    ) -> Result<(), Box<Cause>> {
        self.counters.local += 1;
        let Access { mask, bytes, warp, .. } = access;
        let size = block.local_bytes;
        for lane in lanes(mask) {
            let at = addresses[lane];
            if at >= size as u64 || u64::from(bytes) > size as u64 - at {
                let message = format!("{} of {bytes} bytes at {at:#x} of a stack of {size} bytes", deed.noun());
                return Err(Cause::new(FaultKind::OutOfBounds, lane as u32, message));
            }
            if !at.is_multiple_of(bytes.into()) {
                let message = format!("{} of {bytes} bytes at {at:#x} of local memory", deed.noun());
                return Err(Cause::new(FaultKind::Misaligned, lane as u32, message));
            }
            let from = lane * size + at as usize;
            let cell = &mut block.local[warp as usize][from..from + bytes as usize];
            let mut value = [0; 16];
            match deed {
                Deed::Read => {
                    value[..bytes as usize].copy_from_slice(cell);
                    super::bytes::put(data, lane, bytes, u128::from_le_bytes(value));
                }
                _ => {
                    value = super::bytes::get(data, lane, bytes).to_le_bytes();
                    cell.copy_from_slice(&value[..bytes as usize]);
                }
            }
        }
        Ok(())
    }

    /// Joins the workers of one launch: their counters, and conflicts between blocks of different workers.
    pub fn join(mut workers: Vec<Worker<'a>>) -> (Counters, Option<Conflict>) {
        let mut all = Counters::default();
        for w in &workers {
            all.add(&w.counters);
        }
        let pairs = workers
            .iter()
            .enumerate()
            .flat_map(|(i, w)| workers[i + 1..].iter().map(move |other| (w, other)));
        let conflicts = pairs
            .filter(|(w, _)| w.checks.race)
            .filter_map(|(w, other)| w.conflict(other));
        let conflict = conflicts.min_by_key(|c| c.address);
        let mut shadows: Vec<Shadow> = workers.iter_mut().map(|w| std::mem::take(&mut w.shadow)).collect();
        (all.load.distinct, all.store.distinct) = Shadow::distinct(&mut shadows);
        for (w, shadow) in workers.iter_mut().zip(shadows) {
            w.shadow = shadow;
        }
        (all, conflict)
    }

    fn conflict(&self, other: &Worker) -> Option<Conflict> {
        let (slab, word, mine, theirs, writes) = self.shadow.conflict(&other.shadow)?;
        let address = self.device.slab(slab).what.address + 4 * word as u64;
        let names = [mine, theirs].map(|c| self.name(c.block(), c.warp(), c.lane()));
        let deed = if writes { "writes" } else { "reads" };
        Some(Conflict {
            address,
            block: mine.block(),
            thread: (mine.warp(), mine.lane()),
            writes,
            message: format!(
                "{} {deed} the word at {address:#x}, {} touches it too, and no fence and atomic orders the two",
                names[0], names[1]
            ),
        })
    }

    /// In a launch that was found racy by [`Worker::join`]: the first access of that thread to that address is the fault.
    pub fn watch(&mut self, conflict: Conflict) {
        self.watched = Some(conflict);
        // What the first run found is all that is wanted of this one.
        self.checks.race = false;
    }

    /// The fault, if this access is the one that is watched for.
    #[cold]
    pub(super) fn is_watched(
        &self,
        block: &BlockMemory,
        access: Access,
        addresses: &[u64; 32],
        deed: Deed,
    ) -> Result<(), Box<Cause>> {
        let Some(c) = &self.watched else { return Ok(()) };
        let (warp, lane) = c.thread;
        let at = addresses[lane as usize];
        let meets = at < c.address + 4 && c.address < at + u64::from(access.bytes);
        if block.clocks.block == c.block
            && access.warp == warp
            && access.mask >> lane & 1 != 0
            && meets
            && (deed.writes() || !c.writes)
        {
            return Err(Cause::new(FaultKind::GlobalRace, lane, c.message.clone()));
        }
        Ok(())
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if let Ok(mut pool) = self.device.shadows.lock() {
            pool.push(std::mem::take(&mut self.shadow));
        }
    }
}
