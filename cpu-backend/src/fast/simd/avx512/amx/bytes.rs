//! AMX with bytes: tiles of 16 x 64 unsigned ones by 64 x 16 signed ones, to 16 x 16 integers (TDPBUSD). In memory they have the shapes of tiles of
//! bf16, four bytes in the place of a pair.
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

use super::{HEIGHT, LINE, PANEL_ROW, ROWS, UNITS, shape};

/// Whether the tiles multiply bytes.
pub fn is_available() -> bool {
    const INT8: u32 = 1 << 25;
    super::is_available() && __cpuid_count(7, 0).edx & INT8 != 0
}

/// c (rows, 32) = rows of x by a panel: `stride` inputs each, a multiple of 64 and not 0. At most thirty-two rows.
///
/// # Safety
/// [`is_available`]; `rows` x `stride` bytes can be read at x, `stride` x 32 at panel, `rows` x 32 integers written at c. `begin` was called in this
/// piece of work.
#[inline(never)]
pub unsafe fn product(c: *mut i32, rows: usize, x: *const u8, stride: usize, panel: *const i8) {
    debug_assert!(rows <= ROWS && stride >= LINE && stride.is_multiple_of(LINE));
    let (count, ldc) = (stride / LINE, 2 * LINE);
    // SAFETY: the caller's promise: the shapes' rows and bytes are those of the operands. Nothing else uses the tiles' registers in between.
    unsafe {
        shape(rows, UNITS);
        asm!("tilezero tmm0", "tilezero tmm1", out("tmm0") _, out("tmm1") _, options(nostack, nomem));
        if rows <= HEIGHT {
            asm!(
                "2:",
                "tileloadd tmm4, [{a} + {row}]",
                "tileloaddt1 tmm6, [{b} + {panel_row}]",
                "tileloaddt1 tmm7, [{b} + {panel_row} + 64]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {a}, {line}",
                "add {b}, {tile}",
                "dec {n}",
                "jnz 2b",
                "tilestored [{c} + {ldc}], tmm0",
                "tilestored [{c} + {ldc} + 64], tmm1",
                a = inout(reg) x => _, row = in(reg) stride,
                b = inout(reg) panel => _, panel_row = in(reg) PANEL_ROW,
                n = inout(reg) count => _,
                c = in(reg) c, ldc = in(reg) ldc,
                line = const LINE, tile = const UNITS * PANEL_ROW,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
            return;
        }
        let (lower_c, lower_x) = (c.byte_add(HEIGHT * ldc), x.add(HEIGHT * stride));
        asm!("tilezero tmm2", "tilezero tmm3", out("tmm2") _, out("tmm3") _, options(nostack, nomem));
        asm!(
            "2:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloaddt1 tmm6, [{b} + {panel_row}]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloaddt1 tmm7, [{b} + {panel_row} + 64]",
            "tdpbusd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {row}]",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {a}, {line}",
            "add {lower}, {line}",
            "add {b}, {tile}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{c} + {ldc}], tmm0",
            "tilestored [{c} + {ldc} + 64], tmm1",
            "tilestored [{lower_c} + {ldc}], tmm2",
            "tilestored [{lower_c} + {ldc} + 64], tmm3",
            a = inout(reg) x => _, lower = inout(reg) lower_x => _, row = in(reg) stride,
            b = inout(reg) panel => _, panel_row = in(reg) PANEL_ROW,
            n = inout(reg) count => _,
            c = in(reg) c, lower_c = in(reg) lower_c, ldc = in(reg) ldc,
            line = const LINE, tile = const UNITS * PANEL_ROW,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
