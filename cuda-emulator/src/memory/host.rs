//! What the host does with device memory: copies and fills, with checks.

use super::device::{Device, Misuse};

impl Device {
    /// Copies out. Whether the bytes were initialised: ask [`Device::uninitialised`] first.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Misuse> {
        let (slab, offset) = self.host_place(address, to.len() as u64)?;
        // SAFETY: the range lies in a live allocation. Host memory may be the very range: so `copy` and not `copy_nonoverlapping`.
        unsafe { std::ptr::copy(slab.data.add(offset), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies in; the bytes are initialised then.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Misuse> {
        let (slab, offset) = self.host_place(address, from.len() as u64)?;
        // SAFETY: the range lies in a live allocation; `init` is as long as `data` where it is not null.
        unsafe {
            std::ptr::copy(from.as_ptr(), slab.data.add(offset), from.len());
            if !slab.init.is_null() {
                slab.init.add(offset).write_bytes(0xff, from.len());
            }
        }
        Ok(())
    }

    /// Repeats a pattern of 1, 2 or 4 bytes `count` times.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<(), Misuse> {
        // More than there can be is outside of every allocation.
        let bytes = count.saturating_mul(pattern.len() as u64);
        let (slab, offset) = self.host_place(address, bytes)?;
        // SAFETY: the range lies in a live allocation; `init` is as long as `data` where it is not null.
        unsafe {
            let to = slab.data.add(offset);
            if let [byte] = pattern {
                to.write_bytes(*byte, bytes as usize);
            } else {
                for i in 0..count as usize {
                    std::ptr::copy(pattern.as_ptr(), to.add(i * pattern.len()), pattern.len());
                }
            }
            if !slab.init.is_null() {
                slab.init.add(offset).write_bytes(0xff, bytes as usize);
            }
        }
        Ok(())
    }

    /// Copies within device memory, what is initialised and what is not alike. The ranges may overlap.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Misuse> {
        let (source, start) = self.host_place(from, bytes)?;
        let (target, offset) = self.host_place(to, bytes)?;
        let n = bytes as usize;
        // SAFETY: both ranges lie in live allocations; `init` is as long as `data` where it is not null.
        unsafe {
            std::ptr::copy(source.data.add(start), target.data.add(offset), n);
            match (source.init.is_null(), target.init.is_null()) {
                (false, false) => std::ptr::copy(source.init.add(start), target.init.add(offset), n),
                (true, false) => target.init.add(offset).write_bytes(0xff, n),
                _ => {}
            }
        }
        Ok(())
    }

    /// How many of these bytes nothing has written, and the offset of the first. A few may be padding; all or most are a mistake.
    ///
    /// # Errors
    /// Outside a live allocation.
    pub fn uninitialised(&self, address: u64, bytes: u64) -> Result<(u64, Option<u64>), Misuse> {
        let (slab, offset) = self.host_place(address, bytes)?;
        if slab.init.is_null() {
            return Ok((0, None));
        }
        // SAFETY: the range lies in a live allocation, and `init` is as long.
        let init = unsafe { std::slice::from_raw_parts(slab.init.add(offset), bytes as usize) };
        let count = init.iter().filter(|&&b| b == 0).count() as u64;
        Ok((count, init.iter().position(|&b| b == 0).map(|i| i as u64)))
    }
}
