//! An output that several threads write, each its own part.
use core::marker::PhantomData;

/// A slice that pieces of work share, each writing its own part.
pub(super) struct Out<'a, T> {
    ptr: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Out<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<'_, T> {}

// SAFETY: it is a mutable borrow, and `slice` leaves it to the caller that no two parts overlap.
unsafe impl<T: Send> Send for Out<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'a, T> Out<'a, T> {
    pub fn new(all: &'a mut [T]) -> Self {
        Self {
            ptr: all.as_mut_ptr(),
            len: all.len(),
            borrow: PhantomData,
        }
    }

    /// `len` numbers from `start`; panics where they are not.
    ///
    /// # Safety
    /// No other part in use overlaps this one.
    #[inline(always)]
    pub unsafe fn slice(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(
            start <= self.len && len <= self.len - start,
            "part of an output out of range"
        );
        // SAFETY: in range of the borrow, and the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }

    /// Where number `at` would be, to ask for it.
    #[inline(always)]
    pub fn address(self, at: usize) -> *const T {
        self.ptr.wrapping_add(at)
    }

    /// Puts one number.
    ///
    /// # Safety
    /// No part in use holds it.
    #[inline(always)]
    pub unsafe fn put(self, at: usize, x: T) {
        // SAFETY: the caller's promise.
        let place = unsafe { self.slice(at, 1) };
        place[0] = x;
    }
}
