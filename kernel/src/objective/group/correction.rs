//! Rollout correction: importance weights of the old policy over the sampler that the tokens truly came from, where the
//! two differ (quantised or differently computed rollouts). It multiplies the policy term, never the KL term.
use super::Completion;
use super::loss::bound;
use crate::objective::scalar::{counts, exp, log_ratio};
use crate::real::Real;

/// How: TRL's `vllm_importance_sampling_mode`, `cap` being its `clip_max`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Correction {
    /// Not at all.
    #[default]
    None,
    /// min(old / sampler, cap) per token (truncated importance sampling): `token_truncate`.
    TokenTruncate {
        /// The largest weight.
        cap: f64,
    },
    /// old / sampler per token, 0 where it is above the cap: `token_mask`.
    TokenMask {
        /// The largest weight.
        cap: f64,
    },
    /// min(old / sampler, cap), both of the whole completion: `sequence_truncate`.
    SequenceTruncate {
        /// The largest weight.
        cap: f64,
    },
    /// old / sampler of the completion, which is left out where it is above the cap: `sequence_mask`.
    SequenceMask {
        /// The largest weight.
        cap: f64,
    },
}

impl Correction {
    /// The largest weight; 1 where none is corrected.
    pub(super) fn cap(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::TokenTruncate { cap }
            | Self::TokenMask { cap }
            | Self::SequenceTruncate { cap }
            | Self::SequenceMask { cap } => cap,
        }
    }

    /// Whether a completion has one weight.
    pub(super) fn is_of_sequences(self) -> bool {
        matches!(self, Self::SequenceTruncate { .. } | Self::SequenceMask { .. })
    }

    /// The weight of token t of a completion; `sum` is its sum_t (old - sampler).
    pub(super) fn factor<R: Real>(self, sum: f64, c: &Completion<'_, R>, t: usize) -> f64 {
        match self {
            Self::None => 1.0,
            Self::TokenTruncate { .. } | Self::TokenMask { .. } => exp(self.log_token(c, t)),
            Self::SequenceTruncate { .. } | Self::SequenceMask { .. } => exp(self.log_capped(sum)),
        }
    }

    /// log of the token's weight, -infinity for none; 0 where tokens have none of their own.
    pub(super) fn log_token<R: Real>(self, c: &Completion<'_, R>, t: usize) -> f64 {
        if self == Self::None || self.is_of_sequences() {
            return 0.0;
        }
        self.log_capped(log_ratio(c.old.unwrap_or(c.logp), c.sampler, t))
    }

    fn log_capped(self, log_w: f64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::TokenTruncate { cap } | Self::SequenceTruncate { cap } => {
                bound(log_w, f64::NEG_INFINITY, libm::log(cap))
            }
            Self::TokenMask { cap } | Self::SequenceMask { cap } if exp(log_w) > cap => f64::NEG_INFINITY,
            Self::TokenMask { .. } | Self::SequenceMask { .. } => log_w,
        }
    }

    /// Calls `each` with every weight of a completion: one for each masked token, or one for the completion.
    pub fn weights<R: Real>(self, c: &Completion<'_, R>, mut each: impl FnMut(f64)) {
        let masked = || (0..c.logp.len()).filter(|&t| counts(c.mask[t]));
        let log_w = |t| log_ratio(c.old.unwrap_or(c.logp), c.sampler, t);
        match self {
            Self::None => {}
            Self::TokenTruncate { .. } | Self::TokenMask { .. } => masked().for_each(|t| each(self.factor(0.0, c, t))),
            Self::SequenceTruncate { .. } | Self::SequenceMask { .. } => {
                each(self.factor(masked().map(log_w).sum(), c, 0))
            }
        }
    }
}
