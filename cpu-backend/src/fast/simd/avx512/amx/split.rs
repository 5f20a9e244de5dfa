//! f32 by tiles of bf16. A number is the sum of three of bf16, exactly: x = x1 + x2 + x3, x1 rounded to eight bits, x2 what is left cut after
//! eight, x3 the rest. Of the nine products of x y six are made; those left out, x2 y3, x3 y2 and x3 y3, are below 2^-22 |x y| and of either sign
//! (Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019).
//!
//! An element's sum is cut at multiples of 32 k's, as that of bf16 is (see [`super`]): each of the six is summed over 32 k's and added to what is
//! there. So it is rounded 6 times at its full size where a chain of f32 is 32 times, and depends on nothing beside its row and column. What is
//! below 2^-110 loses digits: a part below 2^-126 counts as 0. From 3.396e38 on, where x1 is infinite, nothing finite comes out.
//!
//! An operand's unit is the three parts of a pair of k's. Sixteen units of a row of the left operand lie as three lines of 64 bytes, one for each
//! part; NR units of a panel as three rows of 128.
mod layout;

use core::arch::asm;

use half::bf16;

use super::{Amx, HEIGHT, LINE, PANEL_ROW, ROWS, UNITS, close, open};
use crate::fast::gemm::{Lhs, Start};
use crate::fast::matmul::Matmul;
use layout::{split_columns, split_panel, split_row, split_transposed, turn};

/// Parts of a number.
const PARTS: usize = 3;
/// Numbers of k in a tile of the machine's.
const DEPTH: usize = 2 * UNITS;
/// Columns of a panel.
const WIDTH: usize = 2 * UNITS;
/// Bytes of sixteen units of a row.
const CHUNK: usize = PARTS * LINE;
/// Bytes of the units of a pair of k's, of a panel.
const PAIR: usize = PARTS * PANEL_ROW;

/// A pair of k's in parts.
type Unit = [[bf16; 2]; PARTS];

/// f32 in three parts, by tiles of bf16.
pub struct SplitMac;

/// Units that k numbers take: whole tiles.
const fn steps(k: usize) -> usize {
    k.div_ceil(DEPTH) * UNITS
}

/// tmm0 and tmm1 += up to sixteen rows of `$lhs` times `$panel`, over `$count` tiles of k: parts of the left operand by parts of the panel, 1 3,
/// 1 2, 2 2, 2 1, 3 1, 1 1, so that each product needs one operand's tiles anew.
macro_rules! upper {
    ($lhs:expr, $panel:expr, $count:expr) => {
        asm!(
            "2:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {pair} + 256]",
            "tileloadd tmm7, [{b} + {pair} + 320]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm6, [{b} + {pair} + 128]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm7, [{b} + {pair} + 192]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm6, [{b} + {pair}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm7, [{b} + {pair} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row} + 128]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, {chunk}",
            "add {b}, {tile}",
            "dec {n}",
            "jnz 2b",
            a = inout(reg) $lhs.ptr => _, row = in(reg) $lhs.row,
            b = inout(reg) $panel => _, pair = in(reg) PAIR,
            n = inout(reg) $count => _,
            chunk = const CHUNK, tile = const UNITS * PAIR,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        )
    };
}

/// As `upper`, with tmm2 and tmm3 for the rows from the seventeenth on, at `$lower`. A tile is loaded as soon as its register's last product has
/// read it.
macro_rules! both {
    ($lhs:expr, $lower:expr, $panel:expr, $count:expr) => {
        asm!(
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {pair} + 256]",
            "tileloadd tmm7, [{b} + {pair} + 320]",
            "tileloadd tmm5, [{lower} + {row}]",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm6, [{b} + {pair} + 128]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm7, [{b} + {pair} + 192]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row} + 64]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm5, [{lower} + {row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm6, [{b} + {pair}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm7, [{b} + {pair} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row} + 128]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm5, [{lower} + {row} + 128]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm5, [{lower} + {row}]",
            "dec {n}",
            "jz 3f",
            "add {a}, {chunk}",
            "add {lower}, {chunk}",
            "add {b}, {tile}",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm6, [{b} + {pair} + 256]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm7, [{b} + {pair} + 320]",
            "tileloadd tmm5, [{lower} + {row}]",
            "jmp 2b",
            "3:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            a = inout(reg) $lhs.ptr => _, lower = inout(reg) $lower => _, row = in(reg) $lhs.row,
            b = inout(reg) $panel => _, pair = in(reg) PAIR,
            n = inout(reg) $count => _,
            chunk = const CHUNK, tile = const UNITS * PAIR,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        )
    };
}

/// The registers += lhs panel, `count` tiles of k, at least one.
///
/// # Safety
/// `rows` rows and a panel of so many units, after [`open`] for as many rows, with nothing in between that uses the tiles' registers.
#[inline(always)]
unsafe fn multiply(rows: usize, lhs: Lhs, panel: *const Unit, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if rows > HEIGHT {
            both!(lhs, lhs.ptr.add(HEIGHT * lhs.row), panel, count);
        } else {
            upper!(lhs, panel, count);
        }
    }
}

/// c (rows, WIDTH) (+)= lhs panel, `count` tiles of k.
///
/// # Safety
/// As `Matmul::product`, on a machine with tiles that this process may use; `count` is not 0.
#[inline(never)]
unsafe fn product(c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const Unit, count: usize, start: Start) {
    debug_assert!(rows <= ROWS && count > 0);
    // SAFETY: the caller's promise.
    unsafe {
        open(c, 4 * ldc, rows, UNITS, start);
        multiply(rows, lhs, panel, count);
        close(c, 4 * ldc, rows);
    }
}

/// As [`product`] from zero, by a prepared panel that is split as it is read: 32 k's at a time, which stay in the nearest cache, while those
/// before them are multiplied.
///
/// # Safety
/// As [`product`]; the panel is not empty.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn stream(c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: &[f32]) {
    #[repr(align(64))]
    struct Split([Unit; UNITS * WIDTH]);
    let split = |split: &mut Split, x: &[f32]| split_panel(&mut split.0, x, WIDTH, x.len() / WIDTH, 0, WIDTH);
    let mut all = [const { Split([[[bf16::ZERO; 2]; PARTS]; UNITS * WIDTH]) }; 2];
    let [mut current, mut next] = all.each_mut();
    let mut chunks = panel.chunks(DEPTH * WIDTH);
    if let Some(first) = chunks.next() {
        split(current, first);
    }
    // SAFETY: the caller's promise; a chunk of the panel is as long as one of the left operand, filled up with zeros.
    unsafe {
        open(c, 4 * ldc, rows, UNITS, Start::Zero);
        for i in 0..panel.len().div_ceil(DEPTH * WIDTH) {
            if let Some(chunk) = chunks.next() {
                split(next, chunk);
            }
            let lhs = Lhs {
                ptr: lhs.ptr.add(i * CHUNK),
                ..lhs
            };
            multiply(rows, lhs, current.0.as_ptr(), 1);
            core::mem::swap(&mut current, &mut next);
        }
        close(c, 4 * ldc, rows);
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // SAFETY: the caller's promise, passed on; an Amx is proof of the instructions.
impl Matmul<Amx, f32> for SplitMac {
    const PER_UNIT: usize = 2;
    const DIRECT: bool = false;
    const ONCE: bool = true;
    type X = Unit;

    #[inline(always)]
    fn steps(k: usize) -> usize {
        steps(k)
    }
    #[inline(always)]
    fn room(k: usize) -> usize {
        steps(k) * size_of::<Unit>() / size_of::<f32>()
    }
    #[inline(always)]
    fn left(_: Amx, x: &[f32], k: usize, room: &mut [f32]) -> Lhs {
        let rows: &mut [Unit] = bytemuck::cast_slice_mut(&mut *room);
        for (dst, x) in rows.chunks_exact_mut(steps(k).max(1)).zip(x.chunks_exact(k.max(1))) {
            unsafe { split_row(dst, x) };
        }
        Self::laid(room, k)
    }
    #[inline(always)]
    fn laid(room: &[f32], k: usize) -> Lhs {
        Self::packed_left(bytemuck::cast_slice(room), steps(k))
    }
    #[inline(always)]
    fn right(_: Amx, dst: &mut [Unit], panel: &[f32]) {
        unsafe { split_panel(dst, panel, WIDTH, panel.len() / WIDTH, 0, WIDTH) }
    }
    #[inline(always)]
    fn transpose(_: Amx, dst: &mut [Unit], block: &[f32]) {
        unsafe { split_transposed(dst, block) }
    }
    #[inline(always)]
    fn pack(_: Amx, dst: &mut [Unit], src: &[f32], stride: usize, k: usize, first: usize, columns: usize) {
        unsafe { split_panel(dst, src, stride, k, first, columns) }
    }
    #[inline(always)]
    fn pack_left(_: Amx, dst: &mut [Unit], src: &[f32], stride: usize, k: usize, first: usize, columns: usize) {
        unsafe { split_columns(dst, src, stride, k, first, columns) }
    }
    #[inline(always)]
    fn packed_left(x: &[Unit], steps: usize) -> Lhs {
        Lhs {
            ptr: x.as_ptr().cast(),
            row: steps * size_of::<Unit>(),
            step: size_of::<Unit>(),
        }
    }
    #[inline(always)]
    fn store_row(_: Amx, dst: &mut [Unit], x: &[f32]) {
        unsafe { split_row(dst, x) }
    }
    #[inline(always)]
    fn turn(_: Amx, dst: &mut [Unit], src: &[Unit], width: usize, rows: usize, first: usize, _: usize) {
        unsafe { turn(dst, src, steps(width), rows, first) }
    }
    #[inline(always)]
    unsafe fn product(
        _: Amx,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const Unit,
        k: usize,
        start: Start,
    ) {
        let count = steps(k) / UNITS;
        unsafe {
            match start {
                _ if count > 0 => product(c, ldc, rows, lhs, panel, count, start),
                Start::Zero => (0..rows).for_each(|r| c.add(r * ldc).write_bytes(0, WIDTH)),
                Start::Output => {}
            }
        }
    }
    #[inline(always)]
    unsafe fn product_once(s: Amx, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: &[f32]) {
        unsafe {
            match panel {
                [] => Self::product(s, c, ldc, rows, lhs, core::ptr::null(), 0, Start::Zero),
                _ => stream(c, ldc, rows, lhs, panel),
            }
        }
    }
}

#[cfg(test)]
mod tests;
