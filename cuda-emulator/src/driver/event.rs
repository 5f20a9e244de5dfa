//! Events: points in a stream that others wait for, with a modelled time.

use super::abi::{Context, Event, Out, Stream};
use super::exports::exports;
use super::queue::OpId;
use super::state::{DONE, Driver, Rest, here};
use super::status::Status;
use super::work::Work;

/// One event.
pub struct EventState {
    /// Where it was made.
    pub context: Context,
    /// `CU_EVENT_` flags: 1 blocking wait, 2 no timing, 4 between processes.
    pub flags: u32,
    /// What was recorded last.
    pub record: Record,
}

/// What an event stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing yet: done, as far as a wait is concerned.
    Never,
    /// An operation that may not have ended.
    Op(OpId),
    /// An operation that has ended, at this modelled time.
    Done(u64),
    /// Nodes of a graph that is being captured.
    Captured(u64, Vec<usize>),
}

/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: u32 = 2;

impl Driver {
    fn event(&self, event: Event) -> Result<&EventState, Status> {
        let state = self.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
        self.health(state.context)?;
        Ok(state)
    }

    fn record(&mut self, event: Event, stream: Stream) -> Result<(), Status> {
        let context = self.event(event)?.context;
        if self.streams.get(&stream).is_none_or(|s| s.context != context) {
            return Err(Status::INVALID_HANDLE);
        }
        let record = match self.captured_frontier(stream)? {
            Some((capture, nodes)) => Record::Captured(capture, nodes),
            None => match self.submit(stream, Work::Record(event))? {
                Some(op) => Record::Op(op),
                None => return Err(Status::STREAM_CAPTURE_UNSUPPORTED),
            },
        };
        if let Some(state) = self.events.get_mut(&event) {
            state.record = record;
        }
        Ok(())
    }

    /// Makes later work of the stream wait for the event.
    pub fn wait_event(&mut self, stream: Stream, event: Event) -> Result<(), Status> {
        let record = self.event(event)?.record.clone();
        match record {
            Record::Captured(capture, nodes) => self.join_capture(stream, capture, &nodes),
            Record::Never => Ok(()),
            Record::Op(_) | Record::Done(_) if self.captured_frontier(stream)?.is_some() => {
                self.invalidate_on(stream);
                Err(Status::STREAM_CAPTURE_ISOLATION)
            }
            Record::Op(op) => self.submit_after(stream, Work::Nothing, &[op], 0).map(|_| ()),
            Record::Done(time) => self.submit_after(stream, Work::Nothing, &[], time).map(|_| ()),
        }
    }

    fn elapsed(&mut self, start: Event, end: Event) -> Result<f32, Status> {
        for event in [start, end] {
            let state = self.event(event)?;
            if state.flags & NO_TIMING != 0 || state.record == Record::Never {
                return Err(Status::INVALID_HANDLE);
            }
        }
        Ok((self.time(end)? as f64 - self.time(start)? as f64) as f32 * 1e-6)
    }

    /// The modelled time of an event that is done.
    fn time(&mut self, event: Event) -> Result<u64, Status> {
        if let Record::Op(op) = self.event(event)?.record {
            self.is_done(op)?;
        }
        match self.event(event)?.record {
            Record::Done(time) => Ok(time),
            Record::Captured(..) => Err(Status::CAPTURED_EVENT),
            Record::Never | Record::Op(_) => Err(Status::NOT_READY),
        }
    }
}

exports! {
    /// An event that stands for nothing yet.
    fn cuEventCreate(event: Out<'_, Event>, flags: u32) {
        here(|d, context| {
            if flags & !7 != 0 || flags & 6 == 4 {
                return Err(Status::INVALID_VALUE);
            }
            let new = Event::number(d.number());
            d.events.insert(new, EventState { context, flags, record: Record::Never });
            event.set(new)?;
            DONE
        })
    }

    /// Ends an event; who waits for it goes on waiting for the work.
    fn cuEventDestroy_v2(event: Event) {
        here(|d, _| {
            d.events.remove(&event).ok_or(Status::INVALID_HANDLE)?;
            DONE
        })
    }

    /// Lets the event stand for all work that is in the stream now.
    fn cuEventRecord(event: Event, stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.record(event, stream)?;
            DONE
        })
    }

    /// The same; the flag for external events of graphs is not supported.
    fn cuEventRecordWithFlags(event: Event, stream: Stream, flags: u32) {
        here(|d, context| {
            if flags != 0 {
                super::report::unsupported("cuEventRecordWithFlags with CU_EVENT_RECORD_EXTERNAL");
                return Err(Status::NOT_SUPPORTED);
            }
            let stream = d.stream(context, stream)?;
            d.record(event, stream)?;
            DONE
        })
    }

    /// Whether that work is done.
    fn cuEventQuery(event: Event) {
        super::state::anywhere(|d| match d.event(event)?.record.clone() {
            Record::Op(op) => d.is_done(op),
            Record::Captured(capture, _) => {
                d.invalidate(capture);
                Err(Status::CAPTURED_EVENT)
            }
            Record::Never | Record::Done(_) => DONE,
        })
    }

    /// Waits until that work is done.
    fn cuEventSynchronize(event: Event) {
        here(|d, _| match d.event(event)?.record.clone() {
            Record::Op(op) => Ok(Rest::Wait(vec![op], 0)),
            Record::Captured(capture, _) => {
                d.invalidate(capture);
                Err(Status::CAPTURED_EVENT)
            }
            Record::Done(time) => Ok(Rest::Wait(Vec::new(), time)),
            Record::Never => DONE,
        })
    }

    /// Modelled milliseconds between two events.
    fn cuEventElapsedTime_v2(milliseconds: Out<'_, f32>, start: Event, end: Event) {
        here(|d, _| {
            milliseconds.set(d.elapsed(start, end)?)?;
            DONE
        })
    }

    /// The same by its older name.
    fn cuEventElapsedTime(milliseconds: Out<'_, f32>, start: Event, end: Event) {
        here(|d, _| {
            milliseconds.set(d.elapsed(start, end)?)?;
            DONE
        })
    }
}
