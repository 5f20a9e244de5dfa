//! Attention over the packed prefix tree: training's in three kernels and their helpers, decoding's in `decode`.
use kernel::backend::{Heads, Qkv};
use kernel::mat::{Mat, check_shape};

use crate::buffer::Buffer;
use crate::compile::Source;
use crate::device::{Cuda, Element};
use crate::launch::Launch;

mod backward;
pub(crate) mod decode;
mod forward;
mod jvp;
mod plan;
mod tree;

pub(crate) use backward::backward;
pub(crate) use forward::forward;
pub(crate) use jvp::jvp;
pub use tree::Tree;

use tree::{Rows, Tiles};

/// Threads of the kernels without tensor cores.
const THREADS: u32 = 256;
/// Threads of those with.
const TENSOR_THREADS: u32 = 128;

/// Which kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// True f32, any head.
    Plain,
    /// Tensor cores: bf16, heads of a multiple of 8.
    Tensor,
}

/// The kernels for a precision and a head.
fn unit<T: Element>(heads: Heads) -> Unit {
    match size_of::<T>() {
        2 if heads.head_dim.is_multiple_of(8) => Unit::Tensor,
        _ => Unit::Plain,
    }
}

/// What a head is padded to: its kernels' width.
#[track_caller]
fn width(op: &str, heads: Heads) -> usize {
    let d = heads.head_dim;
    assert!(
        (1..=128).contains(&d),
        "{op}: head_dim is {d}, the kernels take 1 to 128"
    );
    d.next_multiple_of(32)
}

/// Bytes of shared memory of the kernels without tensor cores: tiles of rows and of scores.
fn plain_shared(width: usize, rows: usize, scores: usize) -> usize {
    size_of::<f32>() * Rows::R32.get() * (rows * (width + 4) + scores * 48)
}

/// A kernel `NAME_WIDTH_PRECISION` with a block for each tile and each of `heads`.
fn launch<'a, T: Element>(
    b: &'a Cuda<T>,
    source: &'a Source,
    name: &str,
    width: usize,
    tiles: Tiles,
    heads: usize,
) -> Launch<'a, T> {
    b.typed(source, &format!("{name}_{width}"))
        .grid([tiles.count, heads, 1])
}

/// The arguments that end each of them: the tree, the sizes and the scale.
fn sized<'a, T: Element>(launch: Launch<'a, T>, tiles: Tiles, heads: Heads) -> Launch<'a, T> {
    launch
        .arg(tiles.tiles)
        .arg(tiles.spans)
        .size(heads.heads)
        .size(heads.kv_heads)
        .size(heads.head_dim)
        .arg(heads.scale() as f32)
}

/// Panics unless the matrices have the shapes of the tree and the heads.
#[track_caller]
fn check_qkv<N>(op: &str, qkv: &Qkv<'_, N>, tree: &Tree, heads: Heads) {
    let Heads {
        heads: h,
        kv_heads,
        head_dim: d,
    } = heads;
    assert!(
        kv_heads > 0 && h % kv_heads == 0,
        "{op}: {h} heads cannot share {kv_heads} key heads"
    );
    check_shape(op, "q", qkv.q.shape(), (tree.rows(), h * d));
    check_shape(op, "k", qkv.k.shape(), (tree.rows(), kv_heads * d));
    check_shape(op, "v", qkv.v.shape(), (tree.rows(), kv_heads * d));
}

/// Panics unless lse has a number for each row and head.
#[track_caller]
fn check_lse(op: &str, lse: &Mat<Buffer<f32>>, tree: &Tree, heads: Heads) {
    check_shape(op, "lse", lse.shape(), (tree.rows(), heads.heads));
}
