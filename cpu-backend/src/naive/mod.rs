//! The oracle: `Cpu<f64>`, the obvious loops. One thread, no std; the other backends are checked against it, so every
//! function reads like the formula in the trait's docstring.
//!
//! | file | what it holds |
//! |---|---|
//! | `memory` | allocation, transfers |
//! | `rows` | a matrix's rows as slices; dot and axpy on them |
//! | `embed` | embed, gather and their transposes |
//! | `norm`, `linear`, `rope`, `swiglu`, `attention`, `head` | one operation each, forward, backward and tangent |
//! | `vector` | the optimizer's elementwise work |
//! | `decode` | the KV cache |
//! | `ops`, `tangent` | the traits, which only forward to the above |

mod attention;
mod decode;
mod embed;
mod head;
mod linear;
mod memory;
mod norm;
mod ops;
mod rope;
mod rows;
mod swiglu;
mod tangent;
mod vector;

pub use memory::OutOfMemory;
