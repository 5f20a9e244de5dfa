//! What every trainer needs: the session that runs it, the order of the data over the steps, the state that a checkpoint
//! keeps, running means.

mod meter;
mod plan;
mod resume;
mod session;
mod state;

pub use meter::Meter;
pub use plan::Plan;
pub use session::{Device, Job, Needs, Session, Shown, Summary, Task, dtype, on_device, settings};
pub use state::{Restored, TrainerState, read_state, save_checkpoint, save_model};
