//! Order in and between streams, and time.

use crate::support::{
    NON_BLOCKING, POISON, Scope, alloc, content, device, event, fails, host, ok, pinned, record, stream, wait,
    was_reported,
};
use cuda_emulator::driver::abi::{Context, Event, Out, Stream, UserData};
use cuda_emulator::driver::context::{cuCtxGetCurrent, cuCtxSynchronize};
use cuda_emulator::driver::copy::{cuMemcpyDtoDAsync_v2, cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2, cuMemsetD8Async};
use cuda_emulator::driver::event::{cuEventElapsedTime_v2, cuEventQuery, cuEventRecord, cuEventSynchronize};
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::stream::{cuLaunchHostFunc, cuStreamDestroy_v2, cuStreamQuery, cuStreamWaitEvent};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

#[test]
fn page_locked_memory_is_written_late() {
    let _scope = Scope::new();
    let (s, from, to) = (stream(NON_BLOCKING), device(&[7; 16]), pinned(16));
    ok(cuMemcpyDtoHAsync_v2(host(to), from, 16, s));
    assert_eq!(to, [POISON; 16]);
    wait(s);
    assert_eq!(to, [7; 16]);
}

#[test]
fn pageable_memory_is_written_before_the_call_returns() {
    let _scope = Scope::new();
    let (s, from, to) = (stream(NON_BLOCKING), device(&[7; 16]), vec![0; 16]);
    ok(cuMemcpyDtoHAsync_v2(host(&to), from, 16, s));
    assert_eq!(to, [7; 16]);
}

#[test]
fn page_locked_memory_is_read_late_and_pageable_memory_at_once() {
    let _scope = Scope::new();
    let (s, locked, mut pageable) = (stream(NON_BLOCKING), pinned(16), vec![1; 16]);
    locked.fill(1);
    let (a, b) = (alloc(16), alloc(16));
    ok(cuMemcpyHtoDAsync_v2(a, host(locked), 16, s));
    ok(cuMemcpyHtoDAsync_v2(b, host(&pageable), 16, s));
    locked.fill(2);
    pageable.fill(2);
    wait(s);
    assert_eq!(content(a, 16), [2; 16]);
    assert_eq!(content(b, 16), [1; 16]);
}

#[test]
fn a_stream_does_not_wait_for_another() {
    let _scope = Scope::new();
    let (writer, reader, data, to) = (stream(NON_BLOCKING), stream(NON_BLOCKING), device(&[0; 16]), pinned(16));
    ok(cuMemsetD8Async(data, 5, 16, writer));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, reader));
    wait(reader);
    assert_eq!(to, [0; 16]);
    wait(writer);
    assert_eq!(content(data, 16), [5; 16]);
}

#[test]
fn a_stream_waits_for_an_event_of_another() {
    let _scope = Scope::new();
    let (writer, reader, data, to) = (stream(NON_BLOCKING), stream(NON_BLOCKING), device(&[0; 16]), pinned(16));
    ok(cuMemsetD8Async(data, 5, 16, writer));
    ok(cuStreamWaitEvent(reader, record(writer), 0));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, reader));
    wait(reader);
    assert_eq!(to, [5; 16]);
}

#[test]
fn what_comes_after_an_event_is_not_waited_for() {
    let _scope = Scope::new();
    let (writer, reader, data, to) = (stream(NON_BLOCKING), stream(NON_BLOCKING), device(&[0; 16]), pinned(16));
    ok(cuMemsetD8Async(data, 5, 16, writer));
    ok(cuStreamWaitEvent(reader, record(writer), 0));
    // Nothing orders this against the copy: with seed 0 it runs late, with another it may run before.
    ok(cuMemsetD8Async(data, 6, 16, writer));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, reader));
    wait(reader);
    assert_eq!(to, [5; 16]);
}

#[test]
fn without_an_order_the_last_issued_runs_first() {
    let _scope = Scope::new();
    let (first, second, data) = (stream(NON_BLOCKING), stream(NON_BLOCKING), device(&[0; 16]));
    ok(cuMemsetD8Async(data, 1, 16, first));
    ok(cuMemsetD8Async(data, 2, 16, second));
    ok(cuCtxSynchronize());
    assert_eq!(content(data, 16), [1; 16]);
}

#[test]
fn the_legacy_stream_waits_for_blocking_streams_only() {
    let _scope = Scope::new();
    let (blocking, other) = (stream(0), stream(NON_BLOCKING));
    let (a, b) = (device(&[0; 16]), device(&[0; 16]));
    ok(cuMemsetD8Async(a, 1, 16, blocking));
    ok(cuMemsetD8Async(b, 1, 16, other));
    assert_eq!(content(a, 16), [1; 16]);
    assert_eq!(content(b, 16), [0; 16]);
}

#[test]
fn blocking_streams_wait_for_the_legacy_stream() {
    let _scope = Scope::new();
    for handle in [stream(0), Stream::PER_THREAD] {
        let (data, to) = (device(&[0; 16]), pinned(16));
        ok(cuMemsetD8Async(data, 1, 16, Stream::LEGACY));
        ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, handle));
        wait(handle);
        assert_eq!(to, [1; 16]);
    }
}

#[test]
fn per_thread_streams_are_apart() {
    let scope = Scope::new();
    let (data, context) = (device(&[0; 16]), scope.0);
    std::thread::spawn(move || {
        ok(cuda_emulator::driver::context::cuCtxSetCurrent(context));
        ok(cuMemsetD8Async(data, 1, 16, Stream::PER_THREAD));
    })
    .join()
    .unwrap();
    let to = pinned(16);
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, Stream::PER_THREAD));
    wait(Stream::PER_THREAD);
    assert_eq!(to, [0; 16]);
}

#[test]
fn work_of_a_destroyed_stream_still_runs() {
    let _scope = Scope::new();
    let (s, data) = (stream(NON_BLOCKING), device(&[0; 16]));
    ok(cuMemsetD8Async(data, 1, 16, s));
    ok(cuStreamDestroy_v2(s));
    fails(Status::INVALID_HANDLE, cuStreamQuery(s));
    ok(cuCtxSynchronize());
    assert_eq!(content(data, 16), [1; 16]);
}

#[test]
fn a_question_is_answered_no_at_first_and_yes_in_the_end() {
    let _scope = Scope::new();
    let (s, data) = (stream(NON_BLOCKING), device(&[0; 16]));
    ok(cuStreamQuery(s));
    ok(cuEventQuery(event()));
    ok(cuMemsetD8Async(data, 1, 16, s));
    let done = record(s);
    fails(Status::NOT_READY, cuStreamQuery(s));
    fails(Status::NOT_READY, cuEventQuery(done));
    let questions = (0..100).take_while(|_| cuEventQuery(done) == Status::NOT_READY).count();
    assert!((1..100).contains(&questions));
    ok(cuStreamQuery(s));
}

#[test]
fn an_event_that_is_recorded_again_stands_for_the_later_work() {
    let _scope = Scope::new();
    let (s, data, to) = (stream(NON_BLOCKING), device(&[0; 16]), pinned(16));
    let e = record(s);
    ok(cuMemsetD8Async(data, 1, 16, s));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, s));
    ok(cuEventSynchronize(e));
    assert_eq!(to, [POISON; 16]);
    ok(cuEventRecord(e, s));
    ok(cuEventSynchronize(e));
    assert_eq!(to, [1; 16]);
}

fn elapsed(start: Event, end: Event) -> f32 {
    let mut milliseconds = f32::NAN;
    ok(cuEventElapsedTime_v2(Out::to(&mut milliseconds), start, end));
    milliseconds
}

#[test]
fn time_goes_on_and_streams_overlap() {
    let _scope = Scope::new();
    let (s, t) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
    let (a, b) = (device(&[0; 16 << 20]), alloc(16 << 20));
    let copy = |s| ok(cuMemcpyDtoDAsync_v2(b, a, 16 << 20, s));
    let start = record(s);
    copy(s);
    let one = record(s);
    copy(s);
    let two = record(s);
    copy(t);
    ok(cuStreamWaitEvent(s, record(t), 0));
    let three = record(s);
    ok(cuCtxSynchronize());
    assert!(elapsed(start, one) > 0.0);
    assert!(elapsed(start, two) > 1.5 * elapsed(start, one));
    // The copy of the other stream ran beside the second of this one.
    assert!(elapsed(two, three) < 0.5 * elapsed(start, one));
}

#[test]
fn time_needs_two_recorded_events_that_are_done() {
    let _scope = Scope::new();
    let (s, data) = (stream(NON_BLOCKING), device(&[0; 16]));
    let start = record(s);
    let mut milliseconds = 0.0;
    fails(
        Status::INVALID_HANDLE,
        cuEventElapsedTime_v2(Out::to(&mut milliseconds), start, event()),
    );
    ok(cuMemsetD8Async(data, 1, 16, s));
    let end = record(s);
    fails(
        Status::NOT_READY,
        cuEventElapsedTime_v2(Out::to(&mut milliseconds), start, end),
    );
    wait(s);
    ok(cuEventElapsedTime_v2(Out::to(&mut milliseconds), start, end));
}

unsafe extern "C" fn store(place: *mut c_void) {
    // SAFETY: the tests pass an AtomicU64 that outlives the stream's work.
    unsafe { &*place.cast::<AtomicU64>() }.store(1, Ordering::SeqCst);
}

#[test]
fn a_host_function_runs_in_the_order_of_its_stream() {
    let _scope = Scope::new();
    static CALLED: AtomicU64 = AtomicU64::new(0);
    let s = stream(NON_BLOCKING);
    let data = UserData(std::ptr::from_ref(&CALLED).cast_mut().cast());
    ok(cuLaunchHostFunc(s, Some(store), data));
    assert_eq!(CALLED.load(Ordering::SeqCst), 0);
    wait(s);
    assert_eq!(CALLED.load(Ordering::SeqCst), 1);
}

unsafe extern "C" fn call_driver(place: *mut c_void) {
    let mut context = Context::NULL;
    let status = cuCtxGetCurrent(Out::to(&mut context));
    // SAFETY: the test passes an AtomicI32 that outlives the stream's work.
    unsafe { &*place.cast::<AtomicI32>() }.store(status.0, Ordering::SeqCst);
}

#[test]
fn a_host_function_must_not_call_the_driver() {
    let _scope = Scope::new();
    static STATUS: AtomicI32 = AtomicI32::new(0);
    let s = stream(NON_BLOCKING);
    let data = UserData(std::ptr::from_ref(&STATUS).cast_mut().cast());
    ok(cuLaunchHostFunc(s, Some(call_driver), data));
    wait(s);
    assert_eq!(STATUS.load(Ordering::SeqCst), Status::NOT_PERMITTED.0);
    assert!(
        !was_reported("host function"),
        "reported in the thread that called, not here"
    );
}

#[test]
fn a_deep_stream_runs_its_oldest_work() {
    let _scope = Scope::new();
    let (s, data, to) = (stream(NON_BLOCKING), device(&[0; 16]), pinned(16));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, s));
    for _ in 0..2000 {
        ok(cuMemsetD8Async(data, 1, 16, s));
    }
    assert_eq!(to, [0; 16]);
    wait(s);
}
