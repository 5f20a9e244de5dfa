//! How large matrices are multiplied: what becomes of the operands before the product, and the product.
use core::ops::Range;

use bytemuck::Pod;

use super::buffer::Room;
use super::elem::{Elem, convert};
use super::gemm::{F32Mac, Lhs, Mac, Start, pack_columns};
use super::out::Out;
use super::pool::Pool;
use super::settings::Level;
use super::simd::{MAX_LANES, Simd, kernels};

/// How matrices of T are multiplied on S, where an operand is used so often that it may be laid out for it first. What [`Mac`] multiplies
/// is one; what multiplies numbers in parts is another.
pub trait Matmul<S: Simd, T>: 'static {
    /// k's in a unit.
    const PER_UNIT: usize;
    /// Whether a prepared panel is the right operand where it lies.
    const DIRECT: bool;
    /// Whether there is [`Matmul::product_once`].
    const ONCE: bool = false;
    /// A unit of an operand.
    type X: Pod;

    /// Units that k numbers take.
    fn steps(k: usize) -> usize;

    /// f32 numbers of room that a row of k takes as the left operand: none, where it is used where it lies.
    fn room(k: usize) -> usize;

    /// Rows of k numbers as the left operand: where they lie, or in `room`, [`Matmul::room`] for each.
    fn left(s: S, x: &[T], k: usize, room: &mut [f32]) -> Lhs;

    /// What `left` made in its room.
    fn laid(room: &[f32], k: usize) -> Lhs;

    /// dst = a prepared panel, as the right operand; not where that is used where it lies.
    fn right(s: S, dst: &mut [Self::X], panel: &[T]);

    /// dst = NR x NR numbers of a prepared panel: the right operand of the transposed product.
    fn transpose(s: S, dst: &mut [Self::X], block: &[T]);

    /// dst (steps(k), NR) = columns `first ..` of src (k rows, `stride` apart), `columns` of them or NR, zeros past them: a right operand.
    fn pack(s: S, dst: &mut [Self::X], src: &[T], stride: usize, k: usize, first: usize, columns: usize);

    /// dst, MR x steps(k) units, = the same columns or MR of them, as rows of the left operand.
    fn pack_left(s: S, dst: &mut [Self::X], src: &[T], stride: usize, k: usize, first: usize, columns: usize);

    /// What `pack_left` or `turn` made, as the left operand.
    fn packed_left(x: &[Self::X], steps: usize) -> Lhs;

    /// dst (steps(k)) = x, rounded to T: a row of a left operand.
    fn store_row(s: S, dst: &mut [Self::X], x: &[f32]);

    /// As `pack_left`, from `rows` rows that `store_row` made, each of `width` numbers.
    fn turn(s: S, dst: &mut [Self::X], src: &[Self::X], width: usize, rows: usize, first: usize, columns: usize);

    /// The tile's product: [`Mac::product`].
    ///
    /// # Safety
    /// `lhs` and `panel` hold k numbers to whole [`Matmul::steps`] for each row and column, `c` rows x NR of them, rows `ldc` apart. `rows` is at
    /// most MR.
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

    /// As [`Matmul::product`] from zero, while what lies ahead is asked for, [`Mac::product_ahead`], unless panels are laid out: whoever does that
    /// reads ahead.
    ///
    /// # Safety
    /// As [`Matmul::product`].
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
        _ahead: &[Self::X],
    ) {
        // SAFETY: the caller's promise.
        unsafe { Self::product(s, c, ldc, rows, lhs, panel, k, Start::Zero) };
    }

    /// As [`Matmul::product`] from zero, by a prepared panel where it lies: for few rows, which use it once. Where [`Matmul::ONCE`] says so.
    ///
    /// # Safety
    /// As [`Matmul::product`].
    #[inline(always)]
    unsafe fn product_once(_: S, _: *mut f32, _: usize, _: usize, _: Lhs, _: &[T]) {
        unreachable!("panels are laid out first, or multiplied where they lie");
    }
}

impl<S: Simd, T: Elem, M: Mac<S, T>> Matmul<S, T> for M {
    const PER_UNIT: usize = if M::PAIRS { 2 } else { 1 };
    const DIRECT: bool = M::DIRECT;
    type X = M::X;

    #[inline(always)]
    fn steps(k: usize) -> usize {
        <M as Mac<S, T>>::steps(k)
    }

    #[inline(always)]
    fn room(k: usize) -> usize {
        if M::DIRECT { 0 } else { k }
    }

    #[inline(always)]
    fn left(s: S, x: &[T], k: usize, room: &mut [f32]) -> Lhs {
        if M::DIRECT {
            return Lhs::rows::<T, M::X>(x, k);
        }
        let room = &mut room[..x.len()];
        convert(s, room, x);
        Self::laid(room, k)
    }

    #[inline(always)]
    fn laid(room: &[f32], k: usize) -> Lhs {
        Lhs::rows::<f32, f32>(room, k)
    }

    #[inline(always)]
    fn right(s: S, dst: &mut [M::X], panel: &[T]) {
        convert::<S, f32, T>(s, bytemuck::cast_slice_mut(dst), panel);
    }

    #[inline(always)]
    fn transpose(s: S, dst: &mut [M::X], block: &[T]) {
        let (dst, block) = (&mut dst[..S::NR * S::NR / Self::PER_UNIT], &block[..S::NR * S::NR]);
        // SAFETY: NR x NR numbers each.
        if unsafe { M::transpose(s, dst.as_mut_ptr(), block.as_ptr()) } {
            return;
        }
        debug_assert!(!M::PAIRS, "pairs have a fast way");
        for (output, dst) in dst.chunks_exact_mut(S::NR).enumerate() {
            for (input, d) in dst.iter_mut().enumerate() {
                *d = M::unit(block[input * S::NR + output], T::default());
            }
        }
    }

    #[inline(always)]
    fn pack(_: S, dst: &mut [M::X], src: &[T], stride: usize, k: usize, first: usize, columns: usize) {
        pack_columns::<S, T, M>(dst, src, stride, k, first, columns, S::NR);
    }

    #[inline(always)]
    fn pack_left(s: S, dst: &mut [M::X], src: &[T], stride: usize, k: usize, first: usize, columns: usize) {
        <M as Mac<S, T>>::pack_left(s, dst, src, stride, k, first, columns);
    }

    #[inline(always)]
    fn packed_left(x: &[M::X], steps: usize) -> Lhs {
        <M as Mac<S, T>>::packed_left(x, steps)
    }

    #[inline(always)]
    fn store_row(_: S, dst: &mut [M::X], x: &[f32]) {
        for (dst, x) in dst.iter_mut().zip(x.chunks_exact(Self::PER_UNIT)) {
            *dst = M::unit_f32(x[0], x[Self::PER_UNIT - 1]);
        }
    }

    #[inline(always)]
    fn turn(s: S, dst: &mut [M::X], src: &[M::X], width: usize, rows: usize, first: usize, columns: usize) {
        if M::PAIRS {
            <M as Mac<S, T>>::pack_left(s, dst, bytemuck::cast_slice(src), width, rows, first, columns);
        } else {
            let (dst, src) = (bytemuck::cast_slice_mut(dst), bytemuck::cast_slice(src));
            pack_columns::<S, f32, F32Mac>(dst, src, width, rows, first, columns, S::MR);
        }
    }

    #[inline(always)]
    unsafe fn product(
        s: S,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const M::X,
        k: usize,
        start: Start,
    ) {
        // SAFETY: the caller's promise.
        unsafe { <M as Mac<S, T>>::product(s, c, ldc, rows, lhs, panel, k, start) }
    }

    #[inline(always)]
    unsafe fn product_ahead(
        s: S,
        c: *mut f32,
        ldc: usize,
        rows: usize,
        lhs: Lhs,
        panel: *const M::X,
        k: usize,
        ahead: &[M::X],
    ) {
        // SAFETY: the caller's promise.
        unsafe { <M as Mac<S, T>>::product_ahead(s, c, ldc, rows, lhs, panel, k, ahead) }
    }
}

/// Rows of k numbers that are going to be the left operand.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    x: &'a [T],
    k: usize,
    /// Some of them from row `from` on as [`Matmul::left`] made them, for several pieces of work; empty, where each piece does that for its tiles.
    laid: &'a [f32],
    from: usize,
}

impl<'a, T: Elem> Rows<'a, T> {
    /// As they lie.
    pub fn new(x: &'a [T], k: usize) -> Self {
        Self {
            x,
            k,
            laid: &[],
            from: 0,
        }
    }

    /// How many rows are laid out at a time: all, where none are.
    pub fn blocks(self, level: Level) -> impl Iterator<Item = Range<usize>> + use<T> {
        let count = self.count();
        let most = match room_of_row::<T>(level, self.k) {
            0 => count.max(1),
            _ => BLOCK,
        };
        (0..count).step_by(most).map(move |i| i..(i + most).min(count))
    }

    /// The same, `block` of them laid out by all threads at once where that is done at all, unless they are so few that it takes no time.
    pub fn lay(self, level: Level, pool: &mut Pool, room: &'a mut Room, block: Range<usize>) -> Self {
        let (count, each) = (block.len(), room_of_row::<T>(level, self.k));
        if each == 0 || count <= FEW {
            return self;
        }
        let laid = room.get::<f32>(count * each);
        let out = Out::new(&mut *laid);
        pool.run(count.div_ceil(FEW), &|i, _| {
            let rows = i * FEW..((i + 1) * FEW).min(count);
            // SAFETY: each item has rows of its own.
            let dst = unsafe { out.slice(rows.start * each, rows.len() * each) };
            let (first, last) = (block.start + rows.start, block.start + rows.end);
            lay_out(level, dst, &self.x[first * self.k..last * self.k], self.k);
        });
        let from = block.start;
        Self { laid, from, ..self }
    }

    /// How many.
    pub fn count(self) -> usize {
        self.x.len().checked_div(self.k).unwrap_or(0)
    }

    /// The numbers.
    pub fn numbers(self) -> &'a [T] {
        self.x
    }

    /// These of them, not laid out.
    pub fn range(self, rows: Range<usize>) -> Self {
        Self::new(&self.x[rows.start * self.k..rows.end * self.k], self.k)
    }

    /// `height` rows from row `first`, in `room` where they are not laid out.
    #[inline(always)]
    pub fn left<S: Simd>(self, s: S, (first, height): (usize, usize), room: &mut [f32]) -> Lhs {
        let k = self.k;
        if self.laid.is_empty() {
            return T::Large::<S>::left(s, &self.x[first * k..(first + height) * k], k, room);
        }
        let each = T::Large::<S>::room(k);
        let place = (first - self.from) * each;
        T::Large::<S>::laid(&self.laid[place..place + height * each], k)
    }
}

/// Rows that are laid out in no time: a tile's.
const FEW: usize = 32;

/// Rows that are laid out at a time: panels are laid out anew for each block.
const BLOCK: usize = 1024;

kernels! {
    fn room_of_row<T>(_s, k: usize) -> usize {
        T::Large::<S>::room(k)
    }

    fn lay_out<T>(s, room: &mut [f32], x: &[T], k: usize) {
        T::Large::<S>::left(s, x, k, room);
    }
}

/// The most numbers that a block of NR x NR has.
pub const MAX_BLOCK: usize = 4 * MAX_LANES * MAX_LANES;

/// Units of room that a panel of k numbers takes as the right operand: none, where it is used where it lies.
#[inline(always)]
pub fn room_of_panel<S: Simd, T, M: Matmul<S, T>>(k: usize) -> usize {
    if M::DIRECT { 0 } else { S::NR * M::steps(k) }
}

/// Prepared panels of `len` numbers each as the right operand: where they lie, or in `room`, [`room_of_panel`] for each.
#[inline(always)]
pub fn right<'a, S: Simd, T: Elem, M: Matmul<S, T>>(
    s: S,
    panels: &'a [T],
    len: usize,
    room: &'a mut [M::X],
) -> &'a [M::X] {
    if M::DIRECT {
        return bytemuck::cast_slice(panels);
    }
    let each = room.len() / (panels.len() / len.max(1)).max(1);
    for (dst, panel) in room.chunks_exact_mut(each.max(1)).zip(panels.chunks_exact(len.max(1))) {
        M::right(s, dst, panel);
    }
    room
}
