//! Operations as the interpreter runs them: every source is an index into a register bank.

use super::bulk::Bulk;
use super::wgmma::{Warpgroup, Watched};
use crate::arith::warp::{Reduce, Shuffle, Vote};
use crate::arith::{Arith, Combine};
use crate::counters::Class;
use crate::memory::{Order, Scope};
use crate::ptx::Source;
use crate::tensor::Tensor;

/// A destination nobody reads (`_`), or no predicate.
pub const NONE: u32 = u32::MAX;

/// A predicate to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pred {
    /// Index in the bank.
    pub index: u32,
    /// Read as its opposite.
    pub negated: bool,
}

/// State space of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory.
    Global,
    /// The block's memory.
    Shared,
    /// The thread's memory.
    Local,
    /// The kernel's parameters.
    Param,
    /// Parameters of calls, in the thread's frame.
    Frame,
    /// Constant variables (in device memory).
    Const,
    /// Found from the address.
    Generic,
}

/// An address: base register plus bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index in the 32-bit bank or the 64-bit bank.
    pub base: u32,
    /// Whether the base is of 64 bits.
    pub wide: bool,
    /// Bytes.
    pub offset: i64,
}

/// A register of either width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In the 32-bit bank.
    R(u32),
    /// In the 64-bit bank.
    D(u32),
    /// Nowhere.
    None,
}

/// A load or a store.
#[derive(Clone, Debug)]
pub struct Access {
    /// Space.
    pub space: Space,
    /// Order.
    pub order: Order,
    /// How far it reaches.
    pub scope: Scope,
    /// Bytes of one element: 1, 2, 4, 8, 16.
    pub element: usize,
    /// Whether a load extends the sign.
    pub signed: bool,
    /// Registers of the elements; an element of 16 bytes has two.
    pub slots: Vec<Slot>,
    /// Address.
    pub address: Address,
}

/// An atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    /// Sum.
    Add,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// And.
    And,
    /// Or.
    Or,
    /// Exclusive or.
    Xor,
    /// Exchange.
    Exch,
    /// Compare and swap.
    Cas,
    /// Increment up to a bound, then 0.
    Inc,
    /// Decrement to 0, then the bound.
    Dec,
}

/// What an atomic's operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicType {
    /// Bits or unsigned.
    U16,
    /// Bits or unsigned.
    U32,
    /// Signed.
    S32,
    /// Bits or unsigned.
    U64,
    /// Signed.
    S64,
    /// Half.
    F16,
    /// Two halves.
    F16x2,
    /// bfloat.
    Bf16,
    /// Two bfloats.
    Bf16x2,
    /// Single.
    F32,
    /// Double.
    F64,
    /// 128 bits.
    B128,
}

impl AtomicType {
    /// Bytes.
    pub fn bytes(self) -> usize {
        match self {
            AtomicType::U16 | AtomicType::F16 | AtomicType::Bf16 => 2,
            AtomicType::U64 | AtomicType::S64 | AtomicType::F64 => 8,
            AtomicType::B128 => 16,
            _ => 4,
        }
    }
}

/// `atom` and `red`.
#[derive(Clone, Debug)]
pub struct Atomic {
    /// Space.
    pub space: Space,
    /// Order; never weak.
    pub order: Order,
    /// How far it reaches.
    pub scope: Scope,
    /// Operation.
    pub op: AtomicOp,
    /// Type.
    pub ty: AtomicType,
    /// The old value goes here; nowhere for `red`. A vector has several.
    pub to: Vec<Slot>,
    /// Operand (for `cas` what is compared).
    pub b: Vec<Slot>,
    /// For `cas` the new value.
    pub new: Vec<Slot>,
    /// Address.
    pub address: Address,
}

/// `cp.async` of 4, 8 or 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct CopyAsync {
    /// Bytes written.
    pub bytes: u32,
    /// Where to, in shared memory.
    pub to: Address,
    /// Where from, in global memory.
    pub from: Address,
    /// Register with the bytes that are read, the rest is zero; [`NONE`]: all.
    pub size: u32,
    /// Nothing is read where this is true.
    pub ignore: Pred,
}

/// What an `mbarrier` instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MbarrierKind {
    /// Makes one.
    Init,
    /// Ends one.
    Inval,
    /// More bytes are to come in this phase.
    ExpectTx,
    /// Bytes have come.
    CompleteTx,
    /// Arrivals.
    Arrive,
    /// Arrivals that will not come again in later phases.
    ArriveDrop,
    /// Whether a phase is complete.
    Wait,
    /// Arrivals that were missing in a state.
    PendingCount,
}

/// `mbarrier`.
#[derive(Clone, Copy, Debug)]
pub struct Mbarrier {
    /// What it does.
    pub kind: MbarrierKind,
    /// Space of the object.
    pub space: Space,
    /// The state before (64 bits), the pending count (32 bits), or the predicate of a wait (its index, as a 32-bit slot).
    pub to: Slot,
    /// The object.
    pub address: Address,
    /// A count, bytes, a state or a parity.
    pub value: Slot,
    /// A wait names the phase by its parity, else by a state.
    pub parity: bool,
    /// The value of an arrival is of bytes: `.expect_tx`.
    pub transactions: bool,
    /// The arrival comes when the thread's copies are done.
    pub after_copies: bool,
}

/// Named barrier instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    /// Wait.
    Sync,
    /// Count and go on.
    Arrive,
    /// Wait; the number of true predicates.
    Popc,
    /// Wait; whether all are true.
    And,
    /// Wait; whether one is true.
    Or,
}

/// `bar` and `barrier`.
#[derive(Clone, Debug)]
pub struct Barrier {
    /// Kind.
    pub kind: BarrierKind,
    /// Whether all threads of a warp must execute the same instruction.
    pub aligned: bool,
    /// Register with the number of the barrier.
    pub id: u32,
    /// Register with the number of threads, or none: all of the block.
    pub count: u32,
    /// The predicate of a reduction.
    pub predicate: Pred,
    /// Where the result goes: 32-bit register for `Popc`, predicate otherwise.
    pub to: u32,
}

/// Instructions that need the lanes of their mask together.
#[derive(Clone, Debug)]
pub enum Sync {
    /// `bar.warp.sync`.
    Warp,
    /// `shfl.sync`: result, in-range predicate, value, lane, clamp.
    Shuffle(Shuffle, u32, u32, u32, u32, u32),
    /// `vote.sync`: result, source.
    Vote(Vote, u32, Pred),
    /// `vote.sync.ballot`: result, source.
    Ballot(u32, Pred),
    /// `match.any.sync`: result, value.
    MatchAny(u32, Slot),
    /// `match.all.sync`: result, whether all are equal, value.
    MatchAll(u32, u32, Slot),
    /// `redux.sync`: result, value.
    Redux(Reduce, u32, u32),
    /// `elect.sync`: the lane, the predicate of being it.
    Elect(u32, u32),
    /// `mma`, `wmma`, `ldmatrix`, `stmatrix`, `movmatrix`.
    Matrix(Box<MatrixOp>),
    /// `wgmma`.
    Warpgroup(Box<Warpgroup>),
}

/// A matrix instruction. Registers are of the 64-bit bank where the instruction says so.
#[derive(Clone, Debug)]
pub struct MatrixOp {
    /// Which.
    pub tensor: Tensor,
    /// Results of a product or a load; sources of a store.
    pub d: Box<[u32]>,
    /// Left factor.
    pub a: Box<[u32]>,
    /// Right factor.
    pub b: Box<[u32]>,
    /// Addend.
    pub c: Box<[u32]>,
    /// Address of a load or store.
    pub address: Address,
    /// Its space.
    pub space: Space,
    /// Register with the stride of `wmma.load` and `wmma.store`.
    pub stride: u32,
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// Arithmetic, and comparisons: result, sources; what only some have is in [`Extra`].
    Arith(Arith, u32, [u32; 4]),
    /// The same for those that also read or write predicates.
    ArithP(Arith, Box<Extra>),
    /// `lop3` with its table.
    Lop3(u8, u32, [u32; 3]),
    /// `mov` of 32 bits.
    MovR(u32, u32),
    /// `mov` of 64 bits.
    MovD(u32, u32),
    /// Address of a variable on the stack of recursion: result, offset from the stack's top.
    StackAddress(u32, u64),
    /// `mov.pred`.
    MovP(u32, Pred),
    /// Logic of predicates.
    LogicP(Combine, u32, Pred, Pred),
    /// `selp` of 32 bits.
    SelR(u32, u32, u32, Pred),
    /// `selp` of 64 bits.
    SelD(u32, u32, u32, Pred),
    /// 64 from two 32-bit registers, low first.
    Pack64(u32, u32, u32),
    /// The reverse; a half may go nowhere.
    Unpack64(u32, u32, u32),
    /// Parts of equal width into a register: result, sources, bits of one.
    Pack(Slot, Box<[u32]>, u32),
    /// The reverse.
    Unpack(Box<[u32]>, Slot, u32),
    /// The counter of executed instructions, into 32 bits shifted right by some.
    ClockR(u32, u32),
    /// The counter into 64 bits.
    ClockD(u32),
    /// Load.
    Load(Box<Access>),
    /// Store.
    Store(Box<Access>),
    /// Atomic.
    Atomic(Box<Atomic>),
    /// `cvta` to generic: result, source, space; 64 bits.
    ToGeneric(u32, u32, Space),
    /// `cvta.to`: from generic.
    FromGeneric(u32, u32, Space),
    /// `isspacep`.
    IsSpace(u32, u32, Space),
    /// `cp.async`.
    CopyAsync(Box<CopyAsync>),
    /// `cp.async.commit_group`.
    CopyCommit,
    /// `cp.async.wait_group n`, or `wait_all` (none).
    CopyWait(Option<u32>),
    /// Memory fence, and how far it reaches.
    Fence(Scope),
    /// Branch.
    Branch(u32),
    /// `brx.idx`: index register, targets.
    BranchIndexed(u32, Box<[u32]>),
    /// Call.
    Call(Box<Call>),
    /// Return from a function: number in `Program::functions`.
    Return(u32),
    /// End of the thread.
    Exit,
    /// A call of something the emulator provides.
    Builtin(Builtin, Box<[u32]>, u32),
    /// Barrier of the block.
    Barrier(Box<Barrier>),
    /// Needs the lanes of the mask in a register together ([`NONE`]: all that live).
    Sync(Sync, u32),
    /// `mbarrier`.
    Mbarrier(Box<Mbarrier>),
    /// `activemask`.
    ActiveMask(u32),
    /// `trap`, `brkpt`.
    Trap,
    /// Gives other warps a turn.
    Yield,
    /// `cp.async.bulk`.
    Bulk(Box<Bulk>),
    /// `fence.proxy.async`: ordinary accesses before it are seen by asynchronous ones after it.
    ProxyFence,
    /// An instruction that touches registers of wgmma.
    Watched(Box<Watched>),
    /// Nothing.
    Nop,
}

/// Operands of an [`Arith`] that has to do with predicates.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// Result: a register, or a predicate.
    pub to: u32,
    /// Second result, a predicate, or [`NONE`].
    pub second: u32,
    /// Sources.
    pub sources: [u32; 4],
    /// The predicate that is combined, or the carry.
    pub with: Pred,
}

/// Functions that are not PTX: arguments are offsets of call parameters in the thread's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// `vprintf(format, arguments)`.
    Printf,
    /// `__assertfail(message, file, line, function, char size)`.
    AssertFail,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function, or the register that holds which.
    pub callee: Callee,
    /// Frame offsets and bytes of arguments at the caller.
    pub arguments: Vec<(u32, u32)>,
    /// Frame offsets and bytes of the results at the caller.
    pub results: Vec<(u32, u32)>,
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// Number in `Program::functions`.
    Function(u32),
    /// 64-bit register with a function's address.
    Register(u32),
}

/// An operation with what every operation has.
#[derive(Clone, Debug)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Guard predicate, or [`NONE`].
    pub guard: u32,
    /// Whether the guard is negated.
    pub negated: bool,
    /// Class.
    pub class: Class,
    /// Operations of f32 that a thread does.
    pub flops: u8,
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Line of the PTX.
    pub line: u32,
    /// Line of the .cu.
    pub source: Source,
}
