//! Errors: of kernels, which a context does not survive, and of calls, which it does.

use crate::support::{
    KERNELS, Scope, alloc, content, device, fails, function, launch, load, ok, stream, wait, was_reported,
};
use cuda_emulator::driver::abi::{Chars, Context, Event, Image, Module, Out, Stream, Text, Words};
use cuda_emulator::driver::context::{
    cuCtxDisablePeerAccess, cuCtxEnablePeerAccess, cuCtxGetLimit, cuCtxPopCurrent_v2, cuCtxPushCurrent_v2,
    cuCtxSetLimit, cuCtxSynchronize,
};
use cuda_emulator::driver::copy::{
    cuMemcpyDtoD_v2, cuMemsetD2D8_v2, cuMemsetD2D32_v2, cuMemsetD8_v2, cuMemsetD8Async, cuMemsetD32_v2,
};
use cuda_emulator::driver::device::{
    cuDeviceCanAccessPeer, cuDeviceGet, cuDeviceGetAttribute, cuDeviceGetCount, cuDeviceGetName,
};
use cuda_emulator::driver::entry::{
    cuDriverGetVersion, cuGetErrorName, cuGetErrorString, cuGetProcAddress_v2, cuImportExternalMemory, cuInit,
};
use cuda_emulator::driver::event::{cuEventDestroy_v2, cuEventRecord};
use cuda_emulator::driver::memory::{cuMemAlloc_v2, cuMemAllocPitch_v2, cuMemFree_v2};
use cuda_emulator::driver::module::{cuModuleGetFunction, cuModuleLoad, cuModuleLoadData, cuModuleLoadDataEx};
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::stream::{cuStreamDestroy_v2, cuStreamSynchronize};
use std::ffi::CStr;

/// A kernel that fails is noticed at the synchronisation, and by every call after it; other contexts live on.
fn dies_of(kernel: &CStr, values: &[u64], expected: Status, report: &str) {
    let healthy = Scope::new();
    {
        let _scope = Scope::new();
        let memory = device(&[0; 64]);
        let values: Vec<u64> = values.iter().map(|v| v + memory).collect();
        let f = function(load(KERNELS), kernel);
        let s = stream(0);
        ok(launch(f, 1, s, &values));
        ok(cuMemsetD8Async(memory, 1, 64, s));
        fails(expected, cuStreamSynchronize(s));
        assert!(was_reported(report));
        fails(expected, cuCtxSynchronize());
        fails(expected, cuMemFree_v2(memory));
        fails(expected, launch(f, 1, s, &values));
        let mut address = 0;
        fails(expected, cuMemAlloc_v2(Out::to(&mut address), 16));
    }
    let mut context = Context::NULL;
    ok(cuCtxPopCurrent_v2(Out::to(&mut context)));
    ok(cuCtxPushCurrent_v2(healthy.0));
    assert_eq!(content(device(&[1; 4]), 4), [1; 4]);
}

#[test]
fn an_access_outside_is_an_illegal_address() {
    dies_of(c"outside", &[0], Status::ILLEGAL_ADDRESS, "OutOfBounds");
}

#[test]
fn an_odd_address_is_misaligned() {
    dies_of(c"odd", &[0], Status::MISALIGNED_ADDRESS, "Misaligned");
}

#[test]
fn a_trap_is_a_failed_launch() {
    dies_of(c"trap", &[], Status::LAUNCH_FAILED, "Trap");
}

#[test]
fn handles_are_checked() {
    let _scope = Scope::new();
    fails(Status::INVALID_HANDLE, cuStreamSynchronize(Stream(0x1234_5678)));
    fails(Status::INVALID_HANDLE, cuStreamDestroy_v2(Stream::LEGACY));
    let s = stream(0);
    ok(cuStreamDestroy_v2(s));
    fails(Status::INVALID_HANDLE, cuStreamDestroy_v2(s));
    fails(Status::INVALID_HANDLE, cuEventDestroy_v2(Event(s.0)));
    let module = load(KERNELS);
    let mut f = cuda_emulator::driver::abi::Function::NULL;
    fails(
        Status::NOT_FOUND,
        cuModuleGetFunction(Out::to(&mut f), module, Text::from(c"missing")),
    );
    fails(
        Status::INVALID_HANDLE,
        cuModuleGetFunction(Out::to(&mut f), Module(s.0), Text::from(c"trap")),
    );
}

#[test]
fn an_event_belongs_to_the_streams_of_its_context() {
    let _one = Scope::new();
    let event = crate::support::event();
    let _two = Scope::new();
    fails(Status::INVALID_HANDLE, cuEventRecord(event, stream(0)));
}

#[test]
fn a_thread_without_a_context_can_do_nothing() {
    ok(cuInit(0));
    fails(Status::INVALID_CONTEXT, cuCtxSynchronize());
    fails(Status::INVALID_VALUE, cuInit(1));
}

#[test]
fn machine_code_is_refused() {
    let _scope = Scope::new();
    let mut module = Module::NULL;
    let elf = c"\x7fELF\x02\x01\x01";
    fails(
        Status::NO_BINARY_FOR_GPU,
        cuModuleLoadData(Out::to(&mut module), Image::text(elf)),
    );
    fails(
        Status::FILE_NOT_FOUND,
        cuModuleLoad(Out::to(&mut module), Text::from(c"no/such/file.ptx")),
    );
}

#[test]
fn a_bad_module_is_explained_in_the_log() {
    let _scope = Scope::new();
    let mut module = Module::NULL;
    let bad = c".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n    frobnicate.u32 1;\n}\n";
    let mut log = [0u8; 200];
    let place = log.as_mut_ptr().expose_provenance();
    let loaded = cuModuleLoadDataEx(
        Out::to(&mut module),
        Image::text(bad),
        2,
        Words::from(&[5, 6]),
        Words::from(&[place, 200]),
    );
    fails(Status::INVALID_PTX, loaded);
    let text = CStr::from_bytes_until_nul(std::hint::black_box(&log))
        .unwrap()
        .to_str()
        .unwrap();
    assert!(text.contains("line 6") && text.contains("frobnicate"), "{text}");
    let newer = c".version 9.1\n.target sm_80\n.address_size 64\n";
    fails(
        Status::UNSUPPORTED_PTX_VERSION,
        cuModuleLoadData(Out::to(&mut module), Image::text(newer)),
    );
    let other = c".version 8.0\n.target sm_90\n.address_size 64\n";
    fails(
        Status::INVALID_PTX,
        cuModuleLoadData(Out::to(&mut module), Image::text(other)),
    );
}

#[test]
fn sizes_beyond_all_numbers_are_refused() {
    let _scope = Scope::new();
    let memory = device(&[0; 64]);
    let (most, invalid) = (usize::MAX, Status::INVALID_VALUE);
    fails(invalid, cuMemsetD8_v2(memory, 0, most));
    fails(invalid, cuMemsetD32_v2(memory, 0, most));
    fails(invalid, cuMemsetD2D8_v2(memory, most, 0, 8, most));
    fails(invalid, cuMemsetD2D32_v2(memory, most, 0, most, 1));
    fails(invalid, cuMemcpyDtoD_v2(memory, memory, most));
    let (mut address, mut pitch) = (0, 0);
    for (width, height) in [(most, 1), (512, most)] {
        let status = cuMemAllocPitch_v2(Out::to(&mut address), Out::to(&mut pitch), width, height, 4);
        fails(invalid, status);
    }
    assert_eq!(content(memory, 64), [0; 64]);
}

#[test]
fn there_is_one_device_and_no_peer() {
    let scope = Scope::new();
    let (mut n, mut device, mut can) = (0, -1, 1);
    ok(cuDeviceGetCount(Out::to(&mut n)));
    ok(cuDeviceGet(Out::to(&mut device), 0));
    assert_eq!((n, device), (1, 0));
    fails(Status::INVALID_DEVICE, cuDeviceGet(Out::to(&mut device), 1));
    ok(cuDeviceCanAccessPeer(Out::to(&mut can), 0, 0));
    assert_eq!(can, 0);
    fails(Status::PEER_ACCESS_UNSUPPORTED, cuCtxEnablePeerAccess(scope.0, 0));
    fails(Status::PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(scope.0));
}

#[test]
fn the_device_is_as_an_a100() {
    let _scope = Scope::new();
    let attribute = |a| {
        let mut value = -1;
        ok(cuDeviceGetAttribute(Out::to(&mut value), a, 0));
        value
    };
    // Capability, multiprocessors, shared memory of a block on request, registers, warp size, pools.
    assert_eq!(
        [75, 76, 16, 97, 82, 10, 115].map(attribute),
        [8, 0, 108, 166_912, 65_536, 32, 1]
    );
    let mut value = 0;
    fails(
        Status::INVALID_VALUE,
        cuDeviceGetAttribute(Out::to(&mut value), 9999, 0),
    );
    let mut name = [1u8; 8];
    ok(cuDeviceGetName(Chars::to(&mut name), 8, 0));
    assert_eq!(&name, b"CUDA em\0");
}

#[test]
fn limits_are_kept() {
    let _scope = Scope::new();
    let mut value = 0;
    ok(cuCtxSetLimit(0, 4096));
    ok(cuCtxGetLimit(Out::to(&mut value), 0));
    assert_eq!(value, 4096);
    fails(Status::UNSUPPORTED_LIMIT, cuCtxGetLimit(Out::to(&mut value), 99));
}

#[test]
fn errors_have_names_and_functions_addresses() {
    let mut text = std::ptr::null();
    ok(cuGetErrorName(Status::ILLEGAL_ADDRESS, Out::to(&mut text)));
    // SAFETY: the driver returns a terminated text that lives for ever.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_ILLEGAL_ADDRESS");
    ok(cuGetErrorString(Status::OUT_OF_MEMORY, Out::to(&mut text)));
    // SAFETY: as above.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"out of memory");
    fails(Status::INVALID_VALUE, cuGetErrorName(Status(12345), Out::to(&mut text)));
    let (mut address, mut result, mut version) = (std::ptr::null(), -1, 0);
    ok(cuGetProcAddress_v2(
        Text::from(c"cuMemAlloc"),
        Out::to(&mut address),
        13000,
        0,
        Out::to(&mut result),
    ));
    assert_eq!((address, result), (cuMemAlloc_v2 as *const _, 0));
    fails(
        Status::NOT_FOUND,
        cuGetProcAddress_v2(
            Text::from(c"cuTexRefCreate"),
            Out::to(&mut address),
            13000,
            0,
            Out::to(&mut result),
        ),
    );
    ok(cuDriverGetVersion(Out::to(&mut version)));
    assert_eq!(version, 13000);
    fails(Status::NOT_SUPPORTED, cuImportExternalMemory(Out::null(), 0));
}

#[test]
fn an_error_in_a_thread_is_seen_in_all() {
    let scope = Scope::new();
    let f = function(load(KERNELS), c"outside");
    let memory = alloc(16);
    ok(launch(f, 1, Stream::NULL, &[memory]));
    let context = scope.0;
    std::thread::spawn(move || {
        ok(cuda_emulator::driver::context::cuCtxSetCurrent(context));
        fails(Status::ILLEGAL_ADDRESS, cuCtxSynchronize());
    })
    .join()
    .unwrap();
    fails(Status::ILLEGAL_ADDRESS, cuStreamSynchronize(Stream::NULL));
    let _other = Scope::new();
    wait(Stream::NULL);
}
