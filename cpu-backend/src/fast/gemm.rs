//! The matrix product's inner kernel: a tile of up to MR rows and NR columns.
//!
//! Every element is one chain of multiply-adds over k in order, from zero or from a partial sum kept in f32, whatever
//! the tile. So its bits do not depend on the rows beside it.
use bytemuck::Pod;
use half::bf16;

use super::elem::Elem;
use super::simd::Simd;

/// How numbers of type T are multiplied on S. The right operand lies in panels: for each k (or pair of k's), NR units.
pub trait Mac<S: Simd, T>: Copy + 'static {
    /// Whether a unit holds two k's.
    const PAIRS: bool;
    /// Whether rows of T can be the left operand as they lie in memory; if not they are widened first.
    const DIRECT: bool;
    /// A unit of an operand.
    type X: Pod;
    /// A number of the left operand.
    type Left: Elem;
    /// A vector of units.
    type P: Copy;
    /// The unit at x, which need not be aligned, in every lane.
    ///
    /// # Safety
    /// A unit can be read at x.
    unsafe fn splat(s: S, x: *const u8) -> Self::P;
    /// As splat, for the last, single k of an odd number of them.
    ///
    /// # Safety
    /// A number can be read at x.
    unsafe fn splat_last(s: S, x: *const u8) -> Self::P;
    /// LANES units.
    ///
    /// # Safety
    /// They can be read at x.
    unsafe fn load(s: S, x: *const Self::X) -> Self::P;
    /// c + a b
    fn mac(s: S, c: S::V, a: Self::P, b: Self::P) -> S::V;
    /// A unit of one k, or of a pair of them.
    fn unit(a: T, b: T) -> Self::X;
    /// As unit, rounded.
    fn unit_f32(a: f32, b: f32) -> Self::X;

    /// dst (NR outputs to whole units, NR inputs) from the NR x NR numbers at src of a prepared panel: the right operand of
    /// the transposed product. Whether it is done here; only where it can be done fast.
    ///
    /// # Safety
    /// NR x NR numbers can be read at src and written at dst.
    #[inline(always)]
    unsafe fn transpose(_: S, _: *mut Self::X, _: *const T) -> bool {
        false
    }

    /// The tile's product: [`product`] compiled once for the instruction set.
    ///
    /// # Safety
    /// As [`product`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn product(
        s: S,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const Self::X,
        k: usize,
        start: Start,
    );

    /// As [`Mac::product`] from zero, while `ahead` is asked for: nothing, or the panel to be used next, as long as this one. It comes from memory.
    ///
    /// # Safety
    /// As [`product`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn product_ahead(
        s: S,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const Self::X,
        k: usize,
        ahead: &[Self::X],
    ) {
        // Few rows look ahead by themselves.
        if rows > STREAMED {
            for at in (0..ahead.len()).step_by(LINE / size_of::<Self::X>()) {
                s.prefetch(&raw const ahead[at]);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { Self::product(s, c, ldc, rows, lhs, panel, k, Start::Zero) };
    }

    /// Fills `dst`, MR x steps units, with a tile of the left operand where it is used transposed: rows = columns `first ..` of src (k rows,
    /// `stride` apart), `columns` of them or MR, zeros past them.
    #[inline(always)]
    fn pack_left(_: S, dst: &mut [Self::X], src: &[T], stride: usize, k: usize, first: usize, columns: usize)
    where
        T: Copy + Default,
    {
        pack_columns::<S, T, Self>(dst, src, stride, k, first, columns, S::MR);
    }

    /// What [`Mac::pack_left`] made, as the left operand.
    #[inline(always)]
    fn packed_left(x: &[Self::X], _steps: usize) -> Lhs {
        Lhs::packed(x, S::MR)
    }

    /// Units that k numbers take.
    fn steps(k: usize) -> usize {
        if Self::PAIRS { k.div_ceil(2) } else { k }
    }
}

/// f32 by fused multiply-add.
#[derive(Clone, Copy)]
pub struct F32Mac;

impl<S: Simd> Mac<S, f32> for F32Mac {
    const PAIRS: bool = false;
    const DIRECT: bool = true;
    type X = f32;
    type Left = f32;
    type P = S::V;
    #[inline(always)]
    unsafe fn splat(s: S, x: *const u8) -> S::V {
        // SAFETY: the caller's promise.
        s.splat(unsafe { x.cast::<f32>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat_last(_: S, _: *const u8) -> S::V {
        unreachable!("f32 has no pairs")
    }
    #[inline(always)]
    unsafe fn load(s: S, x: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_ptr(x) }
    }
    #[inline(always)]
    fn mac(s: S, c: S::V, a: S::V, b: S::V) -> S::V {
        s.fma(a, b, c)
    }
    #[inline(always)]
    unsafe fn transpose(s: S, dst: *mut f32, src: *const f32) -> bool {
        for i in [0, S::LANES] {
            for o in [0, S::LANES] {
                // SAFETY: the caller's promise: four blocks.
                unsafe { s.transpose(dst.add(o * S::NR + i), S::NR, src.add(i * S::NR + o), S::NR) };
            }
        }
        true
    }
    #[inline(always)]
    unsafe fn product(s: S, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const f32, k: usize, start: Start) {
        // SAFETY: the caller's promise.
        unsafe { s.product(c, ldc, rows, lhs, panel, k, start) }
    }
    #[inline(always)]
    fn unit(a: f32, _: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn unit_f32(a: f32, _: f32) -> f32 {
        a
    }
}

/// bf16 widened to f32 first: where the machine has no product of bf16.
#[derive(Clone, Copy)]
pub struct WidenMac;

impl<S: Simd> Mac<S, bf16> for WidenMac {
    const PAIRS: bool = false;
    const DIRECT: bool = false;
    type X = f32;
    type Left = f32;
    type P = S::V;
    #[inline(always)]
    unsafe fn splat(s: S, x: *const u8) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { <F32Mac as Mac<S, f32>>::splat(s, x) }
    }
    #[inline(always)]
    unsafe fn splat_last(_: S, _: *const u8) -> S::V {
        unreachable!("widened numbers have no pairs")
    }
    #[inline(always)]
    unsafe fn load(s: S, x: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_ptr(x) }
    }
    #[inline(always)]
    fn mac(s: S, c: S::V, a: S::V, b: S::V) -> S::V {
        s.fma(a, b, c)
    }
    #[inline(always)]
    unsafe fn product(s: S, c: *mut f32, ldc: usize, rows: usize, lhs: Lhs, panel: *const f32, k: usize, start: Start) {
        // SAFETY: the caller's promise.
        unsafe { s.product(c, ldc, rows, lhs, panel, k, start) }
    }
    #[inline(always)]
    fn unit(a: bf16, _: bf16) -> f32 {
        a.to_f32()
    }
    #[inline(always)]
    fn unit_f32(a: f32, _: f32) -> f32 {
        a
    }
}

/// Bytes that the caches fetch at once.
pub const LINE: usize = 64;

/// Rows below which a product is bound by the bytes of its panels.
const STREAMED: usize = 8;

/// How many units of k ahead of its use a panel's line is asked for.
const AHEAD: usize = 32;

/// A left operand of f32 and panels of bf16, widened as they are read: for panels that are used once.
#[derive(Clone, Copy)]
pub struct StoredMac;

impl<S: Simd> Mac<S, bf16> for StoredMac {
    const PAIRS: bool = false;
    const DIRECT: bool = false;
    type X = bf16;
    type Left = f32;
    type P = S::V;
    #[inline(always)]
    unsafe fn splat(s: S, x: *const u8) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { <F32Mac as Mac<S, f32>>::splat(s, x) }
    }
    #[inline(always)]
    unsafe fn splat_last(_: S, _: *const u8) -> S::V {
        unreachable!("widened numbers have no pairs")
    }
    #[inline(always)]
    unsafe fn load(s: S, x: *const bf16) -> S::V {
        // SAFETY: the caller's promise.
        s.widen(unsafe { core::slice::from_raw_parts(x, S::LANES) })
    }
    #[inline(always)]
    fn mac(s: S, c: S::V, a: S::V, b: S::V) -> S::V {
        s.fma(a, b, c)
    }
    #[inline(always)]
    unsafe fn product(
        s: S,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const bf16,
        k: usize,
        start: Start,
    ) {
        // SAFETY: the caller's promise.
        unsafe { s.product_stored(c, ldc, rows, lhs, panel, k, start) }
    }
    #[inline(always)]
    fn unit(a: bf16, _: bf16) -> bf16 {
        a
    }
    #[inline(always)]
    fn unit_f32(a: f32, _: f32) -> bf16 {
        bf16::from_f32(a)
    }
}

/// Where a chain begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At zero.
    Zero,
    /// At what is in the output: the partial sum of the k's before.
    Output,
}

/// The left operand: rows `row` bytes apart whose units are `step` bytes apart.
#[derive(Clone, Copy)]
pub struct Lhs {
    /// The first unit of the first row.
    pub ptr: *const u8,
    /// Bytes from a row to the next.
    pub row: usize,
    /// Bytes from a unit to the next.
    pub step: usize,
}

impl Lhs {
    /// Row-major rows of `stride` numbers, one unit after the other.
    #[inline(always)]
    pub fn rows<T, X>(x: &[T], stride: usize) -> Self {
        Self {
            ptr: x.as_ptr().cast(),
            row: stride * size_of::<T>(),
            step: size_of::<X>(),
        }
    }

    /// Rows from `row` on.
    ///
    /// # Safety
    /// There are so many.
    #[inline(always)]
    pub unsafe fn from(self, row: usize) -> Self {
        Self {
            // SAFETY: the caller's promise.
            ptr: unsafe { self.ptr.add(row * self.row) },
            ..self
        }
    }

    /// A packed tile: `rows` units of each k side by side.
    #[inline(always)]
    pub fn packed<X>(x: &[X], rows: usize) -> Self {
        Self {
            ptr: x.as_ptr().cast(),
            row: size_of::<X>(),
            step: rows * size_of::<X>(),
        }
    }
}

/// c (rows, NR) = sum_k lhs(row, k) panel(k, column), rows of c `ldc` apart. `rows` is at most MR.
///
/// # Safety
/// `lhs` and `panel` hold k numbers for each row and column, `c` rows x NR of them.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn product<S: Simd, T, M: Mac<S, T>>(
    s: S,
    c: *mut f32,
    ldc: usize,
    rows: usize,
    lhs: Lhs,
    panel: *const M::X,
    k: usize,
    start: Start,
) {
    macro_rules! rows {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($r if $r <= S::MR => unsafe { tile::<S, T, M, $r>(s, c, ldc, lhs, panel, k, start) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1 2 3 4 5 6 7 8 9 10 11 12)
}

#[inline(always)]
unsafe fn tile<S: Simd, T, M: Mac<S, T>, const R: usize>(
    s: S,
    c: *mut f32,
    ldc: usize,
    lhs: Lhs,
    panel: *const M::X,
    k: usize,
    start: Start,
) {
    // SAFETY: the caller's promise (`product`): all reads are of units below k and columns below NR.
    unsafe {
        let mut acc = [[s.splat(0.0); 2]; R];
        if start == Start::Output {
            for (r, acc) in acc.iter_mut().enumerate() {
                acc[0] = s.load_ptr(c.add(r * ldc));
                acc[1] = s.load_ptr(c.add(r * ldc + S::LANES));
            }
        }
        let (mut a, mut b) = (lhs.ptr, panel);
        let steps = if M::PAIRS { k / 2 } else { k };
        for _ in 0..steps {
            let b0 = M::load(s, b);
            let b1 = M::load(s, b.add(S::LANES));
            // Few rows: the panel comes from memory, faster than the machine looks ahead by itself.
            if R <= STREAMED {
                s.prefetch(b.wrapping_add(AHEAD * S::NR));
                s.prefetch(b.wrapping_add(AHEAD * S::NR + S::LANES));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = M::splat(s, a.add(r * lhs.row));
                acc[0] = M::mac(s, acc[0], x, b0);
                acc[1] = M::mac(s, acc[1], x, b1);
            }
            a = a.add(lhs.step);
            b = b.add(S::NR);
        }
        if M::PAIRS && k % 2 == 1 {
            let b0 = M::load(s, b);
            let b1 = M::load(s, b.add(S::LANES));
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = M::splat_last(s, a.add(r * lhs.row));
                acc[0] = M::mac(s, acc[0], x, b0);
                acc[1] = M::mac(s, acc[1], x, b1);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            s.store_ptr(c.add(r * ldc), acc[0]);
            s.store_ptr(c.add(r * ldc + S::LANES), acc[1]);
        }
    }
}

/// Cuts `rows` into as few tiles of at most `most` rows as there can be, of nearly equal height: (first row, rows).
pub fn tiles(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |i| {
        let first = i * rows / count;
        (first, (i + 1) * rows / count - first)
    })
}

/// dst (units of k, width) = columns `first ..` of src (k rows, `stride` apart), with zeros past `columns`: a panel, or a
/// tile of the left operand where it is used transposed.
#[inline(always)]
pub fn pack_columns<S: Simd, T: Copy + Default, M: Mac<S, T>>(
    dst: &mut [M::X],
    src: &[T],
    stride: usize,
    k: usize,
    first: usize,
    columns: usize,
    width: usize,
) {
    let zero = T::default();
    let columns = columns.min(width);
    for (step, dst) in dst.chunks_exact_mut(width).take(M::steps(k)).enumerate() {
        if M::PAIRS {
            let top = &src[2 * step * stride + first..][..columns];
            if 2 * step + 1 < k {
                let bottom = &src[(2 * step + 1) * stride + first..][..columns];
                for ((d, &a), &b) in dst.iter_mut().zip(top).zip(bottom) {
                    *d = M::unit(a, b);
                }
            } else {
                for (d, &a) in dst.iter_mut().zip(top) {
                    *d = M::unit(a, zero);
                }
            }
        } else {
            for (d, &a) in dst.iter_mut().zip(&src[step * stride + first..][..columns]) {
                *d = M::unit(a, zero);
            }
        }
        for d in &mut dst[columns..] {
            *d = M::unit(zero, zero);
        }
    }
}

#[cfg(test)]
mod tests;
