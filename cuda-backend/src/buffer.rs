//! Device memory.
use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, ValidAsZeroBits};

use crate::device::{Cuda, Element};
use crate::error::Error;

/// Numbers on the device, aligned to 256 bytes.
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    address: u64,
}

/// Row numbers, token ids, positions or targets on the device. The host keeps them too: to check them, and to sort them.
pub struct Index {
    device: Buffer<u32>,
    host: Vec<u32>,
}

impl Index {
    pub(crate) fn new<E: Element>(b: &Cuda<E>, values: &[u32]) -> Result<Self, Error> {
        let device = Buffer::copied(b, values)?;
        let host = values.to_vec();
        Ok(Self { device, host })
    }

    /// Other values, in the same memory if they fit; none after an error.
    pub(crate) fn refill<E: Element>(&mut self, b: &Cuda<E>, values: &[u32]) -> Result<(), Error> {
        if values.len() > self.device.len() {
            *self = Self::new(b, values)?;
            return Ok(());
        }
        self.host.clear();
        self.device.write(b, values)?;
        self.host.extend_from_slice(values);
        Ok(())
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.host.len()
    }

    /// Their values.
    pub(crate) fn values(&self) -> &[u32] {
        &self.host
    }

    /// The device's address of the first.
    pub(crate) fn address(&self) -> u64 {
        self.device.address()
    }

    /// Panics, naming the operation, where one is not below `rows`.
    #[track_caller]
    pub(crate) fn check(&self, op: &str, rows: usize) {
        if let Some(row) = self.host.iter().find(|&&row| row as usize >= rows) {
            panic!("{op}: row {row} of {rows}");
        }
    }
}

impl<T: DeviceRepr + ValidAsZeroBits> Buffer<T> {
    /// Zeros. A buffer of no numbers holds one all the same: the driver gives no empty ones.
    pub(crate) fn zeroed<E: Element>(b: &Cuda<E>, len: usize) -> Result<Self, Error> {
        b.send();
        let asked = len.saturating_mul(size_of::<T>());
        let slice = b.stream.alloc_zeros(len.max(1));
        let slice = slice.map_err(|e| b.driver("allocating", asked, e))?;
        let address = slice.device_ptr(&b.stream).0;
        Ok(Self { slice, address })
    }

    /// A copy of `values`.
    pub(crate) fn copied<E: Element>(b: &Cuda<E>, values: &[T]) -> Result<Self, Error> {
        let mut buffer = Self::zeroed(b, values.len())?;
        buffer.write(b, values)?;
        Ok(buffer)
    }

    /// Host to device, from the first number on. Waits for nothing: the driver takes its own copy of pageable memory.
    pub(crate) fn write<E: Element>(&mut self, b: &Cuda<E>, values: &[T]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        b.send();
        let mut view = self.slice.slice_mut(..values.len());
        let copied = b.stream.memcpy_htod(values, &mut view);
        copied.map_err(|e| b.driver("copying to the device", 0, e))
    }

    /// The first `len` numbers = 0.
    pub(crate) fn fill_zero<E: Element>(&mut self, b: &Cuda<E>, len: usize) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        b.send();
        let mut view = self.slice.slice_mut(..len);
        b.stream.memset_zeros(&mut view).map_err(|e| b.driver("zeroing", 0, e))
    }

    /// Device to host, from the first number on; waits for the work before it and reports its faults.
    pub(crate) fn read<E: Element>(&self, b: &Cuda<E>, values: &mut [T]) -> Result<(), Error> {
        b.send();
        b.check()?;
        if !values.is_empty() {
            let view = self.slice.slice(..values.len());
            let copied = b.stream.memcpy_dtoh(&view, values);
            copied.map_err(|e| b.driver("copying from the device", 0, e))?;
        }
        b.stream
            .synchronize()
            .map_err(|e| b.driver("waiting for the device", 0, e))
    }
}

impl<T> Buffer<T> {
    /// The device's address of the first number.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Numbers in it.
    pub(crate) fn len(&self) -> usize {
        self.slice.len()
    }
}
