//! The engine: device memory, loaded modules, launches. What the driver's exported functions stand on.

pub mod options;

use crate::code::{self, Program, Symbol};
use crate::counters::Counters;
use crate::driver::device::Architecture;
use crate::driver::occupancy;
use crate::exec;
use crate::fault::{Fault, FaultKind};
use crate::memory::{Device, Kind};
use crate::ptx::{self, Initial, Problem, Variable, VariableSpace};
pub use options::{Checks, Options};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

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
    program: Arc<Program>,
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

/// Bytes of a module's variables: the host must hold them and what is known of each byte.
const VARIABLES: usize = 1 << 28;
/// Bytes of a module's constants, as hardware has it.
const CONSTANTS: usize = 64 << 10;
/// Bytes of shared memory that have an address.
const SHARED: usize = 1 << 24;

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
        let ast = ptx::parse(ptx)?;
        let mut symbols = BTreeMap::new();
        let result = self.place(&ast, &mut symbols).and_then(|()| self.lower(&ast, &symbols));
        if result.is_err() {
            self.release(symbols.values().map(|s| s.address));
        }
        result
    }

    /// Allocates and fills the module's variables.
    fn place(&mut self, ast: &ptx::Module, symbols: &mut BTreeMap<String, Symbol>) -> Result<(), LoadError> {
        let outside = |v: &&Variable| matches!(v.space, VariableSpace::Global | VariableSpace::Const);
        let mut left = [VARIABLES, CONSTANTS];
        for v in ast.variables.iter().filter(outside) {
            let left = &mut left[usize::from(v.space == VariableSpace::Const)];
            let rest = left.checked_sub(v.size.next_multiple_of(v.align));
            *left =
                rest.ok_or_else(|| Problem::new(v.line, format!("{}: more memory than modules may have", v.name)))?;
            if symbols.contains_key(&v.name) {
                return Err(Problem::new(v.line, format!("the variable {} a second time", v.name)).into());
            }
            if v.external {
                return Err(Problem::new(v.line, format!("the variable {} is defined elsewhere", v.name)).into());
            }
            let kind = if v.space == VariableSpace::Const {
                Kind::Constant
            } else {
                Kind::Variable
            };
            let address = self.memory.allocate_aligned(v.size.max(1) as u64, v.align as u64, kind);
            let address = address.ok_or_else(|| Problem::new(v.line, format!("no memory for {}", v.name)))?;
            symbols.insert(
                v.name.clone(),
                Symbol {
                    space: Some(v.space),
                    address,
                    bytes: v.size,
                },
            );
        }
        for v in ast.variables.iter().filter(outside) {
            let mut bytes = vec![0u8; v.size];
            for (i, value) in v.init.iter().enumerate() {
                let bits = match value {
                    Initial::Bits(bits) => *bits,
                    Initial::Address { symbol, offset, .. } => {
                        let to = symbols.get(symbol).ok_or_else(|| {
                            Problem::new(v.line, format!("the initial value of {} names {symbol}", v.name))
                        })?;
                        to.address.wrapping_add(*offset as u64)
                    }
                };
                let at = i * v.element;
                bytes[at..at + v.element].copy_from_slice(&bits.to_le_bytes()[..v.element]);
            }
            let write = self.memory.write(symbols[&v.name].address, &bytes);
            write.map_err(|e| Problem::new(v.line, e.message))?;
        }
        Ok(())
    }

    fn lower(&self, ast: &ptx::Module, symbols: &BTreeMap<String, Symbol>) -> Result<Module, LoadError> {
        let files = Arc::new(ast.files.clone());
        let mut kernels = BTreeMap::new();
        for f in ast.functions.iter().filter(|f| f.entry && f.defined) {
            let program = code::lower(ast, f, symbols, &files)?;
            kernels.insert(f.name.clone(), Kernel::new(f, program));
        }
        let globals = symbols
            .iter()
            .map(|(name, s)| (name.clone(), (s.address, s.bytes)))
            .collect();
        Ok(Module {
            kernels,
            globals,
            target: ast.target.clone(),
            ptx_version: ast.version,
        })
    }

    fn release(&mut self, addresses: impl Iterator<Item = u64>) {
        for address in addresses {
            // Each was allocated above and is freed once.
            let freed = self.memory.free(address);
            debug_assert!(freed.is_ok());
        }
    }

    /// Frees a module's global variables.
    pub fn unload(&mut self, module: &Module) {
        self.release(module.globals.values().map(|g| g.0));
    }

    /// Runs a kernel to its end. What `printf` writes goes to standard output, in order of blocks.
    ///
    /// # Errors
    /// The first fault; global memory is then as the kernel left it.
    pub fn launch(&mut self, kernel: &Kernel, launch: Launch) -> Result<Counters, Box<Fault>> {
        let (text, result) = self.run(kernel, launch);
        // Nobody may be there to read it.
        let _ = std::io::stdout().write_all(&text);
        let _ = std::io::stdout().flush();
        result
    }

    /// As [`Engine::launch`], but returns what `printf` writes.
    pub fn run(&mut self, kernel: &Kernel, launch: Launch) -> (Vec<u8>, Result<Counters, Box<Fault>>) {
        if let Err(message) = kernel.fits(&launch) {
            let fault = Fault {
                kind: FaultKind::Launch,
                kernel: kernel.name.clone(),
                block: [0; 3],
                thread: [0; 3],
                source: None,
                ptx_line: 0,
                message,
            };
            return (Vec::new(), Err(Box::new(fault)));
        }
        let threads = launch.block.iter().product();
        let arch = self.options.arch;
        let each = occupancy::blocks(kernel, threads, launch.dynamic_shared, arch).max(1);
        let resident = each as usize * Architecture::of(arch).multiprocessors as usize;
        exec::run(&self.memory, &kernel.program, &launch, &self.options, resident)
    }
}

impl From<Problem> for LoadError {
    fn from(p: Problem) -> LoadError {
        LoadError {
            line: p.line,
            message: p.message,
        }
    }
}

impl Kernel {
    fn new(f: &ptx::Function, program: Program) -> Kernel {
        let mut offset = 0usize;
        let mut params = Vec::new();
        for p in &f.params {
            offset = offset.next_multiple_of(p.align.max(1));
            params.push(Param {
                name: p.name.clone(),
                offset,
                size: p.size,
                align: p.align,
            });
            offset += p.size;
        }
        Kernel {
            name: f.name.clone(),
            params,
            param_bytes: program.param_bytes,
            static_shared: program.static_shared,
            local_bytes: program.local_bytes + program.stack_bytes,
            max_threads: f
                .max_threads
                .map(|n| n.iter().fold(1, |all: u32, &n| all.saturating_mul(n))),
            required_block: f.required_threads,
            min_blocks: f.min_blocks,
            registers: None,
            has_global_atomics: program.has_global_atomics,
            program: Arc::new(program),
        }
    }

    /// Whether the launch is within what the kernel and any device allow.
    fn fits(&self, launch: &Launch) -> Result<(), String> {
        let product = |list: [u32; 3]| list.iter().fold(1u64, |all, &n| all.saturating_mul(n.into()));
        let (threads, blocks) = (product(launch.block), product(launch.grid));
        let limit = self.max_threads.unwrap_or(1024).min(1024);
        if threads == 0 || blocks == 0 {
            return Err(format!(
                "a grid of {:?} blocks of {:?} threads",
                launch.grid, launch.block
            ));
        }
        if threads > limit.into() || launch.block[2] > 64 {
            return Err(format!("blocks of {:?} threads, of at most {limit}", launch.block));
        }
        if blocks > u64::from(u32::MAX) {
            return Err(format!("a grid of {blocks} blocks is more than the emulator numbers"));
        }
        if self.required_block.is_some_and(|b| b != launch.block) {
            return Err(format!(
                "blocks of {:?} threads, {:?} are required",
                launch.block, self.required_block
            ));
        }
        if launch.dynamic_shared > SHARED - self.static_shared {
            return Err(format!("{} bytes of dynamic shared memory", launch.dynamic_shared));
        }
        if launch.params.len() < self.param_bytes {
            return Err(format!(
                "{} bytes of parameters, of {}",
                launch.params.len(),
                self.param_bytes
            ));
        }
        Ok(())
    }
}
