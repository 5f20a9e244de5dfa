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
const COLUMNS: usize = 128;

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
    let (lists, rows) = by_row(index.values());
    let (width, vectors) = row_of::<T>(x.cols, FEW);
    b.room(op, size_of_val(&lists[..]), |room| {
        b.keep(room.write(b, bytemuck::cast_slice(&lists)));
        b.typed(&SOURCE, &format!("{op}{width}"))
            .grid([rows, vectors.div_ceil(COLUMNS), 1])
            .block(COLUMNS as u32)
            .arg(y)
            .arg(x)
            .arg(index)
            .arg(room.address())
            .arg(room.address() + size_of_val(index.values()) as u64)
            .size(x.cols)
            .launch();
    });
}

/// The i in the order of (row, i), then where each distinct row's begin and where the last one's end; and how many rows are distinct.
fn by_row(index: &[u32]) -> (Vec<u32>, usize) {
    let mut lists: Vec<u32> = (0..index.len() as u32).collect();
    lists.sort_unstable_by_key(|&i| (index[i as usize], i));
    let row = |i: usize| index[lists[i] as usize];
    let begin: Vec<u32> = (0..index.len())
        .filter(|&i| i == 0 || row(i) != row(i - 1))
        .map(|i| i as u32)
        .collect();
    let rows = begin.len();
    lists.extend(begin);
    lists.push(index.len() as u32);
    (lists, rows)
}
