//! What every trainer needs: the session that runs it, the order of the data over the steps, the state that a checkpoint
//! keeps, running means.

mod data;
mod device;
mod meter;
mod plan;
mod reference;
mod resume;
mod session;
mod state;

pub use data::load_data;
pub use device::{dtype, on_configured, storage};
pub use meter::Meter;
pub use plan::Plan;
pub use reference::{Moves, Reference, other_model};
pub use session::{Needs, Session, Shown, Summary, Task};
pub use state::{
    Heads, LastUpdate, Restored, TrainerState, read_accs, read_kept, read_state, save_checkpoint, save_model,
    write_accs, write_kept,
};
