//! Every arithmetic, conversion, warp-wide and matrix instruction through PTX text and the engine: so that decoding, modifiers and
//! the order of operands are tested, not only the functions behind them. Expected values are literals after the PTX ISA.
//! Where `PTXAS` is set to the path of NVIDIA's assembler, it must accept every text.

#![allow(clippy::unwrap_used)]

mod bulk;
mod harness;
mod lanes;
mod matrices;
mod refused;
mod table;
mod wgmma;
mod wmma;
