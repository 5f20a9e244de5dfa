//! The optimizer step: clipping, AdamW, schedules, and the learner that ties them to a model.

mod learner;
mod schedule;

pub use learner::{Decay, Hyper, Learner, StepError};
pub use schedule::{Schedule, Shape};
