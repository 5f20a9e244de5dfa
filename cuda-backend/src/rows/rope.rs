//! The rotary position embedding.
use kernel::mat::{Direction, Mat, check_shape};

use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};

const SOURCE: Source = source!("rope");
/// Rows of a block, a warp each.
const ROWS: usize = 8;
/// Pairs of a vector: 16 bytes of the table.
const PAIRS: usize = 4;

#[track_caller]
pub(crate) fn rope<T: Element>(
    b: &Cuda<T>,
    x: &mut Mat<Buffer<T>>,
    table: &Mat<Buffer<f32>>,
    positions: &Index,
    head_dim: usize,
    direction: Direction,
) {
    let (n, c) = x.shape();
    check_shape("rope", "positions", (positions.len(), 1), (n, 1));
    check_shape("rope", "table", table.shape(), (table.rows, head_dim));
    assert!(
        head_dim.is_multiple_of(2) && c.is_multiple_of(head_dim),
        "rope: {c} columns are not whole heads of an even {head_dim}"
    );
    positions.check("rope", table.rows);
    let (width, pairs) = if head_dim.is_multiple_of(2 * PAIRS) {
        ("", PAIRS)
    } else {
        ("_narrow", 1)
    };
    let lanes = (head_dim / 2 / pairs).min(32);
    let sign: f32 = match direction {
        Direction::Forward => 1.0,
        Direction::Inverse => -1.0,
    };
    b.typed(&SOURCE, &format!("rope{width}"))
        .grid([n.div_ceil(ROWS), 1, 1])
        .block(32 * ROWS as u32)
        .arg(x)
        .arg(table)
        .arg(positions)
        .size(n)
        .size(c / head_dim)
        .size(head_dim)
        .size(lanes)
        .arg(sign)
        .launch();
}
