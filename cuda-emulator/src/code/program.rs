//! A kernel with every function it can reach, ready to run.

use super::op::{Inst, Place};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// A special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// `%tid`, axis.
    Tid(usize),
    /// `%ntid`, axis.
    Ntid(usize),
    /// `%ctaid`, axis.
    Ctaid(usize),
    /// `%nctaid`, axis.
    Nctaid(usize),
    /// `%laneid`.
    Lane,
    /// `%warpid`.
    Warp,
    /// `%nwarpid`.
    Warps,
    /// `%lanemask_eq`, `_le`, `_lt`, `_ge`, `_gt`.
    MaskEq,
    /// Lanes up to this one.
    MaskLe,
    /// Lanes before this one.
    MaskLt,
    /// Lanes from this one.
    MaskGe,
    /// Lanes after this one.
    MaskGt,
    /// `%dynamic_smem_size`.
    DynamicShared,
    /// `%total_smem_size`.
    TotalShared,
    /// Always this number: `%smid`, `%gridid`, `%envreg`.
    Constant(u32),
}

/// What a recursive function must keep of the activation below.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Its registers in the banks P, R, D.
    pub registers: [Range<u32>; 3],
    /// Its parameters in the thread's frame.
    pub frame: Range<u32>,
    /// Bytes of its `.local` variables, for which the stack grows.
    pub stack: u32,
}

/// A function within a program.
#[derive(Clone, Debug, Default)]
pub struct Routine {
    /// Name in the PTX.
    pub name: String,
    /// Its first operation.
    pub start: u32,
    /// 32-bit register that holds, lane by lane, where to go on after it.
    pub return_register: u32,
    /// Offset in the frame and bytes of each parameter.
    pub params: Vec<(u32, u32)>,
    /// The same of each result.
    pub returns: Vec<(u32, u32)>,
    /// Set for a function that may call itself, by whatever way.
    pub saved: Option<Saved>,
}

/// A kernel, ready to run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Name in the PTX.
    pub name: String,
    /// Operations: the kernel's, then those of each function.
    pub insts: Vec<Inst>,
    /// Where each stands in the source.
    pub places: Vec<Place>,
    /// Registers in the banks P, R, D.
    pub registers: [u32; 3],
    /// Constant 32-bit registers.
    pub constants32: Vec<(u32, u32)>,
    /// Constant 64-bit registers.
    pub constants64: Vec<(u32, u64)>,
    /// Registers that hold a special register.
    pub specials: Vec<(u32, Special)>,
    /// 32-bit and 64-bit registers that may be read before they are written.
    pub unwritten: [Vec<u32>; 2],
    /// Functions; number 0 is the kernel.
    pub functions: Vec<Routine>,
    /// Functions whose address is taken: address to number.
    pub addresses: HashMap<u64, u32>,
    /// Bytes of a thread's parameters of calls.
    pub frame_bytes: usize,
    /// Bytes of a thread's `.local` variables.
    pub local_bytes: usize,
    /// Bytes of local memory beyond, the stack of recursive functions.
    pub stack_bytes: usize,
    /// 64-bit register that holds the top of that stack.
    pub stack_register: u32,
    /// Bytes of static shared memory, padded so that dynamic memory may follow.
    pub static_shared: usize,
    /// Bytes of the kernel's parameters.
    pub param_bytes: usize,
    /// `.file` numbers.
    pub files: Arc<BTreeMap<u32, String>>,
    /// Whether it has atomics on global memory (or on addresses that may be global).
    pub has_global_atomics: bool,
    /// Whether blocks may wait for or depend on each other: atomics, or ordered accesses, on global memory.
    pub blocks_meet: bool,
    /// Whether it has wgmma.
    pub has_wgmma: bool,
}
