//! A prepared parameter matrix (out, in): panels of NR outputs, in each panel the NR numbers of one input side by side.
//!
//! Element (o, i) is in panel o / NR at i NR + o mod NR; where bf16 is multiplied in pairs, at (i / 2) 2 NR + 2 (o mod NR) +
//! i mod 2. What has no o or i is zero. One copy serves the forward product, the backward product (which transposes
//! a panel's worth at a time) and the embedding: a second one would cost as much memory as a moment of AdamW.
use core::ops::Range;

use kernel::mat::Mat;

use super::Engine;
use super::buffer::Buffer;
use super::elem::Elem;
use super::gemm::Mac;
use super::out::Out;
use super::settings::Level;
use super::simd::Simd;
use crate::OutOfMemory;

/// A prepared parameter matrix.
pub struct Weight<T> {
    data: Buffer<T>,
    layout: Panels,
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
        Ok(Self { data, layout })
    }

    pub(super) fn layout(&self) -> Panels {
        self.layout
    }

    pub(super) fn panels(&self) -> &[T] {
        &self.data
    }

    /// Takes the numbers of src (out, in).
    pub(super) fn fill(&mut self, engine: &Engine, src: &[f32]) {
        let layout = self.layout;
        let out = Out::new(&mut self.data);
        engine.team().run(layout.count(), &|p, _| {
            // SAFETY: each item has a panel of its own.
            let panel = unsafe { out.slice(p * layout.len(), layout.len()) };
            let lanes = layout.width.min(layout.rows - p * layout.width);
            // Few inputs at a time, so that the lines written stay in the nearest cache.
            for first in (0..layout.cols).step_by(16) {
                let last = (first + 16).min(layout.cols);
                for lane in 0..lanes {
                    let row = &src[(p * layout.width + lane) * layout.cols..][..layout.cols];
                    for (i, &x) in (first..last).zip(&row[first..last]) {
                        panel[layout.at(i, lane)] = T::from_f32(x);
                    }
                }
            }
        });
    }

    /// Row `o` of the matrix to y.
    pub(super) fn row(&self, y: &mut [T], o: usize) {
        let panel = &self.data[o / self.layout.width * self.layout.len()..][..self.layout.len()];
        for (i, y) in y.iter_mut().enumerate() {
            *y = panel[self.layout.at(i, o % self.layout.width)];
        }
    }
}

/// Shape of the prepared matrix, as the traits have it.
pub(super) fn shape<T>(w: &Mat<Weight<T>>) -> (usize, usize) {
    (w.data.layout.rows, w.data.layout.cols)
}

/// dst: the panel of inputs `inputs` of the transposed matrix, for outputs `outputs` as k. `w` are all panels; `outputs`
/// begins at a panel.
#[inline(always)]
pub(super) fn transpose<S: Simd, T: Elem>(
    _: S,
    dst: &mut [<T::Mac<S> as Mac<S, T>>::X],
    w: &[T],
    layout: Panels,
    inputs: Range<usize>,
    outputs: Range<usize>,
) {
    let zero = T::default();
    let n = inputs.len();
    let step = if <T::Mac<S> as Mac<S, T>>::PAIRS { 2 } else { 1 };
    let mut dst = dst.chunks_exact_mut(S::NR);
    for first in outputs.clone().step_by(layout.width) {
        let panel = &w[first / layout.width * layout.len()..][..layout.len()];
        let lanes = layout.width.min(outputs.end - first);
        for (lane, dst) in (0..lanes).step_by(step).zip(&mut dst) {
            for (i, d) in inputs.clone().zip(&mut *dst) {
                let a = panel[layout.at(i, lane)];
                // A lane past the matrix is zero already; past `outputs` it is not, but those begin and end at panels.
                let b = if step == 2 { panel[layout.at(i, lane + 1)] } else { zero };
                *d = <T::Mac<S> as Mac<S, T>>::unit(a, b);
            }
            for d in &mut dst[n..] {
                *d = <T::Mac<S> as Mac<S, T>>::unit(zero, zero);
            }
        }
    }
}
