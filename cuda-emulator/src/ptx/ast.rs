//! The syntax tree. Registers and labels are resolved; opcodes and modifiers are still text.

use std::collections::BTreeMap;

/// A register bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bank {
    /// Predicates.
    P,
    /// Registers of 8, 16 and 32 bits.
    R,
    /// Registers of 64 bits.
    D,
    /// Registers of 128 bits.
    Q,
}

/// A virtual register: bank, and index within its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register {
    /// Bank.
    pub bank: Bank,
    /// Index.
    pub index: u32,
    /// Bits it is declared with: 1 for a predicate, 8, 16 and 32 share a bank.
    pub bits: u32,
}

/// One operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register.
    Reg(Register),
    /// A negated predicate, `!%p1`.
    Not(Register),
    /// A whole number, as its 64-bit pattern.
    Int(u64),
    /// Bits of an f32.
    F32(u32),
    /// Bits of an f64.
    F64(u64),
    /// A variable, function or label, plus bytes.
    Symbol(String, i64),
    /// A special register, with its dotted part: `%tid.x`.
    Special(String),
    /// `[base + offset]`; the base is a register, a symbol or a number.
    Address(Box<Operand>, i64),
    /// `[base + offset, {x, y}]` of textures and tensors; the base is an address.
    Indexed(Box<Operand>, Box<Operand>),
    /// `{a, b, …}`.
    Vector(Vec<Operand>),
    /// `(a, b, …)` of a call.
    List(Vec<Operand>),
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`.
    Sink,
}

/// Where in the .cu an instruction comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Number of a `.file`; 0 is none.
    pub file: u32,
    /// Line.
    pub line: u32,
    /// File and line of the call that was inlined, (0, 0) for none.
    pub inlined_at: (u32, u32),
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// `@p` or `@!p`: the predicate and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// The opcode and its modifiers, without dots.
    pub op: Vec<String>,
    /// Operands.
    pub operands: Vec<Operand>,
    /// For a branch: the instruction it goes to.
    pub target: Option<u32>,
    /// Line in the PTX.
    pub line: u32,
    /// Line in the .cu.
    pub source: Source,
}

impl Instruction {
    /// The opcode with its modifiers, as written.
    pub fn name(&self) -> String {
        self.op.join(".")
    }
}

/// A state space of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariableSpace {
    /// Device memory.
    Global,
    /// Read-only device memory.
    Const,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Parameters.
    Param,
}

/// One element of an initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Initial {
    /// Its bits.
    Bits(u64),
    /// The address of a variable plus bytes; generic or within its space.
    Address {
        /// The variable.
        symbol: String,
        /// Bytes beyond it.
        offset: i64,
        /// Whether it was written `generic(…)`.
        generic: bool,
    },
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Space.
    pub space: VariableSpace,
    /// Alignment in bytes.
    pub align: usize,
    /// Bytes of one element.
    pub element: usize,
    /// Bytes.
    pub size: usize,
    /// The first elements, in the order of memory; the rest is zero.
    pub init: Vec<Initial>,
    /// Declared `.extern`: for shared memory, the dynamic array.
    pub external: bool,
    /// Line in the PTX.
    pub line: u32,
}

/// A function, or an entry.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Name.
    pub name: String,
    /// Whether the host may launch it.
    pub entry: bool,
    /// Whether it has a body.
    pub defined: bool,
    /// Return values; none for an entry.
    pub returns: Vec<Variable>,
    /// Parameters.
    pub params: Vec<Variable>,
    /// Variables declared in the body: shared, local, and parameters of calls.
    pub variables: Vec<Variable>,
    /// Number of registers in the banks P, R, D, Q.
    pub registers: [u32; 4],
    /// Instructions.
    pub body: Vec<Instruction>,
    /// Lists of `.branchtargets`, by the label before them, as instruction indices.
    pub branch_targets: BTreeMap<String, Vec<u32>>,
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// Line in the PTX.
    pub line: u32,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// `.version`.
    pub version: (u32, u32),
    /// First word of `.target`.
    pub target: String,
    /// `.file`: number to name.
    pub files: BTreeMap<u32, String>,
    /// Variables outside functions.
    pub variables: Vec<Variable>,
    /// Functions, in order.
    pub functions: Vec<Function>,
}
