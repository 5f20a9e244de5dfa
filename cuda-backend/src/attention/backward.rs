//! With p = exp(s - lse), delta = do . o: ds = p (do v' - delta), dq = ds k scale, dk = ds' q scale, dv = p' do.
use kernel::backend::{Heads, Qkv, QkvMut};
use kernel::mat::{Mat, check_shape};

use super::tree::Rows;
use super::{TENSOR_THREADS, THREADS, Tree, Unit, check_lse, check_qkv, launch, plain_shared, sized, unit, width};
use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const PLAIN: Source = source!("attention_bwd");
const TENSOR: Source = source!("attention_bwd_bf16");
const NAME: &str = "attention_bwd";
/// Queries of a tile of dq with tensor cores.
const DQ_QUERIES: Rows = Rows::R128;
/// Rows of a stage with tensor cores: keys of dq, queries of dk and dv.
const STAGE: usize = 32;

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
    let (rows, width, unit) = (tree.rows() * heads.heads, width(NAME, heads), unit::<T>(heads));
    let (of_queries, of_keys) = match unit {
        Unit::Plain => (Rows::R32, Rows::R32),
        Unit::Tensor => (DQ_QUERIES, dkv_keys(width)),
    };
    let (of_queries, of_keys) = (tree.queries(of_queries), tree.keys(of_keys));
    // delta; with tensor cores pairs of lse and delta.
    b.room(NAME, rows * 2 * size_of::<f32>(), |stats| {
        let (of_stats, of_q, of_kv) = match unit {
            Unit::Plain => (
                b.typed(&PLAIN, "attention_delta")
                    .grid([rows.div_ceil(THREADS as usize / 32), 1, 1])
                    .block(THREADS)
                    .arg(&*stats)
                    .arg(d_o)
                    .arg(o),
                launch(b, &PLAIN, "attention_dq", width, of_queries, heads.heads)
                    .block(THREADS)
                    .shared(plain_shared(width, 4, 1))
                    .arg(d.q)
                    .arg(d_o)
                    .arg(lse),
                launch(b, &PLAIN, "attention_dkv", width, of_keys, heads.kv_heads)
                    .block(THREADS)
                    .shared(plain_shared(width, 4, 2))
                    .arg(d.k)
                    .arg(d.v)
                    .arg(d_o)
                    .arg(lse),
            ),
            Unit::Tensor => (
                b.typed(&TENSOR, &format!("attention_tensor_stats_{width}"))
                    .grid([rows.div_ceil(TENSOR_THREADS as usize / lanes(width)), 1, 1])
                    .block(TENSOR_THREADS)
                    .arg(&*stats)
                    .arg(d_o)
                    .arg(o)
                    .arg(lse),
                launch(b, &TENSOR, "attention_tensor_dq", width, of_queries, heads.heads)
                    .block(TENSOR_THREADS)
                    .shared(size_of::<T>() * width * (2 * DQ_QUERIES.get() + 4 * STAGE))
                    .arg(d.q)
                    .arg(d_o),
                launch(b, &TENSOR, "attention_tensor_dkv", width, of_keys, heads.kv_heads)
                    .block(TENSOR_THREADS)
                    .shared(dkv_shared(width))
                    .arg(d.k)
                    .arg(d.v)
                    .arg(d_o),
            ),
        };
        of_stats.size(rows).size(heads.head_dim).launch();
        for (launch, tiles) in [(of_q, of_queries), (of_kv, of_keys)] {
            let launch = launch.arg(&*stats).arg(qkv.q).arg(qkv.k).arg(qkv.v);
            sized(launch, tiles, heads).launch();
        }
    });
}

/// Lanes that sum a row's delta with tensor cores: eight numbers each, a power of two of them.
fn lanes(width: usize) -> usize {
    (width / 8).next_power_of_two()
}

/// Keys of a tile of dk and dv with tensor cores.
fn dkv_keys(width: usize) -> Rows {
    if width <= 64 { Rows::R128 } else { Rows::R64 }
}

/// Bytes of shared memory of dk and dv with tensor cores: keys and values, and two stages of queries, d_o and pairs.
fn dkv_shared(width: usize) -> usize {
    2 * dkv_keys(width).get() * width * 2 + 2 * STAGE * (2 * width * 2 + 8)
}
