//! Runs operations: the other end of the queue.

use super::abi::Context;
use super::event::Record;
use super::host::{self, State};
use super::occupancy;
use super::queue::OpId;
use super::report;
use super::state::{Driver, call_host};
use super::status::Status;
use super::timing;
use super::work::{Launch, Rows, Source, Target, Work};
use crate::counters::report::Shape;
use crate::engine;
use crate::fault::{Fault, FaultKind};
use crate::memory::Misuse;
use std::collections::BTreeSet;

/// Modelled time of a host function in ns.
pub const HOST_FUNCTION: u64 = 10_000;

/// Why an operation cannot be done: the error that its context dies of, and what to report.
struct Failure(Status, String);

impl Driver {
    /// Runs what the targets need. The modelled time at which the last of it ended, or none if a host function among it still runs.
    pub fn advance(&mut self, targets: &[OpId]) -> Option<u64> {
        let mut wanted = targets.to_vec();
        wanted.extend(self.queue.early());
        let all = self.queue.closure(&wanted);
        let mut ready = self.queue.ready(&all);
        self.queue.woken();
        let mut ended = 0;
        while let Some(op) = self.queue.pick(&mut ready) {
            if let Some(end) = self.perform(op) {
                ended = ended.max(end);
            }
            ready.extend(self.queue.woken().into_iter().filter(|op| all.contains(op)));
        }
        let is_done = targets.iter().all(|op| !self.queue.is_pending(*op));
        is_done.then_some(ended)
    }

    /// Runs one operation. The modelled time of its end; none for a host function that only began.
    fn perform(&mut self, op: OpId) -> Option<u64> {
        let state = self.queue.get_mut(op)?;
        let (context, work) = (state.context, state.work.clone());
        if let Work::Call(function, data) = work {
            state.running = true;
            call_host(op, function, data);
            return None;
        }
        let hidden = self.hide_unordered(op, &work);
        let result = self.work(&work);
        for address in hidden {
            self.engine.memory.hide(address, false);
        }
        match result {
            Ok(duration) => self.finish(op, duration),
            Err(Failure(status, text)) => {
                report::failure(status, &text);
                self.fail(context, status);
                Some(0)
            }
        }
    }

    /// Takes an operation out of the queue that took so many modelled ns; the time of its end.
    pub fn finish(&mut self, op: OpId, duration: u64) -> Option<u64> {
        let end = self.queue.get(op)?.ready + duration;
        let done = self.queue.finish(op, end)?;
        if let Some(stream) = self.streams.get_mut(&done.stream) {
            stream.ended = stream.ended.max(end);
            if stream.tail == Some(op) {
                stream.tail = None;
            }
        }
        if let Work::Record(event) = done.work
            && let Some(event) = self.events.get_mut(&event)
            && event.record == Record::Op(op)
        {
            event.record = Record::Done(end);
        }
        Some(end)
    }

    /// Ends a context by an error: nothing that was issued in it runs.
    fn fail(&mut self, context: Context, status: Status) {
        if let Some(c) = self.contexts.get_mut(&context) {
            c.error.get_or_insert(status);
        }
        let all: Vec<OpId> = self
            .queue
            .iter()
            .filter(|(_, op)| op.context == context)
            .map(|(id, _)| id)
            .collect();
        for op in all {
            self.finish(op, 0);
        }
    }

    /// Hides memory that the operation must not touch: freed, or not yet allocated, by work that is not ordered against it.
    fn hide_unordered(&mut self, op: OpId, work: &Work) -> Vec<u64> {
        if !matches!(work, Work::Copy(..) | Work::Fill(..) | Work::Launch(_)) || self.frees.is_empty() {
            return Vec::new();
        }
        let Some(stream) = self.queue.get(op).map(|o| o.stream) else {
            return Vec::new();
        };
        let other = |free: OpId| self.queue.get(free).is_some_and(|f| f.stream != stream || free < op);
        if !self.frees.keys().any(|free| other(*free)) {
            return Vec::new();
        }
        let later: BTreeSet<OpId> = self.queue.later(op);
        let hidden: Vec<u64> = self
            .frees
            .iter()
            .filter(|(free, _)| !later.contains(free))
            .map(|(_, address)| *address)
            .collect();
        for address in &hidden {
            self.engine.memory.hide(*address, true);
        }
        hidden
    }

    fn work(&mut self, work: &Work) -> Result<u64, Failure> {
        match work {
            Work::Nothing | Work::Record(_) | Work::Call(..) => Ok(0),
            Work::Copy(source, target) => self.copy(source, *target),
            Work::Fill(rows, value, width) => self.fill(*rows, *value, *width),
            Work::Launch(launch) => self.run_kernel(launch),
            Work::Allocate(address) => {
                self.engine.memory.hide(*address, false);
                Ok(0)
            }
            Work::Free(address) => {
                self.frees.retain(|_, freed| freed != address);
                self.free_now(*address);
                Ok(0)
            }
        }
    }

    fn copy(&mut self, source: &Source, target: Target) -> Result<u64, Failure> {
        let name = Work::Copy(source.clone(), target).name();
        let bad = |misuse: Misuse| Failure(Status::ILLEGAL_ADDRESS, format!("{name}: {}", misuse.message));
        let rows = match target {
            Target::Host(rows) | Target::Device(rows) => rows,
        };
        let starts: Vec<u64> = match source {
            Source::Snapshot(_) => (0..rows.height).map(|i| i * rows.width).collect(),
            Source::Host(from) | Source::Device(from) => from.starts().collect(),
        };
        if let Source::Host(from) = source {
            self.check_host(from, &name)?;
        }
        if let Target::Host(to) = &target {
            self.check_host(to, &name)?;
            if let (Source::Device(from), true) = (source, self.engine.options.checks.init) {
                self.check_written(from, &name).map_err(bad)?;
            }
        }
        let mut buffer = vec![0; rows.width as usize];
        for (from, to) in starts.into_iter().zip(rows.starts()) {
            match (source, target) {
                (Source::Snapshot(bytes), _) => buffer.copy_from_slice(&bytes[from as usize..][..rows.width as usize]),
                (Source::Host(_), _) => host::read(from as usize, &mut buffer),
                (Source::Device(_), Target::Host(_)) => self.engine.memory.read(from, &mut buffer).map_err(bad)?,
                (Source::Device(_), Target::Device(_)) => {
                    self.engine.memory.copy(to, from, rows.width).map_err(bad)?;
                    continue;
                }
            }
            match target {
                Target::Host(_) => host::write(to as usize, &buffer),
                Target::Device(_) => self.engine.memory.write(to, &buffer).map_err(bad)?,
            }
        }
        Ok(timing::copy(source, target))
    }

    /// Reports bytes that go to the host although nothing wrote them.
    fn check_written(&self, from: &Rows, name: &str) -> Result<(), Misuse> {
        for start in from.starts() {
            if let (count, Some(first)) = self.engine.memory.uninitialised(start, from.width)? {
                report::uninitialised(name, start, from.width, count, first);
                break;
            }
        }
        Ok(())
    }

    /// Page-locked memory that was freed while this operation waited.
    fn check_host(&self, rows: &Rows, name: &str) -> Result<(), Failure> {
        match self.host.find(rows.address as usize) {
            Some((start, block)) if block.state == State::Freed => {
                let text = format!(
                    "{name}: the page-locked host memory at {start:#x} ({} bytes) was freed before the copy ran; synchronise the stream first",
                    block.bytes
                );
                Err(Failure(Status::ILLEGAL_ADDRESS, text))
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self, rows: Rows, value: u32, width: u8) -> Result<u64, Failure> {
        let pattern = &value.to_le_bytes()[..usize::from(width)];
        for start in rows.starts() {
            let filled = self.engine.memory.fill(start, pattern, rows.width / u64::from(width));
            filled.map_err(|m| {
                Failure(
                    Status::ILLEGAL_ADDRESS,
                    format!("memset of {} bytes: {}", rows.bytes(), m.message),
                )
            })?;
        }
        Ok(timing::fill(rows.bytes()))
    }

    fn run_kernel(&mut self, launch: &Launch) -> Result<u64, Failure> {
        let Launch {
            grid, block, shared, ..
        } = *launch;
        let config = engine::Launch {
            grid,
            block,
            dynamic_shared: shared,
            params: &launch.params,
        };
        match self.engine.launch(&launch.kernel, config) {
            Ok(counters) => {
                let arch = self.engine.options.arch;
                let threads = block.iter().product();
                let shape = Shape {
                    kernel: launch.kernel.name.clone(),
                    grid,
                    block,
                    shared: launch.kernel.static_shared + shared,
                    registers: launch.kernel.registers,
                    resident: occupancy::blocks(&launch.kernel, threads, shared, arch),
                };
                self.counters.add(shape, &counters);
                Ok(timing::kernel(arch, launch, &counters))
            }
            Err(fault) => Err(Failure(kernel_status(&fault), fault.to_string())),
        }
    }
}

/// The error that hardware would die of; what hardware would not notice is a launch failure.
fn kernel_status(fault: &Fault) -> Status {
    match fault.kind {
        FaultKind::OutOfBounds | FaultKind::Freed | FaultKind::ReadOnly => Status::ILLEGAL_ADDRESS,
        FaultKind::Misaligned => Status::MISALIGNED_ADDRESS,
        FaultKind::Assert => Status::ASSERT,
        FaultKind::Timeout | FaultKind::Deadlock => Status::LAUNCH_TIMEOUT,
        FaultKind::Launch => Status::INVALID_VALUE,
        _ => Status::LAUNCH_FAILED,
    }
}
