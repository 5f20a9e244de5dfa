//! How many blocks a multiprocessor holds: the arithmetic of NVIDIA's cuda_occupancy.h.

use super::abi::{Function, In, LaunchConfig, Out};
use super::device::{Architecture, BLOCKS, REGISTERS, RESERVED_SHARED, THREADS, WARPS};
use super::exports::exports;
use super::module::UNKNOWN_REGISTERS;
use super::report;
use super::state::{DONE, Driver, here};
use super::status::Status;
use crate::engine::Kernel;

/// Registers come to a warp in pieces of this many.
const REGISTER_PIECE: u32 = 256;
/// Schedulers of a multiprocessor; each has a quarter of the registers and of the warps.
const SCHEDULERS: u32 = 4;
/// Shared memory comes to a block in pieces of this many bytes.
const SHARED_PIECE: usize = 128;

/// Registers that a block takes.
pub fn registers_of_block(registers: u32, threads: u32) -> u32 {
    let warps = threads.div_ceil(32).next_multiple_of(SCHEDULERS);
    (registers * 32).next_multiple_of(REGISTER_PIECE) * warps
}

/// Blocks that a multiprocessor holds at one time.
pub fn blocks(kernel: &Kernel, threads: u32, dynamic: usize, arch: u32) -> u32 {
    if threads == 0 || threads > kernel.max_threads.unwrap_or(THREADS) {
        return 0;
    }
    let a = Architecture::of(arch);
    let warps = threads.div_ceil(32);
    let registers = kernel.registers.unwrap_or(UNKNOWN_REGISTERS).max(1);
    let warps_by_registers = REGISTERS / SCHEDULERS / (registers * 32).next_multiple_of(REGISTER_PIECE) * SCHEDULERS;
    let shared = (kernel.static_shared + dynamic + RESERVED_SHARED).next_multiple_of(SHARED_PIECE);
    let by_shared = if kernel.static_shared + dynamic > a.shared_block as usize {
        0
    } else {
        a.shared as usize / shared
    };
    BLOCKS
        .min(WARPS / warps)
        .min(warps_by_registers / warps)
        .min(by_shared as u32)
}

/// `size_t (*)(int)`: dynamic shared memory that a block of so many threads asks for.
type SharedOfBlock = Option<extern "C" fn(i32) -> usize>;

impl Driver {
    /// The block size with the most resident threads, the larger of equals; and the smallest grid that fills the device with it.
    fn best_block(
        &self,
        function: Function,
        shared: SharedOfBlock,
        fixed: usize,
        limit: i32,
    ) -> Result<(i32, i32), Status> {
        let kernel = &self.function(function)?.kernel;
        let arch = self.engine.options.arch;
        let most = kernel.max_threads.unwrap_or(THREADS);
        let most = if limit > 0 { most.min(limit as u32) } else { most };
        let mut best = (0, 0, 0);
        let mut threads = most;
        while threads > 0 {
            let dynamic = shared.map_or(fixed, |f| f(threads as i32));
            let resident = blocks(kernel, threads, dynamic, arch);
            if resident * threads > best.0 {
                best = (resident * threads, resident, threads);
            }
            threads = if threads % 32 == 0 {
                threads - 32
            } else {
                threads / 32 * 32
            };
        }
        let (_, resident, threads) = best;
        Ok((resident as i32 * Architecture::of(arch).multiprocessors, threads as i32))
    }

    fn resident(&self, function: Function, threads: i32, dynamic: usize) -> Result<i32, Status> {
        let kernel = &self.function(function)?.kernel;
        let threads = u32::try_from(threads)
            .ok()
            .filter(|n| *n > 0)
            .ok_or(Status::INVALID_VALUE)?;
        Ok(blocks(kernel, threads, dynamic, self.engine.options.arch) as i32)
    }

    fn free_shared(&self, function: Function, blocks: i32, threads: i32) -> Result<usize, Status> {
        let f = self.function(function)?;
        if blocks <= 0 || self.resident(function, threads, 0)? < blocks {
            return Err(Status::INVALID_VALUE);
        }
        let a = Architecture::of(self.engine.options.arch);
        let share = a.shared as usize / blocks as usize / SHARED_PIECE * SHARED_PIECE;
        let room = share.saturating_sub(RESERVED_SHARED).min(a.shared_block as usize);
        Ok(room.saturating_sub(f.kernel.static_shared))
    }
}

/// Clusters, that these devices have not or the emulator does not run.
fn no_clusters(function: Function) -> Status {
    here(|d, _| {
        d.function(function)?;
        report::unsupported("clusters of blocks");
        Err(Status::NOT_SUPPORTED)
    })
}

exports! {
    /// Blocks of a function that a multiprocessor holds.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(count: Out<'_, i32>, function: Function, threads: i32, dynamic: usize) {
        here(|d, _| {
            count.set(d.resident(function, threads, dynamic)?)?;
            DONE
        })
    }

    /// The same with a flag about caches that changes nothing on these devices.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count: Out<'_, i32>, function: Function, threads: i32, dynamic: usize, flags: u32) {
        here(|d, _| {
            if flags > 1 {
                return Err(Status::INVALID_VALUE);
            }
            count.set(d.resident(function, threads, dynamic)?)?;
            DONE
        })
    }

    /// A block size that fills the device.
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<'_, i32>,
        block: Out<'_, i32>,
        function: Function,
        shared: SharedOfBlock,
        dynamic: usize,
        limit: i32,
    ) {
        here(|d, _| {
            let (blocks, threads) = d.best_block(function, shared, dynamic, limit)?;
            grid.set(blocks)?;
            block.set(threads)?;
            DONE
        })
    }

    /// The same with a flag about caches.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<'_, i32>,
        block: Out<'_, i32>,
        function: Function,
        shared: SharedOfBlock,
        dynamic: usize,
        limit: i32,
        flags: u32,
    ) {
        here(|d, _| {
            if flags > 1 {
                return Err(Status::INVALID_VALUE);
            }
            let (blocks, threads) = d.best_block(function, shared, dynamic, limit)?;
            grid.set(blocks)?;
            block.set(threads)?;
            DONE
        })
    }

    /// Dynamic shared memory of a block where so many blocks are to share a multiprocessor.
    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<'_, usize>, function: Function, blocks: i32, threads: i32) {
        here(|d, _| {
            bytes.set(d.free_shared(function, blocks, threads)?)?;
            DONE
        })
    }

    /// Clusters that the device holds.
    fn cuOccupancyMaxActiveClusters(_count: Out<'_, i32>, function: Function, _config: In<'_, LaunchConfig>) {
        no_clusters(function)
    }

    /// The largest cluster.
    fn cuOccupancyMaxPotentialClusterSize(_blocks: Out<'_, i32>, function: Function, _config: In<'_, LaunchConfig>) {
        no_clusters(function)
    }
}
