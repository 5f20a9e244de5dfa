//! The engine: device memory, loaded modules, launches. What the driver's exported functions stand on.

pub mod options;

use crate::counters::Counters;
use crate::fault::Fault;
use crate::memory::Device;
pub use options::{Checks, Options};
use std::collections::BTreeMap;
use std::fmt;

/// Why PTX was not loaded: the line, and what is wrong there. In the driver this is CUDA_ERROR_INVALID_PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Line of the PTX, from 1; 0 where the whole file is meant.
    pub line: u32,
    /// What was found and what is wrong with it; names the instruction.
    pub message: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for LoadError {}

/// One parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Bytes from the start of the parameter block.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
}

/// One entry function of a module.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name in the PTX.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Size of the parameter block in bytes.
    pub param_bytes: usize,
    /// Bytes of shared memory that the kernel and what it calls declare.
    pub static_shared: usize,
    /// Bytes of stack and `.local` arrays of one thread.
    pub local_bytes: usize,
    /// `.maxntid`: no launch with more threads in a block.
    pub max_threads: Option<u32>,
    /// `.reqntid`: only launches with this block.
    pub required_block: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// Registers of a thread as ptxas assigns them; none without `CUDA_EMULATOR_PTXAS`.
    pub registers: Option<u32>,
    /// Whether it changes global memory by atomics, so that the order of blocks may show.
    pub has_global_atomics: bool,
}

/// A loaded module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Entry functions by name.
    pub kernels: BTreeMap<String, Kernel>,
    /// Global and constant variables by name: device address and size in bytes.
    pub globals: BTreeMap<String, (u64, usize)>,
    /// As in `.target`, "sm_80".
    pub target: String,
    /// As in `.version`, (9, 0).
    pub ptx_version: (u32, u32),
}

/// One launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond the static.
    pub dynamic_shared: usize,
    /// The parameter block, `Kernel::param_bytes` long.
    pub params: &'a [u8],
}

/// One emulated device.
pub struct Engine {
    /// Its memory: allocate, free and copy through this.
    pub memory: Device,
    /// As read from the environment, or set by a test.
    pub options: Options,
}

impl Engine {
    /// A device with empty memory.
    pub fn new(options: Options) -> Engine {
        Engine {
            memory: Device::new(options.memory_bytes),
            options,
        }
    }

    /// Parses and lowers PTX; places its global variables in device memory.
    ///
    /// # Errors
    /// The first thing that cannot be executed exactly: unknown syntax, instruction or modifier.
    pub fn load(&mut self, ptx: &str) -> Result<Module, LoadError> {
        let _ = ptx;
        Err(LoadError {
            line: 0,
            message: "not yet".into(),
        })
    }

    /// Frees a module's global variables.
    pub fn unload(&mut self, module: &Module) {
        let _ = module;
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The first fault; global memory is then as the kernel left it.
    pub fn launch(&mut self, kernel: &Kernel, launch: Launch) -> Result<Counters, Box<Fault>> {
        let _ = (kernel, launch);
        Ok(Counters::default())
    }
}
