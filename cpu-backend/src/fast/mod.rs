//! The fast backends: `Cpu<f32>` and `Cpu<bf16>`.
use half::bf16;

use crate::{Cpu, Element};

/// An instruction set with microkernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
}

/// How many threads and which instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads, at least one.
    pub threads: usize,
    /// Instruction set.
    pub isa: Isa,
}

/// What the operations share.
pub struct Engine {
    settings: Settings,
}

impl Element for f32 {
    type Engine = Engine;
}

impl Element for bf16 {
    type Engine = Engine;
}

impl<T: Element<Engine = Engine>> Cpu<T> {
    /// A CPU with these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            engine: Engine { settings },
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.engine.settings
    }
}
