//! Allocations of the device, and where an address lies.

use super::shadow::Shadow;
use super::{DEVICE_BASE, LOCAL_WINDOW, SHARED_WINDOW};
use crate::fault::FaultKind;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Addresses are given out in pages of 64 KB, so that the table that finds an allocation is small.
const PAGE: u64 = 1 << 16;
/// Bytes before and behind every allocation. CUDA promises an alignment of 256 bytes and no more, and so it is here.
const RED_ZONE: u64 = 256;
/// What new memory holds: 0xCBCBCBCB is a large negative number as f32 and as integer.
const POISON: u8 = 0xcb;
/// Beyond this only zeros: poison would make the host's memory real.
const POISONED: usize = 64 << 20;

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allocated by the program.
    Plain,
    /// A module's `.global` variable; no leak.
    Variable,
    /// A module's `.const` variable; kernels may not write it; no leak.
    Constant,
    /// Memory of the host that kernels reach at the host's address (pinned and mapped, managed); always initialised.
    Host,
}

/// One allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// What it is for.
    pub kind: Kind,
    /// Whether it is not freed.
    pub live: bool,
}

/// What the host did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// The class.
    pub kind: FaultKind,
    /// Addresses and sizes.
    pub message: String,
}

/// Bytes of the host's memory, zero at first and made real by the first touch.
struct Bytes {
    data: *mut u8,
    layout: Layout,
}

impl Bytes {
    fn new(bytes: usize) -> Option<Bytes> {
        let layout = Layout::from_size_align(bytes.max(1).next_multiple_of(64), 64).ok()?;
        // SAFETY: the size is not zero.
        let data = unsafe { alloc_zeroed(layout) };
        if data.is_null() {
            None
        } else {
            Some(Bytes { data, layout })
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.data, self.layout) }
    }
}

/// An allocation with its bytes.
pub(super) struct Slab {
    pub what: Allocation,
    /// The content.
    pub data: *mut u8,
    /// One byte for each byte: 0xff where it was written, else 0. Null for memory of the host.
    pub init: *mut u8,
    owned: Option<(Bytes, Bytes)>,
    /// Not live for now: see [`Device::hide`].
    hidden: bool,
}

/// Device memory. Addresses are never used twice, so an access to freed memory is always known as one.
pub struct Device {
    slabs: Vec<Slab>,
    /// For each page of addresses one more than the number of its allocation, or 0.
    pages: Vec<u32>,
    /// Live memory of the host by address.
    host: BTreeMap<u64, u32>,
    capacity: u64,
    used: u64,
    peak: u64,
    /// Race shadows that workers of earlier launches gave back.
    pub(super) shadows: Mutex<Vec<Shadow>>,
}

// SAFETY: the pointers are to memory that the device owns, or that the caller of `map_host` vouches for. During a launch
// several threads use them: only through relaxed atomic accesses (see `worker`).
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Empty memory of that many bytes.
    pub fn new(capacity: u64) -> Device {
        Device {
            slabs: Vec::new(),
            pages: Vec::new(),
            host: BTreeMap::new(),
            capacity,
            used: 0,
            peak: 0,
            shadows: Mutex::new(Vec::new()),
        }
    }

    /// Allocates; the content is poison (0xCB) and uninitialised. None: out of memory.
    pub fn allocate(&mut self, bytes: u64, kind: Kind) -> Option<u64> {
        self.allocate_aligned(bytes, RED_ZONE, kind)
    }

    /// The same at a multiple of a power of two, up to half a page (32 KB).
    pub fn allocate_aligned(&mut self, bytes: u64, align: u64, kind: Kind) -> Option<u64> {
        let before = RED_ZONE.max(align);
        if bytes > self.capacity - self.used {
            return None;
        }
        let (data, init) = (Bytes::new(bytes as usize)?, Bytes::new(bytes as usize)?);
        // SAFETY: within the allocation made above.
        unsafe { data.data.write_bytes(POISON, POISONED.min(bytes as usize)) };
        let address = DEVICE_BASE + self.pages.len() as u64 * PAGE + before;
        let pages = (before + bytes + RED_ZONE).div_ceil(PAGE) as usize;
        self.slabs.push(Slab {
            what: Allocation {
                address,
                bytes,
                kind,
                live: true,
            },
            data: data.data,
            init: init.data,
            owned: Some((data, init)),
            hidden: false,
        });
        self.pages.resize(self.pages.len() + pages, self.slabs.len() as u32);
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Some(address)
    }

    /// Makes host memory reachable by kernels, at its own address.
    ///
    /// # Safety
    /// `data` is valid for reads and writes of `bytes` until it is freed with [`Device::free`].
    pub unsafe fn map_host(&mut self, data: *mut u8, bytes: u64) {
        let address = data.expose_provenance() as u64;
        let what = Allocation {
            address,
            bytes,
            kind: Kind::Host,
            live: true,
        };
        self.host.insert(address, self.slabs.len() as u32);
        self.slabs.push(Slab {
            what,
            data,
            init: std::ptr::null_mut(),
            owned: None,
            hidden: false,
        });
    }

    /// Frees an allocation (or unmaps host memory); null is fine.
    ///
    /// # Errors
    /// Not the address of a live allocation: freed twice, inside one, never allocated.
    pub fn free(&mut self, address: u64) -> Result<(), Misuse> {
        if address == 0 {
            return Ok(());
        }
        let misuse = |kind, message| Err(Misuse { kind, message });
        let Some(index) = self.index(address) else {
            return misuse(
                FaultKind::OutOfBounds,
                format!("free of {address:#x}: {}", self.describe(address, 0).1),
            );
        };
        let slab = &mut self.slabs[index];
        if !slab.what.live {
            return misuse(
                FaultKind::Freed,
                format!(
                    "free of {address:#x}: this allocation of {} bytes was freed before",
                    slab.what.bytes
                ),
            );
        }
        if slab.what.address != address {
            return misuse(
                FaultKind::OutOfBounds,
                format!(
                    "free of {address:#x}: not the start of its allocation, which is {:#x} of {} bytes",
                    slab.what.address, slab.what.bytes
                ),
            );
        }
        slab.what.live = false;
        if slab.owned.take().is_some() {
            self.used -= slab.what.bytes;
        } else {
            self.host.remove(&address);
        }
        slab.data = std::ptr::null_mut();
        slab.init = std::ptr::null_mut();
        Ok(())
    }

    /// Forbids, or allows again, the use of a live allocation: an operation of a stream must not touch memory that is allocated or
    /// freed by operations it is not ordered against.
    pub fn hide(&mut self, address: u64, hidden: bool) {
        if let Some(index) = self.index(address) {
            let slab = &mut self.slabs[index];
            if slab.what.live || slab.hidden {
                slab.hidden = hidden;
                slab.what.live = !hidden;
            }
        }
    }

    /// The allocation an address lies in, freed ones too.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let what = self.slabs[self.index(address)?].what;
        (address >= what.address && address - what.address < what.bytes.max(1)).then_some(what)
    }

    /// Bytes allocated now (without host memory).
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The most that was ever allocated.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Bytes in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Live allocations of [`Kind::Plain`], in order of allocation.
    pub fn leaks(&self) -> Vec<Allocation> {
        self.slabs
            .iter()
            .map(|s| s.what)
            .filter(|a| a.live && a.kind == Kind::Plain)
            .collect()
    }

    /// The number of the allocation whose pages hold this address; it may lie in a red zone.
    #[inline]
    pub(super) fn index(&self, address: u64) -> Option<usize> {
        let page = address.wrapping_sub(DEVICE_BASE) / PAGE;
        match self.pages.get(page as usize) {
            Some(&i) => Some(i as usize - 1),
            None => self.host.range(..=address).next_back().map(|(_, &i)| i as usize),
        }
    }

    pub(super) fn slab(&self, index: usize) -> &Slab {
        &self.slabs[index]
    }

    pub(super) fn slabs(&self) -> usize {
        self.slabs.len()
    }

    /// The allocation and the offset of an access, if all of it lies in live memory.
    #[inline]
    pub(super) fn place(&self, address: u64, bytes: u64) -> Option<(usize, u64)> {
        let index = self.index(address)?;
        let what = &self.slabs[index].what;
        let offset = address.wrapping_sub(what.address);
        (what.live && offset <= what.bytes && bytes <= what.bytes - offset).then_some((index, offset))
    }

    /// As `place`, for the host.
    pub(super) fn host_place(&self, address: u64, bytes: u64) -> Result<(&Slab, usize), Misuse> {
        match self.place(address, bytes) {
            Some((index, offset)) => Ok((&self.slabs[index], offset as usize)),
            None => {
                let (kind, message) = self.describe(address, bytes);
                Err(Misuse { kind, message })
            }
        }
    }

    /// What is wrong with an access that has no place.
    #[cold]
    pub(super) fn describe(&self, address: u64, bytes: u64) -> (FaultKind, String) {
        let at = format!("{bytes} bytes at {address:#x}");
        if address < 4096 {
            return (FaultKind::OutOfBounds, format!("{at}: a null pointer"));
        }
        for (window, name) in [(SHARED_WINDOW, "shared"), (LOCAL_WINDOW, "local")] {
            if (window..window + (1 << 24)).contains(&address) {
                return (
                    FaultKind::OutOfBounds,
                    format!("{at}: an address of {name} memory, not of the device's"),
                );
            }
        }
        let distance = |a: &Allocation| {
            if address < a.address {
                a.address - address
            } else {
                address.saturating_add(bytes).saturating_sub(a.address + a.bytes)
            }
        };
        let Some(a) = self.slabs.iter().map(|s| s.what).min_by_key(|a| (distance(a), !a.live)) else {
            return (FaultKind::OutOfBounds, format!("{at}: nothing is allocated"));
        };
        let size = format!("{} bytes at {:#x}", a.bytes, a.address);
        let inside = address >= a.address && address < a.address + a.bytes;
        if inside && !a.live {
            let is_hidden = self.slabs.iter().any(|s| s.hidden && s.what == a);
            let why = if is_hidden {
                "that another stream allocates or frees, with no event between"
            } else {
                "that was freed"
            };
            return (
                FaultKind::Freed,
                format!("{at}: byte {} of an allocation of {size} {why}", address - a.address),
            );
        }
        let far = if distance(&a) >= 1 << 30 {
            "; so far away an index may have wrapped"
        } else {
            ""
        };
        let freed = if a.live { "" } else { ", which was freed" };
        let where_ = if address < a.address {
            format!("{} bytes before the start", a.address - address)
        } else {
            format!("ends {} bytes behind the end", distance(&a))
        };
        (
            FaultKind::OutOfBounds,
            format!("{at}: {where_} of the nearest allocation, {size}{freed}{far}"),
        )
    }
}
