//! Launches: parameters, limits, variables of modules, occupancy.

use crate::support::{
    KERNELS, NON_BLOCKING, Scope, content, device, fails, function, launch, load, ok, stream, wait, was_reported,
};
use cuda_emulator::driver::abi::{
    Function, Host, In, LaunchAttribute, LaunchConfig, Module, Out, Params, Stream, Text,
};
use cuda_emulator::driver::context::cuCtxSynchronize;
use cuda_emulator::driver::copy::cuMemcpyHtoD_v2;
use cuda_emulator::driver::launch::{cuLaunchCooperativeKernel, cuLaunchKernel, cuLaunchKernelEx};
use cuda_emulator::driver::module::{
    cuFuncGetAttribute, cuFuncGetModule, cuFuncGetParamInfo, cuFuncSetAttribute, cuModuleGetFunction,
    cuModuleGetGlobal_v2, cuModuleUnload,
};
use cuda_emulator::driver::occupancy::{cuOccupancyMaxActiveBlocksPerMultiprocessor, cuOccupancyMaxPotentialBlockSize};
use cuda_emulator::driver::status::Status;
use std::ffi::c_void;

/// A launch without parameters.
fn shaped(f: Function, grid: [u32; 3], block: [u32; 3], shared: u32) -> Status {
    let none = Params::null();
    cuLaunchKernel(
        f,
        grid[0],
        grid[1],
        grid[2],
        block[0],
        block[1],
        block[2],
        shared,
        Stream::NULL,
        none,
        none,
    )
}

#[test]
fn a_kernel_runs_when_somebody_waits() {
    let _scope = Scope::new();
    let (f, s, data) = (
        function(load(KERNELS), c"increment"),
        stream(NON_BLOCKING),
        device(&[1, 2, 3, 4, 5]),
    );
    ok(launch(f, 4, s, &[data]));
    assert_eq!(content(data, 5), [1, 2, 3, 4, 5]);
    wait(s);
    assert_eq!(content(data, 5), [2, 3, 4, 5, 5]);
}

#[test]
fn parameters_are_taken_when_the_launch_is_issued() {
    let _scope = Scope::new();
    let (f, data) = (function(load(KERNELS), c"increment"), device(&[1; 4]));
    {
        let mut value = data;
        ok(launch(f, 4, Stream::NULL, &[value]));
        value = 0;
        std::hint::black_box(value);
    }
    ok(cuCtxSynchronize());
    assert_eq!(content(data, 4), [2; 4]);
}

#[test]
fn parameters_may_come_in_one_buffer() {
    let _scope = Scope::new();
    let (f, data) = (function(load(KERNELS), c"increment"), device(&[1; 4]));
    let send = |bytes: usize| {
        let list: [*const c_void; 5] = [
            1 as _,
            std::ptr::from_ref(&data).cast(),
            2 as _,
            std::ptr::from_ref(&bytes).cast(),
            std::ptr::null(),
        ];
        // SAFETY: the list has the form of `extra`: a buffer, its size, the end.
        let extra = unsafe { Params::at(&list) };
        cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 0, Stream::NULL, Params::null(), extra)
    };
    ok(send(8));
    assert_eq!(content(data, 4), [2; 4]);
    fails(Status::INVALID_VALUE, send(16));
    assert!(was_reported("a buffer of 16 bytes of parameters, the kernel has 8"));
}

#[test]
fn missing_parameters_are_noticed() {
    let _scope = Scope::new();
    let f = function(load(KERNELS), c"increment");
    fails(Status::INVALID_VALUE, shaped(f, [1; 3], [1; 3], 0));
    assert!(was_reported("no parameters, the kernel has 1"));
    for wrong in [std::ptr::null(), 64 as *const c_void] {
        // SAFETY: what is no address of host memory is refused.
        let params = unsafe { Params::at(&[wrong]) };
        fails(
            Status::INVALID_VALUE,
            cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, Stream::NULL, params, Params::null()),
        );
        assert!(was_reported("parameter 0 of 1"));
    }
}

#[test]
fn launches_beyond_the_limits_are_refused_and_the_context_lives_on() {
    let _scope = Scope::new();
    let module = load(KERNELS);
    let (f, bounded) = (function(module, c"trap"), function(module, c"bounded"));
    let refused = |grid, block, shared, words: &str| {
        fails(Status::INVALID_VALUE, shaped(f, grid, block, shared));
        assert!(was_reported(words));
    };
    refused([0, 1, 1], [1; 3], 0, "a grid of");
    refused([1, 65536, 1], [1; 3], 0, "a grid of");
    refused([1; 3], [1025, 1, 1], 0, "a block of");
    refused([1; 3], [1, 1, 65], 0, "a block of");
    refused([1; 3], [32, 32, 2], 0, "a block of");
    refused([1; 3], [1; 3], (48 << 10) + 1, "dynamic shared memory");
    fails(Status::INVALID_VALUE, shaped(bounded, [1; 3], [65, 1, 1], 0));
    assert!(was_reported("launch bounds"));
    ok(shaped(bounded, [1; 3], [64, 1, 1], 0));
    ok(cuCtxSynchronize());
}

#[test]
fn more_shared_memory_must_be_asked_for() {
    let _scope = Scope::new();
    let f = function(load(KERNELS), c"bounded");
    let most = 163 << 10;
    fails(Status::INVALID_VALUE, shaped(f, [1; 3], [1; 3], most));
    fails(Status::INVALID_VALUE, cuFuncSetAttribute(f, 8, most as i32 + 1));
    ok(cuFuncSetAttribute(f, 8, most as i32));
    ok(shaped(f, [1; 3], [1; 3], most));
    ok(cuCtxSynchronize());
}

#[test]
fn attributes_of_a_function() {
    let _scope = Scope::new();
    let module = load(KERNELS);
    let (f, mut owner) = (function(module, c"bounded"), Module::NULL);
    let attribute = |a| {
        let mut value = -1;
        ok(cuFuncGetAttribute(Out::to(&mut value), a, f));
        value
    };
    // Threads of a block, static shared memory, PTX and machine version, dynamic shared memory.
    assert_eq!([0, 1, 5, 6, 8].map(attribute), [64, 0, 80, 80, 48 << 10]);
    ok(cuFuncGetModule(Out::to(&mut owner), f));
    assert_eq!(owner, module);
    let (mut offset, mut bytes) = (9, 9);
    ok(cuFuncGetParamInfo(
        function(module, c"increment"),
        0,
        Out::to(&mut offset),
        Out::to(&mut bytes),
    ));
    assert_eq!((offset, bytes), (0, 8));
    fails(
        Status::INVALID_VALUE,
        cuFuncGetParamInfo(f, 0, Out::to(&mut offset), Out::null()),
    );
}

#[test]
fn cooperative_blocks_must_all_be_resident() {
    let _scope = Scope::new();
    let f = function(load(KERNELS), c"bounded");
    let launch = |blocks| cuLaunchCooperativeKernel(f, blocks, 1, 1, 64, 1, 1, 0, Stream::NULL, Params::null());
    // 32 blocks of two warps on each of 108 multiprocessors.
    ok(launch(32 * 108));
    fails(Status::COOPERATIVE_LAUNCH_TOO_LARGE, launch(32 * 108 + 1));
    ok(cuCtxSynchronize());
}

#[test]
fn a_launch_with_attributes() {
    let _scope = Scope::new();
    let f = function(load(KERNELS), c"bounded");
    let with = |id: i32, value: u32| {
        let attribute = LaunchAttribute {
            id,
            padding: 0,
            value: [value; 16],
        };
        let config = LaunchConfig {
            grid: [1; 3],
            block: [32, 1, 1],
            shared: 0,
            stream: Stream::NULL,
            attributes: &attribute,
            count: 1,
        };
        cuLaunchKernelEx(In::from(&config), f, Params::null(), Params::null())
    };
    ok(with(2, 1));
    ok(with(4, 1));
    fails(Status::NOT_SUPPORTED, with(4, 2));
    ok(cuCtxSynchronize());
}

#[test]
fn variables_of_a_module_are_device_memory() {
    let _scope = Scope::new();
    let module = load(KERNELS);
    let (mut address, mut bytes) = (0, 0);
    ok(cuModuleGetGlobal_v2(
        Out::to(&mut address),
        Out::to(&mut bytes),
        module,
        Text::from(c"counter"),
    ));
    assert_eq!((bytes, content(address, 4)), (4, vec![7, 0, 0, 0]));
    let value = 9u32;
    // SAFETY: four bytes that live as long as the call.
    ok(cuMemcpyHtoD_v2(address, unsafe { Host::at(&value) }, 4));
    assert_eq!(content(address, 4), [9, 0, 0, 0]);
    fails(
        Status::NOT_FOUND,
        cuModuleGetGlobal_v2(Out::null(), Out::null(), module, Text::from(c"missing")),
    );
}

#[test]
fn a_module_is_unloaded_when_its_kernels_are_done() {
    let _scope = Scope::new();
    let (module, s, data) = (load(KERNELS), stream(NON_BLOCKING), device(&[1; 4]));
    let f = function(module, c"increment");
    ok(launch(f, 4, s, &[data]));
    ok(cuModuleUnload(module));
    assert_eq!(content(data, 4), [2; 4]);
    fails(Status::INVALID_HANDLE, launch(f, 4, s, &[data]));
    fails(Status::INVALID_HANDLE, cuModuleUnload(module));
    let mut f = Function::NULL;
    fails(
        Status::INVALID_HANDLE,
        cuModuleGetFunction(Out::to(&mut f), module, Text::from(c"trap")),
    );
}

#[test]
fn occupancy_follows_from_threads_and_shared_memory() {
    let _scope = Scope::new();
    let f = function(load(KERNELS), c"trap");
    let resident = |threads, shared| {
        let mut n = -1;
        ok(cuOccupancyMaxActiveBlocksPerMultiprocessor(
            Out::to(&mut n),
            f,
            threads,
            shared,
        ));
        n
    };
    // 64 warps, at most 32 blocks; 164 KB, of which each block takes 1 KB more than it asks for.
    assert_eq!([resident(1024, 0), resident(256, 0), resident(32, 0)], [2, 8, 32]);
    assert_eq!(
        [resident(32, 81 << 10), resident(32, 40 << 10), resident(32, 164 << 10)],
        [2, 4, 0]
    );
    let (mut grid, mut block) = (0, 0);
    ok(cuOccupancyMaxPotentialBlockSize(
        Out::to(&mut grid),
        Out::to(&mut block),
        f,
        None,
        0,
        0,
    ));
    assert_eq!((grid, block), (216, 1024));
}
