//! With p = exp(s - lse), s_dot = (q_dot k' + q k_dot') scale: o_dot = sum p s_dot v - (sum p s_dot) o + sum p v_dot.
use kernel::backend::{Heads, Qkv};
use kernel::mat::{Mat, check_shape};

use super::tree::Rows;
use super::{THREADS, Tree, check_lse, check_qkv, launch, plain_shared, sized, width};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("attention_jvp");
const NAME: &str = "attention_jvp";

#[allow(clippy::too_many_arguments)]
#[track_caller]
pub(crate) fn jvp<T: Element>(
    b: &Cuda<T>,
    o_dot: &mut Mat<Buffer<T>>,
    qkv_dot: Qkv<'_, Buffer<T>>,
    o: &Mat<Buffer<T>>,
    lse: &Mat<Buffer<f32>>,
    qkv: Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    check_qkv(NAME, &qkv, tree, heads);
    check_shape(NAME, "q_dot", qkv_dot.q.shape(), qkv.q.shape());
    check_shape(NAME, "k_dot", qkv_dot.k.shape(), qkv.k.shape());
    check_shape(NAME, "v_dot", qkv_dot.v.shape(), qkv.v.shape());
    check_shape(NAME, "o", o.shape(), qkv.q.shape());
    check_shape(NAME, "o_dot", o_dot.shape(), qkv.q.shape());
    check_lse(NAME, lse, tree, heads);
    let (width, tiles) = (width(NAME, heads), tree.queries(Rows::R32));
    let launch = launch(b, &SOURCE, NAME, width, tiles, heads.heads)
        .block(THREADS)
        .shared(plain_shared(width, 4, 2))
        .arg(o_dot)
        .arg(qkv_dot.q)
        .arg(qkv_dot.k)
        .arg(qkv_dot.v)
        .arg(o)
        .arg(lse)
        .arg(qkv.q)
        .arg(qkv.k)
        .arg(qkv.v);
    sized(launch, tiles, heads).launch();
}
