//! A run's configuration: TRL's keys, from a TOML file and from flags.
//!
//! A trainer's keys are declared once, in a `keys!` table: name, type, default, allowed range, help. From the table
//! come the struct, the flags, `--help`, the checks and the saved file. A new trainer is a table of its own keys and
//! a [`Trainer`] implementation; [`Shared`] holds what every trainer has.
mod dpo;
mod grpo;
mod keys;
mod nearest;
mod parse;
mod ppo;
mod refused;
mod rollout;
mod sft;
mod shared;
#[cfg(test)]
mod tests;
mod trpo;
mod value;
mod whole;

pub use dpo::{Dpo, DpoConfig, FDivergence, PreferenceLoss};
pub use grpo::{
    CorrectionMode, GroupLossType, Grpo, GrpoConfig, ImportanceLevel, Rloo, RlooConfig, RolloutDtype, ScaleRewards,
};
pub use keys::{Given, Key, Keys, Mismatch};
pub use parse::{Parsed, parse};
pub use ppo::{CriticKind, KlEstimator, Ppo, PpoConfig};
pub use rollout::{Division, Online, Rollout};
pub use sft::{LossType, PackingStrategy, Sft, SftConfig, TruncationMode};
pub use shared::{
    DeviceKind, Direction, Dtype, Optimizer, Precision, ReportTo, Resume, Scheduler, Shared, Strategy, Switches,
};
pub use trpo::{AdvantageKind, Trpo, TrpoConfig};
pub use value::{Steps, Value};
pub use whole::{Config, Trainer};
