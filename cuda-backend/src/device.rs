//! The device with its one stream, its modules and the first fault.
use core::marker::PhantomData;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, DeviceRepr, DriverError, ValidAsZeroBits, sys,
};
use half::bf16;

use crate::buffer::Buffer;
use crate::compile::{self, Source};
use crate::error::Error;
use crate::graph::Tape;

/// A number that the CUDA backend computes in: f32 or bf16.
pub trait Element: DeviceRepr + ValidAsZeroBits + bytemuck::Pod + Default + Send + Sync + 'static {
    /// The end of the kernels' names.
    const SUFFIX: &'static str;
}

impl Element for f32 {
    const SUFFIX: &'static str = "f32";
}

impl Element for bf16 {
    const SUFFIX: &'static str = "bf16";
}

/// A CUDA device that computes in `T` and accumulates in f32.
pub struct Cuda<T: Element> {
    pub(crate) stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    capability: (i32, i32),
    loaded: Mutex<Loaded>,
    rooms: Mutex<HashMap<&'static str, Buffer<u8>>>,
    fault: Mutex<Option<Error>>,
    pub(crate) tape: Mutex<Tape>,
    /// Opened at the first product; none where it is not installed.
    #[cfg(feature = "cublaslt")]
    pub(crate) cublaslt: std::sync::OnceLock<Option<crate::gemm::cublaslt::Library>>,
    element: PhantomData<T>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, Arc<CudaModule>>,
    functions: HashMap<(&'static str, String), CudaFunction>,
}

impl<T: Element> Cuda<T> {
    /// The device of this number. Errors: no driver, no such device, a device older than compute capability 8.0.
    pub fn new(ordinal: usize) -> Result<Self, Error> {
        // SAFETY: it only tries to open the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let devices = CudaContext::device_count().map_err(|e| driver("counting devices", e))?;
        if ordinal as i64 >= i64::from(devices) {
            let devices = devices as usize;
            return Err(Error::NoDevice { ordinal, devices });
        }
        let context = CudaContext::new(ordinal).map_err(|e| driver("opening the device", e))?;
        let capability = context
            .compute_capability()
            .map_err(|e| driver("asking for its capability", e))?;
        if capability.0 < 8 {
            return Err(Error::TooOld {
                name: context.name().unwrap_or_default(),
                capability: (capability.0 as u32, capability.1 as u32),
            });
        }
        // SAFETY: everything this backend does is on one stream, so no event is needed to order two of them.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| driver("making a stream", e))?;
        Ok(Self {
            stream,
            context,
            capability,
            loaded: Mutex::default(),
            rooms: Mutex::default(),
            fault: Mutex::default(),
            tape: Mutex::default(),
            #[cfg(feature = "cublaslt")]
            cublaslt: std::sync::OnceLock::new(),
            element: PhantomData,
        })
    }

    /// The device's name, as its driver says it.
    pub fn name(&self) -> String {
        self.context.name().unwrap_or_default()
    }

    /// (free, total) bytes of device memory.
    pub fn free_memory(&self) -> Result<(usize, usize), Error> {
        self.context
            .mem_get_info()
            .map_err(|e| driver("asking for free memory", e))
    }

    /// The device's compute capability, (major, minor).
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// A kernel of a source, compiled and loaded at its first use.
    pub(crate) fn function(&self, source: &Source, name: &str) -> Result<CudaFunction, Error> {
        let mut loaded = lock(&self.loaded);
        if let Some(f) = loaded.functions.get(&(source.name, name.to_owned())) {
            return Ok(f.clone());
        }
        let module = match loaded.modules.get(source.name) {
            Some(module) => module.clone(),
            None => {
                let module = compile::module(&self.context, self.capability, source)?;
                loaded.modules.insert(source.name, module.clone());
                module
            }
        };
        let f = module
            .load_function(name)
            .map_err(|e| driver(&format!("finding the kernel {name}"), e))?;
        loaded.functions.insert((source.name, name.to_owned()), f.clone());
        Ok(f)
    }

    /// Working memory of at least `bytes` that the operation called `name` keeps from call to call. One stream: what the last
    /// call left in it is no longer read when the next one writes. Grows, never shrinks.
    pub(crate) fn room<R>(
        &self,
        name: &'static str,
        bytes: usize,
        work: impl FnOnce(&mut Buffer<u8>) -> R,
    ) -> Option<R> {
        let mut rooms = lock(&self.rooms);
        let mut room = match rooms.remove(name) {
            Some(room) if room.len() >= bytes => room,
            old => {
                // Launches that wait may use it.
                self.send();
                drop(old);
                self.keep(Buffer::zeroed(self, bytes))?
            }
        };
        drop(rooms);
        let result = work(&mut room);
        lock(&self.rooms).insert(name, room);
        Some(result)
    }

    /// Keeps the first error for the next transfer to report.
    pub(crate) fn keep<R>(&self, result: Result<R, Error>) -> Option<R> {
        result.map_err(|e| lock(&self.fault).get_or_insert(e).clone()).ok()
    }

    /// The first error since the start. A fault of a CUDA context is final, so it is kept.
    pub(crate) fn check(&self) -> Result<(), Error> {
        lock(&self.fault).clone().map_or(Ok(()), Err)
    }

    /// The driver's error, with what was asked for where memory ran out.
    pub(crate) fn driver(&self, doing: &str, asked: usize, e: DriverError) -> Error {
        match (e.0, self.context.mem_get_info()) {
            (sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY, Ok((free, total))) => Error::OutOfMemory { asked, free, total },
            _ => driver(doing, e),
        }
    }
}

/// A failed call to the driver.
pub(crate) fn driver(doing: &str, error: DriverError) -> Error {
    Error::Driver {
        doing: doing.to_owned(),
        error,
    }
}

/// A panic while one of these is held leaves no state that the next user would misread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
