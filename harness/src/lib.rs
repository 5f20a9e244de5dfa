//! The trainers, their data, logs and checkpoints; the `proximal` binary is a thin shell over this library.

pub mod assets;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod demo;
pub mod device;
pub mod dpo;
pub mod dtype;
mod edit_distance;
pub mod eval;
pub mod grpo;
mod lines;
pub mod log;
pub mod memory;
pub mod online;
pub mod pairs;
pub mod plan;
pub mod ppo;
mod process;
pub mod reward;
pub mod sft;
pub mod train;
pub mod trpo;
pub mod verify;
