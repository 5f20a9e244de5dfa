//! Allocations of the device, and where an address lies.

use crate::fault::FaultKind;

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

/// Device memory. Addresses are never used twice, so an access to freed memory is always known as one.
pub struct Device;

impl Device {
    /// Empty memory of that many bytes.
    pub fn new(capacity: u64) -> Device {
        let _ = capacity;
        Device
    }

    /// Allocates; the content is poison (0xCB) and uninitialised. None: out of memory.
    pub fn allocate(&mut self, bytes: u64, kind: Kind) -> Option<u64> {
        let _ = (bytes, kind);
        None
    }

    /// Makes host memory reachable by kernels, at its own address.
    ///
    /// # Safety
    /// `data` is valid for reads and writes of `bytes` until it is freed with [`Device::free`].
    pub unsafe fn map_host(&mut self, data: *mut u8, bytes: u64) {
        let _ = (data, bytes);
    }

    /// Frees an allocation (or unmaps host memory); null is fine.
    ///
    /// # Errors
    /// Not the address of a live allocation: freed twice, inside one, never allocated.
    pub fn free(&mut self, address: u64) -> Result<(), Misuse> {
        let _ = address;
        Ok(())
    }

    /// The allocation an address lies in, freed ones too.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let _ = address;
        None
    }

    /// Bytes allocated now (without host memory).
    pub fn used(&self) -> u64 {
        0
    }

    /// The most that was ever allocated.
    pub fn peak(&self) -> u64 {
        0
    }

    /// Bytes in all.
    pub fn capacity(&self) -> u64 {
        0
    }

    /// Live allocations of [`Kind::Plain`], in order of allocation.
    pub fn leaks(&self) -> Vec<Allocation> {
        Vec::new()
    }
}
