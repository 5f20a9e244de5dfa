//! Matrices that carry their shape, and the small words of the operations' signatures.

/// A row-major, contiguous matrix of shape (rows, cols). `data` may hold more than rows x cols numbers: a workspace
/// made for a long batch serves a short one with `rows` set lower.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mat<T> {
    /// The backend's storage.
    pub data: T,
    /// Rows in use.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl<T> Mat<T> {
    /// A matrix of this shape over `data`.
    pub fn new(data: T, rows: usize, cols: usize) -> Self {
        Self { data, rows, cols }
    }

    /// (rows, cols).
    pub fn shape(&self) -> Shape {
        (self.rows, self.cols)
    }

    /// rows x cols.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// (rows, cols) of a matrix. A vector of C numbers is (1, C), a column of N is (N, 1).
pub type Shape = (usize, usize);

/// What an operation does with what is already in its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accum {
    /// out = value
    Replace,
    /// out = out + value; the residual add is this.
    Add,
}

/// Which way the rotary embedding turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By +angle, as in the forward pass.
    Forward,
    /// By -angle: the transpose, as in the backward pass.
    Inverse,
}

/// What a prepared weight is going to be used for; training needs a second layout on some backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `linear` and `embed` only.
    Inference,
    /// `linear_bwd_x` too.
    Training,
    /// `linear` only, by integers of eight bits: a model that completions are drawn from. Not every backend has it.
    Int8,
}

/// Panics, naming the operation and both shapes, unless they are equal. A shape mismatch is a bug of the caller.
#[track_caller]
pub fn check_shape(op: &str, what: &str, found: Shape, expected: Shape) {
    assert!(
        found == expected,
        "{op}: {what} has shape {found:?}, expected {expected:?}"
    );
}
