//! With p = exp(s - lse), delta = do . o: ds = p (do v' - delta), dq = ds k scale, dk = ds' q scale, dv = p' do.
use kernel::backend::{Heads, Qkv, QkvMut};
use kernel::mat::{Mat, check_shape};

use super::{THREADS, Tree, Unit, check_lse, check_qkv, launch, plain_shared, sized, width};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("attention_bwd");
const NAME: &str = "attention_bwd";

#[allow(clippy::too_many_arguments)]
#[track_caller]
pub(crate) fn backward<T: Element>(
    b: &Cuda<T>,
    d: QkvMut<'_, Buffer<T>>,
    d_o: &Mat<Buffer<T>>,
    o: &Mat<Buffer<T>>,
    lse: &Mat<Buffer<f32>>,
    qkv: Qkv<'_, Buffer<T>>,
    tree: &Tree,
    heads: Heads,
) {
    check_qkv(NAME, &qkv, tree, heads);
    for (what, shape) in [("dq", d.q.shape()), ("o", o.shape()), ("d_o", d_o.shape())] {
        check_shape(NAME, what, shape, qkv.q.shape());
    }
    check_shape(NAME, "dk", d.k.shape(), qkv.k.shape());
    check_shape(NAME, "dv", d.v.shape(), qkv.v.shape());
    check_lse(NAME, lse, tree, heads);
    let (n, width) = (tree.rows(), width(NAME, heads));
    b.room("attention_bwd", n * heads.heads * size_of::<f32>(), |delta| {
        b.typed(&SOURCE, "attention_delta")
            .grid([n.div_ceil(THREADS as usize / 32), heads.heads, 1])
            .block(THREADS)
            .arg(&*delta)
            .arg(d_o)
            .arg(o)
            .size(n)
            .size(heads.heads)
            .size(heads.head_dim)
            .launch();

        let tiles = tree.queries(Unit::Plain);
        let of_q = launch(b, &SOURCE, "attention_dq", width, tiles, heads.heads)
            .block(THREADS)
            .shared(plain_shared(width, 4, 1))
            .arg(d.q)
            .arg(d_o)
            .arg(lse)
            .arg(&*delta)
            .arg(qkv.q)
            .arg(qkv.k)
            .arg(qkv.v);
        sized(of_q, tiles, heads).launch();

        let tiles = tree.keys();
        let of_kv = launch(b, &SOURCE, "attention_dkv", width, tiles, heads.kv_heads)
            .block(THREADS)
            .shared(plain_shared(width, 4, 2))
            .arg(d.k)
            .arg(d.v)
            .arg(d_o)
            .arg(lse)
            .arg(&*delta)
            .arg(qkv.q)
            .arg(qkv.k)
            .arg(qkv.v);
        sized(of_kv, tiles, heads).launch();
    });
}
