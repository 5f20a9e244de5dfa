//! Types of the C interface: what a caller's pointers become, so that the functions themselves need no `unsafe`.
//!
//! A C caller passes plain pointers and integers; every type here has exactly that representation. A Rust caller (a test) makes them from
//! references, or by an `unsafe` constructor where the memory is used after the call has returned.

use super::status::Status;
pub use super::types::*;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A place for a result; may be null.
#[repr(transparent)]
pub struct Out<'a, T>(Option<&'a mut MaybeUninit<T>>);

impl<'a, T> Out<'a, T> {
    /// A result that goes to `place`.
    pub fn to(place: &'a mut T) -> Out<'a, T> {
        // SAFETY: only whole values of T are written through it, so `place` never becomes uninitialised.
        Out(Some(unsafe { &mut *std::ptr::from_mut(place).cast() }))
    }

    /// A result that nobody wants.
    pub fn null() -> Out<'a, T> {
        Out(None)
    }

    /// Writes the result; a null place is an invalid value.
    pub fn set(self, value: T) -> Result<(), Status> {
        self.0.ok_or(Status::INVALID_VALUE)?.write(value);
        Ok(())
    }

    /// Writes the result if somebody wants it.
    pub fn set_if_wanted(self, value: T) {
        if let Some(place) = self.0 {
            place.write(value);
        }
    }
}

/// Plain data that a caller passes by address; may be null.
#[repr(transparent)]
pub struct In<'a, T>(Option<&'a T>);

impl<'a, T: Copy> In<'a, T> {
    /// The data at `place`.
    pub fn from(place: &'a T) -> In<'a, T> {
        In(Some(place))
    }

    /// No data.
    pub fn null() -> In<'a, T> {
        In(None)
    }

    /// The data; null is an invalid value.
    pub fn get(&self) -> Result<T, Status> {
        self.0.copied().ok_or(Status::INVALID_VALUE)
    }
}

/// Data that a call reads and replaces; may be null.
#[repr(transparent)]
pub struct InOut<'a, T>(Option<&'a mut T>);

impl<'a, T: Copy> InOut<'a, T> {
    /// The data at `place`.
    pub fn at(place: &'a mut T) -> InOut<'a, T> {
        InOut(Some(place))
    }

    /// The place; null is an invalid value.
    pub fn get(self) -> Result<&'a mut T, Status> {
        self.0.ok_or(Status::INVALID_VALUE)
    }

    /// Replaces the data by what `change` makes of it; none if that, or the place, is none.
    pub fn exchange(self, change: impl FnOnce(T) -> Option<T>) -> Option<()> {
        let place = self.0?;
        *place = change(*place)?;
        Some(())
    }
}

/// A place for many results, of a length that is passed beside it; may be null.
#[repr(transparent)]
pub struct OutArray<'a, T>(*mut T, PhantomData<&'a mut [T]>);

impl<'a, T: Copy> OutArray<'a, T> {
    /// The places of a slice; pass its length beside it.
    pub fn to(places: &'a mut [T]) -> OutArray<'a, T> {
        OutArray(places.as_mut_ptr(), PhantomData)
    }

    /// Nobody wants the results, only their number.
    pub fn null() -> OutArray<'a, T> {
        OutArray(std::ptr::null_mut(), PhantomData)
    }

    /// Writes as many of `values` as there is room for and returns how many; null: how many there are.
    pub fn fill(self, values: &[T], room: usize) -> usize {
        if self.0.is_null() {
            return values.len();
        }
        let n = values.len().min(room);
        // SAFETY: the caller passes a place for `room` values; n <= room are written.
        unsafe { self.0.copy_from_nonoverlapping(values.as_ptr(), n) };
        n
    }
}

/// A place for a value whose type another argument says; may be null.
#[repr(transparent)]
pub struct Untyped<'a>(*mut c_void, PhantomData<&'a mut [u8]>);

impl<'a> Untyped<'a> {
    /// The place of a value of the type that the other argument says.
    ///
    /// # Safety
    /// It must have that type.
    pub unsafe fn at<T>(place: &'a mut T) -> Untyped<'a> {
        Untyped(std::ptr::from_mut(place).cast(), PhantomData)
    }

    /// The place that a word is the address of.
    pub(super) fn word(address: usize) -> Untyped<'static> {
        Untyped(std::ptr::with_exposed_provenance_mut(address), PhantomData)
    }

    /// Writes the value; null is an invalid value.
    pub(super) fn set<T>(self, value: T) -> Result<(), Status> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the caller passes a place for the type that the other argument says, and T is that type.
        unsafe { self.0.cast::<T>().write_unaligned(value) };
        Ok(())
    }

    /// Reads the value; null is an invalid value.
    pub(super) fn get<T: Copy>(self) -> Result<T, Status> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the caller passes a value of the type that the other argument says, and T is that type.
        Ok(unsafe { self.0.cast::<T>().read_unaligned() })
    }
}

/// A C string that is read during the call.
#[repr(transparent)]
pub struct Text<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// The string `s`.
    pub fn from(s: &'a CStr) -> Text<'a> {
        Text(s.as_ptr(), PhantomData)
    }

    /// The string; null, or anything but UTF-8, is an invalid value.
    pub fn get(&self) -> Result<&'a str, Status> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the C interface asks for a terminated string; a Rust caller made this from a CStr that lives for 'a.
        let s = unsafe { CStr::from_ptr(self.0) };
        s.to_str().map_err(|_| Status::INVALID_VALUE)
    }
}

/// A place for characters, of a length that is passed beside it.
#[repr(transparent)]
pub struct Chars<'a>(*mut c_char, PhantomData<&'a mut [u8]>);

impl<'a> Chars<'a> {
    /// The place `buffer`; pass its length beside it.
    pub fn to(buffer: &'a mut [u8]) -> Chars<'a> {
        Chars(buffer.as_mut_ptr().cast(), PhantomData)
    }

    /// Writes as much of `text` as fits into `length` characters, and a terminating zero.
    pub fn set(self, text: &str, length: i32) -> Result<(), Status> {
        let room = usize::try_from(length).map_err(|_| Status::INVALID_VALUE)?;
        if self.0.is_null() || room == 0 {
            return Err(Status::INVALID_VALUE);
        }
        let n = text.len().min(room - 1);
        // SAFETY: the caller passes a place for `length` characters; n + 1 <= length are written.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.0.cast(), n);
            self.0.add(n).write(0);
        }
        Ok(())
    }
}

/// An address in host memory that copies read or write, at the latest when the work on their stream is done.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(pub(super) usize);

impl Host {
    /// The memory at `address`.
    ///
    /// # Safety
    /// It must be valid, for the bytes and the access that are asked of it, until that work is done.
    pub unsafe fn at<T>(address: *const T) -> Host {
        Host(address.addr())
    }
}

/// `void **kernelParams`: addresses of the values of a kernel's parameters.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Params(*const *const c_void);

impl Params {
    /// The values at these addresses.
    ///
    /// # Safety
    /// As many valid addresses, of as many bytes, as the kernel that they are passed to has parameters.
    pub unsafe fn at(values: &[*const c_void]) -> Params {
        Params(values.as_ptr())
    }

    /// No parameters.
    pub fn null() -> Params {
        Params(std::ptr::null())
    }

    /// Whether there are none.
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Address of the address of value i.
    pub(super) fn slot(self, i: usize) -> usize {
        self.0.addr() + i * size_of::<usize>()
    }
}

/// `void (*)(void *)`: a function of the host that a stream calls.
pub type HostFunction = Option<unsafe extern "C" fn(*mut c_void)>;

/// Data for a [`HostFunction`], never looked at.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct UserData(pub *mut c_void);

// SAFETY: the pointer is handed to the caller's own function and never followed here; that the function may run on another thread is
// what cuLaunchHostFunc says.
unsafe impl Send for UserData {}

/// A module's image: PTX text with a zero at its end, or an ELF file, or a fat binary.
#[repr(transparent)]
pub struct Image<'a>(*const c_void, PhantomData<&'a CStr>);

impl<'a> Image<'a> {
    /// PTX text.
    pub fn text(ptx: &'a CStr) -> Image<'a> {
        Image(ptx.as_ptr().cast(), PhantomData)
    }

    /// The text; for machine code an error.
    pub fn get(&self) -> Result<&'a str, Status> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        let starts_with = |magic: [u8; 4]| {
            // SAFETY: an image is machine code, that begins with four known bytes, or a terminated text, that a comparison from
            // the left does not overrun.
            let is_byte = |i: usize, byte: u8| unsafe { *self.0.cast::<u8>().add(i) == byte };
            magic.iter().enumerate().all(|(i, byte)| is_byte(i, *byte))
        };
        if starts_with(*b"\x7fELF") || starts_with([0x50, 0xed, 0x55, 0xba]) {
            return Err(Status::NO_BINARY_FOR_GPU);
        }
        // SAFETY: what is no machine code is a terminated text.
        let text = unsafe { CStr::from_ptr(self.0.cast()) };
        text.to_str().map_err(|_| Status::INVALID_IMAGE)
    }
}

/// `CUjit_option *` and `void **`: options of the compiler and their values, of a number that is passed beside them.
#[repr(transparent)]
pub struct Words<'a, T>(*const T, PhantomData<&'a [T]>);

impl<'a, T: Copy> Words<'a, T> {
    /// The words; pass their number beside them.
    pub fn from(words: &'a [T]) -> Words<'a, T> {
        Words(words.as_ptr(), PhantomData)
    }

    /// The words.
    pub(super) fn get(&self, count: u32) -> &'a [T] {
        if count == 0 || self.0.is_null() {
            return &[];
        }
        // SAFETY: the caller passes `count` words.
        unsafe { std::slice::from_raw_parts(self.0, count as usize) }
    }
}

impl Chars<'_> {
    /// The place that a word is the address of.
    pub(super) fn at(address: usize) -> Chars<'static> {
        Chars(std::ptr::with_exposed_provenance_mut(address), PhantomData)
    }
}
