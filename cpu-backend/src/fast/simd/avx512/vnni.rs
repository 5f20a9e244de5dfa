//! AVX-512 VNNI: `vpdpbusd` adds four products of bytes, the first unsigned, to each lane's 32-bit integer.
use core::arch::x86_64::*;

/// Outputs of a panel: two vectors.
const NR: usize = 32;

/// How many groups ahead of its use a panel's line is asked for.
const AHEAD: usize = 32;

/// c (rows, 32) = rows of x by a panel: `stride` inputs each, a multiple of four. At most twelve rows.
///
/// # Safety
/// The machine has AVX-512 VNNI; `rows` x `stride` bytes can be read at x, `stride` x 32 at panel, `rows` x 32 integers written at c.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn product(c: *mut i32, rows: usize, x: *const u8, stride: usize, panel: *const i8) {
    macro_rules! rows {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($r => unsafe { tile::<$r>(c, x, stride, panel) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1 2 3 4 5 6 7 8 9 10 11 12)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const R: usize>(c: *mut i32, x: *const u8, stride: usize, panel: *const i8) {
    // SAFETY: the caller's promise (`product`): all reads are of groups below stride / 4 and rows below R.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 2]; R];
        for group in 0..stride / 4 {
            let b = panel.add(group * 4 * NR);
            let (b0, b1) = (_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(64).cast()));
            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * 4 * NR));
            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * 4 * NR + 64));
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_epi32(x.add(r * stride + 4 * group).cast::<i32>().read_unaligned());
                acc[0] = _mm512_dpbusd_epi32(acc[0], a, b0);
                acc[1] = _mm512_dpbusd_epi32(acc[1], a, b1);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            _mm512_storeu_si512(c.add(r * NR).cast(), acc[0]);
            _mm512_storeu_si512(c.add(r * NR + 16).cast(), acc[1]);
        }
    }
}
