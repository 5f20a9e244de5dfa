//! The head, in chunks of rows: a chunk's logits are made, read by the row kernels and forgotten, so (P, V) is never in memory
//! at once. Logits are f32, their rows padded to a multiple of 16 bytes.
mod tangent;

use core::ops::Range;

use kernel::backend::{HeadCotangent, HeadOut};
use kernel::mat::{Accum, Mat, Shape, check_shape};

use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::gemm::{Form, View, product, product_split};

pub(crate) use tangent::{fisher, kl};

const SCORES: Source = source!("head");
const BACKWARD: Source = source!("head_bwd");

/// Bytes that a chunk may take: some hundred rows of a vocabulary of 150,000, enough for products at full speed.
const BUDGET: usize = 256 << 20;
const F32: usize = size_of::<f32>();
/// Rows of a chunk are a multiple of this where there are so many: the tile of a product.
const TILE: usize = 128;
/// Rows of a chunk at most: enough for products, and blocks in y.
const MOST: usize = 1 << 10;

/// How `rows` rows of a vocabulary are cut.
struct Chunks {
    rows: usize,
    vocab: usize,
    /// From row to row of a chunk, numbers.
    stride: usize,
    /// Rows of a chunk.
    height: usize,
}

impl Chunks {
    /// With `bytes` for each logit.
    fn new(rows: usize, vocab: usize, bytes: usize) -> Self {
        let stride = vocab.next_multiple_of(8);
        let fit = (BUDGET / (bytes * stride)).clamp(1, MOST);
        let fit = if fit > TILE { fit / TILE * TILE } else { fit };
        Self {
            rows,
            vocab,
            stride,
            height: fit.min(rows),
        }
    }

    fn each(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, height) = (self.rows, self.height.max(1));
        (0..rows).step_by(height).map(move |i| i..rows.min(i + height))
    }

    /// Numbers in a chunk of the largest size: where in a room the next matrix begins.
    fn len(&self) -> usize {
        self.height * self.stride
    }

    /// A matrix of `rows` rows in a room, from byte `at` on.
    fn view<'a, N>(&self, room: &'a Buffer<u8>, at: usize, rows: usize) -> View<'a, N> {
        View::within(room, at, rows, self.vocab, self.stride)
    }
}

fn inverse(temperature: f64) -> f32 {
    (1.0 / temperature) as f32
}

/// The address of row `first` of a column of numbers of 4 bytes that begins at `address`.
fn from(address: u64, first: usize) -> u64 {
    address + 4 * first as u64
}

#[track_caller]
fn check_targets(op: &str, targets: &Index, rows: usize, vocab: usize) {
    check_shape(op, "targets, as a column,", (targets.len(), 1), (rows, 1));
    targets.check(op, vocab);
}

#[track_caller]
fn check_out(op: &str, out: &HeadOut<'_, Buffer<f32>>, rows: usize) {
    for (what, x) in [
        ("logp", &out.logp),
        ("entropy", &out.entropy),
        ("lse", &out.lse),
        ("best", &out.best),
    ] {
        check_shape(op, what, x.shape(), (rows, 1));
    }
}

/// What the head says of rows `rows`, whose logits (vocab columns, `stride` apart) begin at `z`.
#[allow(clippy::too_many_arguments)]
fn scores<T: Element>(
    b: &Cuda<T>,
    out: &HeadOut<'_, Buffer<f32>>,
    z: u64,
    targets: &Index,
    rows: Range<usize>,
    (vocab, stride): (usize, usize),
    temperature: f64,
) {
    let mut launch = b.kernel(&SCORES, "head_scores").grid([rows.len(), 1, 1]).block(512);
    for x in [&out.logp, &out.entropy, &out.lse, &out.best] {
        launch = launch.arg(from(x.data.address(), rows.start));
    }
    launch
        .arg(z)
        .arg(from(targets.address(), rows.start))
        .size(vocab)
        .size(stride)
        .arg(inverse(temperature))
        .launch();
}

/// `Ops::head`.
#[track_caller]
pub(crate) fn forward<T: Element>(
    b: &Cuda<T>,
    out: HeadOut<'_, Buffer<f32>>,
    h: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    targets: &Index,
    temperature: f64,
) {
    let (p, c) = h.shape();
    check_shape("head", "w", w.shape(), (w.rows, c));
    check_targets("head", targets, p, w.rows);
    check_out("head", &out, p);
    let chunks = Chunks::new(p, w.rows, F32);
    b.room("head", chunks.len() * F32, |room| {
        for rows in chunks.each() {
            let z = chunks.view(room, 0, rows.len());
            logits(b, z, View::of(h).rows(rows.clone()), View::of(w), Accum::Replace);
            let sizes = (chunks.vocab, chunks.stride);
            scores(b, &out, room.address(), targets, rows, sizes, temperature);
        }
    });
}

/// `Decode::logp`: the same kernel over logits that are there already.
#[track_caller]
pub(crate) fn logp<T: Element>(
    b: &Cuda<T>,
    out: HeadOut<'_, Buffer<f32>>,
    z: &Mat<Buffer<f32>>,
    targets: &Index,
    temperature: f64,
) {
    check_targets("logp", targets, z.rows, z.cols);
    check_out("logp", &out, z.rows);
    let (address, sizes) = (z.data.address(), (z.cols, z.cols));
    scores(b, &out, address, targets, 0..z.rows, sizes, temperature);
}

/// z (+)= h w'.
fn logits<T: Element>(b: &Cuda<T>, z: View<'_, f32>, h: View<'_, T>, w: View<'_, T>, accum: Accum) {
    product(b, z, h, w, Form::Nt, None, accum);
}

/// `Ops::head_bwd`.
#[allow(clippy::too_many_arguments)]
#[track_caller]
pub(crate) fn backward<T: Element>(
    b: &Cuda<T>,
    dh: &mut Mat<Buffer<T>>,
    dw: &mut Mat<Buffer<f32>>,
    cotangent: HeadCotangent<'_, Buffer<f32>>,
    h: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    targets: &Index,
    temperature: f64,
) {
    let HeadCotangent {
        dlogp,
        dentropy,
        lse,
        entropy,
    } = cotangent;
    let p = h.rows;
    check_gradients("head_bwd", (dh.shape(), dw.shape()), h.shape(), w.shape());
    check_targets("head_bwd", targets, p, w.rows);
    for (what, x) in [
        ("dlogp", dlogp),
        ("dentropy", dentropy),
        ("lse", lse),
        ("entropy", entropy),
    ] {
        check_shape("head_bwd", what, x.shape(), (p, 1));
    }
    let bytes = F32 + Cotangents::<T>::BYTES;
    let chunks = Chunks::new(p, w.rows, bytes);
    b.room("head", chunks.len() * bytes, |room| {
        for rows in chunks.each() {
            let z = chunks.view::<f32>(room, 0, rows.len());
            let dz = Cotangents::new(&chunks, room, F32, rows.len());
            let (h, w) = (View::of(h).rows(rows.clone()), View::of(w));
            logits(b, z, h, w, Accum::Replace);
            b.typed(&BACKWARD, "head_dz")
                .grid([chunks.vocab.div_ceil(4096), rows.len(), 1])
                .block(128)
                .arg(dz.high)
                .arg(dz.low)
                .arg(z)
                .arg(from(targets.address(), rows.start))
                .arg(from(lse.data.address(), rows.start))
                .arg(from(dlogp.data.address(), rows.start))
                .arg(from(dentropy.data.address(), rows.start))
                .arg(from(entropy.data.address(), rows.start))
                .size(chunks.vocab)
                .size(chunks.stride)
                .arg(inverse(temperature))
                .launch();
            dz.back(b, View::of(dh).rows(rows), View::of(dw), h, w);
        }
    });
}

/// The cotangents of a chunk's logits. In f32 they take the place of z; in bf16 they are a sum of two matrices, at twice the work
/// of their two products and 2^-17 instead of 2^-9.
struct Cotangents<'a, T> {
    high: View<'a, T>,
    low: View<'a, T>,
}

impl<'a, T: Element> Cotangents<'a, T> {
    const SPLIT: bool = size_of::<T>() != F32;
    /// For each logit, beside z.
    const BYTES: usize = if Self::SPLIT { 2 * size_of::<T>() } else { 0 };

    /// In a room whose logits, and what is beside them, take `before` bytes each.
    fn new(chunks: &Chunks, room: &'a Buffer<u8>, before: usize, rows: usize) -> Self {
        let [high, low] = [before, before + size_of::<T>()]
            .map(|at| chunks.view(room, if Self::SPLIT { chunks.len() * at } else { 0 }, rows));
        Self { high, low }
    }

    /// dh = dz w, dw += dz' h.
    #[track_caller]
    fn back(&self, b: &Cuda<T>, dh: View<'_, T>, dw: View<'_, f32>, h: View<'_, T>, w: View<'_, T>) {
        if Self::SPLIT {
            product_split(b, dh, (self.high, self.low), w, Form::Nn, Accum::Replace);
            product_split(b, dw, (self.high, self.low), h, Form::Tn, Accum::Add);
        } else {
            product(b, dh, self.high, w, Form::Nn, None, Accum::Replace);
            product(b, dw, self.high, h, Form::Tn, None, Accum::Add);
        }
    }
}

#[track_caller]
fn check_gradients(op: &str, (dh, dw): (Shape, Shape), h: Shape, w: Shape) {
    check_shape(op, "w", w, (w.0, h.1));
    check_shape(op, "dh", dh, h);
    check_shape(op, "dw", dw, w);
}
