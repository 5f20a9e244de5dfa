//! o = softmax(q k' / sqrt(D)) v over each row's path.
use kernel::backend::{Heads, Qkv};
use kernel::mat::{Mat, check_shape};

use super::tree::Rows;
use super::{TENSOR_THREADS, THREADS, Tree, Unit, check_lse, check_qkv, launch, plain_shared, sized, unit, width};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const PLAIN: Source = source!("attention_fwd");
const TENSOR: Source = source!("attention_fwd_bf16");
/// Queries of a tile with tensor cores.
const QUERIES: Rows = Rows::R128;

#[track_caller]
pub(crate) fn forward<T: Element>(
    b: &Cuda<T>,
    o: &mut Mat<Buffer<T>>,
    lse: &mut Mat<Buffer<f32>>,
    qkv: Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    check_qkv("attention", &qkv, tree, heads);
    check_shape("attention", "o", o.shape(), qkv.q.shape());
    check_lse("attention", lse, tree, heads);
    let (width, unit) = (width("attention", heads), unit::<T>(heads));
    let tiles = tree.queries(match unit {
        Unit::Plain => Rows::R32,
        Unit::Tensor => QUERIES,
    });
    let launch = match unit {
        Unit::Plain => launch(b, &PLAIN, "attention_fwd", width, tiles, heads.heads)
            .block(THREADS)
            .shared(plain_shared(width, 3, 1)),
        Unit::Tensor => launch(b, &TENSOR, "attention_tensor_fwd", width, tiles, heads.heads)
            .block(TENSOR_THREADS)
            .shared(size_of::<T>() * width * (QUERIES.get() + 2 * stage_keys(width))),
    };
    let launch = launch.arg(o).arg(lse).arg(qkv.q).arg(qkv.k).arg(qkv.v);
    sized(launch, tiles, heads).launch();
}

/// Keys, and values, in shared memory at once with tensor cores.
fn stage_keys(width: usize) -> usize {
    if width <= 96 { 64 } else { 48 }
}
