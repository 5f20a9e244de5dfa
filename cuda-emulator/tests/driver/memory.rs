//! Allocation and free, in order and out of it; leaks.

use crate::support::{
    NON_BLOCKING, POISON, Scope, alloc, content, device, fails, free, host, ok, pinned, record, stream, wait,
    was_reported, was_reported_as,
};
use cuda_emulator::driver::abi::{Host, In, Location, Out, Pool, PoolProperties, Stream, Untyped};
use cuda_emulator::driver::context::{
    cuCtxDestroy_v2, cuCtxGetCurrent, cuCtxSetCurrent, cuCtxSynchronize, cuDevicePrimaryCtxGetState,
};
use cuda_emulator::driver::copy::{cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2, cuMemsetD8_v2, cuMemsetD8Async};
use cuda_emulator::driver::memory::{
    cuMemAlloc_v2, cuMemAllocAsync, cuMemAllocManaged, cuMemFree_v2, cuMemFreeAsync, cuMemFreeHost, cuMemGetInfo_v2,
    cuMemHostRegister_v2, cuMemHostUnregister, cuMemPrefetchAsync_v2,
};
use cuda_emulator::driver::pointer::cuPointerGetAttribute;
use cuda_emulator::driver::pool::{
    cuDeviceGetDefaultMemPool, cuMemAllocFromPoolAsync, cuMemPoolCreate, cuMemPoolDestroy, cuMemPoolGetAttribute,
};
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::stream::cuStreamWaitEvent;

fn alloc_async(bytes: usize, s: Stream) -> u64 {
    let mut address = 0;
    ok(cuMemAllocAsync(Out::to(&mut address), bytes, s));
    address
}

#[test]
fn memory_of_a_stream_is_good_in_its_order() {
    let _scope = Scope::new();
    let (s, t) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
    let data = alloc_async(16, s);
    ok(cuMemsetD8Async(data, 1, 16, s));
    ok(cuStreamWaitEvent(t, record(s), 0));
    ok(cuMemsetD8Async(data, 2, 16, t));
    ok(cuStreamWaitEvent(s, record(t), 0));
    ok(cuMemFreeAsync(data, s));
    ok(cuCtxSynchronize());
}

#[test]
fn another_stream_must_not_use_memory_before_it_is_allocated() {
    let _scope = Scope::new();
    let (s, t) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
    let data = alloc_async(16, s);
    ok(cuMemsetD8Async(data, 1, 16, t));
    fails(Status::ILLEGAL_ADDRESS, cuCtxSynchronize());
    assert!(was_reported("another stream allocates or frees"));
}

#[test]
fn another_stream_must_not_use_memory_after_it_is_freed() {
    let _scope = Scope::new();
    let (s, t) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
    let data = alloc_async(16, s);
    ok(cuStreamWaitEvent(t, record(s), 0));
    ok(cuMemsetD8Async(data, 1, 16, t));
    ok(cuMemFreeAsync(data, s));
    // Whichever runs first: the free does not wait for the memset.
    fails(Status::ILLEGAL_ADDRESS, cuCtxSynchronize());
    assert!(was_reported_as(&["was freed", "another stream allocates or frees"]));
}

#[test]
fn freed_memory_is_refused_at_once_where_the_call_names_it() {
    let _scope = Scope::new();
    let s = stream(NON_BLOCKING);
    let data = alloc_async(16, s);
    ok(cuMemFreeAsync(data, s));
    fails(Status::INVALID_VALUE, cuMemsetD8Async(data, 1, 16, s));
    assert!(was_reported("were freed before"));
    fails(Status::INVALID_VALUE, cuMemFreeAsync(data, s));
    assert!(was_reported("were freed before"));
    fails(Status::INVALID_VALUE, cuMemFree_v2(data + 4));
    assert!(was_reported("no allocation begins"));
}

#[test]
fn a_plain_free_waits_for_all_work() {
    let _scope = Scope::new();
    let (s, data) = (stream(NON_BLOCKING), alloc(16));
    let to = pinned(16);
    ok(cuMemsetD8Async(data, 1, 16, s));
    ok(cuMemcpyDtoHAsync_v2(host(to), data, 16, s));
    free(data);
    assert_eq!(to, [1; 16]);
}

#[test]
fn nothing_is_freed_by_freeing_null_and_nothing_allocated_by_no_bytes() {
    let _scope = Scope::new();
    free(0);
    ok(cuMemFreeAsync(0, Stream::NULL));
    assert_eq!(alloc_async(0, Stream::NULL), 0);
    let mut address = 0;
    fails(Status::INVALID_VALUE, cuMemAlloc_v2(Out::to(&mut address), 0));
}

#[test]
fn more_than_there_is_is_refused_with_the_numbers() {
    let _scope = Scope::new();
    let (mut free, mut total, mut address) = (0, 0, 0);
    ok(cuMemGetInfo_v2(Out::to(&mut free), Out::to(&mut total)));
    assert!(free <= total);
    fails(Status::OUT_OF_MEMORY, cuMemAlloc_v2(Out::to(&mut address), total + 1));
    assert!(was_reported("bytes were asked for"));
}

#[test]
fn page_locked_memory_must_outlive_its_copies() {
    let _scope = Scope::new();
    let (s, data, from) = (stream(NON_BLOCKING), alloc(16), pinned(16));
    ok(cuMemcpyHtoDAsync_v2(data, host(from), 16, s));
    ok(cuMemFreeHost(host(from)));
    fails(Status::ILLEGAL_ADDRESS, cuCtxSynchronize());
    assert!(was_reported("was freed before the copy ran"));
}

#[test]
fn page_locked_memory_is_freed_once_and_by_its_address() {
    let _scope = Scope::new();
    let memory = pinned(16);
    fails(Status::INVALID_VALUE, cuMemFreeHost(host(&memory[1..])));
    ok(cuMemFreeHost(host(memory)));
    fails(Status::INVALID_VALUE, cuMemFreeHost(host(memory)));
}

#[test]
fn registered_memory_is_page_locked() {
    let _scope = Scope::new();
    let (s, data, to) = (stream(NON_BLOCKING), device(&[3; 64]), vec![0; 64]);
    ok(cuMemHostRegister_v2(host(&to), 64, 0));
    fails(
        Status::HOST_MEMORY_ALREADY_REGISTERED,
        cuMemHostRegister_v2(host(&to), 64, 0),
    );
    ok(cuMemcpyDtoHAsync_v2(host(&to), data, 64, s));
    assert_eq!(to, [0; 64]);
    wait(s);
    assert_eq!(to, [3; 64]);
    ok(cuMemHostUnregister(host(&to)));
    fails(Status::HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(host(&to)));
}

#[test]
fn managed_memory_has_one_address() {
    let _scope = Scope::new();
    let mut address = 0;
    ok(cuMemAllocManaged(Out::to(&mut address), 16, 1));
    // SAFETY: managed memory is the host's too.
    let seen =
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(address as usize), 16) };
    assert_eq!(seen, [POISON; 16]);
    ok(cuMemsetD8_v2(address, 4, 16));
    assert_eq!(seen, [POISON; 16]);
    ok(cuCtxSynchronize());
    assert_eq!(seen, [4; 16]);
    seen[0] = 9;
    assert_eq!(content(address, 2), [9, 4]);
    let here = Location { kind: 1, id: 0 };
    ok(cuMemPrefetchAsync_v2(address, 16, here, 0, Stream::NULL));
    // SAFETY: attribute 8 is a byte.
    let attribute = |value| cuPointerGetAttribute(unsafe { Untyped::at(value) }, 8, address);
    let mut is_managed = 0u8;
    ok(attribute(&mut is_managed));
    assert_eq!(is_managed, 1);
    free(address);
}

#[test]
fn page_locked_memory_where_managed_memory_was_freed_is_page_locked() {
    const BYTES: usize = 20_000;
    let scope = Scope::new();
    let mut count = 0;
    // The host's allocator gives an address again sooner or later.
    let again = (0..1000).find_map(|_| {
        let mut managed = 0;
        ok(cuMemAllocManaged(Out::to(&mut managed), BYTES, 1));
        free(managed);
        count += 1;
        Some(pinned(BYTES)).filter(|p| p.as_ptr().expose_provenance() as u64 == managed)
    });
    let memory = again.unwrap();
    ok(cuMemsetD8_v2(memory.as_ptr().expose_provenance() as u64, 1, BYTES));
    ok(cuCtxSynchronize());
    assert_eq!(memory, [1; BYTES]);
    ok(cuCtxDestroy_v2(scope.0));
    assert!(was_reported(&format!(
        "not given back: {count} page-locked blocks ({} bytes)",
        BYTES * count
    )));
}

#[test]
fn pools_count_what_is_in_use() {
    let _scope = Scope::new();
    let mut pool = Pool::NULL;
    ok(cuDeviceGetDefaultMemPool(Out::to(&mut pool), 0));
    fails(Status::INVALID_VALUE, cuMemPoolDestroy(pool));
    let location = Location { kind: 1, id: 0 };
    let properties = PoolProperties {
        allocation: 1,
        handles: 0,
        location,
        security: 0,
        max_size: 0,
        usage: 0,
        reserved: [0; 54],
    };
    ok(cuMemPoolCreate(Out::to(&mut pool), In::from(&properties)));
    let (s, mut address, mut used) = (stream(0), 0, 0u64);
    ok(cuMemAllocFromPoolAsync(Out::to(&mut address), 1000, pool, s));
    // SAFETY: attribute 7, the bytes in use, is a u64.
    ok(cuMemPoolGetAttribute(pool, 7, unsafe { Untyped::at(&mut used) }));
    assert_eq!(used, 1000);
    ok(cuMemFreeAsync(address, s));
    // SAFETY: as above.
    ok(cuMemPoolGetAttribute(pool, 7, unsafe { Untyped::at(&mut used) }));
    assert_eq!(used, 0);
    ok(cuMemPoolDestroy(pool));
}

#[test]
fn what_is_left_in_a_context_is_reported() {
    let scope = Scope::new();
    alloc(100);
    alloc(28);
    stream(0);
    record(Stream::LEGACY);
    pinned(10);
    ok(cuCtxDestroy_v2(scope.0));
    assert!(was_reported(
        "2 device allocations (128 bytes), 1 page-locked blocks (10 bytes), 1 streams, 1 events"
    ));
    fails(Status::INVALID_CONTEXT, cuCtxSetCurrent(scope.0));
}

#[test]
fn what_was_given_back_is_not_reported() {
    let scope = Scope::new();
    free(device(&[1; 10]));
    let s = stream(NON_BLOCKING);
    ok(cuMemFreeAsync(alloc_async(16, s), s));
    ok(cuda_emulator::driver::stream::cuStreamDestroy_v2(s));
    ok(cuCtxDestroy_v2(scope.0));
    assert!(!was_reported("leak"));
}

#[test]
fn the_primary_context_lives_while_somebody_retains_it() {
    use cuda_emulator::driver::abi::Context;
    use cuda_emulator::driver::context::{cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRetain};
    let _scope = Scope::new();
    let state = || {
        let (mut flags, mut active) = (0, 0);
        ok(cuDevicePrimaryCtxGetState(0, Out::to(&mut flags), Out::to(&mut active)));
        active
    };
    let (mut a, mut b, mut seen) = (Context::NULL, Context::NULL, Context::NULL);
    ok(cuDevicePrimaryCtxRetain(Out::to(&mut a), 0));
    ok(cuDevicePrimaryCtxRetain(Out::to(&mut b), 0));
    assert_eq!((a, state()), (b, 1));
    ok(cuCtxSetCurrent(a));
    ok(cuCtxGetCurrent(Out::to(&mut seen)));
    assert_eq!(seen, a);
    let memory = alloc(16);
    ok(cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(state(), 1);
    ok(cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(state(), 0);
    assert!(was_reported("1 device allocations (16 bytes)"));
    fails(Status::INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
    ok(cuCtxSetCurrent(_scope.0));
    fails(Status::INVALID_VALUE, cuMemFree_v2(memory));
    // SAFETY: null is never used.
    ok(cuMemFreeHost(unsafe { Host::at(std::ptr::null::<u8>()) }));
}
