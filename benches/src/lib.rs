//! What the benches share.
//!
//! | module | what it holds |
//! |---|---|
//! | [`operation`] | an operation that can be made, run and read on any backend; its cost |
//! | [`data`] | matrices of the same numbers on every backend |
//! | [`limit`] | what the machine can do at most: products, bytes |
//! | [`measure`] | how an operation is checked, measured and set against the limit |
//! | [`model`] | sizes of real models |
//! | [`ops`] | every operation of the backends |
pub mod data;
pub mod limit;
pub mod measure;
pub mod model;
pub mod operation;
pub mod ops;
