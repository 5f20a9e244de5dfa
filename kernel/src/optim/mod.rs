//! The optimizer step: clipping, AdamW, schedules, what it keeps, and the learner that ties them to a model.

mod learner;
mod schedule;
mod state;

pub use learner::{Decay, Hyper, Learner, StepError};
pub use schedule::{Schedule, Shape};
pub use state::{Kept, State, Storage};
