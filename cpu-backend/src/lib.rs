#![cfg_attr(not(feature = "std"), no_std)]
//! The CPU backend.
//!
//! | type | what it is |
//! |---|---|
//! | [`Cpu<f64>`] | the oracle: plain loops, one thread, no std needed; every other backend is checked against it |
//! | `Cpu<f32>`, `Cpu<bf16>` | fast: SIMD microkernels by runtime dispatch, threads that split outputs and never a reduction |

extern crate alloc;

#[cfg(feature = "std")]
mod fast;
mod naive;

#[cfg(feature = "std")]
pub use fast::{Buffer, Cache, Isa, Settings, SettingsError, Tree, Weight};
pub use naive::OutOfMemory;

/// A CPU that computes in `T`.
pub struct Cpu<T: Element> {
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    engine: T::Engine,
}

/// A number the CPU backend computes in: f64 (the oracle), f32, bf16.
pub trait Element: Copy + Send + Sync + 'static {
    /// What the operations share: nothing for the oracle, the thread pool and the chosen instruction set otherwise.
    type Engine;
}

impl Element for f64 {
    type Engine = ();
}

impl Cpu<f64> {
    /// The oracle.
    pub fn oracle() -> Self {
        Self { engine: () }
    }
}
