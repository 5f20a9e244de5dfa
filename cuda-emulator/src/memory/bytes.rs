//! Moves between memory and the lanes' words. Device memory may be touched by several threads at once (a racy kernel), so every
//! access is a relaxed atomic one: on the usual machines the same instructions as plain ones.

use super::Raw;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// One lane's access, zero-extended.
///
/// # Safety
/// `from` is valid for `bytes` (1, 2, 4, 8 or 16) and aligned to it.
#[inline(always)]
pub unsafe fn load(from: *mut u8, bytes: u32) -> u128 {
    // SAFETY: valid and aligned, as the caller says.
    unsafe {
        match bytes {
            1 => AtomicU8::from_ptr(from).load(Relaxed).into(),
            2 => AtomicU16::from_ptr(from.cast()).load(Relaxed).into(),
            4 => AtomicU32::from_ptr(from.cast()).load(Relaxed).into(),
            8 => AtomicU64::from_ptr(from.cast()).load(Relaxed).into(),
            _ => {
                let low = AtomicU64::from_ptr(from.cast()).load(Relaxed);
                let high = AtomicU64::from_ptr(from.add(8).cast()).load(Relaxed);
                u128::from(high) << 64 | u128::from(low)
            }
        }
    }
}

/// One lane's access.
///
/// # Safety
/// `to` is valid for `bytes` (1, 2, 4, 8 or 16) and aligned to it.
#[inline(always)]
pub unsafe fn store(to: *mut u8, bytes: u32, value: u128) {
    // SAFETY: valid and aligned, as the caller says.
    unsafe {
        match bytes {
            1 => AtomicU8::from_ptr(to).store(value as u8, Relaxed),
            2 => AtomicU16::from_ptr(to.cast()).store(value as u16, Relaxed),
            4 => AtomicU32::from_ptr(to.cast()).store(value as u32, Relaxed),
            8 => AtomicU64::from_ptr(to.cast()).store(value as u64, Relaxed),
            _ => {
                AtomicU64::from_ptr(to.cast()).store(value as u64, Relaxed);
                AtomicU64::from_ptr(to.add(8).cast()).store((value >> 64) as u64, Relaxed);
            }
        }
    }
}

/// Puts a lane's value into its words.
#[inline(always)]
pub fn put(out: &mut Raw, lane: usize, bytes: u32, value: u128) {
    out[0][lane] = value as u32;
    if bytes >= 8 {
        out[1][lane] = (value >> 32) as u32;
    }
    if bytes == 16 {
        out[2][lane] = (value >> 64) as u32;
        out[3][lane] = (value >> 96) as u32;
    }
}

/// A lane's value from its words.
#[inline(always)]
pub fn get(data: &Raw, lane: usize, bytes: u32) -> u128 {
    let [a, b, c, d] = [data[0][lane], data[1][lane], data[2][lane], data[3][lane]].map(u128::from);
    match bytes {
        1 => a & 0xff,
        2 => a & 0xffff,
        4 => a,
        8 => b << 32 | a,
        _ => d << 96 | c << 64 | b << 32 | a,
    }
}

/// Consecutive lanes' accesses, `first` and the ones after it.
///
/// # Safety
/// `from` is valid for `lanes * bytes` and aligned to `bytes`.
#[inline]
pub unsafe fn load_lanes(from: *mut u8, bytes: u32, first: usize, lanes: usize, out: &mut Raw) {
    // SAFETY: each lane's part is valid and aligned.
    unsafe {
        match bytes {
            4 => {
                for (i, o) in out[0][first..first + lanes].iter_mut().enumerate() {
                    *o = AtomicU32::from_ptr(from.add(4 * i).cast()).load(Relaxed);
                }
            }
            16 => {
                for i in 0..lanes {
                    let low = AtomicU64::from_ptr(from.add(16 * i).cast()).load(Relaxed);
                    let high = AtomicU64::from_ptr(from.add(16 * i + 8).cast()).load(Relaxed);
                    let lane = (first + i) & 31;
                    (out[0][lane], out[1][lane]) = (low as u32, (low >> 32) as u32);
                    (out[2][lane], out[3][lane]) = (high as u32, (high >> 32) as u32);
                }
            }
            _ => {
                for i in 0..lanes {
                    put(out, first + i, bytes, load(from.add(bytes as usize * i), bytes));
                }
            }
        }
    }
}

/// Consecutive lanes' accesses, `first` and the ones after it.
///
/// # Safety
/// `to` is valid for `lanes * bytes` and aligned to `bytes`.
#[inline]
pub unsafe fn store_lanes(to: *mut u8, bytes: u32, first: usize, lanes: usize, data: &Raw) {
    // SAFETY: each lane's part is valid and aligned.
    unsafe {
        if bytes == 4 {
            for (i, &v) in data[0][first..first + lanes].iter().enumerate() {
                AtomicU32::from_ptr(to.add(4 * i).cast()).store(v, Relaxed);
            }
        } else {
            for i in 0..lanes {
                store(to.add(bytes as usize * i), bytes, get(data, first + i, bytes));
            }
        }
    }
}

/// The first of `n` marks that is not set.
///
/// # Safety
/// `marks` is valid for `n`.
#[inline]
pub unsafe fn first_unset(marks: *mut u8, n: usize) -> Option<usize> {
    // SAFETY: valid; words are read where they are aligned.
    unsafe {
        if n.is_multiple_of(8) && marks.addr().is_multiple_of(8) {
            let mut all = u64::MAX;
            for i in 0..n / 8 {
                all &= AtomicU64::from_ptr(marks.add(8 * i).cast()).load(Relaxed);
            }
            if all == u64::MAX {
                return None;
            }
        } else if n == 4
            && marks.addr().is_multiple_of(4)
            && AtomicU32::from_ptr(marks.cast()).load(Relaxed) == u32::MAX
        {
            return None;
        }
        (0..n).find(|&i| AtomicU8::from_ptr(marks.add(i)).load(Relaxed) == 0)
    }
}

/// Sets `n` marks.
///
/// # Safety
/// `marks` is valid for `n`.
#[inline]
pub unsafe fn set(marks: *mut u8, n: usize) {
    // SAFETY: valid; words are written where they are aligned.
    unsafe {
        if n.is_multiple_of(8) && marks.addr().is_multiple_of(8) {
            for i in 0..n / 8 {
                AtomicU64::from_ptr(marks.add(8 * i).cast()).store(u64::MAX, Relaxed);
            }
        } else if n == 4 && marks.addr().is_multiple_of(4) {
            AtomicU32::from_ptr(marks.cast()).store(u32::MAX, Relaxed);
        } else {
            for i in 0..n {
                AtomicU8::from_ptr(marks.add(i)).store(0xff, Relaxed);
            }
        }
    }
}
