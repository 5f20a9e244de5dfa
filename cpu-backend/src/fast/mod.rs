//! The fast backends: `Cpu<f32>` and `Cpu<bf16>`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`], [`pool`] | instruction set and threads |
//! | [`simd`], [`elem`] | vectors; f32 and bf16 |
//! | [`buffer`], [`out`] | memory; an output that threads share |
//! | [`gemm`], [`matmul`], [`weight`] | the product's inner kernel; how large matrices go through it; prepared matrices |
//! | [`int8`] | matrices and products of integers, for drawing |
//! | [`linear`], [`rows`], [`attention`], [`head`], [`narrow`] | the operations |
//! | [`attention_jvp`], [`head_tangent`] | their tangents |
//! | [`memory`], [`ops`], [`tangent`], [`vector`], [`decode`] | the traits |
//! | [`sample`] | a token from logits |
//!
//! Two rules make results independent of threads and of the rows beside a row: work is split over outputs, never over a
//! sum, and every sum has one order fixed by the shapes of its own row.
use std::sync::{Mutex, MutexGuard, PoisonError};

use half::bf16;

use crate::{Cpu, Element};

mod attention;
mod attention_bwd;
mod attention_jvp;
mod buffer;
mod decode;
mod elem;
mod gemm;
mod head;
mod head_bwd;
mod head_tangent;
mod int8;
mod linear;
mod matmul;
mod memory;
mod narrow;
mod ops;
mod out;
mod pool;
mod rows;
mod sample;
mod settings;
mod simd;
mod tangent;
mod tree;
mod vector;
mod weight;

pub use buffer::Buffer;
pub use decode::Cache;
pub use settings::{Isa, Settings, SettingsError};
pub use tree::Tree;
pub use weight::Weight;

use buffer::Room;
use pool::{Pool, Scratch};
use settings::Level;

/// What the operations share: the instruction set, the threads and working memory.
pub struct Engine {
    settings: Settings,
    level: Level,
    team: Mutex<Team>,
}

/// The threads with the working memory that they share; one operation at a time has them.
struct Team {
    pool: Pool,
    rooms: Rooms,
}

/// Working memory that the threads of one operation share.
#[derive(Default)]
struct Rooms {
    a: Room,
    b: Room,
    c: Room,
    d: Room,
}

impl Engine {
    fn team(&self) -> MutexGuard<'_, Team> {
        // A panic in an operation leaves no state behind that the next one reads.
        self.team.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Team {
    fn run(&mut self, items: usize, work: &(dyn Fn(usize, &mut Scratch) + Sync)) {
        self.pool.run(items, work);
    }
}

impl Element for f32 {
    type Engine = Engine;
}

impl Element for bf16 {
    type Engine = Engine;
}

impl<T: Element<Engine = Engine>> Cpu<T> {
    /// A CPU with these settings. Panics if this machine does not have the instruction set.
    #[track_caller]
    pub fn new(settings: Settings) -> Self {
        Self {
            engine: Engine {
                settings,
                level: Level::new(settings.isa),
                team: Mutex::new(Team {
                    pool: Pool::new(settings.threads),
                    rooms: Rooms::default(),
                }),
            },
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.engine.settings
    }
}

#[cfg(test)]
mod tests;
