//! What every trainer needs: the session that runs it, the order of the data over the steps, the state that a checkpoint
//! keeps, running means.

mod data;
mod meter;
mod plan;
mod reference;
mod resume;
mod session;
mod state;

pub use data::load_data;
pub use meter::Meter;
pub use plan::Plan;
pub use reference::{Moves, Reference};
pub use session::{Device, Job, Needs, Session, Shown, Summary, Task, dtype, on_device, settings};
pub use state::{Heads, Restored, TrainerState, read_accs, read_state, save_checkpoint, save_model, write_accs};
