//! The head's Fisher matrix and the exact KL divergence, in chunks as the head itself.
use kernel::backend::{Dual, HeadIn};
use kernel::mat::{Accum, Mat, check_shape};

use super::{BACKWARD, Chunks, Cotangents, F32, check_gradients, from, inverse, logits};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::gemm::View;

const KL: Source = source!("head_kl");

/// `Tangent::head_fisher`.
#[allow(clippy::too_many_arguments)]
#[track_caller]
pub(crate) fn fisher<T: Element>(
    b: &Cuda<T>,
    dh: &mut Mat<Buffer<T>>,
    dw: &mut Mat<Buffer<f32>>,
    weight: &Mat<Buffer<f32>>,
    lse: &Mat<Buffer<f32>>,
    h: Dual<'_, Buffer<T>>,
    w: Dual<'_, Buffer<T>>,
    temperature: f64,
) {
    const OP: &str = "head_fisher";
    let p = h.x.rows;
    check_gradients(OP, (dh.shape(), dw.shape()), h.x.shape(), w.x.shape());
    check_shape(OP, "h_dot", h.x_dot.shape(), h.x.shape());
    check_shape(OP, "w_dot", w.x_dot.shape(), w.x.shape());
    check_shape(OP, "weight", weight.shape(), (p, 1));
    check_shape(OP, "lse", lse.shape(), (p, 1));
    let bytes = 2 * F32 + Cotangents::<T>::BYTES;
    let chunks = Chunks::new(p, w.x.rows, bytes);
    b.room("head", chunks.len() * bytes, |room| {
        for rows in chunks.each() {
            let n = rows.len();
            let [z, z_dot] = [0, chunks.len() * F32].map(|at| chunks.view::<f32>(room, at, n));
            let u = Cotangents::new(&chunks, room, 2 * F32, n);
            let [x, x_dot] = [h.x, h.x_dot].map(|x| View::of(x).rows(rows.clone()));
            let [v, v_dot] = [w.x, w.x_dot].map(View::of);
            logits(b, z, x, v, Accum::Replace);
            logits(b, z_dot, x_dot, v, Accum::Replace);
            logits(b, z_dot, x, v_dot, Accum::Add);
            b.typed(&BACKWARD, "head_u")
                .grid([n, 1, 1])
                .block(512)
                .arg(u.high)
                .arg(u.low)
                .arg(z)
                .arg(z_dot)
                .arg(from(lse.data.address(), rows.start))
                .arg(from(weight.data.address(), rows.start))
                .size(chunks.vocab)
                .size(chunks.stride)
                .arg(inverse(temperature))
                .launch();
            u.back(b, View::of(dh).rows(rows), View::of(dw), x, v);
        }
    });
}

/// `Tangent::head_kl`.
#[track_caller]
pub(crate) fn kl<T: Element>(
    b: &Cuda<T>,
    kl: &mut Mat<Buffer<f32>>,
    old: HeadIn<'_, Buffer<T>, Buffer<T>>,
    new: HeadIn<'_, Buffer<T>, Buffer<T>>,
    temperature: f64,
) {
    let (p, c) = old.h.shape();
    check_shape("head_kl", "kl", kl.shape(), (p, 1));
    check_shape("head_kl", "old w", old.w.shape(), (old.w.rows, c));
    check_shape("head_kl", "new w", new.w.shape(), old.w.shape());
    check_shape("head_kl", "new h", new.h.shape(), (p, c));
    let chunks = Chunks::new(p, old.w.rows, 2 * F32);
    b.room("head", chunks.len() * 2 * F32, |room| {
        for rows in chunks.each() {
            let [z, y] = [0, chunks.len() * F32].map(|at| chunks.view::<f32>(room, at, rows.len()));
            for (z, x) in [(z, &old), (y, &new)] {
                logits(b, z, View::of(x.h).rows(rows.clone()), View::of(x.w), Accum::Replace);
            }
            b.kernel(&KL, "head_kl")
                .grid([rows.len(), 1, 1])
                .block(512)
                .arg(from(kl.data.address(), rows.start))
                .arg(z)
                .arg(y)
                .size(chunks.vocab)
                .size(chunks.stride)
                .arg(inverse(temperature))
                .launch();
        }
    });
}
