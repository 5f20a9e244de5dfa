//! Stream capture and graphs.

use crate::support::{
    KERNELS, NON_BLOCKING, Scope, content, device, event, fails, function, host, launch, load, ok, pinned, record,
    stream, wait,
};
use cuda_emulator::driver::abi::{Graph, GraphExec, InOut, Node, Out, OutArray, Stream};
use cuda_emulator::driver::capture::{
    cuStreamBeginCapture_v2, cuStreamEndCapture, cuStreamIsCapturing, cuThreadExchangeStreamCaptureMode,
};
use cuda_emulator::driver::context::cuCtxSynchronize;
use cuda_emulator::driver::copy::{cuMemcpyHtoDAsync_v2, cuMemsetD8Async};
use cuda_emulator::driver::event::{cuEventQuery, cuEventRecord};
use cuda_emulator::driver::graph::{
    cuGraphDestroy, cuGraphExecDestroy, cuGraphExecUpdate_v2, cuGraphGetNodes, cuGraphInstantiateWithFlags,
    cuGraphLaunch, cuGraphNodeGetType,
};
use cuda_emulator::driver::memory::{cuMemAlloc_v2, cuMemAllocAsync};
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::stream::{cuStreamSynchronize, cuStreamWaitEvent};

const THREAD_LOCAL: i32 = 1;
const RELAXED: i32 = 2;

fn begin(s: Stream) {
    ok(cuStreamBeginCapture_v2(s, THREAD_LOCAL));
}

fn end(s: Stream) -> Graph {
    let mut graph = Graph::NULL;
    ok(cuStreamEndCapture(s, Out::to(&mut graph)));
    graph
}

/// Ends a capture that failed.
fn end_fails(s: Stream, expected: Status) {
    let mut graph = Graph(1);
    fails(expected, cuStreamEndCapture(s, Out::to(&mut graph)));
    assert_eq!(graph, Graph::NULL);
}

fn instantiate(graph: Graph) -> GraphExec {
    let mut exec = GraphExec::NULL;
    ok(cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 0));
    exec
}

#[test]
fn captured_work_runs_when_its_graph_is_launched() {
    let _scope = Scope::new();
    let (s, data, f) = (
        stream(NON_BLOCKING),
        device(&[0; 4]),
        function(load(KERNELS), c"increment"),
    );
    begin(s);
    ok(cuMemsetD8Async(data, 5, 4, s));
    ok(launch(f, 4, s, &[data]));
    let graph = end(s);
    wait(s);
    assert_eq!(content(data, 4), [0; 4]);
    let exec = instantiate(graph);
    ok(cuGraphDestroy(graph));
    for _ in 0..3 {
        ok(cuGraphLaunch(exec, s));
        ok(launch(f, 4, s, &[data]));
    }
    wait(s);
    assert_eq!(content(data, 4), [7; 4]);
    ok(cuGraphExecDestroy(exec));
    fails(Status::INVALID_HANDLE, cuGraphLaunch(exec, s));
}

#[test]
fn a_captured_copy_reads_its_source_at_each_launch() {
    let _scope = Scope::new();
    let (s, data, from) = (stream(NON_BLOCKING), device(&[0; 4]), pinned(4));
    begin(s);
    ok(cuMemcpyHtoDAsync_v2(data, host(from), 4, s));
    let exec = instantiate(end(s));
    for value in [1, 2] {
        from.fill(value);
        ok(cuGraphLaunch(exec, s));
        wait(s);
        assert_eq!(content(data, 4), [value; 4]);
    }
}

#[test]
fn a_fork_and_a_join_are_edges_of_the_graph() {
    let _scope = Scope::new();
    let (s, t, data, f) = (
        stream(NON_BLOCKING),
        stream(NON_BLOCKING),
        device(&[0; 4]),
        function(load(KERNELS), c"increment"),
    );
    let (fork, join) = (event(), event());
    begin(s);
    ok(cuMemsetD8Async(data, 5, 4, s));
    ok(cuEventRecord(fork, s));
    ok(cuStreamWaitEvent(t, fork, 0));
    let mut state = 0;
    ok(cuStreamIsCapturing(t, Out::to(&mut state)));
    assert_eq!(state, 1);
    ok(launch(f, 4, t, &[data]));
    ok(cuEventRecord(join, t));
    ok(cuStreamWaitEvent(s, join, 0));
    ok(launch(f, 4, s, &[data]));
    let graph = end(s);
    let (mut nodes, mut count, mut kind) = ([Node::NULL; 8], 8, -1);
    ok(cuGraphGetNodes(graph, OutArray::to(&mut nodes), InOut::at(&mut count)));
    assert_eq!(count, 3);
    let kinds = nodes[..3].iter().map(|n| {
        ok(cuGraphNodeGetType(*n, Out::to(&mut kind)));
        kind
    });
    // A memset, two kernels.
    assert_eq!(kinds.collect::<Vec<i32>>(), [2, 0, 0]);
    ok(cuGraphLaunch(instantiate(graph), s));
    wait(s);
    assert_eq!(content(data, 4), [7; 4]);
}

#[test]
fn a_fork_that_is_not_joined_fails() {
    let _scope = Scope::new();
    let (s, t, data, fork) = (stream(NON_BLOCKING), stream(NON_BLOCKING), device(&[0; 4]), event());
    begin(s);
    ok(cuEventRecord(fork, s));
    ok(cuStreamWaitEvent(t, fork, 0));
    ok(cuMemsetD8Async(data, 1, 4, t));
    end_fails(s, Status::STREAM_CAPTURE_UNJOINED);
    ok(cuStreamSynchronize(t));
}

#[test]
fn a_capture_cannot_wait_for_work_outside() {
    let _scope = Scope::new();
    let (s, t) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
    let outside = record(t);
    begin(s);
    fails(Status::STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(s, outside, 0));
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn waiting_and_asking_end_a_capture() {
    let _scope = Scope::new();
    let (s, inside, mut address) = (stream(NON_BLOCKING), event(), 0);
    begin(s);
    fails(Status::STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(s));
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
    begin(s);
    fails(Status::STREAM_CAPTURE_UNSUPPORTED, cuCtxSynchronize());
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
    begin(s);
    ok(cuEventRecord(inside, s));
    fails(Status::CAPTURED_EVENT, cuEventQuery(inside));
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
    begin(s);
    fails(
        Status::STREAM_CAPTURE_UNSUPPORTED,
        cuMemAlloc_v2(Out::to(&mut address), 16),
    );
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
    begin(s);
    fails(Status::NOT_SUPPORTED, cuMemAllocAsync(Out::to(&mut address), 16, s));
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn a_relaxed_capture_allows_them() {
    let _scope = Scope::new();
    let (s, mut address) = (stream(NON_BLOCKING), 0);
    ok(cuStreamBeginCapture_v2(s, RELAXED));
    ok(cuMemAlloc_v2(Out::to(&mut address), 16));
    ok(cuMemsetD8Async(address, 0, 16, s));
    end(s);
    let mut mode = RELAXED;
    ok(cuThreadExchangeStreamCaptureMode(InOut::at(&mut mode)));
    begin(s);
    ok(cuMemAlloc_v2(Out::to(&mut address), 16));
    end(s);
    ok(cuThreadExchangeStreamCaptureMode(InOut::at(&mut mode)));
    assert_eq!(mode, RELAXED);
}

#[test]
fn the_legacy_stream_and_captures_keep_apart() {
    let _scope = Scope::new();
    let (s, data) = (stream(0), device(&[0; 4]));
    fails(
        Status::STREAM_CAPTURE_UNSUPPORTED,
        cuStreamBeginCapture_v2(Stream::LEGACY, RELAXED),
    );
    ok(cuStreamBeginCapture_v2(s, RELAXED));
    fails(Status::ILLEGAL_STATE, cuStreamBeginCapture_v2(s, RELAXED));
    fails(
        Status::STREAM_CAPTURE_IMPLICIT,
        cuMemsetD8Async(data, 1, 4, Stream::LEGACY),
    );
    end_fails(s, Status::STREAM_CAPTURE_INVALIDATED);
    end_fails(s, Status::ILLEGAL_STATE);
}

#[test]
fn a_graph_takes_new_parameters_from_one_of_the_same_shape() {
    let _scope = Scope::new();
    let (s, data, f) = (
        stream(NON_BLOCKING),
        device(&[0; 4]),
        function(load(KERNELS), c"increment"),
    );
    let capture = |value, launches| {
        begin(s);
        ok(cuMemsetD8Async(data, value, 4, s));
        for _ in 0..launches {
            ok(launch(f, 4, s, &[data]));
        }
        end(s)
    };
    let exec = instantiate(capture(1, 1));
    ok(cuGraphExecUpdate_v2(exec, capture(10, 1), Out::null()));
    fails(
        Status::GRAPH_EXEC_UPDATE_FAILURE,
        cuGraphExecUpdate_v2(exec, capture(20, 2), Out::null()),
    );
    ok(cuGraphLaunch(exec, s));
    wait(s);
    assert_eq!(content(data, 4), [11; 4]);
}

#[test]
fn flags_of_a_graph_are_checked() {
    let _scope = Scope::new();
    let s = stream(NON_BLOCKING);
    begin(s);
    let (graph, mut exec) = (end(s), GraphExec::NULL);
    fails(
        Status::INVALID_VALUE,
        cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 5),
    );
    fails(
        Status::NOT_SUPPORTED,
        cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 4),
    );
    fails(
        Status::INVALID_VALUE,
        cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 16),
    );
    ok(cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 1));
    ok(cuGraphLaunch(exec, s));
    wait(s);
}
