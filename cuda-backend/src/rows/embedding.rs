//! Rows picked by an index, and the transpose: rows added by an index.
use kernel::mat::{Mat, check_shape};

use super::{block_of, row_of};
use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("embedding");
/// Numbers of `scatter_add`'s vectors: its sums are f32, 16 bytes of them.
const FEW: usize = 4;
/// Vectors of a row that a block of `scatter_add` goes through.
const COLUMNS: usize = 256;

#[track_caller]
pub(crate) fn embed<T: Element>(b: &Cuda<T>, y: &mut Mat<Buffer<T>>, table: &Mat<Buffer<T>>, ids: &Index) {
    pick(b, "embed", y, table, ids);
}

#[track_caller]
pub(crate) fn gather<T: Element>(b: &Cuda<T>, y: &mut Mat<Buffer<T>>, x: &Mat<Buffer<T>>, rows: &Index) {
    pick(b, "gather", y, x, rows);
}

#[track_caller]
fn pick<T: Element>(b: &Cuda<T>, op: &str, y: &mut Mat<Buffer<T>>, x: &Mat<Buffer<T>>, index: &Index) {
    check_shape(op, "y", y.shape(), (index.len(), x.cols));
    index.check(op, x.rows);
    let (width, vectors) = row_of::<T>(x.cols, usize::MAX);
    let (along, rows) = block_of(vectors, 256, 256);
    b.typed(&SOURCE, &format!("gather{width}"))
        .grid([index.len().div_ceil(rows), 1, 1])
        .block3([along as u32, rows as u32, 1])
        .arg(y)
        .arg(x)
        .arg(index)
        .size(index.len())
        .size(x.cols)
        .launch();
}

#[track_caller]
pub(crate) fn embed_bwd<T: Element>(b: &Cuda<T>, d_table: &mut Mat<Buffer<f32>>, dy: &Mat<Buffer<T>>, ids: &Index) {
    add(b, "embed_bwd", d_table, dy, ids);
}

#[track_caller]
pub(crate) fn scatter_add<T: Element>(b: &Cuda<T>, dx: &mut Mat<Buffer<T>>, dy: &Mat<Buffer<T>>, rows: &Index) {
    add(b, "scatter_add", dx, dy, rows);
}

#[track_caller]
fn add<T: Element, Y>(b: &Cuda<T>, op: &'static str, y: &mut Mat<Buffer<Y>>, x: &Mat<Buffer<T>>, index: &Index) {
    check_shape(op, "dy", x.shape(), (index.len(), y.cols));
    index.check(op, y.rows);
    let lists = Lists::new(index.values());
    let words = [&lists.order[..], &lists.named, &lists.begin].concat();
    let (width, vectors) = row_of::<T>(x.cols, FEW);
    let (along, _) = block_of(vectors, COLUMNS, COLUMNS);
    b.room(op, size_of_val(&words[..]), |room| {
        b.keep(room.write(b, bytemuck::cast_slice(&words)));
        let named = room.address() + size_of_val(&lists.order[..]) as u64;
        b.typed(&SOURCE, &format!("{op}{width}"))
            .grid([lists.named.len(), vectors.div_ceil(along), 1])
            .block(along as u32)
            .arg(y)
            .arg(x)
            .arg(&*room)
            .arg(named)
            .arg(named + size_of_val(&lists.named[..]) as u64)
            .size(x.cols)
            .launch();
    });
}

/// The rows of x by the row of y they are added to.
#[derive(Debug, PartialEq)]
struct Lists {
    /// The i in the order of (index_i, i).
    order: Vec<u32>,
    /// The rows that are named.
    named: Vec<u32>,
    /// Where the i of each begin, and where those of the last end.
    begin: Vec<u32>,
}

impl Lists {
    fn new(index: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..index.len() as u32).collect();
        order.sort_unstable_by_key(|&i| (index[i as usize], i));
        let (mut named, mut begin) = (Vec::new(), vec![0]);
        for same in order.chunk_by(|&i, &j| index[i as usize] == index[j as usize]) {
            named.push(index[same[0] as usize]);
            begin.push(begin[begin.len() - 1] + same.len() as u32);
        }
        Self { order, named, begin }
    }
}

#[cfg(test)]
mod tests;
