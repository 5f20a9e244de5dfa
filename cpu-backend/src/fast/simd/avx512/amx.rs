//! AMX: tiles of 16 x 32 bf16, multiplied to tiles of 16 x 16 f32 (Intel's ISA reference, TDPBF16PS).
//!
//! An element's sum over 32 k's: the even ones and the odd ones each in a chain from zero, the two added, then added to what is there. So it is
//! cut at multiples of 32 counted from the product's first k, whatever the rows beside it.
pub(crate) mod bytes;
mod few;
pub(crate) mod split;

use core::arch::asm;
use core::arch::x86_64::*;
use std::cell::Cell;
use std::sync::OnceLock;

use half::bf16;

use super::{Amx, Avx512Bf16, PairMac, transposed};
use crate::fast::gemm::{Lhs, Mac, Start};

/// Rows of the product's tile: two of the machine's.
pub const ROWS: usize = 2 * HEIGHT;
/// Rows of a tile of the machine's, at most.
const HEIGHT: usize = 16;
/// Units of k in a tile of an operand.
const UNITS: usize = 16;
/// Bytes of a row of a full tile.
const LINE: usize = 64;
/// Bytes from a unit of k of a panel to the next.
const PANEL_ROW: usize = 2 * LINE;

/// Whether the machine has tiles of bf16 and the system lets this process use them. Asked once; a process asks for all of its threads.
pub fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        __get_cpuid_max(0).0 >= 7 && __cpuid_count(7, 0).edx & (BF16 | TILE) == BF16 | TILE && permitted()
    })
}

/// Asks Linux for the tiles' registers: their state is large, and given to none that has not asked.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: arch_prctl(ARCH_REQ_XCOMP_PERM, 18) takes two numbers; a kernel that does not know it says so. A system call changes rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: rows and bytes of a row of each tile register.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

thread_local! {
    /// Rows and units that this thread's tiles are shaped for; none, where someone else may have shaped them.
    static SHAPED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Begins a kernel: what shapes the tiles have is not known, since this thread may have run another's code since the last one.
#[inline(always)]
pub(crate) fn begin() {
    SHAPED.set((0, 0));
}

/// Shapes the tiles for `rows` rows and `units` units of k; within a kernel only where they are not so already: it costs as much as
/// six products of tiles.
///
/// # Safety
/// On a machine with tiles that this process may use.
#[inline(always)]
unsafe fn shape(rows: usize, units: usize) {
    if SHAPED.get() != (rows, units) {
        let shapes = Shapes::new(rows, units);
        // SAFETY: the caller's promise; 64 bytes of a valid palette.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, readonly)) };
        SHAPED.set((rows, units));
    }
}

impl Shapes {
    /// Registers 0 and 1: sums of the first 16 rows; 2 and 3: of those below; 4 and 5: the left operand's; 6 and 7: the panel's halves.
    #[inline(always)]
    fn new(rows: usize, units: usize) -> Self {
        let upper = rows.min(HEIGHT) as u8;
        let lower = rows as u8 - upper;
        let mut shapes = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let left = (units * 4) as u16;
        shapes.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, units as u8, units as u8]);
        shapes.row_bytes[..8].copy_from_slice(&[64, 64, 64, 64, left, left, 64, 64]);
        if lower == 0 {
            for i in [2, 3, 5] {
                shapes.row_bytes[i] = 0;
            }
        }
        shapes
    }
}

/// Pairs of bf16 by tiles.
#[derive(Clone, Copy)]
pub struct TileMac;

impl Amx {
    /// The instructions beneath.
    #[inline(always)]
    fn pairs(self) -> Avx512Bf16 {
        Avx512Bf16(())
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // SAFETY: the caller's promise, passed on; an Amx is proof of the instructions.
impl Mac<Amx, bf16> for TileMac {
    const PAIRS: bool = true;
    const DIRECT: bool = true;
    type X = [bf16; 2];
    type Left = bf16;
    type P = __m512i;

    #[inline(always)]
    unsafe fn splat(s: Amx, x: *const u8) -> __m512i {
        unsafe { PairMac::splat(s.pairs(), x) }
    }
    #[inline(always)]
    unsafe fn splat_last(s: Amx, x: *const u8) -> __m512i {
        unsafe { PairMac::splat_last(s.pairs(), x) }
    }
    #[inline(always)]
    unsafe fn load(s: Amx, x: *const [bf16; 2]) -> __m512i {
        unsafe { PairMac::load(s.pairs(), x) }
    }
    #[inline(always)]
    fn mac(s: Amx, c: __m512, a: __m512i, b: __m512i) -> __m512 {
        PairMac::mac(s.pairs(), c, a, b)
    }
    #[inline(always)]
    unsafe fn transpose(s: Amx, dst: *mut [bf16; 2], src: *const bf16) -> bool {
        unsafe { PairMac::transpose(s.pairs(), dst, src) }
    }
    #[inline(always)]
    unsafe fn product(
        _: Amx,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const [bf16; 2],
        k: usize,
        start: Start,
    ) {
        unsafe { product(c, ldc, rows, lhs, panel, k, start, &[]) }
    }
    #[inline(always)]
    unsafe fn product_ahead(
        _: Amx,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const [bf16; 2],
        k: usize,
        ahead: &[[bf16; 2]],
    ) {
        unsafe { product(c, ldc, rows, lhs, panel, k, Start::Zero, ahead) }
    }
    #[inline(always)]
    fn pack_left(_: Amx, dst: &mut [[bf16; 2]], src: &[bf16], stride: usize, k: usize, first: usize, columns: usize) {
        unsafe { pack_rows(dst, src, stride, k, first, columns) }
    }
    #[inline(always)]
    fn packed_left(x: &[[bf16; 2]], steps: usize) -> Lhs {
        Lhs::rows::<bf16, [bf16; 2]>(bytemuck::cast_slice(x), 2 * steps)
    }
    #[inline(always)]
    fn unit(a: bf16, b: bf16) -> [bf16; 2] {
        [a, b]
    }
    #[inline(always)]
    fn unit_f32(a: f32, b: f32) -> [bf16; 2] {
        [bf16::from_f32(a), bf16::from_f32(b)]
    }
}

/// As `gemm::product`; the units of a row of `lhs` lie side by side. Asks for `ahead`, nothing or as much as the panel.
///
/// # Safety
/// As `gemm::product`, on a machine with tiles that this process may use.
#[inline(never)]
#[allow(clippy::too_many_arguments)]
unsafe fn product(
    c: *mut f32,
    ldc: usize,
    rows: usize,
    lhs: Lhs,
    panel: *const [bf16; 2],
    k: usize,
    start: Start,
    ahead: &[[bf16; 2]],
) {
    debug_assert!(lhs.step == size_of::<[bf16; 2]>() && rows <= ROWS);
    let whole = k / (2 * UNITS);
    let rest = k % (2 * UNITS);
    // SAFETY: the caller's promise: rows x k numbers of the left operand, k (to whole units) x NR of the panel, rows x NR of c.
    unsafe {
        match rows {
            1 => return few::product::<1>(c, ldc, lhs, panel, k, start),
            2 => return few::product::<2>(c, ldc, lhs, panel, k, start),
            _ => {}
        }
        if whole > 0 {
            steps(c, ldc, rows, lhs, panel, whole, UNITS, start, ahead);
        }
        let start = if whole > 0 { Start::Output } else { start };
        let (lhs, panel) = (
            Lhs {
                ptr: lhs.ptr.add(whole * LINE),
                ..lhs
            },
            panel.add(whole * UNITS * 2 * UNITS),
        );
        if rest % 2 == 1 {
            // The last unit of a row is half outside of it.
            let mut padded = [[bf16::ZERO; 2 * UNITS]; ROWS];
            for (r, row) in padded.iter_mut().take(rows).enumerate() {
                core::ptr::copy_nonoverlapping(lhs.ptr.add(r * lhs.row), row.as_mut_ptr().cast(), 2 * rest);
            }
            let lhs = Lhs::rows::<bf16, [bf16; 2]>(padded.as_flattened(), 2 * UNITS);
            steps(c, ldc, rows, lhs, panel, 1, rest.div_ceil(2), start, &[]);
        } else if rest > 0 {
            steps(c, ldc, rows, lhs, panel, 1, rest / 2, start, &[]);
        } else if whole == 0 && start == Start::Zero {
            for r in 0..rows {
                c.add(r * ldc).write_bytes(0, 2 * UNITS);
            }
        }
    }
}

/// Asks for sixteen lines from `$at` on of what lies ahead.
macro_rules! lines {
    ($at:literal) => {
        concat!(
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n",
            "prefetcht0 [{p} + 64 * \\i + ",
            $at,
            "]\n.endr"
        )
    };
}

/// The loop over tiles of k for up to sixteen rows: tmm0 and tmm1 += rows of `$lhs` times `$panel`. A panel's tiles are asked for from
/// the second-level cache, so that the rows, which every panel needs, stay in the first.
macro_rules! upper {
    ($lhs:expr, $panel:expr, $count:expr, $p:expr, $first:expr, $second:expr) => {
        asm!(
            "2:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloaddt1 tmm6, [{b} + {panel_row}]",
            $first,
            "tileloaddt1 tmm7, [{b} + {panel_row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            $second,
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, {line}",
            "add {b}, {tile}",
            "add {p}, {tile}",
            "dec {n}",
            "jnz 2b",
            a = inout(reg) $lhs.ptr => _, row = in(reg) $lhs.row,
            b = inout(reg) $panel => _, panel_row = in(reg) PANEL_ROW,
            p = inout(reg) $p => _,
            n = inout(reg) $count => _,
            line = const LINE, tile = const UNITS * PANEL_ROW,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        )
    };
}

/// As `upper`, with tmm2 and tmm3 for the rows from the seventeenth on, at `$lower`. A tile is loaded for the next step as soon as this one's last
/// product has read its register: where another thread shares the core, products and loads take their turns, and in order.
macro_rules! both {
    ($lhs:expr, $lower:expr, $panel:expr, $count:expr, $p:expr, $first:expr, $second:expr) => {
        asm!(
            "tileloadd tmm4, [{a} + {row}]",
            "tileloaddt1 tmm6, [{b} + {panel_row}]",
            $first,
            "tileloaddt1 tmm7, [{b} + {panel_row} + 64]",
            "tileloadd tmm5, [{lower} + {row}]",
            $second,
            "dec {n}",
            "jz 3f",
            "2:",
            "add {a}, {line}",
            "add {lower}, {line}",
            "add {b}, {tile}",
            "add {p}, {tile}",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm4, [{a} + {row}]",
            $first,
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloaddt1 tmm6, [{b} + {panel_row}]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            $second,
            "tileloaddt1 tmm7, [{b} + {panel_row} + 64]",
            "tileloadd tmm5, [{lower} + {row}]",
            "dec {n}",
            "jnz 2b",
            "3:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            a = inout(reg) $lhs.ptr => _, lower = inout(reg) $lower => _, row = in(reg) $lhs.row,
            b = inout(reg) $panel => _, panel_row = in(reg) PANEL_ROW,
            p = inout(reg) $p => _,
            n = inout(reg) $count => _,
            line = const LINE, tile = const UNITS * PANEL_ROW,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        )
    };
}

/// c (+)= `count` tiles of `units` units of k, one after the other. Asks for as much of `ahead`, unless there is nothing.
///
/// # Safety
/// As [`product`].
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn steps(
    c: *mut f32,
    ldc: usize,
    rows: usize,
    lhs: Lhs,
    panel: *const [bf16; 2],
    count: usize,
    units: usize,
    start: Start,
    ahead: &[[bf16; 2]],
) {
    let p = ahead.as_ptr();
    // SAFETY: the caller's promise: the shapes' rows and bytes are those of the operands. Nothing else uses the tiles' registers in between.
    unsafe {
        let lower = lhs.ptr.wrapping_add(HEIGHT * lhs.row);
        open(c, 4 * ldc, rows, units, start);
        match (rows > HEIGHT, ahead.is_empty()) {
            (false, true) => upper!(lhs, panel, count, p, "", ""),
            (false, false) => upper!(lhs, panel, count, p, lines!(0), lines!(1024)),
            (true, true) => both!(lhs, lower, panel, count, p, "", ""),
            (true, false) => both!(lhs, lower, panel, count, p, lines!(0), lines!(1024)),
        }
        close(c, 4 * ldc, rows);
    }
}

/// The sums' tiles of `rows` rows from c, or zeros, to the registers, which are shaped for them and `units` units of k.
///
/// # Safety
/// `rows` rows of 2 UNITS numbers, `ldc` bytes apart, on a machine with tiles that this process may use.
#[inline(always)]
unsafe fn open(c: *const f32, ldc: usize, rows: usize, units: usize, start: Start) {
    // SAFETY: the caller's promise; the shapes' rows and bytes are those of c.
    unsafe {
        shape(rows, units);
        match start {
            Start::Zero => {
                asm!("tilezero tmm0", "tilezero tmm1", out("tmm0") _, out("tmm1") _, options(nostack, nomem));
                if rows > HEIGHT {
                    asm!("tilezero tmm2", "tilezero tmm3", out("tmm2") _, out("tmm3") _, options(nostack, nomem));
                }
            }
            Start::Output => {
                asm!(
                    "tileloadd tmm0, [{c} + {ldc}]",
                    "tileloadd tmm1, [{c} + {ldc} + 64]",
                    c = in(reg) c, ldc = in(reg) ldc,
                    out("tmm0") _, out("tmm1") _,
                    options(nostack, readonly),
                );
                if rows > HEIGHT {
                    asm!(
                        "tileloadd tmm2, [{c} + {ldc}]",
                        "tileloadd tmm3, [{c} + {ldc} + 64]",
                        c = in(reg) c.byte_add(HEIGHT * ldc), ldc = in(reg) ldc,
                        out("tmm2") _, out("tmm3") _,
                        options(nostack, readonly),
                    );
                }
            }
        }
    }
}

/// The registers to c.
///
/// # Safety
/// As [`open`], which was called for as many rows; nothing else has used the registers since but products.
#[inline(always)]
unsafe fn close(c: *mut f32, ldc: usize, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{c} + {ldc}], tmm0",
            "tilestored [{c} + {ldc} + 64], tmm1",
            c = in(reg) c, ldc = in(reg) ldc,
            options(nostack),
        );
        if rows > HEIGHT {
            asm!(
                "tilestored [{c} + {ldc}], tmm2",
                "tilestored [{c} + {ldc} + 64], tmm3",
                c = in(reg) c.byte_add(HEIGHT * ldc), ldc = in(reg) ldc,
                options(nostack),
            );
        }
    }
}

/// dst (ROWS rows of units) = columns `first ..` of src (k rows, `stride` apart), `columns` of them or ROWS, zeros past them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_rows(dst: &mut [[bf16; 2]], src: &[bf16], stride: usize, k: usize, first: usize, columns: usize) {
    let columns = columns.min(ROWS);
    let units = k.div_ceil(2);
    let dst = &mut dst[..ROWS * units];
    let mut done = 0;
    if columns == ROWS {
        while 2 * (done + UNITS) <= k {
            // The next rows lie where the machine does not look ahead by itself.
            for row in 2 * (done + UNITS)..2 * (done + 2 * UNITS) {
                _mm_prefetch::<_MM_HINT_T0>(src.as_ptr().wrapping_add(row * stride + first).cast());
            }
            for half in [0, HEIGHT] {
                let mut rows = [_mm512_setzero_ps(); UNITS];
                for (i, row) in rows.iter_mut().enumerate() {
                    let at = 2 * (done + i) * stride + first + half;
                    let [a, b] = [at, at + stride].map(|at| {
                        let x = &src[at..at + HEIGHT];
                        // SAFETY: sixteen numbers of two bytes.
                        _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(x.as_ptr().cast()) })
                    });
                    *row = _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32::<16>(b)));
                }
                for (r, row) in transposed(rows).into_iter().enumerate() {
                    let to = &mut dst[(half + r) * units + done..][..UNITS];
                    // SAFETY: sixteen units of four bytes.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr().cast(), row) };
                }
            }
            done += UNITS;
        }
    }
    for (r, row) in dst.chunks_exact_mut(units.max(1)).enumerate() {
        for (i, unit) in row.iter_mut().enumerate().skip(done) {
            let number = |i: usize| {
                if r < columns && i < k {
                    src[i * stride + first + r]
                } else {
                    bf16::ZERO
                }
            };
            *unit = [number(2 * i), number(2 * i + 1)];
        }
    }
}

#[cfg(test)]
mod tests;
