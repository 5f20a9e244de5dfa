//! An emulated CUDA driver that runs PTX on a CPU, as a sanitizer and a counter.
//!
//! | module | what it holds |
//! |---|---|
//! | [`engine`] | a device: its memory, loaded modules, launches |
//! | [`fault`] | what went wrong in a kernel, and where |
//! | [`ptx`] | the text: lexer, syntax tree, parser |
//! | [`code`] | from the syntax tree to operations on three register banks |
//! | [`exec`] | warps, blocks, grids: one step is one instruction of a warp |
//! | [`arith`] | what an instruction does to its numbers, lane by lane |
//! | [`tensor`] | matrix instructions: mma, wmma, wgmma, ldmatrix; which lane holds which element; tensor maps |
//! | [`memory`] | device and shared memory with the shadows that find misuse: bounds, initialisation, races; copies in flight |
//! | [`counters`] | what was executed and moved, and the bound model over it |
//! | [`driver`] | the exported functions of the driver API: contexts, streams, events, graphs, modules |

pub mod arith;
pub mod code;
pub mod counters;
pub mod driver;
pub mod engine;
pub mod exec;
pub mod fault;
pub mod memory;
pub mod ptx;
pub mod tensor;
