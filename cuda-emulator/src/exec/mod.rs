//! Warps, blocks, grids: one step is one instruction of a warp.
