//! Device memory, pools, page-locked host memory, managed memory.

use super::abi::{Context, Host, Location, Out, Pool, Stream};
use super::exports::exports;
use super::host::State;
use super::report;
use super::state::{DONE, Driver, Rest, here};
use super::status::Status;
use super::work::{Source, Target, Work};
use crate::memory;

/// One piece of device memory.
pub struct Allocation {
    /// Bytes asked for.
    pub bytes: u64,
    /// Whose it is.
    pub context: Context,
    /// How it was made.
    pub kind: Kind,
    /// Whether a free was issued.
    pub is_freed: bool,
}

/// How memory was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By cuMemAlloc.
    Plain,
    /// By cuMemAllocAsync, in the order of a stream, from a pool.
    Ordered(Pool),
    /// By cuMemAllocManaged.
    Managed,
}

impl Driver {
    fn allocate(&mut self, context: Context, bytes: usize, kind: Kind) -> Result<u64, Status> {
        let address = match kind {
            Kind::Managed => Some(self.allocate_host(context, bytes, 0)? as u64),
            Kind::Plain | Kind::Ordered(_) => self.engine.memory.allocate(bytes as u64, memory::Kind::Plain),
        };
        let Some(address) = address else {
            report::misuse(&format!(
                "out of memory: {bytes} bytes were asked for, {} are free",
                self.available()
            ));
            return Err(Status::OUT_OF_MEMORY);
        };
        self.allocations.insert(
            address,
            Allocation {
                bytes: bytes as u64,
                context,
                kind,
                is_freed: false,
            },
        );
        Ok(address)
    }

    /// Host memory that kernels reach at the host's address.
    fn allocate_host(&mut self, context: Context, bytes: usize, flags: u32) -> Result<usize, Status> {
        let address = self.host.allocate(bytes, context, flags)?;
        // The host's allocator gives an address a second time, which device memory never does: what was freed here is forgotten.
        let new = address as u64..(address + bytes) as u64;
        self.allocations.retain(|start, a| {
            a.kind != Kind::Managed || !a.is_freed || *start >= new.end || start + a.bytes <= new.start
        });
        // SAFETY: the block has these bytes, and its memory is given back only after `Device::free`.
        unsafe {
            self.engine
                .memory
                .map_host(std::ptr::with_exposed_provenance_mut(address), bytes as u64)
        };
        Ok(address)
    }

    /// Bytes that are not allocated.
    fn available(&self) -> u64 {
        self.engine.memory.capacity() - self.engine.memory.used()
    }

    /// Frees device memory at once.
    pub fn free_now(&mut self, address: u64) {
        self.engine.memory.hide(address, false);
        if let Err(misuse) = self.engine.memory.free(address) {
            report::misuse(&misuse.message);
        }
        if let Some(a) = self.allocations.get_mut(&address) {
            a.is_freed = true;
            if a.kind == Kind::Managed && self.host.free(address as usize).is_ok() {
                self.host.release(address as usize);
            }
        }
    }

    /// Memory that work after this in the stream may use; 0 bytes are address 0.
    pub fn allocate_ordered(&mut self, stream: Stream, bytes: usize, pool: Pool) -> Result<u64, Status> {
        if bytes == 0 {
            return Ok(0);
        }
        let context = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?.context;
        let address = self.allocate(context, bytes, Kind::Ordered(pool))?;
        match self.submit(stream, Work::Allocate(address)) {
            Ok(op) => {
                self.engine.memory.hide(address, op.is_some());
                Ok(address)
            }
            Err(status) => {
                self.allocations.remove(&address);
                self.free_now(address);
                Err(status)
            }
        }
    }

    /// Notes that memory is freed from here on.
    fn begin_free(&mut self, address: u64, function: &str) -> Result<Kind, Status> {
        match self.allocations.get_mut(&address) {
            Some(a) if !a.is_freed => {
                a.is_freed = true;
                Ok(a.kind)
            }
            Some(a) => {
                report::misuse(&format!(
                    "{function}: the {} bytes at {address:#x} were freed before",
                    a.bytes
                ));
                Err(Status::INVALID_VALUE)
            }
            None => {
                report::misuse(&format!("{function}: no allocation begins at {address:#x}"));
                Err(Status::INVALID_VALUE)
            }
        }
    }

    fn free_ordered(&mut self, address: u64, stream: Stream) -> Result<(), Status> {
        if address == 0 {
            return Ok(());
        }
        if self.captured_frontier(stream)?.is_some() {
            return self.submit(stream, Work::Free(address)).map(|_| ());
        }
        self.begin_free(address, "cuMemFreeAsync")?;
        if let Some(op) = self.submit(stream, Work::Free(address))? {
            self.frees.insert(op, address);
        }
        Ok(())
    }

    /// Whether the bytes lie in one live allocation or variable; else a report and an error.
    pub fn device_range(&self, address: u64, bytes: u64, what: &str) -> Result<(), Status> {
        if bytes == 0 {
            return Ok(());
        }
        let found = self.allocations.range(..=address).next_back();
        let text = match found {
            Some((start, a)) if address < start + a.bytes => {
                if a.is_freed {
                    format!("the {} bytes at {start:#x} were freed before", a.bytes)
                } else if address.saturating_add(bytes) > start + a.bytes {
                    format!(
                        "it begins at byte {} of an allocation of {} bytes",
                        address - start,
                        a.bytes
                    )
                } else {
                    return Ok(());
                }
            }
            _ if self.module_range(address, bytes) || self.is_mapped(address, bytes) => return Ok(()),
            Some((start, a)) => {
                let gap = address - start - a.bytes;
                format!(
                    "the nearest allocation before it, of {} bytes, ends {gap} bytes earlier",
                    a.bytes
                )
            }
            None => "there is no allocation".into(),
        };
        report::misuse(&format!("{what}: {bytes} bytes at device address {address:#x}: {text}"));
        Err(Status::INVALID_VALUE)
    }

    /// Whether the bytes lie in page-locked memory, which the device reaches by the same address.
    fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        let found = self.host.find(address as usize);
        found.is_some_and(|(start, b)| {
            b.state != State::Freed && address.saturating_add(bytes) <= (start + b.bytes) as u64
        })
    }

    /// The managed allocation that holds an address.
    pub fn managed(&self, address: u64) -> Result<u64, Status> {
        match self.allocations.range(..=address).next_back() {
            Some((start, a)) if a.kind == Kind::Managed && !a.is_freed && address < start + a.bytes => Ok(*start),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// Frees a page-locked block. Work that still names it fails when it runs; then its memory is given back.
    fn free_host(&mut self, address: usize) -> Result<(), Status> {
        let Some((start, block)) = self.host.find(address) else {
            return Err(Status::INVALID_VALUE);
        };
        let range = start as u64..(start + block.bytes) as u64;
        let names = |work: &Work| match work {
            Work::Copy(source, target) => {
                let from = if let Source::Host(rows) = source {
                    Some(rows.address)
                } else {
                    None
                };
                let to = if let Target::Host(rows) = target {
                    Some(rows.address)
                } else {
                    None
                };
                from.into_iter().chain(to).any(|a| range.contains(&a))
            }
            _ => false,
        };
        let is_used = self.queue.iter().any(|(_, op)| names(&op.work))
            || self.execs.values().any(|e| e.nodes.iter().any(|n| names(&n.work)));
        if start != address || self.managed(address as u64).is_ok() {
            return Err(Status::INVALID_VALUE);
        }
        self.host.free(address)?;
        self.free_now(address as u64);
        if !is_used {
            self.host.release(address);
        }
        Ok(())
    }
}

exports! {
    /// Free and total bytes of the device.
    fn cuMemGetInfo_v2(free: Out<'_, usize>, total: Out<'_, usize>) {
        here(|d, _| {
            free.set_if_wanted(d.available() as usize);
            total.set_if_wanted(d.engine.memory.capacity() as usize);
            DONE
        })
    }

    /// Device memory, at once.
    fn cuMemAlloc_v2(address: Out<'_, u64>, bytes: usize) {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            if bytes == 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.allocate(context, bytes, Kind::Plain)?;
            address.set(new)?;
            DONE
        })
    }

    /// Device memory with rows that begin at multiples of the device's pitch alignment.
    fn cuMemAllocPitch_v2(address: Out<'_, u64>, pitch: Out<'_, usize>, width: usize, height: usize, element: u32) {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            if width == 0 || height == 0 || ![4, 8, 16].contains(&element) {
                return Err(Status::INVALID_VALUE);
            }
            let row = width.checked_next_multiple_of(512).ok_or(Status::INVALID_VALUE)?;
            let bytes = row.checked_mul(height).ok_or(Status::INVALID_VALUE)?;
            let new = d.allocate(context, bytes, Kind::Plain)?;
            address.set(new)?;
            pitch.set(row)?;
            DONE
        })
    }

    /// Frees device memory. As with CUDA this waits for all work, unless the memory is ordered by a stream.
    fn cuMemFree_v2(address: u64) {
        here(|d, context| {
            if address == 0 {
                return DONE;
            }
            d.forbid_in_capture(context)?;
            let kind = d.begin_free(address, "cuMemFree")?;
            let ops = match kind {
                Kind::Ordered(_) => Vec::new(),
                Kind::Plain | Kind::Managed => d.queue.iter().filter(|(_, op)| op.context == context).map(|(id, _)| id).collect(),
            };
            Ok(Rest::Then(ops, Box::new(move |d| {
                d.free_now(address);
                Ok(())
            })))
        })
    }

    /// Device memory that may be used by work that comes after this in the stream's order.
    fn cuMemAllocAsync(address: Out<'_, u64>, bytes: usize, stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            let new = d.allocate_ordered(stream, bytes, d.current_pool)?;
            address.set(new)?;
            DONE
        })
    }

    /// Frees device memory in the stream's order.
    fn cuMemFreeAsync(address: u64, stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.free_ordered(address, stream)?;
            DONE
        })
    }

    /// Memory that the host and the device reach by the same address.
    fn cuMemAllocManaged(address: Out<'_, u64>, bytes: usize, flags: u32) {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            if bytes == 0 || !(1..=2).contains(&flags) {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.allocate(context, bytes, Kind::Managed)?;
            address.set(new)?;
            DONE
        })
    }

    /// Where the allocation that holds an address begins, and its bytes.
    fn cuMemGetAddressRange_v2(start: Out<'_, u64>, bytes: Out<'_, usize>, address: u64) {
        here(|d, _| {
            let found = d.allocations.range(..=address).next_back();
            let (begin, a) = found.filter(|(s, a)| !a.is_freed && address < **s + a.bytes).ok_or(Status::NOT_FOUND)?;
            start.set_if_wanted(*begin);
            bytes.set_if_wanted(a.bytes as usize);
            DONE
        })
    }

    /// Page-locked host memory.
    fn cuMemHostAlloc(address: Out<'_, usize>, bytes: usize, flags: u32) {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            if bytes == 0 || flags & !7 != 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.allocate_host(context, bytes, flags)?;
            address.set(new)?;
            DONE
        })
    }

    /// The same without flags.
    fn cuMemAllocHost_v2(address: Out<'_, usize>, bytes: usize) {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            if bytes == 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.allocate_host(context, bytes, 0)?;
            address.set(new)?;
            DONE
        })
    }

    /// Frees page-locked host memory. It does not wait for copies: they must be done.
    fn cuMemFreeHost(address: Host) {
        here(|d, _| {
            if address.0 != 0 {
                d.free_host(address.0)?;
            }
            DONE
        })
    }

    /// The address by which kernels reach page-locked memory: the same.
    fn cuMemHostGetDevicePointer_v2(device: Out<'_, u64>, address: Host, flags: u32) {
        here(|d, _| {
            let found = d.host.find(address.0).filter(|(_, b)| b.state != State::Freed);
            found.filter(|_| flags == 0).ok_or(Status::INVALID_VALUE)?;
            device.set(address.0 as u64)?;
            DONE
        })
    }

    /// Page-locks memory of the program.
    fn cuMemHostRegister_v2(address: Host, bytes: usize, flags: u32) {
        here(|d, context| {
            if address.0 == 0 || bytes == 0 || flags & !15 != 0 {
                return Err(Status::INVALID_VALUE);
            }
            d.host.register(address.0, bytes, context, flags)?;
            // SAFETY: the program page-locks memory of its own, and unregisters it before it gives it back.
            unsafe { d.engine.memory.map_host(std::ptr::with_exposed_provenance_mut(address.0), bytes as u64) };
            DONE
        })
    }

    /// Ends that.
    fn cuMemHostUnregister(address: Host) {
        here(|d, _| {
            d.host.unregister(address.0)?;
            d.free_now(address.0 as u64);
            DONE
        })
    }

    /// The flags of a page-locked block.
    fn cuMemHostGetFlags(flags: Out<'_, u32>, address: Host) {
        here(|d, _| {
            let (_, block) = d.host.find(address.0).filter(|(_, b)| b.state == State::Allocated).ok_or(Status::INVALID_VALUE)?;
            flags.set(block.flags)?;
            DONE
        })
    }

    /// Brings managed memory to one side. Here it is on both.
    fn cuMemPrefetchAsync_v2(address: u64, bytes: usize, _location: Location, flags: u32, stream: Stream) {
        here(|d, context| {
            if flags != 0 {
                return Err(Status::INVALID_VALUE);
            }
            d.managed(address)?;
            d.device_range(address, bytes as u64, "cuMemPrefetchAsync")?;
            let stream = d.stream(context, stream)?;
            d.submit(stream, Work::Nothing)?;
            DONE
        })
    }

    /// Advice about managed memory. It changes nothing here.
    fn cuMemAdvise_v2(address: u64, bytes: usize, advice: i32, _location: Location) {
        here(|d, _| {
            if !(1..=6).contains(&advice) {
                return Err(Status::INVALID_VALUE);
            }
            d.managed(address)?;
            d.device_range(address, bytes as u64, "cuMemAdvise")?;
            DONE
        })
    }
}
