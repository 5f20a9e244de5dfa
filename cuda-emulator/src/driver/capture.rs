//! Stream capture: work goes into a graph instead of the queue.

use super::abi::{Context, Graph, Node, Out, Stream};
use super::exports::exports;
use super::graph::{GraphNode, GraphState};
use super::report;
use super::state::{DONE, Driver, here};
use super::status::Status;
use super::work::Work;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::ThreadId;

/// A capture that goes on.
pub struct Capture {
    /// Where it goes on.
    pub context: Context,
    origin: Stream,
    thread: ThreadId,
    mode: i32,
    nodes: Vec<GraphNode>,
    /// For each stream that takes part: the nodes that its next node comes after.
    frontiers: BTreeMap<Stream, Vec<usize>>,
    is_invalid: bool,
}

/// `CU_STREAM_CAPTURE_MODE_`: global, thread local, relaxed.
const GLOBAL: i32 = 0;
const RELAXED: i32 = 2;

thread_local! {
    static MODE: Cell<i32> = const { Cell::new(GLOBAL) };
}

impl Driver {
    fn capture_of(&self, stream: Stream) -> Option<u64> {
        self.streams.get(&stream).and_then(|s| s.capture)
    }

    /// The capture of a stream and the nodes that work in it comes after; none if it is not capturing.
    pub fn captured_frontier(&self, stream: Stream) -> Result<Option<(u64, Vec<usize>)>, Status> {
        let Some(id) = self.capture_of(stream) else {
            return Ok(None);
        };
        match self.captures.get(&id) {
            Some(c) if !c.is_invalid => Ok(Some((id, c.frontiers.get(&stream).cloned().unwrap_or_default()))),
            _ => Err(Status::STREAM_CAPTURE_INVALIDATED),
        }
    }

    /// Adds a node after the stream's last ones.
    pub fn capture_work(&mut self, stream: Stream, work: Work) -> Result<(), Status> {
        let Some((id, after)) = self.captured_frontier(stream)? else {
            return Err(Status::ILLEGAL_STATE);
        };
        if matches!(work, Work::Allocate(_) | Work::Free(_)) {
            report::unsupported("allocation or free of device memory in a stream that is being captured");
            self.invalidate(id);
            return Err(Status::NOT_SUPPORTED);
        }
        if matches!(work, Work::Nothing) {
            return Ok(());
        }
        self.capture_node(stream, id, work, after);
        Ok(())
    }

    /// Adds a node after given ones; it is then the stream's last.
    pub fn capture_node(&mut self, stream: Stream, capture: u64, work: Work, after: Vec<usize>) -> usize {
        let handle = Node::number(self.number());
        let Some(c) = self.captures.get_mut(&capture) else {
            return 0;
        };
        c.nodes.push(GraphNode { handle, work, after });
        let index = c.nodes.len() - 1;
        c.frontiers.insert(stream, vec![index]);
        index
    }

    /// Sets the nodes that the stream's next node comes after.
    pub fn set_frontier(&mut self, stream: Stream, capture: u64, nodes: Vec<usize>) {
        if let Some(c) = self.captures.get_mut(&capture) {
            c.frontiers.insert(stream, nodes);
        }
    }

    /// Lets a stream wait for captured work; it takes part in the capture from then on.
    pub fn join_capture(&mut self, stream: Stream, capture: u64, nodes: &[usize]) -> Result<(), Status> {
        if self.captures.get(&capture).is_none_or(|c| c.is_invalid) {
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        match self.capture_of(stream) {
            Some(other) if other != capture => {
                self.invalidate(capture);
                self.invalidate(other);
                return Err(Status::STREAM_CAPTURE_MERGE);
            }
            Some(_) => {}
            None => {
                let legacy = self
                    .streams
                    .get(&stream)
                    .and_then(|s| self.contexts.get(&s.context))
                    .map(|c| c.legacy);
                if legacy == Some(stream) {
                    self.invalidate(capture);
                    return Err(Status::STREAM_CAPTURE_UNSUPPORTED);
                }
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.capture = Some(capture);
                }
            }
        }
        if let Some(c) = self.captures.get_mut(&capture) {
            let frontier = c.frontiers.entry(stream).or_default();
            let joined: BTreeSet<usize> = frontier.iter().chain(nodes).copied().collect();
            *frontier = joined.into_iter().collect();
        }
        Ok(())
    }

    /// Makes a capture fail when it ends.
    pub fn invalidate(&mut self, capture: u64) {
        if let Some(c) = self.captures.get_mut(&capture) {
            c.is_invalid = true;
        }
    }

    /// The same for the capture that a stream takes part in.
    pub fn invalidate_on(&mut self, stream: Stream) {
        if let Some(capture) = self.capture_of(stream) {
            self.invalidate(capture);
        }
    }

    /// Ends a capture without a graph.
    pub fn abandon_capture(&mut self, capture: u64) {
        self.captures.remove(&capture);
        for stream in self.streams.values_mut().filter(|s| s.capture == Some(capture)) {
            stream.capture = None;
        }
    }

    /// For calls that ask about a stream that has not run: forbidden while it is captured.
    pub fn forbid_on_capturing(&mut self, stream: Stream) -> Result<(), Status> {
        match self.capture_of(stream) {
            None => Ok(()),
            Some(capture) => {
                self.invalidate(capture);
                Err(Status::STREAM_CAPTURE_UNSUPPORTED)
            }
        }
    }

    /// For calls that may wait for the whole context: forbidden by global captures, and by this thread's own.
    pub fn forbid_in_capture(&mut self, context: Context) -> Result<(), Status> {
        if MODE.get() == RELAXED {
            return Ok(());
        }
        let me = std::thread::current().id();
        let forbids = |c: &Capture| (c.mode == GLOBAL && MODE.get() == GLOBAL) || (c.thread == me && c.mode != RELAXED);
        let found = self
            .captures
            .iter()
            .find(|(_, c)| c.context == context && forbids(c))
            .map(|(id, _)| *id);
        match found {
            None => Ok(()),
            Some(capture) => {
                self.invalidate(capture);
                Err(Status::STREAM_CAPTURE_UNSUPPORTED)
            }
        }
    }

    /// For work in the legacy default stream: it would wait for every blocking stream, one that is captured among them.
    pub fn forbid_implicit(&mut self, stream: Stream) -> Result<(), Status> {
        let Some(state) = self.streams.get(&stream) else {
            return Err(Status::INVALID_HANDLE);
        };
        let context = state.context;
        if self.captures.is_empty() || self.contexts.get(&context).is_none_or(|c| c.legacy != stream) {
            return Ok(());
        }
        let captured = self
            .streams
            .values()
            .find(|s| s.context == context && s.flags & 1 == 0 && s.capture.is_some());
        match captured.and_then(|s| s.capture) {
            None => Ok(()),
            Some(capture) => {
                self.invalidate(capture);
                Err(Status::STREAM_CAPTURE_IMPLICIT)
            }
        }
    }

    fn begin_capture(&mut self, context: Context, stream: Stream, mode: i32) -> Result<(), Status> {
        let state = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?;
        if self.contexts.get(&context).is_none_or(|c| c.legacy == stream) {
            return Err(Status::STREAM_CAPTURE_UNSUPPORTED);
        }
        if state.capture.is_some() {
            return Err(Status::ILLEGAL_STATE);
        }
        if !(GLOBAL..=RELAXED).contains(&mode) {
            return Err(Status::INVALID_VALUE);
        }
        let id = self.number();
        let capture = Capture {
            context,
            origin: stream,
            thread: std::thread::current().id(),
            mode,
            nodes: Vec::new(),
            frontiers: BTreeMap::from([(stream, Vec::new())]),
            is_invalid: false,
        };
        self.captures.insert(id, capture);
        if let Some(state) = self.streams.get_mut(&stream) {
            state.capture = Some(id);
        }
        Ok(())
    }

    fn end_capture(&mut self, stream: Stream) -> Result<Graph, Status> {
        let id = self.capture_of(stream).ok_or(Status::ILLEGAL_STATE)?;
        let capture = self.captures.get_mut(&id).ok_or(Status::ILLEGAL_STATE)?;
        if capture.origin != stream {
            capture.is_invalid = true;
            return Err(Status::STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != RELAXED && capture.thread != std::thread::current().id() {
            capture.is_invalid = true;
            return Err(Status::STREAM_CAPTURE_WRONG_THREAD);
        }
        let capture = self.captures.remove(&id).ok_or(Status::ILLEGAL_STATE)?;
        self.abandon_capture(id);
        if capture.is_invalid {
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        if !capture.is_joined() {
            return Err(Status::STREAM_CAPTURE_UNJOINED);
        }
        let graph = Graph::number(self.number());
        self.graphs.insert(
            graph,
            GraphState {
                context: capture.context,
                nodes: capture.nodes,
            },
        );
        Ok(graph)
    }
}

impl Capture {
    /// Whether the origin waits for the last work of every stream that took part.
    fn is_joined(&self) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = self.frontiers.get(&self.origin).cloned().unwrap_or_default();
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                open.extend(&self.nodes[node].after);
            }
        }
        self.frontiers.values().flatten().all(|node| seen.contains(node))
    }
}

exports! {
    /// From here on work in the stream is captured.
    fn cuStreamBeginCapture_v2(stream: Stream, mode: i32) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.begin_capture(context, stream, mode)?;
            DONE
        })
    }

    /// Ends the capture; the graph is null if it failed.
    fn cuStreamEndCapture(stream: Stream, graph: Out<'_, Graph>) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            match d.end_capture(stream) {
                Ok(new) => graph.set(new)?,
                Err(status) => {
                    graph.set(Graph::NULL)?;
                    return Err(status);
                }
            }
            DONE
        })
    }

    /// 0: not captured, 1: captured, 2: in a capture that failed.
    fn cuStreamIsCapturing(stream: Stream, state: Out<'_, i32>) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.forbid_implicit(stream)?;
            let is_invalid = d.capture_of(stream).map(|id| d.captures.get(&id).is_none_or(|c| c.is_invalid));
            state.set(match is_invalid {
                None => 0,
                Some(false) => 1,
                Some(true) => 2,
            })?;
            DONE
        })
    }

    /// Exchanges this thread's mode: what other captures forbid it.
    fn cuThreadExchangeStreamCaptureMode(mode: super::abi::InOut<'_, i32>) {
        match mode.exchange(|new| (GLOBAL..=RELAXED).contains(&new).then(|| MODE.replace(new))) {
            Some(()) => Status::SUCCESS,
            None => Status::INVALID_VALUE,
        }
    }
}
