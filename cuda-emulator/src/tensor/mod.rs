//! Matrix instructions: which lane holds which element, and the products.
//!
//! | module | what it holds |
//! |---|---|
//! | [`fragment`] | the matrices of `mma` spread over the registers of a warp: element of lane and index |
//! | [`mma`] | `mma.sync` |
//! | [`product`] | the product of matrices with f32 accumulators: the hot path |
//! | [`matrix`] | `ldmatrix`, `stmatrix`, `movmatrix` |
//! | [`wmma`] | `wmma.load`, `wmma.store`, `wmma.mma` |
//! | [`wgmma`] | `wgmma.mma_async`: matrix descriptors, which warp has which rows, the product |
//! | [`map`] | tensor maps: boxes of tensors in device memory |
//! | [`decode`](mod@decode) | from the parts of an opcode to one of these |

pub mod decode;
pub mod fragment;
pub mod map;
pub mod matrix;
pub mod mma;
pub mod product;
pub mod wgmma;
pub mod wmma;

pub use decode::{Tensor, decode};
pub use fragment::{Element, Fragment, Matrix, Shape};
pub use mma::Mma;

#[cfg(test)]
mod tests;
