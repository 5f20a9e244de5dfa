//! A block: its warps, barriers and memory, and whose turn it is.

use super::barrier::Barriers;
use super::run::{Poll, Turn};
use super::warp::{Vain, Warp};
use super::wgmma::Warpgroups;
use crate::code::{Inst, Program, Special};
use crate::engine::{Launch, Options};
use crate::fault::{Cause, Fault, FaultKind};
use crate::memory::{BlockMemory, Worker};

/// Instructions a warp runs before others have a turn.
const SHARE: u64 = 1 << 13;

/// Turns without any change after which warps that ask for an mbarrier again and again are held for stuck.
const PATIENCE: u32 = 1 << 14;

/// What a block is between two turns.
pub struct State {
    /// Its index in the grid.
    pub index: [u32; 3],
    /// The same as one number.
    pub linear: u32,
    /// Its warps.
    pub warps: Vec<Warp>,
    /// Its barriers.
    pub barriers: Barriers,
    /// Its shared and local memory.
    pub memory: BlockMemory,
    /// What its warpgroups multiply.
    pub warpgroups: Warpgroups,
    /// Turns in a row in which every warp waited in vain.
    pub vain: u32,
    /// What `printf` wrote.
    pub printed: Vec<u8>,
    /// Warp instructions so far.
    pub steps: u64,
    /// Source of the order of warps; 0: the natural one.
    pub random: u64,
}

/// A block during a turn.
pub struct Block<'a, 'd> {
    /// What it runs.
    pub program: &'a Program,
    /// How it was launched.
    pub launch: &'a Launch<'a>,
    /// The host thread's part.
    pub worker: &'a mut Worker<'d>,
    /// Index in the grid.
    pub index: [u32; 3],
    /// Barriers.
    pub barriers: &'a mut Barriers,
    /// Memory.
    pub memory: &'a mut BlockMemory,
    /// What its warpgroups multiply.
    pub warpgroups: &'a mut Warpgroups,
    /// What the warp asks for again and again.
    pub poll: Option<Box<Poll>>,
    /// What `printf` wrote.
    pub printed: &'a mut Vec<u8>,
    /// Warp instructions so far.
    pub steps: u64,
}

/// Warps of a block.
pub fn warps_of(block: [u32; 3]) -> u32 {
    block.iter().product::<u32>().div_ceil(32)
}

/// The next number of a sequence, and its new state.
pub fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *state >> 33
}

impl State {
    /// With memory for any block of the launch.
    pub fn new(program: &Program, launch: &Launch, options: &Options) -> State {
        let count = warps_of(launch.block);
        let shared = program.static_shared + launch.dynamic_shared;
        let local = program.local_bytes + program.stack_bytes;
        State {
            index: [0; 3],
            linear: 0,
            warps: (0..count).map(|id| Warp::new(id, program)).collect(),
            barriers: Barriers::default(),
            memory: BlockMemory::new(options.checks, count, shared, local),
            warpgroups: Warpgroups::default(),
            vain: 0,
            printed: Vec::new(),
            steps: 0,
            random: 0,
        }
    }

    /// Becomes the block of that number.
    pub fn start(&mut self, program: &Program, launch: &Launch, options: &Options, linear: u32) {
        let [gx, gy, _] = launch.grid;
        self.linear = linear;
        self.index = [linear % gx, linear / gx % gy, linear / gx / gy];
        self.steps = 0;
        self.printed.clear();
        self.random = if options.seed == 0 {
            0
        } else {
            options.seed ^ u64::from(linear) << 20
        };
        let threads: u32 = launch.block.iter().product();
        self.barriers = Barriers::default();
        self.barriers.live = ((1u64 << self.warps.len()) - 1) as u32;
        self.memory.start(linear);
        self.warpgroups.start();
        self.vain = 0;
        for w in &mut self.warps {
            let count = (threads - w.id * 32).min(32);
            w.start(((1u64 << count) - 1) as u32, program);
            let top = program.local_bytes as u64;
            w.d[program.stack_register as usize].0 = [top; 32];
            specials(w, program, launch, self.index);
        }
    }

    /// Gives each warp that can run a turn. Returns whether the block is done.
    pub fn turn(
        &mut self,
        program: &Program,
        launch: &Launch,
        options: &Options,
        worker: &mut Worker,
    ) -> Result<bool, Box<Fault>> {
        let count = self.warps.len();
        let first = if self.random == 0 {
            0
        } else {
            random(&mut self.random) as usize
        };
        let backwards = self.random != 0 && random(&mut self.random) & 1 == 1;
        let mut progress = false;
        let moved = worker.counters.moved();
        let mut vain = true;
        for k in 0..count {
            let k = if backwards { count - 1 - k } else { k };
            let i = (first + k) % count;
            if self.barriers.live >> i & 1 == 0 || self.barriers.waiting >> i & 1 != 0 {
                continue;
            }
            progress = true;
            let mut block = Block {
                program,
                launch,
                worker,
                index: self.index,
                barriers: &mut self.barriers,
                memory: &mut self.memory,
                warpgroups: &mut self.warpgroups,
                poll: None,
                printed: &mut self.printed,
                steps: self.steps,
            };
            let w = &mut self.warps[i];
            block.resume(w);
            let turn = block.run(w, SHARE);
            let steps = block.steps;
            let turn = turn?;
            vain &= turn == Turn::Expired && w.vain.is_some() || turn == Turn::Blocked;
            if turn == Turn::Done {
                block.memory.exit(w.id);
                for complete in block.barriers.leave(w.id) {
                    block.memory.complete(complete.id, complete.waiting);
                }
            }
            self.steps = steps;
        }
        if self.barriers.live == 0 {
            return self.end(program, launch, worker).map(|()| true);
        }
        vain &= worker.counters.moved() == moved;
        self.vain = if vain { self.vain + 1 } else { 0 };
        if !progress || self.vain > PATIENCE {
            return Err(self.deadlock(program, launch));
        }
        if options.checks.race && self.memory.is_worn() {
            let w = &self.warps[self.barriers.live.trailing_zeros() as usize];
            let message =
                "the block synchronised more often than races can be told apart; it runs without the check `race`";
            return Err(self.fault(program, launch, w, FaultKind::Timeout, message.into()));
        }
        if self.steps > options.max_steps {
            let w = &self.warps[self.barriers.live.trailing_zeros() as usize];
            let message = format!("the block executed more than {} warp instructions", options.max_steps);
            return Err(self.fault(program, launch, w, FaultKind::Timeout, message));
        }
        Ok(false)
    }

    /// All warps have ended: nothing asynchronous may be left.
    fn end(&mut self, program: &Program, launch: &Launch, worker: &mut Worker) -> Result<(), Box<Fault>> {
        if let Some((warp, pc, warps)) = self.warpgroups.incomplete() {
            let message = format!(
                "a wgmma takes the four warps of a warpgroup; warps {:?} of this one have executed it",
                (0..4)
                    .filter(|i| warps >> i & 1 != 0)
                    .map(|i| warp / 4 * 4 + i)
                    .collect::<Vec<u32>>()
            );
            let cause = Cause {
                kind: FaultKind::WarpSync,
                lane: 0,
                message,
            };
            return Err(fault(program, launch, self.index, warp, pc, cause));
        }
        worker.bulk_end(&mut self.memory).map_err(|left| {
            let (warp, lane) = left.thread;
            let message = format!("the block ends with {}", left.what);
            let cause = Cause {
                kind: FaultKind::InFlight,
                lane,
                message,
            };
            fault(program, launch, self.index, warp, left.pc, cause)
        })
    }

    /// Every warp that lives waits.
    fn deadlock(&self, program: &Program, launch: &Launch) -> Box<Fault> {
        let mut message = "every warp of the block waits:".to_string();
        let ended = self
            .warps
            .iter()
            .filter(|w| w.splits.is_empty())
            .map(|w| w.id.to_string())
            .collect::<Vec<_>>();
        for w in self.warps.iter().filter(|w| !w.splits.is_empty()) {
            let pc = w.splits[0].pc.saturating_sub(1);
            message += &format!(" warp {} at {}", w.id, place(program, pc));
            message += &match w.vain {
                None => ";".to_string(),
                Some(Vain::Mbarrier { at, pending, bytes }) => format!(
                    " for the mbarrier at {at:#x} of shared memory, of whose phase {pending} arrivals and {bytes} bytes are missing;"
                ),
                Some(Vain::Warpgroup) => " for other warps of its warpgroup to execute the same wgmma;".to_string(),
            };
        }
        if !ended.is_empty() {
            message += &format!(" warps {} have ended", ended.join(", "));
        }
        let first = self
            .warps
            .iter()
            .find(|w| !w.splits.is_empty())
            .unwrap_or(&self.warps[0]);
        self.fault(program, launch, first, FaultKind::Deadlock, message)
    }

    fn fault(&self, program: &Program, launch: &Launch, w: &Warp, kind: FaultKind, message: String) -> Box<Fault> {
        let split = w.splits.first();
        let lane = split.map_or(0, |s| s.mask.trailing_zeros());
        let pc = split.map_or(0, |s| s.pc.saturating_sub(1));
        fault(program, launch, self.index, w.id, pc, Cause { kind, lane, message })
    }
}

/// "file:line (inlined at file:line, PTX line n)" of an operation, as far as it is known.
pub fn place(program: &Program, pc: u32) -> String {
    let p = &program.places[pc as usize];
    let name = |file: u32| program.files.get(&file).map(|f| short(f));
    match (name(p.source.file), name(p.source.inlined_at.0)) {
        (Some(file), Some(outer)) => {
            let (line, at) = (p.source.line, p.source.inlined_at.1);
            format!("{file}:{line} (inlined at {outer}:{at}, PTX line {})", p.line)
        }
        (Some(file), None) => format!("{file}:{} (PTX line {})", p.source.line, p.line),
        _ => format!("PTX line {}", p.line),
    }
}

fn short(file: &str) -> &str {
    file.rsplit(['/', '\\']).next().unwrap_or(file)
}

/// A cause with where it is.
pub fn fault(program: &Program, launch: &Launch, index: [u32; 3], warp: u32, pc: u32, cause: Cause) -> Box<Fault> {
    let [bx, by, _] = launch.block;
    let t = warp * 32 + cause.lane;
    let p = &program.places[pc as usize];
    let name = |file: u32| program.files.get(&file).map(|f| short(f).to_string());
    let mut message = cause.message;
    if let (file, line @ 1..) = p.source.inlined_at
        && let Some(file) = name(file)
    {
        message += &format!(" (inlined at {file}:{line})");
    }
    Box::new(Fault {
        kind: cause.kind,
        kernel: program.name.clone(),
        block: index,
        thread: [t % bx, t / bx % by, t / bx / by],
        source: name(p.source.file).map(|file| (file, p.source.line)),
        ptx_line: p.line,
        message,
    })
}

fn specials(w: &mut Warp, program: &Program, launch: &Launch, index: [u32; 3]) {
    let [bx, by, _] = launch.block;
    let shared = (program.static_shared + launch.dynamic_shared) as u32;
    for &(register, special) in &program.specials {
        for lane in 0..32u32 {
            let t = w.id * 32 + lane;
            let below = (1u32 << lane) - 1;
            w.r[register as usize].0[lane as usize] = match special {
                Special::Tid(0) => t % bx,
                Special::Tid(1) => t / bx % by,
                Special::Tid(_) => t / bx / by,
                Special::Ntid(axis) => launch.block[axis],
                Special::Ctaid(axis) => index[axis],
                Special::Nctaid(axis) => launch.grid[axis],
                Special::Lane => lane,
                Special::Warp => w.id,
                Special::Warps => warps_of(launch.block),
                Special::MaskEq => 1 << lane,
                Special::MaskLe => below | 1 << lane,
                Special::MaskLt => below,
                Special::MaskGe => !below,
                Special::MaskGt => !below & !(1 << lane),
                Special::DynamicShared => launch.dynamic_shared as u32,
                Special::TotalShared => shared,
                Special::Constant(value) => value,
            };
        }
    }
}

impl Block<'_, '_> {
    /// Counts an instruction that the lanes of `m` execute.
    #[inline(always)]
    pub fn count(&mut self, inst: &Inst, m: u32) {
        let c = &mut self.worker.counters;
        let threads = u64::from(m.count_ones());
        c.warp_instructions[inst.class as usize] += 1;
        c.thread_instructions[inst.class as usize] += threads;
        c.fp32_flops += u64::from(inst.flops) * threads;
    }

    /// Takes that back: the instruction will be executed again.
    pub fn uncount(&mut self, inst: &Inst, m: u32) {
        let c = &mut self.worker.counters;
        let threads = u64::from(m.count_ones());
        c.warp_instructions[inst.class as usize] -= 1;
        c.thread_instructions[inst.class as usize] -= threads;
        c.fp32_flops -= u64::from(inst.flops) * threads;
    }

    /// What `%clock` reads.
    pub fn clock(&self) -> u64 {
        self.steps
    }

    /// The lanes a warp began with.
    pub fn full_mask(&self, warp: u32) -> u32 {
        let threads: u32 = self.launch.block.iter().product();
        ((1u64 << (threads - warp * 32).min(32)) - 1) as u32
    }

    /// Where an operation stands.
    pub fn place(&self, pc: u32) -> String {
        place(self.program, pc)
    }

    /// A cause with where it is.
    pub fn fault(&self, w: &Warp, pc: u32, cause: Cause) -> Box<Fault> {
        fault(self.program, self.launch, self.index, w.id, pc, cause)
    }
}
