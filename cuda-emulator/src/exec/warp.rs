//! A warp: registers, and where its lanes stand.

use super::wgmma::Registers;
use crate::arith::{Lanes, Wide};
use crate::code::{Address, NONE, Pred, Program, Slot};

/// What a register holds before it is written is nobody's business; an odd value shows in results.
const POISON32: u32 = 0xcafe_babe;
const POISON64: u64 = 0xcafe_babe_dead_beef;

/// A 32-bit register, on a boundary of cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Row32(pub Lanes);

/// A 64-bit register, on a boundary of cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Row64(pub Wide);

/// What a split waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Run,
    /// The other lanes of this mask, at the instruction it stands at.
    Gather(u32),
    /// The other warps, at a barrier it has arrived at; it stands behind it.
    Barrier,
}

/// Lanes that stand at one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// The instruction.
    pub pc: u32,
    /// The lanes.
    pub mask: u32,
    /// What they wait for.
    pub state: State,
}

/// What a warp has asked for and did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vain {
    /// A phase of the mbarrier at this place of shared memory, of which arrivals and bytes were missing.
    Mbarrier {
        /// Offset in shared memory.
        at: u64,
        /// Arrivals.
        pending: i64,
        /// Bytes.
        bytes: i64,
    },
    /// A wgmma that other warps of its warpgroup have not executed.
    Warpgroup,
}

/// A warp.
pub struct Warp {
    /// Number in the block.
    pub id: u32,
    /// 32-bit registers.
    pub r: Vec<Row32>,
    /// 64-bit registers.
    pub d: Vec<Row64>,
    /// Predicates.
    pub p: Vec<u32>,
    /// Where lanes stand.
    pub splits: Vec<Split>,
    /// Lanes that have not ended.
    pub live: u32,
    /// How often its turn ended before it waited or was done.
    pub expired: u32,
    /// Parameters of calls, by words.
    pub frame: Vec<Lanes>,
    /// For each lane, what recursion put aside.
    pub saved: Vec<Vec<u64>>,
    /// What wgmma do to registers; empty in a program without.
    pub wgmma: Registers,
    /// What it has last waited for in vain.
    pub vain: Option<Vain>,
    /// Where, and with which lanes, it asked.
    pub polled: Option<(u32, u32)>,
}

/// Lanes of a mask, in order.
#[inline(always)]
pub fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}

impl Warp {
    /// With its constants set, and no lane.
    pub fn new(id: u32, program: &Program) -> Warp {
        let [p, r, d] = program.registers.map(|n| n as usize);
        let mut w = Warp {
            id,
            r: vec![Row32([POISON32; 32]); r],
            d: vec![Row64([POISON64; 32]); d],
            p: vec![0; p],
            splits: Vec::new(),
            live: 0,
            expired: 0,
            frame: vec![[0; 32]; program.frame_bytes.div_ceil(4)],
            saved: Vec::new(),
            wgmma: Registers::new(if program.has_wgmma { r } else { 0 }),
            vain: None,
            polled: None,
        };
        for &(at, value) in &program.constants32 {
            w.r[at as usize].0 = [value; 32];
        }
        for &(at, value) in &program.constants64 {
            w.d[at as usize].0 = [value; 32];
        }
        w
    }

    /// Puts lanes at the first instruction. Nothing is left of the block before that they could read.
    pub fn start(&mut self, mask: u32, program: &Program) {
        let [narrow, wide] = &program.unwritten;
        narrow.iter().for_each(|&at| self.r[at as usize].0 = [POISON32; 32]);
        wide.iter().for_each(|&at| self.d[at as usize].0 = [POISON64; 32]);
        self.p.fill(0);
        self.frame.fill([POISON32; 32]);
        self.live = mask;
        self.expired = 0;
        self.splits.clear();
        self.splits.push(Split {
            pc: 0,
            mask,
            state: State::Run,
        });
        self.saved.clear();
        self.wgmma.start();
        self.vain = None;
        self.polled = None;
    }

    /// Writes a 32-bit register in the lanes of a mask.
    #[inline(always)]
    pub fn set_r(&mut self, m: u32, to: u32, value: &Lanes) {
        if to == NONE {
            return;
        }
        let row = &mut self.r[to as usize].0;
        if m == u32::MAX {
            *row = *value;
        } else {
            for i in 0..32 {
                row[i] = if m >> i & 1 != 0 { value[i] } else { row[i] };
            }
        }
    }

    /// Writes a 64-bit register in the lanes of a mask.
    #[inline(always)]
    pub fn set_d(&mut self, m: u32, to: u32, value: &Wide) {
        if to == NONE {
            return;
        }
        let row = &mut self.d[to as usize].0;
        if m == u32::MAX {
            *row = *value;
        } else {
            for i in 0..32 {
                row[i] = if m >> i & 1 != 0 { value[i] } else { row[i] };
            }
        }
    }

    /// Writes a predicate in the lanes of a mask.
    #[inline(always)]
    pub fn set_p(&mut self, m: u32, to: u32, value: u32) {
        if to != NONE {
            let p = &mut self.p[to as usize];
            *p = (*p & !m) | (value & m);
        }
    }

    /// A predicate; no predicate reads as false.
    #[inline(always)]
    pub fn pred(&self, p: Pred) -> u32 {
        let value = if p.index == NONE { 0 } else { self.p[p.index as usize] };
        if p.negated { !value } else { value }
    }

    /// The addresses of all lanes.
    #[inline(always)]
    pub fn addresses(&self, a: Address) -> Wide {
        let mut out = [0; 32];
        if a.wide {
            let base = &self.d[a.base as usize].0;
            for i in 0..32 {
                out[i] = base[i].wrapping_add(a.offset as u64);
            }
        } else {
            let base = &self.r[a.base as usize].0;
            for i in 0..32 {
                out[i] = u64::from(base[i]).wrapping_add(a.offset as u64);
            }
        }
        out
    }

    /// A source of whatever width, one lane.
    #[inline(always)]
    pub fn lane(&self, slot: Slot, lane: usize) -> u64 {
        match slot {
            Slot::R(r) => self.r[r as usize].0[lane].into(),
            Slot::D(d) => self.d[d as usize].0[lane],
            Slot::None => 0,
        }
    }

    /// Writes one lane of a register of whatever width.
    #[inline(always)]
    pub fn set_lane(&mut self, slot: Slot, lane: usize, value: u64) {
        match slot {
            Slot::R(r) => self.r[r as usize].0[lane] = value as u32,
            Slot::D(d) => self.d[d as usize].0[lane] = value,
            Slot::None => {}
        }
    }
}
