//! The CUDA backend: `Cuda<f32>` and `Cuda<bf16>` implement every trait of `kernel::backend` with hand-written kernels.
//!
//! | module | what it holds |
//! |---|---|
//! | `device`, `error` | the device, its one stream, its faults |
//! | `compile` | from the sources in `cuda-src` to loaded modules: shipped, by nvcc, by NVRTC |
//! | `launch`, `graph`, `buffer`, `tensor_map` | a checked kernel launch; launches replayed as one; device memory; maps for copies of boxes |
//! | `memory`, `rows`, `vector`, `gemm`, `linear`, `attention`, `decode`, `head`, `sample`, `surrogate` | the operations |
//! | `ops`, `tangent` | the traits that spread over several of them |
//!
//! Everything runs on one stream, in the order of the calls. An operation does not fail: what goes wrong in a launch is kept
//! and reported by the next transfer. Nothing depends on the order in which blocks run: no float atomics, so the same call
//! gives the same bits.

mod attention;
mod buffer;
mod compile;
mod decode;
mod device;
mod error;
mod gemm;
mod graph;
mod head;
mod launch;
mod linear;
mod memory;
mod ops;
mod rows;
mod sample;
mod surrogate;
mod tangent;
mod tensor_map;
mod vector;

pub use buffer::{Buffer, Index};
pub use device::{Cuda, Element};
pub use error::Error;
pub use surrogate::{GroupTokens, Mask, Tokens};
