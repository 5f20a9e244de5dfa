//! Warps, blocks, grids: one step is one instruction of a warp.
//!
//! | file | what it holds |
//! |---|---|
//! | `grid` | the blocks of a launch, on the host's threads |
//! | `block` | the warps of a block, whose turn it is |
//! | `run` | the loop of the interpreter: one warp, lanes apart where they must be |
//! | `meet` | where lanes wait for each other and for other warps |
//! | `warp` | registers, and where lanes stand |
//! | `barrier`, `mbarrier` | named barriers, barriers in shared memory |
//! | `execute`, `access`, `atomic`, `matrix`, `together` | instructions: of registers, of memory, of matrices, of lanes together |
//! | `bulk`, `wgmma` | bulk copies, warps that multiply together |
//! | `call`, `print` | device functions, `printf`, `assert` |

mod access;
mod atomic;
mod barrier;
mod block;
mod bulk;
mod call;
mod execute;
mod grid;
mod matrix;
mod mbarrier;
mod meet;
mod print;
mod run;
#[cfg(test)]
mod tests;
mod together;
mod warp;
mod wgmma;

pub use grid::run;
