//! Multiply-adds from registers: nothing is read, nothing waits. The instruction is the one that the backend's products are made of.
use cpu_backend::Isa;

/// Runs so many rounds and returns how many operations they were.
pub type Kernel = fn(usize) -> usize;

/// For products of f32 or of bf16. An instruction set without products of bf16 multiplies them as f32.
pub fn kernel(isa: Isa, bf16: bool) -> Kernel {
    match (isa, bf16) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Amx, true) => x86::amx,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, true) => x86::dot,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx, _) => x86::avx512,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _) => x86::avx2,
        _ => plain,
    }
}

/// Numbers of the chains of plain Rust: more than any machine's registers would leave waiting.
const PLAIN: usize = 64;

/// Plain Rust, as the compiler makes it for any machine of this kind; where that has no fused multiply-add, a product and a sum.
fn plain(rounds: usize) -> usize {
    let (a, b) = (std::hint::black_box(0.999_f32), std::hint::black_box(1e-3_f32));
    let mut sums: [f32; PLAIN] = std::array::from_fn(|i| i as f32);
    for _ in 0..rounds {
        for s in &mut sums {
            *s = if cfg!(target_arch = "aarch64") {
                s.mul_add(a, b)
            } else {
                *s * a + b
            };
        }
    }
    std::hint::black_box(sums);
    rounds * PLAIN * 2
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::asm;
    use core::arch::x86_64::*;
    use std::hint::black_box;

    /// Independent chains: more than the latency of a multiply-add on two units.
    const CHAINS: usize = 12;

    pub fn avx2(rounds: usize) -> usize {
        // SAFETY: settings name only an instruction set that the machine has.
        unsafe { avx2_rounds(rounds) };
        rounds * CHAINS * 8 * 2
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_rounds(rounds: usize) {
        let (a, b) = black_box((_mm256_set1_ps(0.999), _mm256_set1_ps(1e-3)));
        let mut sums: [__m256; CHAINS] = std::array::from_fn(|i| _mm256_set1_ps(i as f32));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm256_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums);
    }

    pub fn avx512(rounds: usize) -> usize {
        // SAFETY: as above.
        unsafe { avx512_rounds(rounds) };
        rounds * CHAINS * 16 * 2
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_rounds(rounds: usize) {
        let (a, b) = black_box((_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3)));
        let mut sums: [__m512; CHAINS] = std::array::from_fn(|i| _mm512_set1_ps(i as f32));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums);
    }

    pub fn dot(rounds: usize) -> usize {
        // SAFETY: as above.
        unsafe { dot_rounds(rounds) };
        rounds * CHAINS * 32 * 2
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn dot_rounds(rounds: usize) {
        let ones = _mm512_set1_ps(1e-3);
        let (a, b) = black_box((_mm512_cvtne2ps_pbh(ones, ones), _mm512_cvtne2ps_pbh(ones, ones)));
        let mut sums: [__m512; CHAINS] = std::array::from_fn(|i| _mm512_set1_ps(i as f32));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_dpbf16_ps(*s, a, b);
            }
        }
        black_box(sums);
    }

    /// Eight full tiles for `ldtilecfg`, and what they hold.
    #[repr(C, align(64))]
    struct Tiles {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
        data: [u16; 512],
    }

    /// bf16's 1/128.
    const SMALL: u16 = 0x3c00;

    pub fn amx(rounds: usize) -> usize {
        let mut tiles = Tiles {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
            data: [SMALL; 512],
        };
        tiles.row_bytes[..8].fill(64);
        tiles.rows[..8].fill(16);
        // SAFETY: the machine has AMX and the settings' detection has asked for it, for all threads. The tiles are read at 64 bytes
        // a row, 16 rows, of `data`, which holds 1024 bytes. The registers are released at the end and nothing else uses them between.
        unsafe {
            asm!(
                "ldtilecfg [{tiles}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tileloadd tmm4, [{data} + {stride}*1]",
                "tileloadd tmm5, [{data} + {stride}*1]",
                "tileloadd tmm6, [{data} + {stride}*1]",
                "tileloadd tmm7, [{data} + {stride}*1]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                tiles = in(reg) &tiles,
                data = in(reg) tiles.data.as_ptr(),
                stride = in(reg) 64_usize,
                rounds = inout(reg) rounds => _,
                options(nostack),
            );
        }
        rounds * 4 * (16 * 16 * 32) * 2
    }
}
