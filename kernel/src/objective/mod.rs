//! The objectives: pure functions from per-token numbers to a loss and its cotangents.
//!
//! The divisor is always the global weight of the optimizer step, passed in: a loss never divides by what its own
//! micro-batch happens to hold, so 1 x 16 and 16 x 1 micro-batches give the same gradient.

pub mod sft;
