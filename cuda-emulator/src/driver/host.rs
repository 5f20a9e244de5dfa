//! Host memory: page-locked blocks, and raw access to the addresses that a caller names.

use super::abi::{Context, Params};
use super::status::Status;
use std::alloc::Layout;
use std::collections::BTreeMap;

/// What page-locked memory holds before anybody writes it, and after it was freed.
const POISON: u8 = 0xcb;

/// Page-locked host memory.
pub struct Block {
    /// Bytes.
    pub bytes: usize,
    /// Whose it is.
    pub context: Context,
    /// `CU_MEMHOSTALLOC_` or `CU_MEMHOSTREGISTER_` flags.
    pub flags: u32,
    /// How it came here and whether it still may be used.
    pub state: State,
}

/// State of a [`Block`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// By cuMemHostAlloc.
    Allocated,
    /// By cuMemHostRegister, of memory that the program owns.
    Registered,
    /// Freed, but kept: work that was issued before still names it.
    Freed,
}

/// All page-locked blocks by address.
#[derive(Default)]
pub struct HostMemory {
    blocks: BTreeMap<usize, Block>,
}

impl HostMemory {
    /// New memory, poisoned.
    pub fn allocate(&mut self, bytes: usize, context: Context, flags: u32) -> Result<usize, Status> {
        let layout = layout(bytes)?;
        // SAFETY: the layout has a size that is not 0.
        let p = unsafe { std::alloc::alloc(layout) };
        if p.is_null() {
            return Err(Status::OUT_OF_MEMORY);
        }
        // SAFETY: p has room for the size of its layout.
        unsafe { p.write_bytes(POISON, layout.size()) };
        let block = Block {
            bytes,
            context,
            flags,
            state: State::Allocated,
        };
        self.blocks.insert(p.addr(), block);
        Ok(p.expose_provenance())
    }

    /// Page-locks memory that the program owns.
    pub fn register(&mut self, address: usize, bytes: usize, context: Context, flags: u32) -> Result<(), Status> {
        let end = address.checked_add(bytes).ok_or(Status::INVALID_VALUE)?;
        let overlaps = |(start, block): (&usize, &Block)| {
            *start < end && address < start + block.bytes && block.state != State::Freed
        };
        if self.blocks.range(..end).next_back().is_some_and(overlaps) {
            return Err(Status::HOST_MEMORY_ALREADY_REGISTERED);
        }
        self.blocks.insert(
            address,
            Block {
                bytes,
                context,
                flags,
                state: State::Registered,
            },
        );
        Ok(())
    }

    /// Ends a registration.
    pub fn unregister(&mut self, address: usize) -> Result<(), Status> {
        match self.blocks.get(&address) {
            Some(b) if b.state == State::Registered => {
                self.blocks.remove(&address);
                Ok(())
            }
            _ => Err(Status::HOST_MEMORY_NOT_REGISTERED),
        }
    }

    /// Poisons the block at `address` and forbids its use; the memory itself goes with [`release`](HostMemory::release).
    pub fn free(&mut self, address: usize) -> Result<(), Status> {
        match self.blocks.get_mut(&address) {
            Some(b) if b.state == State::Allocated => {
                b.state = State::Freed;
                // SAFETY: the block was allocated here with `bytes` bytes and is released only after it was freed.
                unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_bytes(POISON, b.bytes) };
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// Gives the memory of a freed block back.
    pub fn release(&mut self, address: usize) {
        if self.blocks.get(&address).is_some_and(|b| b.state == State::Freed)
            && let Some(block) = self.blocks.remove(&address)
            && let Ok(layout) = layout(block.bytes)
        {
            // SAFETY: it was allocated here with this layout, and the entry that said so is gone.
            unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(address), layout) };
        }
    }

    /// The block that holds `address`, and where it begins.
    pub fn find(&self, address: usize) -> Option<(usize, &Block)> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        (address < start + block.bytes).then_some((*start, block))
    }

    /// All blocks.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Block)> {
        self.blocks.iter().map(|(address, block)| (*address, block))
    }
}

fn layout(bytes: usize) -> Result<Layout, Status> {
    Layout::from_size_align(bytes.max(1), 4096).map_err(|_| Status::INVALID_VALUE)
}

/// Reads host memory.
pub fn read(address: usize, to: &mut [u8]) {
    // SAFETY: the caller of a copy named these bytes as its source; what it may name is the contract of the C interface (`Host::at`).
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
}

/// Writes host memory.
pub fn write(address: usize, from: &[u8]) {
    // SAFETY: the caller of a copy named these bytes as its target; what it may name is the contract of the C interface (`Host::at`).
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).copy_from_nonoverlapping(from.as_ptr(), from.len()) }
}

#[repr(C)]
struct Piece {
    base: usize,
    bytes: usize,
}

unsafe extern "C" {
    fn process_vm_readv(
        process: i32,
        local: *const Piece,
        locals: usize,
        remote: *const Piece,
        remotes: usize,
        flags: usize,
    ) -> isize;
}

/// Reads host memory whose address may be wrong: false if it is.
pub fn try_read(address: usize, to: &mut [u8]) -> bool {
    let local = Piece {
        base: to.as_mut_ptr().addr(),
        bytes: to.len(),
    };
    let remote = Piece {
        base: address,
        bytes: to.len(),
    };
    let process = std::process::id().cast_signed();
    // SAFETY: the kernel writes `to.len()` bytes to `to`, and checks the other address itself.
    let n = unsafe { process_vm_readv(process, &local, 1, &remote, 1, 0) };
    if n == -1 && std::io::Error::last_os_error().raw_os_error() != Some(14) {
        // The call itself is forbidden here (some containers do): there is no way to check.
        read(address, to);
        return true;
    }
    n == to.len() as isize
}

/// Reads a word whose address may be wrong.
pub fn word(address: usize) -> Option<usize> {
    let mut bytes = [0; size_of::<usize>()];
    try_read(address, &mut bytes).then(|| usize::from_ne_bytes(bytes))
}

/// Reads the value of parameter i, or says why it cannot be one.
pub fn parameter(params: Params, i: usize, to: &mut [u8]) -> Result<(), &'static str> {
    match word(params.slot(i)) {
        None => Err("lies beyond the array of parameters"),
        Some(0) => Err("is a null pointer"),
        Some(address) if try_read(address, to) => Ok(()),
        Some(_) => Err("is not an address in host memory"),
    }
}
