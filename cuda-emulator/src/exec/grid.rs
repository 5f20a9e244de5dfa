//! A launch: all blocks of a grid, on the host's threads.

use super::block::{State, random};
use crate::code::Program;
use crate::counters::Counters;
use crate::engine::{Launch, Options};
use crate::fault::Fault;
use crate::memory::{Conflict, Device, Worker};
use std::collections::VecDeque;

/// Turns a block has before the next one starts beside it, where blocks may wait for each other.
const PATIENCE: u32 = 4;

/// A block's place in the grid and what it printed.
type Printed = Vec<(u32, Vec<u8>)>;

/// Runs a kernel. Returns what was counted and what `printf` wrote, in order of blocks.
pub fn run(
    device: &Device,
    program: &Program,
    launch: &Launch,
    options: &Options,
) -> (Vec<u8>, Result<Counters, Box<Fault>>) {
    let blocks = launch.grid.iter().product::<u32>();
    let mut order: Vec<u32> = (0..blocks).collect();
    let mut state = options.seed;
    if options.seed != 0 {
        for i in (1..order.len()).rev() {
            order.swap(i, (random(&mut state) % (i as u64 + 1)) as usize);
        }
    }
    // Blocks that meet in memory by atomics must not depend on which thread is faster.
    let threads = if program.blocks_meet {
        1
    } else {
        options.threads.clamp(1, order.len().max(1))
    };
    let parts: Vec<Vec<u32>> = (0..threads)
        .map(|t| order.iter().skip(t).step_by(threads).copied().collect())
        .collect();
    let worker = || Worker::new(device, options.checks, launch.grid, launch.block);
    let mut printed = Printed::new();
    let mut outcomes = Vec::new();
    if threads == 1 {
        let mut w = worker();
        let result = part(program, launch, options, &mut w, &parts[0], &mut printed);
        outcomes.push((w, result));
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = parts
                .iter()
                .map(|list| {
                    scope.spawn(move || {
                        let mut w = worker();
                        let mut printed = Printed::new();
                        let result = part(program, launch, options, &mut w, list, &mut printed);
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
    if let Some((_, fault)) = first {
        return (text, Err(fault));
    }
    let (mut counters, conflict) = Worker::join(workers);
    if let Some(conflict) = conflict {
        return (text, Err(find(device, program, launch, options, &conflict)));
    }
    counters.launches = 1;
    counters.blocks = blocks.into();
    (text, Ok(counters))
}

/// Runs a block again to find the instruction of a conflict between blocks.
fn find(device: &Device, program: &Program, launch: &Launch, options: &Options, conflict: &Conflict) -> Box<Fault> {
    let mut w = Worker::new(device, options.checks, launch.grid, launch.block);
    w.watch(conflict.clone());
    match part(program, launch, options, &mut w, &[conflict.block], &mut Printed::new()) {
        Err((_, fault)) => fault,
        // The kernel changed its own input, so that it takes another way now.
        Ok(()) => {
            let [gx, gy, _] = launch.grid;
            let [bx, by, _] = launch.block;
            let (b, t) = (conflict.block, conflict.thread.0 * 32 + conflict.thread.1);
            Box::new(Fault {
                kind: crate::fault::FaultKind::GlobalRace,
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
    list: &[u32],
    printed: &mut Printed,
) -> Result<(), (u32, Box<Fault>)> {
    let mut next = list.iter().copied();
    let mut resident: VecDeque<State> = VecDeque::new();
    let mut spare: Vec<State> = Vec::new();
    let mut turns = 0;
    loop {
        let waits = program.blocks_meet && turns >= PATIENCE;
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
