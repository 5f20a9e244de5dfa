//! The objectives: pure functions from per-token numbers to a loss and its cotangents.
//!
//! The divisor is always the global weight of the optimizer step, passed in: a loss never divides by what its own
//! micro-batch happens to hold, so 1 x 16 and 16 x 1 micro-batches give the same gradient. Every function returns its
//! micro-batch's share of the loss and of the metrics: shares add up to those of the step.
//!
//! A token whose mask is 0 may hold anything, infinities and NaN too: it is never read. All arithmetic is f64 whatever the
//! slices hold. `w` below is the ratio exp(logp - old); where `old` is not given it is the detached logp, so w = 1.
//!
//! | module | what it holds |
//! |---|---|
//! | [`sft`] | nll, dft |
//! | [`preference`] | DPO and its family, on one pair |
//! | [`group`] | GRPO and its family, on one completion; group advantages |
//! | [`rloo`] | REINFORCE leave-one-out |
//! | [`ppo`] | clipped policy and value losses, entropy; rewards, GAE, whitening |
//! | [`trpo`] | the surrogate |
//! | [`kl`] | k1, k2, k3 |

use core::fmt;

pub mod group;
pub mod kl;
pub mod ppo;
pub mod preference;
pub mod rloo;
mod scalar;
pub mod sft;
pub mod trpo;

/// A setting that has no meaning, alone or with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Its name in TRL's configurations.
    pub field: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.field, self.expected)
    }
}

impl core::error::Error for SettingError {}

/// `ok`, or the error that names `field`.
pub(crate) fn require(ok: bool, field: &'static str, expected: &'static str) -> Result<(), SettingError> {
    if ok {
        Ok(())
    } else {
        Err(SettingError { field, expected })
    }
}

#[cfg(test)]
mod testing;
