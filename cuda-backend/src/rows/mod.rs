//! Operations that see one row at a time.

mod embedding;
mod rmsnorm;
mod rope;
mod swiglu;

pub(crate) use embedding::{embed, embed_bwd, gather, scatter_add};
pub(crate) use rmsnorm::{rmsnorm, rmsnorm_bwd, rmsnorm_jvp};
pub(crate) use rope::rope;
pub(crate) use swiglu::{swiglu, swiglu_bwd, swiglu_jvp};

/// Bytes of a vector.
pub(crate) const VECTOR: usize = 16;

/// How a row of so many numbers of `T` is read: (what the kernel's name ends in, vectors), `most` numbers a vector at most. Rows
/// that are not whole vectors of 16 bytes are not aligned to them either, and are read number by number.
pub(crate) fn row_of<T>(cols: usize, most: usize) -> (&'static str, usize) {
    let wide = VECTOR / size_of::<T>();
    if cols.is_multiple_of(wide) {
        ("", cols / wide.min(most))
    } else {
        ("_narrow", cols)
    }
}

/// Threads (along a row of so many vectors, over rows) of a block of `threads`, or of a warp more than one row needs.
pub(crate) fn block_of(vectors: usize, threads: usize, longest: usize) -> (usize, usize) {
    let along = vectors.clamp(1, longest).next_multiple_of(32);
    (along, (threads / along).max(1))
}
