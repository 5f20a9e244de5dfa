//! What the device fails with.
use core::fmt;
use std::sync::Arc;

use cudarc::driver::DriverError;

/// A fault of the device, its driver or the kernels' compilation.
#[derive(Clone, Debug)]
pub enum Error {
    /// There is no CUDA driver on this machine.
    NoDriver,
    /// The driver has no such device.
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// Devices there are.
        devices: usize,
    },
    /// The device is too old for the kernels.
    TooOld {
        /// Its name.
        name: String,
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// An allocation that the device could not give.
    OutOfMemory {
        /// Bytes asked for.
        asked: usize,
        /// Bytes free.
        free: usize,
        /// Bytes in all.
        total: usize,
    },
    /// A call to the driver failed.
    Driver {
        /// What was being done.
        doing: String,
        /// The driver's word.
        error: DriverError,
    },
    /// A launch that no device takes.
    Grid {
        /// The kernel.
        kernel: String,
        /// Blocks asked for in x, y and z.
        grid: [usize; 3],
    },
    /// A matrix that is too large for the kernels.
    Size {
        /// The kernel.
        kernel: String,
        /// Rows, columns or numbers of it.
        size: usize,
    },
    /// Kernels could not be compiled or found.
    Kernels(Arc<str>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => write!(
                f,
                "no CUDA driver was found (libcuda.so is not in the library path); use --device cpu, or install NVIDIA's driver"
            ),
            Self::NoDevice { ordinal, devices } => {
                write!(f, "CUDA device {ordinal} was asked for, the driver has {devices}")
            }
            Self::TooOld { name, capability } => write!(
                f,
                "{name} has compute capability {}.{}, the kernels need 8.0 or newer",
                capability.0, capability.1
            ),
            Self::OutOfMemory { asked, free, total } => write!(
                f,
                "out of device memory: {asked} bytes asked for, {free} free of {total}"
            ),
            Self::Driver { doing, error } => write!(f, "CUDA: {doing}: {error}"),
            Self::Grid { kernel, grid } => {
                write!(
                    f,
                    "CUDA: {kernel}: a grid of {grid:?} blocks is beyond what a launch takes"
                )
            }
            Self::Size { kernel, size } => {
                write!(f, "CUDA: {kernel}: sizes up to {} are expected, found {size}", u32::MAX)
            }
            Self::Kernels(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
