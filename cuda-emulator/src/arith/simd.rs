//! Loops over lanes, compiled once for any machine and, on x86-64, once for AVX2 with FMA.

#[cfg(target_arch = "x86_64")]
use core::sync::atomic::{AtomicU8, Ordering};

/// Defines a function whose body is compiled twice on x86-64: for the baseline, and for AVX2 with FMA, F16C and BMI, which is taken
/// where the processor has them. Both compute the same bits.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) -> $ret {
            #[inline(always)]
            fn body($($arg: $type),*) -> $ret $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
                fn wide($($arg: $type),*) -> $ret {
                    body($($arg),*)
                }
                if $crate::arith::simd::has_avx2() {
                    // SAFETY: has_avx2 is true only where the processor has every feature named above.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Whether the processor has what the wide versions are compiled for. Asked once, then remembered.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn has_avx2() -> bool {
    match AVX2.load(Ordering::Relaxed) {
        UNKNOWN => ask(),
        answer => answer == YES,
    }
}

#[cfg(target_arch = "x86_64")]
static AVX2: AtomicU8 = AtomicU8::new(UNKNOWN);
#[cfg(target_arch = "x86_64")]
const UNKNOWN: u8 = 0;
#[cfg(target_arch = "x86_64")]
const YES: u8 = 1;
#[cfg(target_arch = "x86_64")]
const NO: u8 = 2;

#[cfg(target_arch = "x86_64")]
#[cold]
fn ask() -> bool {
    let yes = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    AVX2.store(if yes { YES } else { NO }, Ordering::Relaxed);
    yes
}

/// `f` of each lane.
#[inline(always)]
pub(crate) fn map1<A: Copy, D: Copy + Default>(a: &[A; 32], f: impl Fn(A) -> D) -> [D; 32] {
    let mut d = [D::default(); 32];
    for i in 0..32 {
        d[i] = f(a[i]);
    }
    d
}

/// `f` of each lane of two registers.
#[inline(always)]
pub(crate) fn map2<A: Copy, B: Copy, D: Copy + Default>(a: &[A; 32], b: &[B; 32], f: impl Fn(A, B) -> D) -> [D; 32] {
    let mut d = [D::default(); 32];
    for i in 0..32 {
        d[i] = f(a[i], b[i]);
    }
    d
}

/// `f` of each lane of three registers.
#[inline(always)]
pub(crate) fn map3<A: Copy, B: Copy, C: Copy, D: Copy + Default>(
    a: &[A; 32],
    b: &[B; 32],
    c: &[C; 32],
    f: impl Fn(A, B, C) -> D,
) -> [D; 32] {
    let mut d = [D::default(); 32];
    for i in 0..32 {
        d[i] = f(a[i], b[i], c[i]);
    }
    d
}

/// A bit for each lane for which `f` holds.
#[inline(always)]
pub(crate) fn mask2<A: Copy>(a: &[A; 32], b: &[A; 32], f: impl Fn(A, A) -> bool) -> u32 {
    let mut lanes = [0u32; 32];
    for i in 0..32 {
        lanes[i] = f(a[i], b[i]) as u32;
    }
    let mut mask = 0;
    for (i, lane) in lanes.iter().enumerate() {
        mask |= lane << i;
    }
    mask
}
