//! o = softmax(q k' / sqrt(D)) v over each row's path.
use kernel::backend::{Heads, Qkv};
use kernel::mat::{Mat, check_shape};

use super::{THREADS, Tree, check_lse, check_qkv, launch, plain_shared, sized, width};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("attention_fwd");

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
    let (width, tiles) = (width("attention", heads), tree.queries());
    let launch = launch(b, &SOURCE, "attention_fwd", width, tiles, heads.heads)
        .block(THREADS)
        .shared(plain_shared(width, 3, 1))
        .arg(o)
        .arg(lse)
        .arg(qkv.q)
        .arg(qkv.k)
        .arg(qkv.v);
    sized(launch, tiles, heads).launch();
}
