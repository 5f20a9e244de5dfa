//! The linear layer and the logits.
use kernel::mat::{Accum, Mat, check_shape};

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::gemm::{Form, View, column_sums, product};

#[track_caller]
pub(crate) fn linear<T: Element>(
    b: &Cuda<T>,
    y: &mut Mat<Buffer<T>>,
    x: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    bias: Option<&Mat<Buffer<T>>>,
    accum: Accum,
) {
    let (out, inp) = w.shape();
    check_shape("linear", "x", x.shape(), (x.rows, inp));
    check_shape("linear", "y", y.shape(), (x.rows, out));
    if let Some(bias) = bias {
        check_shape("linear", "bias", bias.shape(), (1, out));
    }
    product(b, View::of(y), View::of(x), View::of(w), Form::Nt, bias, accum);
}

#[track_caller]
pub(crate) fn linear_bwd_x<T: Element>(
    b: &Cuda<T>,
    dx: &mut Mat<Buffer<T>>,
    dy: &Mat<Buffer<T>>,
    w: &Mat<Buffer<T>>,
    accum: Accum,
) {
    let (out, inp) = w.shape();
    check_shape("linear_bwd_x", "dy", dy.shape(), (dy.rows, out));
    check_shape("linear_bwd_x", "dx", dx.shape(), (dy.rows, inp));
    product(b, View::of(dx), View::of(dy), View::of(w), Form::Nn, None, accum);
}

#[track_caller]
pub(crate) fn linear_bwd_w<T: Element>(
    b: &Cuda<T>,
    dw: &mut Mat<Buffer<f32>>,
    db: Option<&mut Mat<Buffer<f32>>>,
    dy: &Mat<Buffer<T>>,
    x: &Mat<Buffer<T>>,
) {
    let (out, inp) = dw.shape();
    check_shape("linear_bwd_w", "dy", dy.shape(), (x.rows, out));
    check_shape("linear_bwd_w", "x", x.shape(), (x.rows, inp));
    product(b, View::of(dw), View::of(dy), View::of(x), Form::Tn, None, Accum::Add);
    if let Some(db) = db {
        check_shape("linear_bwd_w", "db", db.shape(), (1, out));
        column_sums(b, View::of(db), View::of(dy));
    }
}

#[track_caller]
pub(crate) fn logits<T: Element>(b: &Cuda<T>, z: &mut Mat<Buffer<f32>>, h: &Mat<Buffer<T>>, w: &Mat<Buffer<T>>) {
    let (vocabulary, c) = w.shape();
    check_shape("logits", "h", h.shape(), (h.rows, c));
    check_shape("logits", "z", z.shape(), (h.rows, vocabulary));
    product(b, View::of(z), View::of(h), View::of(w), Form::Nt, None, Accum::Replace);
}
