//! From the syntax tree to operations on three register banks.

mod access;
mod alu;
mod bulk;
mod check;
mod context;
mod control;
mod lower;
mod mbarrier;
mod modifiers;
mod op;
mod program;
mod sync;
mod unwritten;
mod wgmma;

pub use bulk::{Bulk, Outside};
pub use context::{PARAM_WINDOW, Symbol};
pub use lower::lower;
pub use op::*;
pub use program::*;
pub use wgmma::{Left, Touch, Warpgroup, Watched, WgmmaOp};
