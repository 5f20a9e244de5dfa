//! Every operation of the backends' traits, beside allocation and transfers.
//!
//! | module | trait | |
//! |---|---|---|
//! | [`linear`] | `Ops` | products with a weight |
//! | [`rows`] | `Ops` | norms, rotation, SwiGLU, rows by number |
//! | [`attention`] | `Ops`, `Tangent` | attention over segments |
//! | [`head`] | `Ops`, `Tangent` | the head |
//! | [`decode`] | `Decode` | one new row a sequence, logits |
//! | [`vector`] | `Vector`, `Memory` | elementwise work, precision changes |
//! | [`tangent`] | `Tangent` | tangents of rows |
pub mod attention;
pub mod decode;
pub mod head;
pub mod linear;
pub mod rows;
pub mod tangent;
pub mod vector;
