//! The driver's one state, behind one lock, and how a call gets at it.

use super::abi::{Context, Event, Function, Graph, GraphExec, Module, Pool, Stream};
use super::capture::Capture;
use super::context::{ContextState, current};
use super::event::EventState;
use super::graph::{ExecState, GraphState};
use super::host::HostMemory;
use super::memory::Allocation;
use super::module::{FunctionState, ModuleState};
use super::pool::PoolState;
use super::queue::{OpId, Queue};
use super::report;
use super::status::Status;
use super::stream::StreamState;
use crate::counters::report::Report;
use crate::engine::{Engine, Options};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Everything that the driver knows.
pub struct Driver {
    /// The device.
    pub engine: Engine,
    /// What was issued and has not run.
    pub queue: Queue,
    /// Contexts, the primary one among them.
    pub contexts: BTreeMap<Context, ContextState>,
    /// The primary context and how often it is retained.
    pub primary: Option<(Context, u32)>,
    /// Flags that the primary context gets.
    pub primary_flags: u32,
    /// Streams, the default ones among them.
    pub streams: BTreeMap<Stream, StreamState>,
    /// Events.
    pub events: BTreeMap<Event, EventState>,
    /// Modules.
    pub modules: BTreeMap<Module, ModuleState>,
    /// Functions that somebody asked for.
    pub functions: BTreeMap<Function, FunctionState>,
    /// Graphs.
    pub graphs: BTreeMap<Graph, GraphState>,
    /// Graphs that can be launched.
    pub execs: BTreeMap<GraphExec, ExecState>,
    /// Captures that go on, by number.
    pub captures: BTreeMap<u64, Capture>,
    /// Memory pools.
    pub pools: BTreeMap<Pool, PoolState>,
    /// The device's default pool.
    pub default_pool: Pool,
    /// The device's current pool.
    pub current_pool: Pool,
    /// Device memory by address.
    pub allocations: BTreeMap<u64, Allocation>,
    /// Frees in the order of a stream that have not run, and what they free.
    pub frees: BTreeMap<OpId, u64>,
    /// What kernels have executed and moved since the counters were last written.
    pub counters: Report,
    /// Page-locked host memory.
    pub host: HostMemory,
    next: u64,
}

impl Driver {
    /// A device that nobody has used.
    pub fn new(options: Options) -> Driver {
        let mut driver = Driver {
            queue: Queue::new(options.seed),
            contexts: BTreeMap::new(),
            primary: None,
            primary_flags: 0,
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            execs: BTreeMap::new(),
            captures: BTreeMap::new(),
            pools: BTreeMap::new(),
            default_pool: Pool::NULL,
            current_pool: Pool::NULL,
            allocations: BTreeMap::new(),
            frees: BTreeMap::new(),
            counters: Report::new(),
            host: HostMemory::default(),
            next: 0,
            engine: Engine::new(options),
        };
        driver.default_pool = Pool::number(driver.number());
        driver.current_pool = driver.default_pool;
        driver.pools.insert(driver.default_pool, PoolState::new(None));
        driver
    }

    /// A number that no object has.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The error that a context died of, if it did.
    pub fn health(&self, context: Context) -> Result<(), Status> {
        match self.contexts.get(&context) {
            None => Err(Status::CONTEXT_IS_DESTROYED),
            Some(c) => c.error.map_or(Ok(()), Err),
        }
    }
}

/// What is left to do when a call has done its part under the lock.
pub enum Rest {
    /// Nothing.
    None,
    /// To wait until these operations have ended; the modelled clock is then at least at the given time.
    Wait(Vec<OpId>, u64),
    /// To wait, and then to do this.
    Then(Vec<OpId>, Finish),
}

/// The second part of a call, after a wait.
pub type Finish = Box<dyn FnOnce(&mut Driver) -> Result<(), Status>>;

/// What a call's part under the lock comes to.
pub type Answer = Result<Rest, Status>;

/// There is nothing left to do.
pub const DONE: Answer = Ok(Rest::None);

static DRIVER: Mutex<Option<Box<Driver>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

thread_local! {
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// The state, as soon as no other thread has it.
pub fn lock() -> MutexGuard<'static, Option<Box<Driver>>> {
    DRIVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The state if no thread has it.
pub fn try_lock() -> Option<MutexGuard<'static, Option<Box<Driver>>>> {
    DRIVER.try_lock().ok()
}

/// Starts a host function on a thread of its own; operation `op` ends with it.
pub fn call_host(op: OpId, function: unsafe extern "C" fn(*mut std::ffi::c_void), data: super::abi::UserData) {
    std::thread::spawn(move || {
        IN_HOST_FUNCTION.set(true);
        // A binding of the whole, or only its field would move to this thread.
        let data = data;
        // SAFETY: the program passed the function together with the data to call it with.
        unsafe { function(data.0) };
        if let Some(driver) = lock().as_mut() {
            driver.finish(op, super::perform::HOST_FUNCTION);
        }
        CHANGED.notify_all();
    });
}

/// A call that needs the driver, initialised, and nothing else.
pub fn anywhere(body: impl FnOnce(&mut Driver) -> Answer) -> Status {
    if IN_HOST_FUNCTION.get() {
        report::misuse("a CUDA function was called from a host function of a stream, which CUDA forbids");
        return Status::NOT_PERMITTED;
    }
    let mut guard = lock();
    let Some(driver) = guard.as_mut() else {
        return Status::NOT_INITIALIZED;
    };
    match body(driver) {
        Err(status) => status,
        Ok(Rest::None) => Status::SUCCESS,
        Ok(Rest::Wait(ops, time)) => wait(guard, &ops, time, Box::new(|_| Ok(()))),
        Ok(Rest::Then(ops, finish)) => wait(guard, &ops, 0, finish),
    }
}

/// A call that needs a current context, and one without an error.
pub fn here(body: impl FnOnce(&mut Driver, Context) -> Answer) -> Status {
    anywhere(|driver| {
        let context = current().ok_or(Status::INVALID_CONTEXT)?;
        driver.health(context)?;
        body(driver, context)
    })
}

/// Runs what the operations need, waits for host functions among it, and finishes the call.
fn wait(mut guard: MutexGuard<'static, Option<Box<Driver>>>, ops: &[OpId], time: u64, finish: Finish) -> Status {
    let context = guard
        .as_ref()
        .and_then(|d| ops.iter().find_map(|op| d.queue.get(*op)).map(|op| op.context));
    loop {
        let Some(driver) = guard.as_mut() else {
            return Status::DEINITIALIZED;
        };
        if let Some(end) = driver.advance(ops) {
            driver.queue.clock = driver.queue.clock.max(time).max(end);
            let error = context.and_then(|c| driver.contexts.get(&c)?.error);
            return match (error, finish(driver)) {
                (Some(status), _) | (None, Err(status)) => status,
                (None, Ok(())) => Status::SUCCESS,
            };
        }
        guard = CHANGED.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
    }
}
