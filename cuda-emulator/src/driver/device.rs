//! The one device and its attributes.

use super::abi::{Chars, Out, Uuid};
use super::exports::exports;
use super::state::{DONE, anywhere};
use super::status::Status;

/// Whether there is a device of that number.
pub fn check(ordinal: i32) -> Result<(), Status> {
    if ordinal == 0 {
        Ok(())
    } else {
        Err(Status::INVALID_DEVICE)
    }
}

/// What the driver knows of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The device's name.
    pub name: &'static str,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of shared memory of a multiprocessor.
    pub shared: i32,
    /// Bytes of shared memory that a block can have.
    pub shared_block: i32,
    /// Clock in kHz.
    pub clock: i32,
    /// Clock of the memory in kHz.
    pub memory_clock: i32,
    /// Width of the memory's bus in bits.
    pub bus: i32,
    /// Bytes of the L2 cache.
    pub l2: i32,
    /// Whether blocks can form clusters.
    pub clusters: bool,
}

const A100: Architecture = Architecture {
    name: "CUDA emulator (as NVIDIA A100)",
    capability: (8, 0),
    multiprocessors: 108,
    shared: 164 << 10,
    shared_block: 163 << 10,
    clock: 1_410_000,
    memory_clock: 1_593_000,
    bus: 5120,
    l2: 40 << 20,
    clusters: false,
};

const H100: Architecture = Architecture {
    name: "CUDA emulator (as NVIDIA H100)",
    capability: (9, 0),
    multiprocessors: 132,
    shared: 228 << 10,
    shared_block: 227 << 10,
    clock: 1_980_000,
    memory_clock: 2_619_000,
    bus: 5120,
    l2: 50 << 20,
    clusters: true,
};

/// Bytes of shared memory that the system takes for each block.
pub const RESERVED_SHARED: usize = 1024;
/// Bytes of shared memory that a block has without asking for more.
pub const DEFAULT_SHARED: usize = 48 << 10;
/// 32-bit registers of a multiprocessor, and the most that a block can have.
pub const REGISTERS: u32 = 65536;
/// Warps and blocks that a multiprocessor holds.
pub const WARPS: u32 = 64;
/// The same for blocks.
pub const BLOCKS: u32 = 32;
/// Threads of a block, in all.
pub const THREADS: u32 = 1024;
/// Threads of a block, by dimension.
pub const BLOCK: [u32; 3] = [1024, 1024, 64];
/// Blocks of a grid, by dimension.
pub const GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];

impl Architecture {
    /// The one of `CUDA_EMULATOR_ARCH`.
    pub fn of(arch: u32) -> Architecture {
        if arch >= 90 { H100 } else { A100 }
    }

    /// Value of a `CU_DEVICE_ATTRIBUTE_`; 0 for those of parts that the emulator has not (textures, surfaces, interoperation).
    pub fn attribute(&self, attribute: i32) -> i32 {
        match attribute {
            1 => THREADS as i32,
            2..=4 => BLOCK[attribute as usize - 2] as i32,
            5..=7 => GRID[attribute as usize - 5] as i32,
            8 => DEFAULT_SHARED as i32,
            // Constant memory in bytes.
            9 => 65536,
            // Warp size.
            10 => 32,
            // Largest pitch.
            11 => i32::MAX,
            12 | 82 => REGISTERS as i32,
            13 => self.clock,
            // Alignment of textures; copies beside kernels.
            14 => 512,
            15 => 1,
            16 => self.multiprocessors,
            // Host memory can be mapped; kernels run beside each other; errors are corrected.
            19 | 31 | 32 => 1,
            36 => self.memory_clock,
            37 => self.bus,
            38 => self.l2,
            39 => WARPS as i32 * 32,
            // Copy engines; one address space.
            40 => 3,
            41 => 1,
            51 => 32,
            75 => self.capability.0,
            76 => self.capability.1,
            // Priorities; caches in L1.
            78..=80 => 1,
            81 => self.shared,
            // Managed memory, also while kernels run; f64 at half the speed; preemption; registered memory at its own address.
            83 | 89 | 90 | 91 => 1,
            87 => 2,
            // Cooperative launches.
            95 => 1,
            97 => self.shared_block,
            // Registration of host memory.
            99 => 1,
            106 => BLOCKS as i32,
            111 => RESERVED_SHARED as i32,
            // Memory pools.
            115 => 1,
            120 => self.clusters as i32,
            // Tensor maps.
            127 => i32::from(self.capability >= (9, 0)),
            129 => 1,
            _ => 0,
        }
    }
}

/// `CU_DEVICE_ATTRIBUTE_MAX` of version 13.0.
const ATTRIBUTES: i32 = 148;

exports! {
    /// The handle of a device: its number.
    fn cuDeviceGet(device: Out<'_, i32>, ordinal: i32) {
        anywhere(|_| {
            check(ordinal)?;
            device.set(ordinal)?;
            DONE
        })
    }

    /// How many devices there are: one.
    fn cuDeviceGetCount(count: Out<'_, i32>) {
        anywhere(|_| {
            count.set(1)?;
            DONE
        })
    }

    /// A device's name.
    fn cuDeviceGetName(name: Chars<'_>, length: i32, device: i32) {
        anywhere(|d| {
            check(device)?;
            name.set(Architecture::of(d.engine.options.arch).name, length)?;
            DONE
        })
    }

    /// A device's identity.
    fn cuDeviceGetUuid_v2(uuid: Out<'_, Uuid>, device: i32) {
        anywhere(|_| {
            check(device)?;
            uuid.set(Uuid(*b"cuda-emulator-00"))?;
            DONE
        })
    }

    /// The same by its older name.
    fn cuDeviceGetUuid(uuid: Out<'_, Uuid>, device: i32) {
        anywhere(|_| {
            check(device)?;
            uuid.set(Uuid(*b"cuda-emulator-00"))?;
            DONE
        })
    }

    /// Bytes of device memory.
    fn cuDeviceTotalMem_v2(bytes: Out<'_, usize>, device: i32) {
        anywhere(|d| {
            check(device)?;
            bytes.set(d.engine.memory.capacity() as usize)?;
            DONE
        })
    }

    /// An attribute.
    fn cuDeviceGetAttribute(value: Out<'_, i32>, attribute: i32, device: i32) {
        anywhere(|d| {
            check(device)?;
            if !(1..ATTRIBUTES).contains(&attribute) {
                return Err(Status::INVALID_VALUE);
            }
            value.set(Architecture::of(d.engine.options.arch).attribute(attribute))?;
            DONE
        })
    }

    /// The capability by the oldest of functions.
    fn cuDeviceComputeCapability(major: Out<'_, i32>, minor: Out<'_, i32>, device: i32) {
        anywhere(|d| {
            check(device)?;
            let (a, b) = Architecture::of(d.engine.options.arch).capability;
            major.set(a)?;
            minor.set(b)?;
            DONE
        })
    }

    /// Where the device is plugged in.
    fn cuDeviceGetPCIBusId(text: Chars<'_>, length: i32, device: i32) {
        anywhere(|_| {
            check(device)?;
            text.set("0000:00:00.0", length)?;
            DONE
        })
    }

    /// Whether one device reaches the memory of another: there is no other.
    fn cuDeviceCanAccessPeer(can: Out<'_, i32>, device: i32, peer: i32) {
        anywhere(|_| {
            check(device)?;
            check(peer)?;
            can.set(0)?;
            DONE
        })
    }
}
