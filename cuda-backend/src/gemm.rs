//! Matrix products, on `View`s: parts of buffers with rows any stride apart.
//!
//! `product` is the one entry: c (+)= op(a) op(b) + bias in the three [`Form`]s. Sums are f32, rounded once, in an order that only the
//! shape fixes. Any shape and any stride is right; rows that begin at multiples of 16 bytes (in all three) are fast.
//!
//! For the head, with z and dz in rooms, rows padded to a stride that is a multiple of 8:
//! `z = View::within(room, 0, rows, v, stride)`; `product(b, z_f32, &h, &w, Form::Nt, ..)` is the logits;
//! `dh = product(b, dh_T, dz, w, Form::Nn, ..)` and `dw = product(b, dw_f32, dz, h, Form::Tn, Add)`, dz in T. What lies between the last
//! column and the stride is never read. For bf16, `product_split` takes dz as a sum of two bf16 (high + low, 16 bits), at twice the
//! tensor work: then dz's rounding (2^-17) is no longer seen.
use core::marker::PhantomData;
use core::ops::Range;

use kernel::mat::{Accum, Mat, check_shape};

use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::launch::Arg;

const BF16: Source = source!("gemm_bf16");
const F32: Source = source!("gemm_f32");
const PARTS: Source = source!("gemm_parts");

/// Rows and columns of a block's tile.
const TILE: usize = 128;
/// k of one step of a block, the larger of both precisions'.
const STEP: usize = 32;
/// Fewest steps worth a block of their own.
const STEPS: usize = 8;
/// Blocks that keep a device busy. A constant: how k is cut must not depend on the device.
const BUSY: usize = 128;
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
        self.address % 16 == 0 && (self.stride * size_of::<N>()) % 16 == 0
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

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Nt => "gemm_nt",
            Self::Nn => "gemm_nn",
            Self::Tn => "gemm_tn",
        }
    }
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

impl<T: Element> Product<'_, T> {
    #[track_caller]
    fn run<C: Element>(&self, b: &Cuda<T>, c: View<'_, C>, bias: Option<&Mat<Buffer<T>>>, accum: Accum) {
        let (m, n) = c.shape();
        let (left, right) = (self.left.shape(), self.right.shape());
        let k = if self.form == Form::Tn { left.0 } else { left.1 };
        check_shape(
            self.form.name(),
            "a",
            left,
            if self.form == Form::Tn { (k, m) } else { (m, k) },
        );
        check_shape(
            self.form.name(),
            "b",
            right,
            if self.form == Form::Nt { (n, k) } else { (k, n) },
        );
        assert!(size_of::<C>() == 4 || C::SUFFIX == T::SUFFIX, "a product in T or f32");

        let parts = parts(m, n, k);
        if parts == 1 {
            return self.launch(b, c, (m, n, k), 1, bias, accum);
        }
        let stride = n.next_multiple_of(4);
        b.room("gemm_parts", parts * m * stride * size_of::<f32>(), |room| {
            let partial = View::<f32>::within(room, 0, parts * m, n, stride);
            self.launch(b, partial, (m, n, k), parts, None, Accum::Replace);
            finish(b, c, partial, parts, bias, accum);
        });
    }

    fn launch<C: Element>(
        &self,
        b: &Cuda<T>,
        c: View<'_, C>,
        (m, n, k): (usize, usize, usize),
        parts: usize,
        bias: Option<&Mat<Buffer<T>>>,
        accum: Accum,
    ) {
        let aligned = self.left.aligned() && self.right.aligned() && self.low.is_none_or(|x| x.aligned());
        let name = format!("{}{}", self.form.name(), if aligned { "" } else { "_any" });
        let tensor = size_of::<T>() == 2;
        let mut launch = b
            .typed(if tensor { &BF16 } else { &F32 }, &name)
            .grid([m.div_ceil(TILE) * n.div_ceil(TILE), parts, 1])
            .block(if tensor { 128 } else { 256 })
            .arg(c)
            .arg(self.left);
        if tensor {
            launch = launch.shared(SHARED).arg(self.low.as_ref());
        }
        launch = launch.arg(self.right).arg(bias);
        for size in [m, n, k, self.left.stride, self.right.stride, c.stride] {
            launch = launch.size(size);
        }
        launch = launch.arg(u32::from(accum == Accum::Add));
        if tensor {
            launch = launch.arg(u32::from(size_of::<C>() == 4));
        }
        launch.launch();
    }
}

/// Into how many pieces k is cut: where the tiles are too few for a device and k is long.
fn parts(m: usize, n: usize, k: usize) -> usize {
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    if tiles == 0 {
        return 1;
    }
    (BUSY / tiles).min(k / (STEP * STEPS)).max(1)
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
    // Rows are blocks in y: most products with few tiles have few rows, but not all.
    const MOST: usize = 1 << 15;
    for first in (0..m).step_by(MOST) {
        let rows = first..m.min(first + MOST);
        b.typed(&PARTS, name)
            .grid([n.div_ceil(1024), rows.len(), 1])
            .block(256)
            .arg(c.rows(rows.clone()))
            .arg(partial.rows(first..partial.rows))
            .arg(bias)
            .size(parts)
            .size(m)
            .size(n)
            .size(partial.stride)
            .size(c.stride)
            .arg(u32::from(accum == Accum::Add))
            .launch();
    }
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
