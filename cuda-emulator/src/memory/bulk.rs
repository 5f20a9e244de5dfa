//! Bulk copies: `cp.async.bulk` and `cp.async.bulk.tensor`.
//!
//! A copy to shared memory is done when somebody waits in vain for the mbarrier that counts it, and not before; one from shared memory
//! when its group is waited for, and at the end of the block. In between the words it writes, or reads, are marked, so that an access
//! that may come too early, or a write that may come before the read, is a fault in any order.

use super::block::BlockMemory;
use super::bytes;
use super::cell::Cell;
use super::global::{Place, SECTOR};
use super::loans::CHUNK;
use super::message::Deed;
use super::race::{Judge, Run};
use super::scratch::PLACES;
use super::worker::{Access, Worker};
use super::{Order, Scope, Space};
use crate::fault::{Cause, FaultKind};
use crate::tensor::map::{BYTES, Row};
use crate::tensor::wgmma::Swizzle;

/// A bulk copy, as a lane issues it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who: warp and lane.
    pub thread: (u32, u32),
    /// The instruction.
    pub pc: u32,
    /// Where it is in shared memory.
    pub at: u64,
    /// What that must be a multiple of.
    pub align: u32,
    /// Bytes there.
    pub bytes: u64,
    /// Which of these are in device memory, and where.
    pub rows: Vec<Row>,
    /// How they lie in shared memory.
    pub swizzle: Swizzle,
}

/// What a block left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Who issued it: warp and lane.
    pub thread: (u32, u32),
    /// The instruction.
    pub pc: u32,
    /// What it was.
    pub what: &'static str,
}

/// Bytes in device memory and where they lie in the copy.
struct Piece {
    place: *mut u8,
    slab: Place,
    bytes: usize,
    offset: usize,
}

struct Load {
    line: Line,
    barrier: u64,
    pieces: Vec<Piece>,
    /// What the source held when it was issued.
    content: Vec<u8>,
    /// How often it lets a wait be in vain.
    delay: u32,
}

struct Store {
    line: Line,
    pieces: Vec<Piece>,
    /// The group within those of the lane.
    group: u32,
    /// What was read, when it was read.
    taken: Option<Vec<u8>>,
}

/// The bulk copies of a block that are not done.
#[derive(Default)]
pub struct Flights {
    loads: Vec<Load>,
    issued: u32,
    stores: Vec<Store>,
    /// Copies to shared memory that are done: mbarrier, thread, its clock then. Of each thread at each mbarrier the last.
    done: Vec<(u64, (u32, u32), u32)>,
    /// For each warp and lane the number of the open group.
    open: Vec<[u32; 32]>,
}

impl Flights {
    /// Begins a block.
    pub fn start(&mut self) {
        self.loads.clear();
        self.stores.clear();
        self.open.clear();
        self.done.clear();
        self.issued = 0;
    }

    fn group(&mut self, warp: u32) -> &mut [u32; 32] {
        if self.open.len() <= warp as usize {
            self.open.resize(warp as usize + 1, [0; 32]);
        }
        &mut self.open[warp as usize]
    }
}

impl BlockMemory {
    /// `cp.async.bulk.commit_group`.
    pub fn bulk_commit(&mut self, warp: u32, lanes: u32) {
        for (i, open) in self.bulk.group(warp).iter_mut().enumerate() {
            *open += lanes >> i & 1;
        }
    }

    /// Lanes of a warp have waited for an mbarrier: they may use what copies of their own warp have brought. (Of other warps' they
    /// know by what is published there.)
    pub fn awake(&mut self, barrier: u64, warp: u32, lanes: u32) {
        for &(at, (by, lane), clock) in &self.bulk.done {
            if at == barrier && by == warp {
                self.clocks.tell(warp, lanes, lane, clock);
            }
        }
    }

    /// Replaces the 64 bits at a place of shared memory that was checked before, at an mbarrier.
    pub fn exchange(&mut self, at: u64, f: impl FnOnce(u64) -> u64) {
        debug_assert!(at.is_multiple_of(8) && at as usize + 8 <= self.shared.bytes);
        // SAFETY: a copy is only begun after its mbarrier was found inside the memory and aligned.
        unsafe {
            let place = self.shared.data().add(at as usize);
            let old = bytes::load(place, 8) as u64;
            bytes::store(place, 8, f(old).into());
        }
    }
}

impl Worker<'_> {
    /// The bytes of a tensor map in device memory.
    ///
    /// # Errors
    /// There is none, or nothing has written it.
    pub fn tensor_map(&self, address: u64, lane: u32) -> Result<[u8; BYTES], Box<Cause>> {
        let p = self.find(address, BYTES as u64, 64, lane as usize, Deed::Read)?;
        self.initialised(p, BYTES, lane as usize, u32::MAX)?;
        // SAFETY: `find` has checked the range.
        let byte = |i| unsafe { bytes::load(self.device.slab(p.slab).data.add(p.offset as usize + i), 1) as u8 };
        Ok(std::array::from_fn(byte))
    }

    /// Begins a copy to shared memory, of which the mbarrier at `barrier` counts the bytes.
    ///
    /// # Errors
    /// What the accesses do wrong.
    pub fn bulk_load(&mut self, block: &mut BlockMemory, line: Line, barrier: u64) -> Result<(), Box<Cause>> {
        let (warp, lane) = line.thread;
        self.warp = warp;
        let at = self.in_shared(block, line.at, line.bytes, line.align, lane as usize, Deed::Write)?;
        let object = self.in_shared(block, barrier, 8, 8, lane as usize, Deed::Read)?;
        self.shared_initialised(block, object, 8, lane as usize, u32::MAX)?;
        let pieces = self.pieces(block, &line, Deed::Read)?;
        self.judge_destination(block, at, line.bytes as usize, warp, lane)?;
        self.counters.copy_bytes += pieces.iter().map(|p| p.bytes as u64).sum::<u64>();
        let banks = &mut self.counters.shared_store;
        banks.requests += 1;
        banks.wavefronts += line.bytes.div_ceil(128);
        banks.ideal += line.bytes.div_ceil(128);
        block.shared.in_flight(at / 4, line.bytes as usize / 4);
        let content = gather(&pieces, line.bytes as usize);
        let flights = &mut block.bulk;
        flights.issued += 1;
        let delay = (7 * flights.issued + (at / 1024) as u32) % 3;
        flights.loads.push(Load {
            line,
            barrier,
            pieces,
            content,
            delay,
        });
        Ok(())
    }

    /// Somebody waits in vain for an mbarrier: of the copies that it counts the last one that is due is done. Returns its bytes.
    ///
    /// # Errors
    /// A source that changed since the copy was issued.
    pub fn land(&mut self, block: &mut BlockMemory, barrier: u64, lane: u32) -> Result<Option<u64>, Box<Cause>> {
        let loads = &mut block.bulk.loads;
        let due = loads.iter().rposition(|l| l.barrier == barrier && l.delay == 0);
        let Some(due) = due else {
            for l in loads.iter_mut().filter(|l| l.barrier == barrier) {
                l.delay -= 1;
            }
            return Ok(None);
        };
        let load = loads.remove(due);
        let line = &load.line;
        let content = gather(&load.pieces, line.bytes as usize);
        if content != load.content {
            let message = "the source of a bulk copy was written before the copy was done".to_string();
            return Err(Cause::new(FaultKind::InFlight, lane, message));
        }
        for (i, chunk) in content.chunks(CHUNK).enumerate() {
            let to = line.swizzle.apply(line.at + (i * CHUNK) as u64) as usize;
            let mut value = [0; CHUNK];
            value[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: the range was checked when the copy was issued; it is of whole chunks, and swizzled within whole patterns.
            unsafe {
                bytes::store(block.shared.data().add(to), CHUNK as u32, u128::from_le_bytes(value));
                bytes::set(block.shared.init().add(to), CHUNK);
            }
        }
        if block.shared.is_judged() {
            let place = PLACES | u64::from(block.clocks.block) << 32 | barrier;
            let (warp, thread) = line.thread;
            let now = block.clocks.done(&mut self.published, warp, place);
            let cell = Cell::new(now, block.clocks.block, warp, thread, 15, false);
            let all = &mut block.bulk.done;
            match all.iter_mut().find(|d| (d.0, d.1) == (barrier, line.thread)) {
                Some(d) => d.2 = now,
                None => all.push((barrier, line.thread, now)),
            }
            block
                .shared
                .landed_in_bulk(line.at as usize / 4, line.bytes as usize / 4, cell);
        }
        Ok(Some(line.bytes))
    }

    /// Begins a copy from shared memory, in the lane's open group.
    ///
    /// # Errors
    /// What the accesses do wrong.
    pub fn bulk_store(&mut self, block: &mut BlockMemory, line: Line) -> Result<(), Box<Cause>> {
        let (warp, lane) = line.thread;
        self.warp = warp;
        let at = self.in_shared(block, line.at, line.bytes, line.align, lane as usize, Deed::Read)?;
        let (mut last, mut generic) = (0, [0; 32]);
        for chunk in (at..at + line.bytes as usize).step_by(CHUNK) {
            self.judge_async(block, chunk, warp, lane, &mut last, &mut generic)?;
        }
        self.fenced(block, &generic, warp, lane)?;
        for row in &line.rows {
            for (from, n) in places(&line, row.offset as usize, row.bytes as usize) {
                self.shared_initialised(block, from, n, lane as usize, u32::MAX)?;
            }
        }
        let pieces = self.pieces(block, &line, Deed::Write)?;
        let banks = &mut self.counters.shared_load;
        banks.requests += 1;
        banks.wavefronts += line.bytes.div_ceil(128);
        banks.ideal += line.bytes.div_ceil(128);
        if block.shared.is_judged() {
            for chunk in chunks(&line) {
                block.shared.lend(chunk);
            }
        }
        let group = block.bulk.group(warp)[lane as usize];
        block.bulk.stores.push(Store {
            line,
            pieces,
            group,
            taken: None,
        });
        Ok(())
    }

    /// `cp.async.bulk.wait_group keep`, or with `read` `.read`: does what must be done now.
    pub fn bulk_wait(&mut self, block: &mut BlockMemory, warp: u32, lanes: u32, keep: u32, read: bool) {
        let open = *block.bulk.group(warp);
        let due = |s: &Store| {
            let (by, lane) = s.line.thread;
            by == warp && lanes >> lane & 1 != 0 && s.group + keep < open[lane as usize]
        };
        let mut stores = std::mem::take(&mut block.bulk.stores);
        for s in stores.iter_mut().filter(|s| due(s)) {
            self.take(block, s);
        }
        if !read {
            stores.retain(|s| {
                if due(s) {
                    self.put(s);
                }
                !due(s)
            });
        }
        block.bulk.stores = stores;
    }

    /// The end of a block: what is still to be written is written.
    ///
    /// # Errors
    /// Copies that would use the block's shared memory after its end.
    pub fn bulk_end(&mut self, block: &mut BlockMemory) -> Result<(), Unfinished> {
        let unfinished = |line: &Line, what| Unfinished {
            thread: line.thread,
            pc: line.pc,
            what,
        };
        if let Some(l) = block.bulk.loads.first() {
            return Err(unfinished(
                &l.line,
                "a bulk copy to shared memory that nobody waited for",
            ));
        }
        for s in std::mem::take(&mut block.bulk.stores) {
            if s.taken.is_none() {
                return Err(unfinished(
                    &s.line,
                    "a bulk copy from shared memory that was not waited for (cp.async.bulk.wait_group)",
                ));
            }
            self.put(&s);
        }
        Ok(())
    }

    /// Reads the source of a copy from shared memory.
    fn take(&mut self, block: &mut BlockMemory, s: &mut Store) {
        if s.taken.is_some() {
            return;
        }
        let mut content = vec![0; s.line.bytes as usize];
        for (i, to) in content.chunks_mut(CHUNK).enumerate() {
            let from = s.line.swizzle.apply(s.line.at + (i * CHUNK) as u64) as usize;
            // SAFETY: the range was checked when the copy was issued; it is of whole chunks, and swizzled within whole patterns.
            let value = unsafe { bytes::load(block.shared.data().add(from), CHUNK as u32) };
            to.copy_from_slice(&value.to_le_bytes()[..to.len()]);
        }
        s.taken = Some(content);
        if block.shared.is_judged() {
            let (warp, lane) = s.line.thread;
            let cell = Cell::new(block.clocks.now(warp), block.clocks.block, warp, lane, 15, false);
            for chunk in chunks(&s.line) {
                block.shared.give_back(chunk, cell.0, 1 << warp);
            }
        }
    }

    /// Writes what was read to device memory.
    fn put(&self, s: &Store) {
        let Some(content) = &s.taken else { return };
        for p in &s.pieces {
            for (k, byte) in content[p.offset..p.offset + p.bytes].iter().enumerate() {
                // SAFETY: the range was checked when the copy was issued; nothing is freed during a launch.
                unsafe { bytes::store(p.place.add(k), 1, u128::from(*byte)) };
            }
            self.written(p.slab, p.bytes);
        }
    }

    /// Finds, judges and counts the rows in device memory.
    fn pieces(&mut self, block: &BlockMemory, line: &Line, deed: Deed) -> Result<Vec<Piece>, Box<Cause>> {
        let (warp, lane) = line.thread;
        let traffic = |w: &mut Self| {
            let counters = &mut w.counters;
            if deed.writes() {
                counters.store.requests += 1;
            } else {
                counters.load.requests += 1;
            }
        };
        traffic(self);
        let mut pieces = Vec::with_capacity(line.rows.len());
        for row in &line.rows {
            let n = row.bytes as usize;
            if self.watched.is_some() {
                let access = Access {
                    warp,
                    mask: 1 << lane,
                    space: Space::Global,
                    order: Order::Weak,
                    scope: Scope::Device,
                    bytes: n as u32,
                };
                self.is_watched(block, access, &[row.address; 32], deed)?;
            }
            let p = self.find(row.address, row.bytes, 1, lane as usize, deed)?;
            self.judge_row(block, p, n, (warp, lane), deed)?;
            if deed.reads() {
                self.initialised(p, n, lane as usize, u32::MAX)?;
            }
            let (first, last) = (p.offset / SECTOR, (p.offset + row.bytes - 1) / SECTOR);
            self.shadow.touch(p.slab, first, last, deed.writes());
            let traffic = if deed.writes() {
                &mut self.counters.store
            } else {
                &mut self.counters.load
            };
            traffic.useful_bytes += row.bytes;
            traffic.sectors += last - first + 1;
            pieces.push(Piece {
                // SAFETY: `find` has checked the range.
                place: unsafe { self.device.slab(p.slab).data.add(p.offset as usize) },
                slab: p,
                bytes: n,
                offset: row.offset as usize,
            });
        }
        Ok(pieces)
    }

    /// Judges the access of one lane to a row in device memory: whole words, and parts of words at its ends.
    fn judge_row(
        &mut self,
        block: &BlockMemory,
        p: Place,
        n: usize,
        (warp, lane): (u32, u32),
        deed: Deed,
    ) -> Result<(), Box<Cause>> {
        if !self.checks.race {
            return Ok(());
        }
        let clocks = &block.clocks;
        let judge = Judge {
            clocks,
            published: &self.published,
        };
        let (start, end) = (p.offset as usize, p.offset as usize + n);
        let (whole, last) = (start.next_multiple_of(4), end / 4 * 4);
        let part = |from: usize, to: usize| ((1u32 << (to - from)) - 1) << (from % 4);
        let runs = if whole > last {
            // Within one word.
            [(start / 4, 1, part(start, end)), (0, 0, 0), (0, 0, 0)]
        } else {
            [
                (start / 4, usize::from(start < whole), part(start, whole)),
                (whole / 4, (last - whole) / 4, 15),
                (last / 4, usize::from(last < end), part(last, end)),
            ]
        };
        for (word, count, mask) in runs.into_iter().filter(|r| r.1 != 0) {
            let first = Cell::new(clocks.now(warp), clocks.block, warp, lane, mask, false);
            let run = Run { first, up: 0, down: 40 };
            if let Some(c) = self.shadow.access(judge, p.slab, word, count, run, deed.writes()) {
                let address = self.device.slab(p.slab).what.address + 4 * (word + c.word) as u64;
                let place = format!("device memory at {address:#x}");
                return Err(self.clash(clocks, c, lane, deed, FaultKind::GlobalRace, place));
            }
        }
        Ok(())
    }

    /// Judges the write of one lane to a range of shared memory.
    fn judge_destination(
        &self,
        block: &mut BlockMemory,
        at: usize,
        n: usize,
        warp: u32,
        lane: u32,
    ) -> Result<(), Box<Cause>> {
        if !block.shared.is_judged() {
            return Ok(());
        }
        let BlockMemory { clocks, shared, .. } = block;
        let judge = Judge {
            clocks,
            published: &self.published,
        };
        let first = Cell::new(clocks.now(warp), clocks.block, warp, lane, 15, false);
        let run = Run { first, up: 0, down: 40 };
        shared.stored(judge, at / 4, n / 4, run).map_or(Ok(()), |clash| {
            let place = format!("shared memory at {:#x}", at + 4 * clash.word);
            Err(self.clash(&block.clocks, clash, lane, Deed::Write, FaultKind::SharedRace, place))
        })
    }
}

/// The bytes of a copy as they lie in device memory now; zero where there are none.
fn gather(pieces: &[Piece], bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    for p in pieces {
        for (k, to) in content[p.offset..p.offset + p.bytes].iter_mut().enumerate() {
            // SAFETY: the range was checked when the copy was issued; nothing is freed during a launch.
            *to = unsafe { bytes::load(p.place.add(k), 1) } as u8;
        }
    }
    content
}

/// Numbers of the chunks of shared memory that a copy uses.
fn chunks(line: &Line) -> impl Iterator<Item = usize> + use<> {
    line.at as usize / CHUNK..(line.at + line.bytes) as usize / CHUNK
}

/// Where bytes of a copy lie in shared memory: places and lengths.
fn places(line: &Line, offset: usize, bytes: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut from = offset;
    while from < offset + bytes {
        let to = (from / CHUNK * CHUNK + CHUNK).min(offset + bytes);
        let at = line.swizzle.apply(line.at + from as u64) as usize;
        out.push((at, to - from));
        from = to;
    }
    out
}
