//! What a machine has to offer: five traits of operations that are defined in terms of the machine. Everything that
//! is defined in terms of other operations (the block, the network, backward, clipping) is written once, in this crate.
//!
//! | trait | what it gives |
//! |---|---|
//! | [`Memory`] | storage, transfers, precision changes |
//! | [`Ops`] | the operations of a transformer, forward and backward |
//! | [`Vector`] | elementwise work of the optimizer |
//! | [`Decode`] | the KV cache and logits, for generation |
//! | [`Tangent`] | forward-mode derivatives, for TRPO |
//!
//! Conventions: outputs, inputs, sizes, in that order. Gradients (`Acc`) always `+=`; activations (`Buf`) are replaced
//! unless the signature takes [`Accum`](crate::mat::Accum). A shape mismatch is a bug and panics with the operation and
//! both shapes. Operations do not fail otherwise: a device reports its faults at the next transfer.

mod decode;
mod memory;
mod ops;
mod tangent;
mod vector;

pub use decode::{CacheShape, Decode, Paths, Span};
pub use memory::Memory;
pub use ops::{Activations, HeadCotangent, HeadOut, Heads, LinearGrads, LinearLayer, Ops, Prepared, Qkv, QkvMut};
pub use tangent::{Dual, HeadIn, Tangent};
pub use vector::{AdamW, Vector};
