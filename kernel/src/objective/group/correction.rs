//! Rollout correction: importance weights of the old policy over the sampler that the tokens truly came from, where the
//! two differ (quantised or differently computed rollouts). It multiplies the policy term, never the KL term.
use super::Completion;
use super::loss::bound;
use crate::objective::scalar::{exp, log_ratio};
use crate::real::Real;

/// How.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Correction {
    /// Not at all.
    #[default]
    None,
    /// min(old / sampler, cap) per token (truncated importance sampling): TRL's `token_truncate`.
    TokenTruncate {
        /// The largest weight.
        cap: f64,
    },
    /// old / sampler of the completion, which is left out where it is above the cap: TRL's `sequence_mask`.
    SequenceMask {
        /// The largest weight.
        cap: f64,
    },
}

impl Correction {
    /// The weight of token t of a completion; `sum` is its sum_t (old - sampler).
    pub(super) fn factor<R: Real>(self, sum: f64, c: &Completion<'_, R>, t: usize) -> f64 {
        match self {
            Self::None => 1.0,
            Self::TokenTruncate { .. } => exp(self.log_token(c, t)),
            Self::SequenceMask { cap } => {
                let w = exp(sum);
                if w > cap { 0.0 } else { w }
            }
        }
    }

    /// log of the token's truncated weight.
    pub(super) fn log_token<R: Real>(self, c: &Completion<'_, R>, t: usize) -> f64 {
        let ell = log_ratio(c.old.unwrap_or(c.logp), c.sampler, t);
        match self {
            Self::TokenTruncate { cap } => bound(ell, f64::NEG_INFINITY, libm::log(cap)),
            Self::None | Self::SequenceMask { .. } => 0.0,
        }
    }
}
