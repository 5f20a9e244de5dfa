//! What every trainer needs: the order of the data over the steps, the state that a checkpoint keeps, running means.

mod plan;
mod state;
mod window;

pub use plan::Plan;
pub use state::{Restored, TrainerState, read_state, save_checkpoint, save_model};
pub use window::Window;
