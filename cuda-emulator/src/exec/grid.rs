//! A launch: all blocks of a grid, on the host's threads.

use super::block::{State, fault, random};
use crate::code::Program;
use crate::counters::Counters;
use crate::engine::{Launch, Options};
use crate::fault::{Cause, Fault, FaultKind};
use crate::memory::{Conflict, Device, Worker};
use std::collections::VecDeque;

/// Turns a block has before the next one starts beside it, where blocks may wait for each other.
const PATIENCE: u32 = 4;

/// A block's place in the grid and what it printed.
type Printed = Vec<(u32, Vec<u8>)>;

/// Rounds of turns of all blocks that the device holds in which none ends, after which they are held for waiting for those that it does
/// not hold. No sound kernel has blocks of so many million instructions.
const ROUNDS: usize = 256;

/// Blocks of a grid whose order is drawn one by one; of a larger one it is computed, so that it takes no memory.
const DRAWN: u32 = 1 << 20;

/// The order of blocks.
enum Order {
    /// This one.
    Drawn(Vec<u32>),
    /// Block i is number i times the first, plus the second, modulo the number of blocks.
    Computed(u64, u64, u64),
}

impl Order {
    fn new(seed: u64, blocks: u32) -> Order {
        let mut state = seed;
        match (seed, blocks) {
            (0, _) => Order::Computed(1, 0, blocks.into()),
            (_, ..=DRAWN) => {
                let mut order: Vec<u32> = (0..blocks).collect();
                for i in (1..order.len()).rev() {
                    order.swap(i, (random(&mut state) % (i as u64 + 1)) as usize);
                }
                Order::Drawn(order)
            }
            _ => {
                let n = u64::from(blocks);
                let start = random(&mut state) % n;
                // A factor without a divisor in common with n: then no block comes twice.
                let mut factor = random(&mut state) % n;
                while divisor(factor, n) != 1 {
                    factor = (factor + 1) % n;
                }
                Order::Computed(factor, start, n)
            }
        }
    }

    fn at(&self, i: u32) -> u32 {
        match self {
            Order::Drawn(list) => list[i as usize],
            Order::Computed(factor, start, n) => ((u64::from(i) * factor + start) % n) as u32,
        }
    }
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Runs a kernel on a device that holds so many blocks at a time. Returns what was counted and what `printf` wrote, in order of blocks.
pub fn run(
    device: &Device,
    program: &Program,
    launch: &Launch,
    options: &Options,
    resident: usize,
) -> (Vec<u8>, Result<Counters, Box<Fault>>) {
    let blocks = launch.grid.iter().product::<u32>();
    let order = &Order::new(options.seed, blocks);
    // Blocks that meet in memory by atomics must not depend on which thread is faster.
    let threads = if program.blocks_meet {
        1
    } else {
        options.threads.clamp(1, blocks.max(1) as usize)
    };
    let list = |t: usize| (t as u32..blocks).step_by(threads).map(|i| order.at(i));
    let worker = || Worker::new(device, options.checks, launch.grid, launch.block);
    let mut printed = Printed::new();
    let mut outcomes = Vec::new();
    if threads == 1 {
        let mut w = worker();
        let result = part(program, launch, options, &mut w, list(0), resident, &mut printed);
        outcomes.push((w, result));
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|t| {
                    scope.spawn(move || {
                        let mut w = worker();
                        let mut printed = Printed::new();
                        let result = part(program, launch, options, &mut w, list(t), resident, &mut printed);
                        (w, result, printed)
                    })
                })
                .collect();
            for handle in handles {
                match handle.join() {
                    Ok((w, result, text)) => {
                        printed.extend(text);
                        outcomes.push((w, result));
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
    printed.sort_by_key(|p| p.0);
    let text = printed.into_iter().flat_map(|p| p.1).collect();
    let mut workers = Vec::new();
    // Of several faults the one of the first block in order, whichever thread found it.
    let mut first: Option<(u32, Box<Fault>)> = None;
    for (w, result) in outcomes {
        workers.push(w);
        if let Err((block, fault)) = result
            && first.as_ref().is_none_or(|f| block < f.0)
        {
            first = Some((block, fault));
        }
    }
    // A race between the threads' blocks comes first: what else went wrong may depend on which thread was faster.
    let (mut counters, conflict) = Worker::join(workers);
    if let Some(conflict) = conflict {
        return (text, Err(find(device, program, launch, options, &conflict)));
    }
    if let Some((_, fault)) = first {
        return (text, Err(fault));
    }
    counters.launches = 1;
    counters.blocks = blocks.into();
    (text, Ok(counters))
}

/// Runs a block again to find the instruction of a conflict between blocks.
fn find(device: &Device, program: &Program, launch: &Launch, options: &Options, conflict: &Conflict) -> Box<Fault> {
    let mut w = Worker::new(device, options.checks, launch.grid, launch.block);
    w.watch(conflict.clone());
    let block = std::iter::once(conflict.block);
    match part(program, launch, options, &mut w, block, 1, &mut Printed::new()) {
        Err((_, fault)) if fault.kind == FaultKind::GlobalRace => fault,
        // The kernel changed its own input, so that it takes another way now.
        _ => {
            let [gx, gy, _] = launch.grid;
            let [bx, by, _] = launch.block;
            let (b, t) = (conflict.block, conflict.thread.0 * 32 + conflict.thread.1);
            Box::new(Fault {
                kind: FaultKind::GlobalRace,
                kernel: program.name.clone(),
                block: [b % gx, b / gx % gy, b / gx / gy],
                thread: [t % bx, t / bx % by, t / bx / by],
                source: None,
                ptx_line: 0,
                message: conflict.message.clone(),
            })
        }
    }
}

/// Runs blocks in order; a fault comes with the number of its block.
fn part(
    program: &Program,
    launch: &Launch,
    options: &Options,
    worker: &mut Worker,
    list: impl Iterator<Item = u32>,
    most: usize,
    printed: &mut Printed,
) -> Result<(), (u32, Box<Fault>)> {
    let mut next = list.peekable();
    let mut resident: VecDeque<State> = VecDeque::new();
    let mut spare: Vec<State> = Vec::new();
    let mut turns = 0;
    loop {
        let waits = program.blocks_meet && turns >= PATIENCE && resident.len() < most;
        if (resident.is_empty() || waits)
            && let Some(block) = next.next()
        {
            let mut state = spare.pop().unwrap_or_else(|| State::new(program, launch, options));
            state.start(program, launch, options, block);
            resident.push_front(state);
            turns = 0;
        }
        let Some(mut state) = resident.pop_front() else {
            return Ok(());
        };
        if resident.len() + 1 >= most && turns as usize > ROUNDS * most && next.peek().is_some() {
            return Err((state.linear, crowded(program, launch, &state, most)));
        }
        let turn = state.turn(program, launch, options, worker);
        let done = match turn {
            Ok(done) => done,
            Err(fault) => {
                printed.push((state.linear, std::mem::take(&mut state.printed)));
                return Err((state.linear, fault));
            }
        };
        if done {
            if !state.printed.is_empty() {
                printed.push((state.linear, std::mem::take(&mut state.printed)));
            }
            spare.push(state);
            turns = 0;
        } else {
            resident.push_back(state);
            turns += 1;
        }
    }
}

/// The device is full of blocks, and none of them ends.
fn crowded(program: &Program, launch: &Launch, state: &State, most: usize) -> Box<Fault> {
    let message = format!(
        "the device holds {most} blocks at a time; none of them ends, so they may wait for one that cannot start"
    );
    let standing = state.warps.iter().find_map(|w| Some((w.id, w.splits.first()?.pc)));
    let (warp, pc) = standing.unwrap_or_default();
    let cause = Cause {
        kind: FaultKind::Deadlock,
        lane: 0,
        message,
    };
    fault(program, launch, state.index, warp, pc, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_every_block_once() {
        for (seed, blocks) in [(0, 5), (1, 5), (3, 1), (1, DRAWN + 1), (7, DRAWN + 2), (9, 3 << 20)] {
            let order = Order::new(seed, blocks);
            let mut seen = vec![false; blocks as usize];
            for i in 0..blocks {
                assert!(
                    !std::mem::replace(&mut seen[order.at(i) as usize], true),
                    "{seed} {blocks}: {i}"
                );
            }
            assert_eq!((0..blocks).all(|i| order.at(i) == i), seed == 0 || blocks == 1);
        }
        // The largest grid takes no memory.
        assert!(matches!(Order::new(1, u32::MAX), Order::Computed(..)));
    }
}
