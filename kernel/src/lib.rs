#![no_std]
#![forbid(unsafe_code)]
//! The mathematics of post-training: objectives, transformer, optimizer, over backend traits.

extern crate alloc;

pub mod config;
