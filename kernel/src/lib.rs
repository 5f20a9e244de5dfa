#![no_std]
#![forbid(unsafe_code)]
//! The mathematics of post-training: objectives, transformer, optimizer. No std, no device: every machine operation goes
//! through the traits of [`backend`], every objective is a pure function on slices.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the numbers that fix a transformer |
//! | [`mat`], [`real`] | matrices with their shape; the host's numbers |
//! | [`backend`] | what a machine has to offer |
//! | [`batch`] | the packed prefix tree |
//! | [`params`] | one tree for weights, gradients, moments, names |
//! | [`transformer`] | forward, backward, tangent, decode |
//! | [`objective`] | the losses |
//! | [`optim`] | clipping, AdamW, schedules |
//! | [`trust_region`] | a TRPO step: conjugate gradients, line search |
//! | [`random`], [`sample`] | the counter-based generator; from logits to a token |
//! | [`rounding`] | stochastic rounding |

extern crate alloc;

pub mod backend;
pub mod batch;
pub mod config;
pub mod mat;
pub mod objective;
pub mod optim;
pub mod params;
pub mod random;
pub mod real;
pub mod rope;
pub mod rounding;
pub mod sample;
pub mod transformer;
pub mod trust_region;
