//! Reads of memory: the sum of whole numbers, which costs next to nothing beside the reads.
use cpu_backend::Isa;

/// Sums numbers.
pub type Kernel = fn(&[u64]) -> u64;

/// The sum by the instruction set's widest reads.
pub fn kernel(isa: Isa) -> Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => x86::avx512,
        _ => sum,
    }
}

/// Streams: the machine fetches ahead along each of several.
const STREAMS: usize = 4;
/// Numbers of each at a time.
const WIDTH: usize = 16;

#[inline(always)]
fn sum(x: &[u64]) -> u64 {
    let len = x.len() / STREAMS / WIDTH * WIDTH;
    let mut streams: [_; STREAMS] = std::array::from_fn(|i| x[i * len..][..len].chunks_exact(WIDTH));
    let mut sums = [[0_u64; WIDTH]; STREAMS];
    for _ in 0..len / WIDTH {
        for (sums, stream) in sums.iter_mut().zip(&mut streams) {
            for (s, &x) in sums.iter_mut().zip(stream.next().unwrap_or_default()) {
                *s = s.wrapping_add(x);
            }
        }
    }
    sums.into_iter().flatten().fold(0, u64::wrapping_add)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::sum;

    #[target_feature(enable = "avx2")]
    fn avx2_sum(x: &[u64]) -> u64 {
        sum(x)
    }
    pub fn avx2(x: &[u64]) -> u64 {
        // SAFETY: settings name only an instruction set that the machine has.
        unsafe { avx2_sum(x) }
    }

    #[target_feature(enable = "avx512f")]
    fn avx512_sum(x: &[u64]) -> u64 {
        sum(x)
    }
    pub fn avx512(x: &[u64]) -> u64 {
        // SAFETY: as above.
        unsafe { avx512_sum(x) }
    }
}
