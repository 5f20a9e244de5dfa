//! Launches that are put off and replayed as one.
//!
//! While [`Cuda::together`] runs, launches are only written down. What was written down is launched at its end, or when something
//! that is not a launch needs them before: a transfer, an allocation. If it is, number for number, what an earlier run wrote down (the same
//! kernels, sizes and addresses), a CUDA graph of it is replayed; so a decode step of the shape of an earlier one costs the host one
//! launch. Nothing is assumed about the work: a list that is new is launched as it is, and one that comes a second time is captured.
//!
//! Memory that a launch uses must live until the launches are out: what is dropped inside is dropped after an allocation, which sends them.
use core::ffi::c_void;
use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaGraph, CudaStream, DriverError, result, sys};

use crate::device::{Cuda, Element, driver, lock};
use crate::error::Error;

/// Lists that are remembered; more are forgotten all at once.
const MOST: usize = 64;

/// What a kernel takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Param {
    /// An address or a plain number: the bytes that the kernel reads, from the lowest address on.
    Plain(u64),
    /// A tensor map.
    Map(Box<[u64; 16]>),
}

/// A launch as the driver takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ready {
    /// The kernel's handle: its module is never unloaded.
    pub function: usize,
    pub grid: (u32, u32, u32),
    pub block: (u32, u32, u32),
    pub shared: u32,
    pub args: Vec<Param>,
}

impl Ready {
    pub(crate) fn new(f: &CudaFunction, grid: (u32, u32, u32), block: [u32; 3], shared: u32, args: Vec<Param>) -> Self {
        Self {
            function: f.cu_function() as usize,
            grid,
            block: block.into(),
            shared,
            args,
        }
    }

    /// Puts it on the stream.
    fn launch(&self, stream: &CudaStream) -> Result<(), DriverError> {
        let mut args: Vec<*mut c_void> = (self.args.iter())
            .map(|arg| match arg {
                Param::Plain(bits) => core::ptr::from_ref(bits) as *mut c_void,
                Param::Map(map) => map.as_ptr() as *mut c_void,
            })
            .collect();
        // SAFETY: the arguments are in the order and of the types of the kernel's signature, which stands beside each call; the
        // buffers behind the addresses outlive the launch, because memory is freed on the same stream.
        unsafe {
            result::launch_kernel(
                self.function as sys::CUfunction,
                self.grid,
                self.block,
                self.shared,
                stream.cu_stream(),
                &mut args,
            )
        }
    }
}

/// A graph that may go to another thread.
struct Graph(CudaGraph);

// SAFETY: it is reached through the device's lock alone, so no two threads use it at once, which is all the driver asks.
unsafe impl Send for Graph {}

/// Launches put off, and the lists seen before.
#[derive(Default)]
pub(crate) struct Tape {
    waiting: Option<Vec<Ready>>,
    /// A list seen once has no graph yet.
    seen: HashMap<Vec<Ready>, Option<Graph>>,
    replays: usize,
}

impl Tape {
    /// Launches these, as a graph if they have come before.
    fn play(&mut self, stream: &Arc<CudaStream>, list: Vec<Ready>) -> Result<(), DriverError> {
        match self.seen.get_mut(&list) {
            Some(Some(graph)) => {
                self.replays += 1;
                graph.0.launch()
            }
            Some(seen) => {
                let graph = seen.insert(Graph(capture(stream, &list)?));
                graph.0.launch()
            }
            None => {
                list.iter().try_for_each(|ready| ready.launch(stream))?;
                if self.seen.len() == MOST {
                    self.seen.clear();
                }
                self.seen.insert(list, None);
                Ok(())
            }
        }
    }
}

fn capture(stream: &Arc<CudaStream>, list: &[Ready]) -> Result<CudaGraph, DriverError> {
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    let launched = list.iter().try_for_each(|ready| ready.launch(stream));
    // The capture ends whatever came of it.
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    launched?;
    graph?.ok_or(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED))
}

impl<T: Element> Cuda<T> {
    /// Runs `work` with its launches put off, as this module says. Panics within itself: whose end sends which launches would be unclear.
    pub(crate) fn together(&self, work: impl FnOnce()) {
        /// Ends it, also where `work` panics.
        struct End<'a, T: Element>(&'a Cuda<T>);
        impl<T: Element> Drop for End<'_, T> {
            fn drop(&mut self) {
                self.0.send();
                lock(&self.0.tape).waiting = None;
            }
        }
        let before = lock(&self.tape).waiting.replace(Vec::new());
        assert!(before.is_none(), "together: within itself");
        let end = End(self);
        work();
        drop(end);
    }

    /// How many times a graph was launched instead of what it was made of.
    pub fn replays(&self) -> usize {
        lock(&self.tape).replays
    }

    /// Launches what waits.
    pub(crate) fn send(&self) {
        let mut tape = lock(&self.tape);
        let list = tape.waiting.as_mut().map(core::mem::take).unwrap_or_default();
        if !list.is_empty() {
            let played = tape.play(&self.stream, list);
            self.keep(played.map_err(|e| driver("launching a decode step", e)));
        }
    }

    /// Launches it now, or puts it off.
    pub(crate) fn put(&self, name: &str, ready: Ready) -> Result<(), Error> {
        match &mut lock(&self.tape).waiting {
            Some(waiting) => {
                waiting.push(ready);
                Ok(())
            }
            None => (ready.launch(&self.stream)).map_err(|e| driver(&format!("launching {name}"), e)),
        }
    }
}
