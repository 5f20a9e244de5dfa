//! Device and shared memory with the shadows that find misuse.
//!
//! | file | what it holds |
//! |---|---|
//! | [`device`] | allocations of the device and where an address lies; what the host does with them is in [`host`] |
//! | [`worker`] | loads, stores and atomics of a kernel, whatever the space: the entry points of the interpreter |
//! | [`block`] | what a block has for itself: shared and local memory, copies in flight, the order of its warps |
//! | `order`, `race`, `cell` | what happens before what; when two accesses are a race; who touched a word last |
//! | `shadow`, `shared`, `pieces` | those records for device memory and for shared memory; several writers of one word |
//! | `global`, `scratch`, `transfer` | accesses to device memory, to shared memory, and copies from one to the other |
//! | [`bulk`], `operand`, `loans`, `proxy` | asynchronous operations on shared memory: bulk copies, operands of wgmma; fences for them |
//! | `copy`, `bytes` | copies in flight; moves between memory and lanes |
//!
//! How the interpreter uses it: one [`Worker`] for each host thread and launch, one [`BlockMemory`] for each block that is
//! being run. Every access goes through [`Worker::load`], [`Worker::store`], [`Worker::atomic`] or [`Worker::copy`]; every
//! synchronisation is told to the [`BlockMemory`]. Counters of memory are kept by the worker as well.

pub mod block;
pub mod bulk;
mod bytes;
mod cell;
mod copy;
pub mod device;
mod global;
pub mod host;
mod loans;
mod message;
mod operand;
mod order;
mod pieces;
mod proxy;
mod race;
mod scratch;
mod shadow;
mod shared;
#[cfg(test)]
mod tests;
mod transfer;
pub mod worker;

pub use block::BlockMemory;
pub use bulk::{Line, Unfinished};
pub use device::{Allocation, Device, Kind, Misuse};
pub use order::Scope;
pub use worker::{Access, Conflict, Raw, Worker};

/// Generic addresses from here on are the block's shared memory.
pub const SHARED_WINDOW: u64 = 0x1_0000_0000;
/// Generic addresses from here on are the thread's local memory.
pub const LOCAL_WINDOW: u64 = 0x2_0000_0000;
/// Generic addresses from here on are device memory (host memory lies far above).
pub const DEVICE_BASE: u64 = 0x7_0000_0000;

/// State space of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory.
    Global,
    /// The block's memory, offsets from 0.
    Shared,
    /// The thread's memory, offsets from 0.
    Local,
    /// Constant variables, in device memory; counted apart.
    Const,
    /// Found from the address, lane by lane.
    Generic,
}

/// How an access takes part in the ordering of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Plain: a conflict with it is a race.
    Weak,
    /// `.nc`: plain, and nobody may write there while the kernel runs.
    ReadOnly,
    /// `.volatile`, `.relaxed`, `.mmio`: two of these do not race with each other.
    Relaxed,
    /// As relaxed, for a look at an mbarrier that tells nothing of what others did.
    Poll,
    /// `.acquire`.
    Acquire,
    /// `.release`.
    Release,
    /// `.acq_rel`.
    AcquireRelease,
}

impl Order {
    /// Whether two of these do not race with each other.
    #[inline(always)]
    pub fn is_strong(self) -> bool {
        !matches!(self, Order::Weak | Order::ReadOnly)
    }
}
