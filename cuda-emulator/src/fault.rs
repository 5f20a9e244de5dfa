//! What went wrong in a kernel, in full: everything a debugger would want is in one value.

use std::fmt;

/// The class of a fault. Each has its own remedy, see [`FaultKind::hint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access outside every allocation (or outside the block's shared memory, the thread's stack, the parameters).
    OutOfBounds,
    /// An address that is no multiple of the access width.
    Misaligned,
    /// An access to memory that was freed.
    Freed,
    /// A read of bytes that nothing has written.
    Uninitialised,
    /// Two threads of a block touch one place of shared memory, one writes, and no barrier lies between.
    SharedRace,
    /// The same in global memory, within a block or between blocks.
    GlobalRace,
    /// An access to the source or destination of a cp.async (or bulk copy) that was not waited for.
    InFlight,
    /// An asynchronous operation (wgmma, bulk copy) reads what ordinary instructions wrote, and no fence of the proxies lies between.
    Proxy,
    /// A write to memory that a kernel may only read (`.const`, the parameters).
    ReadOnly,
    /// Some threads of a warp reach a barrier (or a different one) that the others have not reached.
    DivergentBarrier,
    /// A `.sync` instruction whose mask names lanes that are not there, or does not name the lane that executes it.
    WarpSync,
    /// No warp can go on: each waits at a barrier, a warp synchronisation or a memory barrier.
    Deadlock,
    /// `assert` failed in device code.
    Assert,
    /// `trap` or `brkpt`.
    Trap,
    /// The kernel ran longer than `CUDA_EMULATOR_MAX_STEPS`.
    Timeout,
    /// Operands for which NVIDIA's manual gives no meaning (a jump through no function, a stack that overflows).
    Undefined,
    /// The launch itself is not possible: too many threads, too much shared memory.
    Launch,
}

impl FaultKind {
    /// What to look for in the source.
    pub fn hint(self) -> &'static str {
        match self {
            FaultKind::OutOfBounds => "check the guard of the last rows and columns, and the strides",
            FaultKind::Misaligned => "a vector access needs a base and strides that are multiples of its width",
            FaultKind::Freed => "the host freed this buffer while a kernel still used it",
            FaultKind::Uninitialised => {
                "a tile that was filled only in part, an output read before it was written, or a missing barrier before the read"
            }
            FaultKind::SharedRace => "a missing __syncthreads (or __syncwarp) between the write and the other access",
            FaultKind::GlobalRace => "two blocks or warps own the same output; use atomics, or a fence and a flag",
            FaultKind::InFlight => {
                "cp.async needs wait_group and then a barrier before anyone reads its tile; a bulk copy its mbarrier; a wgmma wait_group"
            }
            FaultKind::Proxy => {
                "fence.proxy.async between the stores to shared memory and the barrier before the wgmma or bulk copy"
            }
            FaultKind::ReadOnly => "constant memory and parameters are not for writing",
            FaultKind::DivergentBarrier => "__syncthreads in a branch or loop that not every thread takes",
            FaultKind::WarpSync => "a *_sync intrinsic whose mask is not the set of lanes that execute it",
            FaultKind::Deadlock => "a barrier that one warp never reaches, or a wait for another block",
            FaultKind::Assert => "the condition of the assert",
            FaultKind::Trap => "a __trap() in the source, or a point the compiler holds for unreachable",
            FaultKind::Timeout => "a loop that does not end",
            FaultKind::Undefined => "operands outside what the PTX manual defines",
            FaultKind::Launch => "the launch configuration",
        }
    }
}

/// Why one access or instruction cannot be executed, before it is known where in the source that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The class.
    pub kind: FaultKind,
    /// The lane of the warp that did it.
    pub lane: u32,
    /// Addresses, sizes, the other party of a race.
    pub message: String,
}

impl Cause {
    /// A cause, boxed: the path without faults should not carry its size.
    pub fn new(kind: FaultKind, lane: u32, message: String) -> Box<Cause> {
        Box::new(Cause { kind, lane, message })
    }
}

/// A kernel that was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The class.
    pub kind: FaultKind,
    /// The kernel's name in the PTX.
    pub kernel: String,
    /// Index of the block in the grid.
    pub block: [u32; 3],
    /// Index of the thread in the block.
    pub thread: [u32; 3],
    /// File and line of the .cu source, where the PTX was made with `-lineinfo`.
    pub source: Option<(String, u32)>,
    /// Line of the PTX, from 1.
    pub ptx_line: u32,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bx, by, bz] = self.block;
        let [tx, ty, tz] = self.thread;
        write!(
            f,
            "{:?}: {}\n  kernel {} block ({bx},{by},{bz}) thread ({tx},{ty},{tz})",
            self.kind, self.message, self.kernel
        )?;
        if let Some((file, line)) = &self.source {
            write!(f, "\n  at {file}:{line}")?;
        }
        write!(f, "\n  at PTX line {}\n  look for: {}", self.ptx_line, self.kind.hint())
    }
}

impl std::error::Error for Fault {}
