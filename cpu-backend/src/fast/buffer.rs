//! Memory for numbers: aligned to cache lines, zeroed by the system, an error where there is none.
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

use bytemuck::Pod;

use crate::OutOfMemory;

const LINE: usize = 64;

/// Numbers in memory that begins on a cache line. Pages that were never written cost nothing.
pub struct Buffer<T> {
    base: NonNull<u8>,
    layout: Layout,
    data: NonNull<T>,
    len: usize,
}

// SAFETY: a buffer owns its memory, as a Vec does.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T: Pod> Buffer<T> {
    /// `len` zeros. Errors: out of memory.
    pub(super) fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let bytes = len.checked_mul(size_of::<T>()).and_then(|b| b.checked_add(LINE));
        let oom = OutOfMemory {
            bytes: bytes.unwrap_or(usize::MAX),
        };
        // Alignment 16 is what calloc gives, so that large buffers are fresh pages; the line is found by hand.
        let layout = Layout::from_size_align(oom.bytes, 16).map_err(|_| oom)?;
        // SAFETY: the size is at least LINE, not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(oom)?;
        let offset = base.align_offset(LINE);
        // SAFETY: offset < LINE and LINE bytes more than len numbers need were asked for.
        let data = unsafe { base.add(offset) }.cast();
        Ok(Self {
            base,
            layout,
            data,
            len,
        })
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` numbers lie at `data`, aligned, zeroed (T is Pod) or written since.
        unsafe { core::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and self is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

/// Working memory that grows and is kept.
#[derive(Default)]
pub(super) struct Room(Option<Buffer<u64>>);

impl Room {
    /// `len` numbers, whatever they hold. Memory that cannot be had ends the program, as it would for a Vec: operations
    /// have no way to fail.
    pub fn get<T: Pod>(&mut self, len: usize) -> &mut [T] {
        let words = (len * size_of::<T>()).div_ceil(8);
        if self.0.as_ref().is_none_or(|b| b.len() < words) {
            self.0 = None;
            self.0 = match Buffer::zeroed(words) {
                Ok(b) => Some(b),
                Err(_) => std::alloc::handle_alloc_error(Layout::array::<u64>(words).unwrap_or(Layout::new::<u64>())),
            };
        }
        let all: &mut [u64] = self.0.as_deref_mut().unwrap_or_default();
        // By bytes: what is kept need not be a whole number of T.
        bytemuck::cast_slice_mut(&mut bytemuck::cast_slice_mut::<u64, u8>(all)[..len * size_of::<T>()])
    }
}

#[cfg(test)]
mod tests;
