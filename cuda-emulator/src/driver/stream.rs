//! Streams, and how work gets into them.

use super::abi::{Context, Event, HostFunction, Out, Stream, UserData};
use super::exports::exports;
use super::queue::OpId;
use super::state::{DONE, Driver, Rest, here};
use super::status::Status;
use super::work::Work;

/// One stream.
pub struct StreamState {
    /// Where it was made.
    pub context: Context,
    /// `CU_STREAM_` flags: 1 for a stream that does not wait for the legacy default stream.
    pub flags: u32,
    /// Lower is more urgent; the emulator only keeps it.
    pub priority: i32,
    /// The last operation, if it has not ended.
    pub tail: Option<OpId>,
    /// Modelled time at which the last operation ended that did.
    pub ended: u64,
    /// The capture that takes its work instead.
    pub capture: Option<u64>,
}

/// Lowest and highest priority.
pub const PRIORITIES: (i32, i32) = (0, -5);

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

/// Operations in a stream beyond which the oldest run, as a device's queue is finite, too.
const DEPTH: usize = 1024;

impl Driver {
    /// A stream of the context.
    pub fn new_stream(&mut self, context: Context, flags: u32, priority: i32) -> Stream {
        let stream = Stream::number(self.number());
        let state = StreamState {
            context,
            flags,
            priority,
            tail: None,
            ended: 0,
            capture: None,
        };
        self.streams.insert(stream, state);
        stream
    }

    /// The stream that a handle means for this thread, where `context` is current.
    pub fn stream(&mut self, context: Context, handle: Stream) -> Result<Stream, Status> {
        match handle {
            Stream::NULL | Stream::LEGACY => Ok(self.contexts.get(&context).ok_or(Status::INVALID_CONTEXT)?.legacy),
            Stream::PER_THREAD => {
                let thread = std::thread::current().id();
                let found = self
                    .contexts
                    .get(&context)
                    .ok_or(Status::INVALID_CONTEXT)?
                    .per_thread
                    .get(&thread);
                if let Some(stream) = found {
                    return Ok(*stream);
                }
                let stream = self.new_stream(context, 0, 0);
                if let Some(c) = self.contexts.get_mut(&context) {
                    c.per_thread.insert(thread, stream);
                }
                Ok(stream)
            }
            _ => {
                let state = self.streams.get(&handle).ok_or(Status::INVALID_HANDLE)?;
                self.health(state.context)?;
                Ok(handle)
            }
        }
    }

    /// Adds work to a stream, or to the graph that is captured there. The number is that of the operation; none in a capture.
    pub fn submit(&mut self, stream: Stream, work: Work) -> Result<Option<OpId>, Status> {
        self.submit_after(stream, work, &[], 0)
    }

    /// The same, after other operations and not before a modelled time.
    pub fn submit_after(
        &mut self,
        stream: Stream,
        work: Work,
        after: &[OpId],
        ready: u64,
    ) -> Result<Option<OpId>, Status> {
        if self.streams.get(&stream).is_some_and(|s| s.capture.is_some()) {
            self.capture_work(stream, work)?;
            return Ok(None);
        }
        self.forbid_implicit(stream)?;
        let id = self.enqueue(stream, work, after, ready)?;
        self.bound_depth(stream);
        Ok(Some(id))
    }

    /// Adds work to the queue, after all that CUDA's rules for default streams say.
    pub fn enqueue(&mut self, stream: Stream, work: Work, after: &[OpId], ready: u64) -> Result<OpId, Status> {
        let state = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?;
        let context = state.context;
        let legacy = self.contexts.get(&context).ok_or(Status::INVALID_CONTEXT)?.legacy;
        let mut after = after.to_vec();
        let mut ready = ready.max(state.ended);
        after.extend(state.tail);
        if stream == legacy {
            for other in self
                .streams
                .values()
                .filter(|s| s.context == context && s.flags & NON_BLOCKING == 0)
            {
                after.extend(other.tail);
                ready = ready.max(other.ended);
            }
        } else if state.flags & NON_BLOCKING == 0
            && let Some(legacy) = self.streams.get(&legacy)
        {
            after.extend(legacy.tail);
            ready = ready.max(legacy.ended);
        }
        let id = self.queue.push(stream, context, work, &after, ready);
        if let Some(state) = self.streams.get_mut(&stream) {
            state.tail = Some(id);
        }
        Ok(id)
    }

    fn bound_depth(&mut self, stream: Stream) {
        if self.queue.len() <= DEPTH {
            return;
        }
        let mine: Vec<OpId> = self
            .queue
            .iter()
            .filter(|(_, op)| op.stream == stream)
            .map(|(id, _)| id)
            .collect();
        if mine.len() > DEPTH {
            self.advance(&mine[..DEPTH / 2]);
        }
    }

    /// What to wait for so that a stream is idle.
    fn idle(&self, stream: Stream) -> Result<Rest, Status> {
        let state = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?;
        Ok(Rest::Wait(state.tail.into_iter().collect(), state.ended))
    }

    fn destroy_stream(&mut self, handle: Stream) -> Result<(), Status> {
        if handle.0 <= Stream::PER_THREAD.0 || !self.streams.contains_key(&handle) {
            return Err(Status::INVALID_HANDLE);
        }
        if let Some(capture) = self.streams.get(&handle).and_then(|s| s.capture) {
            self.abandon_capture(capture);
        }
        self.streams.remove(&handle);
        Ok(())
    }
}

exports! {
    /// A stream.
    fn cuStreamCreate(stream: Out<'_, Stream>, flags: u32) {
        here(|d, context| {
            if flags & !NON_BLOCKING != 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.new_stream(context, flags, 0);
            stream.set(new)?;
            DONE
        })
    }

    /// A stream with a priority, brought into range.
    fn cuStreamCreateWithPriority(stream: Out<'_, Stream>, flags: u32, priority: i32) {
        here(|d, context| {
            if flags & !NON_BLOCKING != 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = d.new_stream(context, flags, priority.clamp(PRIORITIES.1, PRIORITIES.0));
            stream.set(new)?;
            DONE
        })
    }

    /// Ends a stream. Work in it still runs.
    fn cuStreamDestroy_v2(stream: Stream) {
        here(|d, _| {
            d.destroy_stream(stream)?;
            DONE
        })
    }

    /// Its priority.
    fn cuStreamGetPriority(stream: Stream, priority: Out<'_, i32>) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            priority.set(d.streams[&stream].priority)?;
            DONE
        })
    }

    /// Its flags.
    fn cuStreamGetFlags(stream: Stream, flags: Out<'_, u32>) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            flags.set(d.streams[&stream].flags)?;
            DONE
        })
    }

    /// Its context.
    fn cuStreamGetCtx(stream: Stream, owner: Out<'_, Context>) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            owner.set(d.streams[&stream].context)?;
            DONE
        })
    }

    /// Its device.
    fn cuStreamGetDevice(stream: Stream, ordinal: Out<'_, i32>) {
        here(|d, context| {
            d.stream(context, stream)?;
            ordinal.set(0)?;
            DONE
        })
    }

    /// A number of its own.
    fn cuStreamGetId(stream: Stream, id: Out<'_, u64>) {
        here(|d, context| {
            id.set(d.stream(context, stream)?.0 as u64)?;
            DONE
        })
    }

    /// Waits for all work of the stream.
    fn cuStreamSynchronize(stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.forbid_on_capturing(stream)?;
            d.forbid_implicit(stream)?;
            d.idle(stream)
        })
    }

    /// Whether all work of the stream is done.
    fn cuStreamQuery(stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.forbid_on_capturing(stream)?;
            match d.streams[&stream].tail {
                Some(tail) => d.is_done(tail),
                None => DONE,
            }
        })
    }

    /// Later work of the stream waits for what `event` has recorded by now.
    fn cuStreamWaitEvent(stream: Stream, event: Event, _flags: u32) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.wait_event(stream, event)?;
            DONE
        })
    }

    /// Ties managed memory to a stream. The emulator keeps managed memory in one place, so only the order counts.
    fn cuStreamAttachMemAsync(stream: Stream, address: u64, _length: usize, _flags: u32) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.managed(address)?;
            d.submit(stream, Work::Nothing)?;
            DONE
        })
    }

    /// Calls a function of the host when all earlier work of the stream is done; later work waits for it.
    fn cuLaunchHostFunc(stream: Stream, function: HostFunction, data: UserData) {
        here(|d, context| {
            let function = function.ok_or(Status::INVALID_VALUE)?;
            let stream = d.stream(context, stream)?;
            d.submit(stream, Work::Call(function, data))?;
            DONE
        })
    }
}

impl Driver {
    /// Answers a question whether an operation has ended. The first questions do not move the device; then it goes on, so that a loop ends.
    pub fn is_done(&mut self, op: OpId) -> super::state::Answer {
        if !self.queue.is_pending(op) {
            return DONE;
        }
        let context = self.queue.get(op).map(|op| op.context);
        if self.queue.ask(op) {
            self.advance(&[op]);
        }
        if let Some(context) = context {
            self.health(context)?;
        }
        if self.queue.is_pending(op) {
            Err(Status::NOT_READY)
        } else {
            DONE
        }
    }
}
