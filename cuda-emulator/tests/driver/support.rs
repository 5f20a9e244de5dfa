//! A context for a test, and shorter names for what every test does.

use cuda_emulator::driver::abi::{Context, Event, Function, Host, Image, Module, Out, Params, Stream, Text};
use cuda_emulator::driver::context::{cuCtxCreate_v2, cuCtxDestroy_v2};
use cuda_emulator::driver::copy::{cuMemcpyDtoH_v2, cuMemcpyHtoD_v2};
use cuda_emulator::driver::entry::cuInit;
use cuda_emulator::driver::event::{cuEventCreate, cuEventRecord};
use cuda_emulator::driver::launch::cuLaunchKernel;
use cuda_emulator::driver::memory::{cuMemAlloc_v2, cuMemFree_v2, cuMemHostAlloc};
use cuda_emulator::driver::module::{cuModuleGetFunction, cuModuleLoadData};
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::stream::{cuStreamCreate, cuStreamSynchronize};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::sync::{Mutex, MutexGuard};

/// `CU_STREAM_NON_BLOCKING`.
pub const NON_BLOCKING: u32 = 1;

/// Byte of memory that nobody wrote.
pub const POISON: u8 = 0xcb;

/// A context that is current in this thread, until it is dropped. Other tests wait as long: there is one device, and its clock, its addresses
/// and what it draws for a seed are seen by all who use it.
pub struct Scope(pub Context);

static DEVICE: Mutex<()> = Mutex::new(());

thread_local! {
    /// How many scopes this thread is in, and what the outermost holds.
    static SCOPES: Cell<u32> = const { Cell::new(0) };
    static ALONE: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

impl Scope {
    pub fn new() -> Scope {
        // The second scope of a test is inside its first.
        if SCOPES.replace(SCOPES.get() + 1) == 0 {
            ALONE.set(Some(DEVICE.lock().unwrap_or_else(|failed| failed.into_inner())));
        }
        ok(cuInit(0));
        let mut context = Context::NULL;
        ok(cuCtxCreate_v2(Out::to(&mut context), 0, 0));
        Scope(context)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        cuCtxDestroy_v2(self.0);
        SCOPES.set(SCOPES.get() - 1);
        if SCOPES.get() == 0 {
            ALONE.set(None);
        }
    }
}

#[track_caller]
pub fn ok(status: Status) {
    assert_eq!(status, Status::SUCCESS, "{:?}", status.name());
}

#[track_caller]
pub fn fails(expected: Status, status: Status) {
    assert_eq!(status, expected, "{:?} instead of {:?}", status.name(), expected.name());
}

/// Whether a call of this thread was reported with these words, since the last time that this was asked.
pub fn was_reported(words: &str) -> bool {
    was_reported_as(&[words])
}

/// The same where there are several ways to say it.
pub fn was_reported_as(ways: &[&str]) -> bool {
    let findings = cuda_emulator::driver::findings();
    findings
        .iter()
        .any(|text| ways.iter().any(|words| text.contains(words)))
}

pub fn stream(flags: u32) -> Stream {
    let mut stream = Stream::NULL;
    ok(cuStreamCreate(Out::to(&mut stream), flags));
    stream
}

pub fn wait(stream: Stream) {
    ok(cuStreamSynchronize(stream));
}

pub fn event() -> Event {
    let mut event = Event::NULL;
    ok(cuEventCreate(Out::to(&mut event), 0));
    event
}

/// An event that stands for what is in the stream now.
pub fn record(stream: Stream) -> Event {
    let event = event();
    ok(cuEventRecord(event, stream));
    event
}

pub fn alloc(bytes: usize) -> u64 {
    let mut address = 0;
    ok(cuMemAlloc_v2(Out::to(&mut address), bytes));
    address
}

pub fn free(address: u64) {
    ok(cuMemFree_v2(address));
}

/// Device memory with content, written and waited for.
pub fn device(content: &[u8]) -> u64 {
    let address = alloc(content.len());
    ok(cuMemcpyHtoD_v2(address, host(content), content.len()));
    address
}

/// The content of device memory, waited for in the legacy stream.
pub fn content(address: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    ok(cuMemcpyDtoH_v2(host(&content), address, content.len()));
    std::hint::black_box(&mut content);
    content
}

/// Memory of the test as a call names it.
pub fn host(memory: &[u8]) -> Host {
    // SAFETY: the tests keep their memory until the work that uses it is done.
    unsafe { Host::at(memory.as_ptr()) }
}

/// Page-locked memory.
pub fn pinned(bytes: usize) -> &'static mut [u8] {
    let mut address = 0;
    ok(cuMemHostAlloc(Out::to(&mut address), bytes, 0));
    // SAFETY: the driver has allocated and filled these bytes; no test uses them after it has freed them.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), bytes) }
}

pub fn load(ptx: &CStr) -> Module {
    let mut module = Module::NULL;
    ok(cuModuleLoadData(Out::to(&mut module), Image::text(ptx)));
    module
}

pub fn function(module: Module, name: &CStr) -> Function {
    let mut function = Function::NULL;
    ok(cuModuleGetFunction(Out::to(&mut function), module, Text::from(name)));
    function
}

/// One launch of one block of `threads` threads with 64-bit parameters.
pub fn launch(function: Function, threads: u32, stream: Stream, values: &[u64]) -> Status {
    let addresses: Vec<*const c_void> = values.iter().map(|v| std::ptr::from_ref(v).cast()).collect();
    // SAFETY: the kernels of these tests have as many 64-bit parameters as their callers pass.
    let params = unsafe { Params::at(&addresses) };
    cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, stream, params, Params::null())
}

/// `increment(p)`: each thread adds 1 to its byte. `trap()`. `outside(p)`: writes 1 KB behind p. `assert`-like faults come from `odd(p)`, a
/// 4-byte load from p + 1.
pub const KERNELS: &CStr = c"
.version 7.0
.target sm_80
.address_size 64
.visible .entry increment(.param .u64 p)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [p];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, %tid.x;
    cvt.u64.u32 %rd2, %r1;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u8 %r2, [%rd3];
    add.s32 %r2, %r2, 1;
    st.global.u8 [%rd3], %r2;
    ret;
}
.visible .entry trap()
{
    trap;
    ret;
}
.visible .entry outside(.param .u64 p)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, 1;
    st.global.u32 [%rd1+1024], %r1;
    ret;
}
.visible .entry odd(.param .u64 p)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p];
    cvta.to.global.u64 %rd1, %rd1;
    ld.global.u32 %r1, [%rd1+1];
    st.global.u32 [%rd1+4], %r1;
    ret;
}
.visible .entry bounded() .maxntid 64, 1, 1
{
    ret;
}
.visible .global .align 4 .u32 counter = 7;
";
