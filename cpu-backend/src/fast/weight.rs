//! A prepared parameter matrix (out, in): panels of NR outputs, in each panel the NR numbers of one input side by side.
//!
//! Element (o, i) is in panel o / NR at i NR + o mod NR; where bf16 is multiplied in pairs, at (i / 2) 2 NR + 2 (o mod NR) +
//! i mod 2. What has no o or i is zero. One copy serves the forward product, the backward product (which transposes
//! a panel's worth at a time) and the embedding: a second one would cost as much memory as a moment of AdamW.
use core::ops::Range;

use kernel::mat::Mat;

use super::Engine;
use super::buffer::Buffer;
use super::elem::{Elem, get, put};
use super::gemm::LINE;
use super::int8::Int8;
use super::matmul::{MAX_BLOCK, Matmul};
use super::out::Out;
use super::pool::Scratch;
use super::settings::Level;
use super::simd::{Simd, kernels};
use crate::OutOfMemory;

/// A prepared parameter matrix.
pub struct Weight<T> {
    store: Store<T>,
    layout: Panels,
}

enum Store<T> {
    /// Panels of T.
    Panels(Buffer<T>),
    /// Integers, for `linear` and `logits` alone.
    Int8(Int8),
}

/// Where the numbers of a prepared matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Outputs in a panel.
    pub width: usize,
    /// Whether inputs lie in pairs.
    pub pairs: bool,
}

impl Panels {
    /// Panels.
    pub fn count(self) -> usize {
        self.rows.div_ceil(self.width)
    }

    /// Numbers in a panel.
    pub fn len(self) -> usize {
        self.width
            * if self.pairs {
                self.cols.next_multiple_of(2)
            } else {
                self.cols
            }
    }

    /// Inputs that lie side by side.
    fn step(self) -> usize {
        if self.pairs { 2 } else { 1 }
    }

    /// Where in a panel input i of output `lane` is.
    #[inline(always)]
    pub fn at(self, i: usize, lane: usize) -> usize {
        if self.pairs {
            (i / 2) * 2 * self.width + 2 * lane + i % 2
        } else {
            i * self.width + lane
        }
    }
}

impl<T: Elem> Weight<T> {
    pub(super) fn new(level: Level, rows: usize, cols: usize) -> Result<Self, OutOfMemory> {
        let layout = Panels {
            rows,
            cols,
            width: level.tile().0,
            pairs: T::BF16 && level.pairs(),
        };
        let len = layout.count().checked_mul(layout.len());
        let data = Buffer::zeroed(len.ok_or(OutOfMemory { bytes: usize::MAX })?)?;
        Ok(Self {
            store: Store::Panels(data),
            layout,
        })
    }

    /// A matrix of integers.
    pub(super) fn int8(level: Level, rows: usize, cols: usize) -> Result<Self, OutOfMemory> {
        let layout = Panels {
            rows,
            cols,
            width: level.tile().0,
            pairs: false,
        };
        Ok(Self {
            store: Store::Int8(Int8::new(layout)?),
            layout,
        })
    }

    pub(super) fn layout(&self) -> Panels {
        self.layout
    }

    /// The panels. Panics where the matrix is of integers: only `linear` and `logits` take one.
    #[track_caller]
    pub(super) fn panels(&self) -> &[T] {
        match &self.store {
            Store::Panels(data) => data,
            Store::Int8(_) => panic!("an int8 weight has neither rows to read nor a backward pass"),
        }
    }

    /// The integers, where it is made of them.
    pub(super) fn as_int8(&self) -> Option<&Int8> {
        match &self.store {
            Store::Panels(_) => None,
            Store::Int8(w) => Some(w),
        }
    }

    /// Takes the numbers of src (out, in).
    pub(super) fn fill(&mut self, engine: &Engine, src: &[f32]) {
        let layout = self.layout;
        let data = match &mut self.store {
            Store::Panels(data) => data,
            Store::Int8(w) => return w.fill::<T>(engine, src),
        };
        let out = Out::new(data);
        engine.team().run(layout.count(), &|p, scratch| {
            // SAFETY: each item has a panel of its own.
            let panel = unsafe { out.slice(p * layout.len(), layout.len()) };
            let first = p * layout.width;
            let rows = first..(first + layout.width).min(layout.rows);
            fill_panel(
                engine.level,
                panel,
                &src[rows.start * layout.cols..rows.end * layout.cols],
                layout,
                scratch,
            );
        });
    }

    /// Changes the matrix by `work`, which gets the rows of each panel, so many numbers apart, and which these are.
    pub(super) fn change(&mut self, engine: &Engine, work: impl Fn(&mut [T], usize, Range<usize>) + Sync) {
        let layout = self.layout;
        let Store::Panels(data) = &mut self.store else {
            panic!("an int8 weight is not trained");
        };
        let out = Out::new(data);
        engine.team().run(layout.count(), &|p, scratch| {
            // SAFETY: each item has a panel of its own.
            let panel = unsafe { out.slice(p * layout.len(), layout.len()) };
            let first = p * layout.width;
            let rows = first..(first + layout.width).min(layout.rows);
            let stride = layout.len() / layout.width;
            let apart = scratch.a.get::<T>(layout.len());
            unpack(engine.level, apart, panel, layout);
            work(&mut apart[..rows.len() * stride], stride, rows);
            pack(engine.level, panel, apart, layout);
        });
    }

    /// Row `o` of the matrix to y.
    pub(super) fn row(&self, y: &mut [T], o: usize) {
        let panel = &self.panels()[o / self.layout.width * self.layout.len()..][..self.layout.len()];
        for (i, y) in y.iter_mut().enumerate() {
            *y = panel[self.layout.at(i, o % self.layout.width)];
        }
    }
}

/// Shape of the prepared matrix, as the traits have it.
pub(super) fn shape<T>(w: &Mat<Weight<T>>) -> (usize, usize) {
    (w.data.layout.rows, w.data.layout.cols)
}

kernels! {
    /// panel = the rows of src, at most NR of them.
    fn fill_panel<T>(s, panel: &mut [T], src: &[f32], layout: Panels, scratch: &mut Scratch) {
        let cols = layout.cols;
        // Rows rounded, each to whole units.
        let padded = layout.len() / layout.width;
        let narrow = scratch.a.get::<T>(S::NR * padded);
        for (row, dst) in narrow.chunks_exact_mut(padded.max(1)).enumerate() {
            match src.get(row * cols..(row + 1) * cols) {
                Some(src) => {
                    for i in (0..cols).step_by(S::LANES) {
                        put(s, &mut dst[i..cols], get(s, &src[i..]));
                    }
                    dst[cols..].fill(T::default());
                }
                None => dst.fill(T::default()),
            }
        }
        pack_panel(s, panel, narrow, layout);
    }

    /// panel = these NR rows, each to whole units.
    fn pack<T>(s, panel: &mut [T], rows: &[T], layout: Panels) {
        pack_panel(s, panel, rows, layout);
    }

    /// The NR rows of a panel, each to whole units: what `pack` makes panels of.
    fn unpack<T>(s, rows: &mut [T], panel: &[T], layout: Panels) {
        let (step, padded) = (layout.step(), layout.len() / layout.width);
        let units = padded / step;
        let done = whole_units::<S, T>(units, step);
        for i in (0..done).step_by(S::LANES) {
            for lane in [0, S::LANES] {
                let (dst, src) = (&mut rows[lane * padded + i * step..], &panel[(i * S::NR + lane) * step..]);
                // SAFETY: LANES rows of NR units from `i`, LANES rows of `units` units from `lane`.
                unsafe { s.transpose(dst.as_mut_ptr().cast(), units, src.as_ptr().cast(), S::NR) };
            }
        }
        for i in done * step..padded {
            for lane in 0..S::NR {
                rows[lane * padded + i] = panel[layout.at(i, lane)];
            }
        }
    }
}

/// Of a row's units, those that `Simd::transpose` turns LANES at a time: it takes numbers of four bytes.
#[inline(always)]
fn whole_units<S: Simd, T>(units: usize, step: usize) -> usize {
    if size_of::<T>() * step == size_of::<f32>() {
        units / S::LANES * S::LANES
    } else {
        0
    }
}

/// panel = these NR rows, each to whole units: units are transposed, whatever they hold.
#[inline(always)]
fn pack_panel<S: Simd, T: Elem>(s: S, panel: &mut [T], rows: &[T], layout: Panels) {
    let (step, padded) = (layout.step(), layout.len() / layout.width);
    let units = padded / step;
    let done = whole_units::<S, T>(units, step);
    for i in (0..done).step_by(S::LANES) {
        for lane in [0, S::LANES] {
            let (src, dst) = (
                &rows[lane * padded + i * step..],
                &mut panel[(i * S::NR + lane) * step..],
            );
            // SAFETY: LANES rows of `units` units from `lane`, LANES rows of NR units from `i`.
            unsafe { s.transpose(dst.as_mut_ptr().cast(), S::NR, src.as_ptr().cast(), units) };
        }
    }
    for i in done * step..padded {
        for lane in 0..S::NR {
            panel[layout.at(i, lane)] = rows[lane * padded + i];
        }
    }
}

/// dst: the panel of inputs `inputs` of the transposed matrix, for outputs `outputs` as k, to whole panels. `w` are all
/// panels; `inputs` and `outputs` begin at a panel.
#[inline(always)]
pub(super) fn transpose<S: Simd, T: Elem>(
    s: S,
    dst: &mut [<T::Large<S> as Matmul<S, T>>::X],
    w: &[T],
    layout: Panels,
    inputs: Range<usize>,
    outputs: Range<usize>,
) {
    type M<S, T> = <T as Elem>::Large<S>;
    let numbers = inputs.len().next_multiple_of(layout.step()) * S::NR;
    for (p, dst) in dst[..transposed_len::<S, T>(outputs.len())]
        .chunks_exact_mut(S::NR * S::NR / M::<S, T>::PER_UNIT)
        .enumerate()
    {
        let first = outputs.start / S::NR + p;
        let block = &w[first * layout.len() + inputs.start * S::NR..][..numbers];
        // The next block lies a panel further, where the machine does not look ahead by itself.
        let next = block.as_ptr().wrapping_add(layout.len());
        for line in (0..numbers * size_of::<T>()).step_by(LINE) {
            s.prefetch(next.wrapping_byte_add(line));
        }
        if inputs.len() == S::NR {
            M::<S, T>::transpose(s, dst, block);
        } else {
            let mut ragged = [T::default(); MAX_BLOCK];
            ragged[..numbers].copy_from_slice(block);
            M::<S, T>::transpose(s, dst, &ragged);
        }
    }
}

/// Units that `transpose` writes.
pub(super) fn transposed_len<S: Simd, T: Elem>(outputs: usize) -> usize {
    S::NR * <T::Large<S> as Matmul<S, T>>::steps(outputs.next_multiple_of(S::NR))
}
