//! What lowering knows: where symbols are, which registers hold constants.

use super::check;
use super::op::*;
use super::program::{Program, Special};
use crate::ptx::{Bank, Function, Operand, Register, VariableSpace};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Base of the generic addresses of the kernel's parameters.
pub const PARAM_WINDOW: u64 = 0x3_0000_0000;
/// Base of the addresses of functions.
pub const FUNCTION_WINDOW: u64 = 0x4_0000_0000;

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Space; none for a function.
    pub space: Option<VariableSpace>,
    /// Address within the space.
    pub address: u64,
    /// Bytes.
    pub bytes: usize,
}

/// State of lowering one kernel.
pub struct Context<'a> {
    /// What is made.
    pub program: Program,
    /// Module-level names.
    pub globals: &'a BTreeMap<String, Symbol>,
    /// Names of the function at hand.
    pub locals: HashMap<String, Symbol>,
    /// The function at hand.
    pub function: &'a Function,
    /// Its number.
    pub number: u32,
    /// Where its registers begin in the banks P, R, D.
    pub base: [u32; 3],
    /// Where its 128-bit registers begin, as pairs in the bank D.
    pub base_q: u32,
    /// Predicate that holds the carry.
    pub carry: u32,
    /// Whether its local variables are on the stack of recursion.
    pub recursive: bool,
    /// By how much the stack of recursion grows for the function at hand.
    pub stack: u32,
    /// Numbers of the module's functions in the program.
    pub numbers: HashMap<String, u32>,
    /// Jumps to fix: operation and function-local instruction.
    pub jumps: Vec<(usize, Vec<u32>)>,
    /// `.target` of the module.
    pub target: &'a str,
    /// Registers of wgmma in the function at hand.
    pub watched: HashSet<u32>,
    constants32: HashMap<u32, u32>,
    constants64: HashMap<u64, u32>,
    specials: HashMap<Special, u32>,
}

impl<'a> Context<'a> {
    /// For a kernel.
    pub fn new(globals: &'a BTreeMap<String, Symbol>, function: &'a Function) -> Context<'a> {
        Context {
            program: Program::default(),
            globals,
            locals: HashMap::new(),
            function,
            number: 0,
            base: [0; 3],
            base_q: 0,
            carry: 0,
            recursive: false,
            stack: 0,
            numbers: HashMap::new(),
            jumps: Vec::new(),
            target: "",
            watched: HashSet::new(),
            constants32: HashMap::new(),
            constants64: HashMap::new(),
            specials: HashMap::new(),
        }
    }

    /// A new register of a bank (P, R or D).
    pub fn fresh(&mut self, bank: Bank) -> u32 {
        let n = &mut self.program.registers[bank as usize];
        *n += 1;
        *n - 1
    }

    /// The 32-bit register that always holds `value`.
    pub fn constant32(&mut self, value: u32) -> u32 {
        if let Some(&r) = self.constants32.get(&value) {
            return r;
        }
        let r = self.fresh(Bank::R);
        self.constants32.insert(value, r);
        self.program.constants32.push((r, value));
        r
    }

    /// The 64-bit register that always holds `value`.
    pub fn constant64(&mut self, value: u64) -> u32 {
        if let Some(&r) = self.constants64.get(&value) {
            return r;
        }
        let r = self.fresh(Bank::D);
        self.constants64.insert(value, r);
        self.program.constants64.push((r, value));
        r
    }

    /// A register within the program.
    pub fn index(&self, r: Register) -> u32 {
        match r.bank {
            Bank::Q => self.base_q + 2 * r.index,
            bank => self.base[bank as usize] + r.index,
        }
    }

    /// A name, innermost first.
    pub fn symbol(&self, name: &str) -> Result<Symbol, String> {
        let found = self.locals.get(name).or_else(|| self.globals.get(name)).copied();
        found.ok_or_else(|| format!("the name {name} is not declared"))
    }

    fn special(&mut self, name: &str) -> Result<u32, String> {
        let special = special(name).ok_or_else(|| format!("the special register {name} is not known"))?;
        if let Some(&r) = self.specials.get(&special) {
            return Ok(r);
        }
        let r = self.fresh(Bank::R);
        self.specials.insert(special, r);
        self.program.specials.push((r, special));
        Ok(r)
    }

    /// A 32-bit source (or, where it is a register, a result).
    pub fn r(&mut self, o: &Operand) -> Result<u32, String> {
        check::exactly(o, 32)?;
        self.small(o)
    }

    /// The same of 8, 16 or 32 bits; the caller looks at the width.
    pub fn small(&mut self, o: &Operand) -> Result<u32, String> {
        match o {
            Operand::Reg(r) if r.bank == Bank::R => Ok(self.index(*r)),
            Operand::Int(v) => Ok(self.constant32(*v as u32)),
            Operand::F32(v) => Ok(self.constant32(*v)),
            // A literal of f32 may be written with a double's bits.
            Operand::F64(v) => Ok(self.constant32((f64::from_bits(*v) as f32).to_bits())),
            Operand::Special(name) => self.special(name),
            Operand::Symbol(name, 0) if name == "WARP_SZ" => Ok(self.constant32(32)),
            Operand::Symbol(name, offset) => {
                let symbol = self.symbol(name)?;
                Ok(self.constant32(symbol.address.wrapping_add(*offset as u64) as u32))
            }
            Operand::Vector(v) if v.len() == 1 => self.small(&v[0]),
            Operand::Sink => Ok(NONE),
            _ => Err(format!("the operand {o:?} is no 32-bit value")),
        }
    }

    /// A 64-bit source (or, where it is a register, a result).
    pub fn d(&mut self, o: &Operand) -> Result<u32, String> {
        match o {
            Operand::Reg(r) if r.bank == Bank::D => Ok(self.index(*r)),
            Operand::Int(v) => Ok(self.constant64(*v)),
            Operand::F64(v) => Ok(self.constant64(*v)),
            Operand::F32(v) => Ok(self.constant64(f64::from(f32::from_bits(*v)).to_bits())),
            Operand::Symbol(name, offset) => {
                let symbol = self.symbol(name)?;
                if self.recursive && symbol.space == Some(VariableSpace::Local) {
                    return Err("a local variable of a recursive function as an operand other than of mov".into());
                }
                Ok(self.constant64(symbol.address.wrapping_add(*offset as u64)))
            }
            Operand::Vector(v) if v.len() == 1 => self.d(&v[0]),
            Operand::Sink => Ok(NONE),
            _ => Err(format!("the operand {o:?} is no 64-bit value")),
        }
    }

    /// A predicate to write; `_` is [`NONE`].
    pub fn p(&mut self, o: &Operand) -> Result<u32, String> {
        match o {
            Operand::Reg(r) if r.bank == Bank::P => Ok(self.index(*r)),
            Operand::Sink => Ok(NONE),
            _ => Err(format!("the operand {o:?} is no predicate")),
        }
    }

    /// A predicate to read, possibly negated, possibly the constants 0 and 1.
    pub fn pred(&mut self, o: &Operand) -> Result<Pred, String> {
        match o {
            Operand::Not(r) => Ok(Pred {
                index: self.index(*r),
                negated: true,
            }),
            // No predicate reads as false, its opposite as true.
            Operand::Int(v) => Ok(Pred {
                index: NONE,
                negated: *v != 0,
            }),
            o => Ok(Pred {
                index: self.p(o)?,
                negated: false,
            }),
        }
    }

    /// A register of whatever width, or a constant of `bytes`.
    pub fn slot(&mut self, o: &Operand, bytes: usize) -> Result<Slot, String> {
        match o {
            Operand::Sink => Ok(Slot::None),
            Operand::Reg(r) if r.bank == Bank::D => Ok(Slot::D(self.index(*r))),
            Operand::Reg(r) if r.bank == Bank::R => Ok(Slot::R(self.index(*r))),
            _ if bytes == 8 => Ok(Slot::D(self.d(o)?)),
            _ => Ok(Slot::R(self.small(o)?)),
        }
    }

    /// Registers of the elements of a vector (or of a single value); an element of 16 bytes has two.
    pub fn slots(&mut self, o: &Operand, bytes: usize) -> Result<Vec<Slot>, String> {
        let list = match o {
            Operand::Vector(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut out = Vec::with_capacity(list.len());
        for o in list {
            match o {
                Operand::Reg(r) if r.bank == Bank::Q => {
                    let first = self.index(*r);
                    out.extend([Slot::D(first), Slot::D(first + 1)]);
                }
                o => out.push(self.slot(o, bytes)?),
            }
        }
        Ok(out)
    }

    /// `[base + offset]`, and the space of the variable if the base is one.
    pub fn address(&mut self, o: &Operand) -> Result<(Address, Option<VariableSpace>), String> {
        let Operand::Address(base, offset) = o else {
            return Err(format!("{o:?} is no address"));
        };
        let offset = *offset;
        Ok(match &**base {
            Operand::Reg(r) if r.bank == Bank::R && r.bits == 32 => (
                Address {
                    base: self.index(*r),
                    wide: false,
                    offset,
                },
                None,
            ),
            Operand::Symbol(name, 0) => {
                let space = self.symbol(name)?.space;
                (
                    Address {
                        base: self.d(base)?,
                        wide: true,
                        offset,
                    },
                    space,
                )
            }
            base => (
                Address {
                    base: self.d(base)?,
                    wide: true,
                    offset,
                },
                None,
            ),
        })
    }
}

fn special(name: &str) -> Option<Special> {
    let axis = |s: &str| match s {
        ".x" => Some(0),
        ".y" => Some(1),
        ".z" => Some(2),
        _ => None,
    };
    for (prefix, make) in [
        ("%tid", Special::Tid as fn(usize) -> Special),
        ("%ntid", Special::Ntid),
        ("%ctaid", Special::Ctaid),
        ("%nctaid", Special::Nctaid),
        // A grid without clusters has one block a cluster.
        ("%clusterid", Special::Ctaid),
        ("%nclusterid", Special::Nctaid),
    ] {
        if let Some(axis) = name.strip_prefix(prefix).and_then(axis) {
            return Some(make(axis));
        }
    }
    if name.strip_prefix("%cluster_ctaid").and_then(axis).is_some() {
        return Some(Special::Constant(0));
    }
    if name.strip_prefix("%cluster_nctaid").and_then(axis).is_some() {
        return Some(Special::Constant(1));
    }
    if name.starts_with("%envreg") {
        return Some(Special::Constant(0));
    }
    Some(match name {
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::MaskEq,
        "%lanemask_le" => Special::MaskLe,
        "%lanemask_lt" => Special::MaskLt,
        "%lanemask_ge" => Special::MaskGe,
        "%lanemask_gt" => Special::MaskGt,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" | "%aggr_smem_size" => Special::TotalShared,
        "%smid" | "%gridid" | "%cluster_ctarank" | "%reserved_smem_offset_begin" => Special::Constant(0),
        "%nsmid" | "%cluster_nctarank" => Special::Constant(1),
        _ => return None,
    })
}
