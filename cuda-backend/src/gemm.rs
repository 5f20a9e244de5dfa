//! Matrix products, on `View`s: parts of buffers with rows any stride apart. The kernels are our own, those for bf16 on devices of compute
//! capability 9.0 in [`sm90`]; with the feature `cublaslt`, those for large bf16 matrices are NVIDIA's.
//!
//! `product` is the one entry: c (+)= op(a) op(b) + bias in the three [`Form`]s. Sums are f32, rounded once, in an order that only the
//! shape fixes. Any shape and any stride is right; rows that begin at multiples of 16 bytes (in all three) are fast.
//!
//! For the head, with z and dz in rooms, rows padded to a stride that is a multiple of 8:
//! `z = View::within(room, 0, rows, v, stride)`; `product(b, z_f32, &h, &w, Form::Nt, ..)` is the logits;
//! `dh = product(b, dh_T, dz, w, Form::Nn, ..)` and `dw = product(b, dw_f32, dz, h, Form::Tn, Add)`, dz in T. What lies between the last
//! column and the stride is never read. For bf16, `product_split` takes dz as a sum of two bf16 (high + low, 16 bits), at twice the
//! tensor work: then dz's rounding (2^-17) is no longer seen.
#[cfg(feature = "cublaslt")]
pub(crate) mod cublaslt;
mod sm90;

use core::marker::PhantomData;
use core::ops::Range;

use kernel::mat::{Accum, Mat, check_shape};

use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::launch::Arg;

static BF16: Source = source!("gemm_bf16");
static F32: Source = source!("gemm_f32");
static SKINNY: Source = source!("gemm_skinny");
const PARTS: Source = source!("gemm_parts");

/// Multiprocessors that k is cut for. A constant: how must not depend on the device, or the bits would.
const PROCESSORS: usize = 108;
/// Most parts, and most bytes of their sums.
const MOST_PARTS: usize = 32;
const MOST_BYTES: usize = 64 << 20;
/// Shared memory of the bf16 products.
const SHARED: usize = 64 << 10;

/// A matrix (rows, cols) in device memory, its rows `stride` numbers apart.
pub(crate) struct View<'a, N> {
    address: u64,
    rows: usize,
    cols: usize,
    stride: usize,
    of: PhantomData<&'a N>,
}

impl<N> Clone for View<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for View<'_, N> {}

impl<N> Arg for View<'_, N> {
    fn bits(&self) -> u64 {
        self.address
    }
}

impl<'a, N> View<'a, N> {
    /// The whole matrix.
    pub fn of(x: &'a Mat<Buffer<N>>) -> Self {
        Self {
            address: x.data.address(),
            rows: x.rows,
            cols: x.cols,
            stride: x.cols,
            of: PhantomData,
        }
    }

    /// A matrix in working memory, from byte `at` on.
    #[track_caller]
    pub fn within(room: &'a Buffer<u8>, at: usize, rows: usize, cols: usize, stride: usize) -> Self {
        let end = at + rows * stride * size_of::<N>();
        assert!(cols <= stride && end <= room.len(), "a view beyond its room");
        Self {
            address: room.address() + at as u64,
            rows,
            cols,
            stride,
            of: PhantomData,
        }
    }

    /// Some of its rows.
    #[track_caller]
    pub fn rows(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows beyond the matrix"
        );
        Self {
            address: self.address + (rows.start * self.stride * size_of::<N>()) as u64,
            rows: rows.len(),
            ..self
        }
    }

    /// (rows, cols).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Whether every row begins at a multiple of 16 bytes.
    fn aligned(&self) -> bool {
        self.address.is_multiple_of(16) && (self.stride * size_of::<N>()).is_multiple_of(16)
    }
}

/// Which factor is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// c (m, n) = a (m, k) b', b (n, k).
    Nt,
    /// c (m, n) = a (m, k) b (k, n).
    Nn,
    /// c (m, n) = a' b, a (k, m), b (k, n).
    Tn,
}

/// c (+)= op(a) op(b) + bias. c in T or f32, bias (1, n).
#[track_caller]
pub(crate) fn product<T: Element, C: Element>(
    b: &Cuda<T>,
    c: View<'_, C>,
    left: View<'_, T>,
    right: View<'_, T>,
    form: Form,
    bias: Option<&Mat<Buffer<T>>>,
    accum: Accum,
) {
    Product {
        left,
        low: None,
        right,
        form,
    }
    .run(b, c, bias, accum);
}

/// c (+)= op(high + low) op(b): the left factor as a sum of two bf16 of the same shape and stride.
#[track_caller]
pub(crate) fn product_split<T: Element, C: Element>(
    b: &Cuda<T>,
    c: View<'_, C>,
    (high, low): (View<'_, T>, View<'_, T>),
    right: View<'_, T>,
    form: Form,
    accum: Accum,
) {
    check_shape("product_split", "low", low.shape(), high.shape());
    assert!(
        size_of::<T>() == 2 && low.stride == high.stride,
        "product_split: two bf16 of one stride"
    );
    Product {
        left: high,
        low: Some(low),
        right,
        form,
    }
    .run(b, c, None, accum);
}

struct Product<'a, T> {
    left: View<'a, T>,
    low: Option<View<'a, T>>,
    right: View<'a, T>,
    form: Form,
}

/// k of one step of a tile, and the clocks that a step takes at least.
#[derive(Clone, Copy, Debug)]
struct Pace {
    step: usize,
    clocks: usize,
}

/// Of the tiles of 128 x 128 by `mma.sync` and without tensor cores.
const TENSOR: Pace = Pace { step: 32, clocks: 512 };
const PLAIN: Pace = Pace { step: 16, clocks: 4096 };

/// A kernel for a product.
struct Kernel {
    source: &'static Source,
    name: &'static str,
    /// Rows and columns of c that a block has.
    tile: (usize, usize),
    threads: u32,
    shared: usize,
    pace: Pace,
}

impl<T: Element> Product<'_, T> {
    #[track_caller]
    fn run<C: Element>(&self, b: &Cuda<T>, c: View<'_, C>, bias: Option<&Mat<Buffer<T>>>, accum: Accum) {
        let (m, n) = c.shape();
        let (left, right) = (self.left.shape(), self.right.shape());
        let k = if self.form == Form::Tn { left.0 } else { left.1 };
        let (name, expected) = match self.form {
            Form::Nt => ("gemm_nt", ((m, k), (n, k))),
            Form::Nn => ("gemm_nn", ((m, k), (k, n))),
            Form::Tn => ("gemm_tn", ((k, m), (k, n))),
        };
        check_shape(name, "a", left, expected.0);
        check_shape(name, "b", right, expected.1);
        assert!(size_of::<C>() == 4 || C::SUFFIX == T::SUFFIX, "a product in T or f32");

        let few_rows = self.few_rows(m, k);
        #[cfg(feature = "cublaslt")]
        if few_rows.is_none() && self.low.is_none() && self.aligned() && c.aligned() {
            let (factors, bias) = ((self.left, self.right, self.form), bias.map(|x| x.data.address()));
            if cublaslt::product(b, c, factors, bias, accum) {
                return;
            }
        }
        let kernel = few_rows
            .or_else(|| sm90::kernel(b, self, (m, n, k)))
            .unwrap_or_else(|| self.tiled());
        self.run_by(b, c, &kernel, k, bias, accum);
    }

    /// By this kernel.
    fn run_by<C: Element>(
        &self,
        b: &Cuda<T>,
        c: View<'_, C>,
        kernel: &Kernel,
        k: usize,
        bias: Option<&Mat<Buffer<T>>>,
        accum: Accum,
    ) {
        let (m, n) = c.shape();
        let tiles = m.div_ceil(kernel.tile.0) * n.div_ceil(kernel.tile.1);
        let parts = if kernel.source.name == SKINNY.name {
            1
        } else {
            parts((m, n, k), tiles, kernel.pace).0
        };
        if parts == 1 {
            return self.launch(b, c, kernel, (k, tiles, 1), bias, accum);
        }
        let stride = n.next_multiple_of(4);
        b.room("gemm_parts", parts * m * stride * size_of::<f32>(), |room| {
            let all = View::<f32>::within(room, 0, parts * m, n, stride);
            self.launch(b, all.rows(0..m), kernel, (k, tiles, parts), None, Accum::Replace);
            finish(b, c, all, parts, bias, accum);
        });
    }

    fn aligned(&self) -> bool {
        self.left.aligned() && self.right.aligned() && self.low.is_none_or(|x| x.aligned())
    }

    fn tiled(&self) -> Kernel {
        let name = match (self.form, self.aligned()) {
            (Form::Nt, true) => "gemm_nt",
            (Form::Nn, true) => "gemm_nn",
            (Form::Tn, true) => "gemm_tn",
            (Form::Nt, false) => "gemm_nt_any",
            (Form::Nn, false) => "gemm_nn_any",
            (Form::Tn, false) => "gemm_tn_any",
        };
        let (source, threads, shared, pace) = if tensor::<T>() {
            (&BF16, 128, SHARED, TENSOR)
        } else {
            (&F32, 256, 0, PLAIN)
        };
        Kernel {
            source,
            name,
            tile: (128, 128),
            threads,
            shared,
            pace,
        }
    }

    /// The kernel for few rows, where there is one for this product.
    fn few_rows(&self, m: usize, k: usize) -> Option<Kernel> {
        let fits =
            self.form == Form::Nt && self.low.is_none() && self.aligned() && (k * size_of::<T>()).is_multiple_of(16);
        let kernels: &[(&str, (usize, usize))] = if tensor::<T>() {
            &[
                ("skinny_8", (8, 16)),
                ("skinny_16", (16, 16)),
                ("skinny_32", (32, 32)),
                ("skinny_64", (64, 32)),
            ]
        } else {
            &[("skinny_1", (1, 8)), ("skinny_4", (4, 8)), ("skinny_16", (16, 8))]
        };
        let &(name, tile) = kernels.iter().find(|(_, tile)| m <= tile.0).filter(|_| fits)?;
        Some(Kernel {
            source: &SKINNY,
            name,
            tile,
            threads: 256,
            shared: 0,
            pace: if tensor::<T>() { TENSOR } else { PLAIN },
        })
    }

    /// Every part writes a matrix like c; the next one's follows it.
    fn launch<C: Element>(
        &self,
        b: &Cuda<T>,
        c: View<'_, C>,
        kernel: &Kernel,
        (k, tiles, parts): (usize, usize, usize),
        bias: Option<&Mat<Buffer<T>>>,
        accum: Accum,
    ) {
        let (m, n) = c.shape();
        if kernel.source.name == sm90::SOURCE.name {
            return sm90::launch(b, c, self, kernel, (k, tiles, parts), bias, accum);
        }
        let mut launch = b
            .typed(kernel.source, kernel.name)
            .grid([tiles, parts, 1])
            .block(kernel.threads)
            .shared(kernel.shared)
            .arg(c)
            .arg(self.left);
        if kernel.source.name == BF16.name {
            launch = launch.arg(self.low.as_ref());
        }
        launch = launch.arg(self.right).arg(bias);
        for size in [m, n, k, self.left.stride, self.right.stride, c.stride] {
            launch = launch.size(size);
        }
        launch = launch.arg(u32::from(accum == Accum::Add));
        if tensor::<T>() {
            launch = launch.arg(u32::from(size_of::<C>() == 4));
        }
        launch.launch();
    }
}

/// Whether the tensor cores multiply it.
fn tensor<T>() -> bool {
    size_of::<T>() == 2
}

/// Into how many parts k is cut, and the clocks of the product: what a plain model of the time likes best. Parts fill a device that c has too few tiles for, and
/// even out its last round; their sums are written and read once more, and added by another launch.
fn parts((m, n, k): (usize, usize, usize), tiles: usize, Pace { step, clocks }: Pace) -> (usize, usize) {
    /// Clocks of a launch, and bytes of L2 that a processor has in one.
    const LAUNCH: usize = 4000;
    const L2: usize = 32;
    let steps = k.div_ceil(step);
    let bytes = m * n * size_of::<f32>();
    let time = |parts: usize| {
        let rounds = (tiles * parts).div_ceil(PROCESSORS);
        let sums = if parts == 1 {
            0
        } else {
            LAUNCH + 2 * parts * bytes / (PROCESSORS * L2)
        };
        rounds * steps.div_ceil(parts) * clocks + sums
    };
    let most = MOST_BYTES
        .checked_div(bytes)
        .unwrap_or(1)
        .min(steps / 4)
        .min(MOST_PARTS);
    let best = (1..=most).min_by_key(|&parts| time(parts)).unwrap_or(1);
    (best, time(best))
}

/// c (+)= the sum of the parts, in their order, + bias.
fn finish<T: Element, C: Element>(
    b: &Cuda<T>,
    c: View<'_, C>,
    partial: View<'_, f32>,
    parts: usize,
    bias: Option<&Mat<Buffer<T>>>,
    accum: Accum,
) {
    let (m, n) = c.shape();
    let name = if size_of::<C>() == 4 { "finish_acc" } else { "finish" };
    b.typed(&PARTS, name)
        .grid([(m * n.div_ceil(4)).div_ceil(256), 1, 1])
        .block(256)
        .arg(c)
        .arg(partial)
        .arg(bias)
        .size(parts)
        .size(m)
        .size(n)
        .size(partial.stride)
        .size(c.stride)
        .arg(u32::from(accum == Accum::Add))
        .launch();
}

/// sums (1, n) += the sum of the rows of x (m, n).
pub(crate) fn column_sums<T: Element>(b: &Cuda<T>, sums: View<'_, f32>, x: View<'_, T>) {
    /// Fewest rows worth a block, and most blocks.
    const ROWS: usize = 256;
    const MOST: usize = 64;
    let (m, n) = x.shape();
    let parts = (m / ROWS).clamp(1, MOST);
    let stride = n.next_multiple_of(4);
    b.room("column_sums", parts * stride * size_of::<f32>(), |room| {
        let partial = View::<f32>::within(room, 0, parts, n, stride);
        b.typed(&PARTS, "column_sums")
            .grid([n.div_ceil(32 * 16 / size_of::<T>()), parts, 1])
            .block(256)
            .arg(partial)
            .arg(x)
            .size(m)
            .size(n)
            .size(x.stride)
            .size(stride)
            .launch();
        finish(b, sums, partial, parts, None, Accum::Add);
    });
}

#[cfg(test)]
mod tests;
