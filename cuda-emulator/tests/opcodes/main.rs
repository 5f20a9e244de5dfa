//! Every arithmetic, conversion, warp-wide and matrix instruction through PTX text and the engine: so that decoding, modifiers and
//! the order of operands are tested, not only the functions behind them. Expected values are literals after the PTX ISA.
//! With `DUMP_PTX` set to a folder the texts are left there, for NVIDIA's assembler to read.

#![allow(clippy::unwrap_used)]

mod harness;
mod lanes;
mod matrices;
mod refused;
mod table;
mod wmma;
