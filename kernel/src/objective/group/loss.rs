//! The policy term of one token.
use super::{Completion, GroupPolicy, Whole};
use crate::objective::scalar::{Slope, clipped, counts, exp, log_ratio, sigmoid};
use crate::objective::{SettingError, require};
use crate::real::Real;

/// Which loss, with the reduction that it names; as TRL's `loss_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum GroupLoss {
    /// Clipped ratio; mean over completions of the mean over tokens.
    Grpo,
    /// Clipped ratio; mean over tokens.
    Bnpo,
    /// Clipped ratio; sum / (completions x this length) (Dr. GRPO, arXiv 2503.20783).
    DrGrpo {
        /// `max_completion_length`.
        max_completion_length: f64,
    },
    /// Clipped ratio; mean over tokens (arXiv 2503.14476).
    #[default]
    Dapo,
    /// Clipped ratio; mean over completions of the sum over tokens (arXiv 2602.05261).
    Luspo,
    /// -sg(min(w, cap)) A logp; mean over tokens (MiniMax-M1, arXiv 2506.13585).
    Cispo,
    /// -(4/tau) sigmoid(tau (w - 1)) A; mean over completions (arXiv 2511.20347).
    Sapo {
        /// tau where A > 0.
        positive: f64,
        /// tau elsewhere.
        negative: f64,
    },
    /// -sg(phi) A logp with phi = exp(lam + k log W - lam W), W the product of the completion's ratios; mean over tokens
    /// (arXiv 2602.10693). (k, lam) is (2, 3) where A >= 0, else (3, 2).
    Vespo,
}

/// Bounds on VESPO's log W, as its authors' code has them.
const LOG_W: (f64, f64) = (-18.420680743952367, 20.0);

impl GroupLoss {
    pub(super) fn check(self) -> Result<(), SettingError> {
        match self {
            Self::DrGrpo { max_completion_length } => require(
                max_completion_length >= 1.0,
                "max_completion_length",
                "a positive number for dr_grpo",
            ),
            Self::Sapo { positive, negative } => {
                require(positive > 0.0, "sapo_temperature_pos", "a positive number")?;
                require(negative > 0.0, "sapo_temperature_neg", "a positive number")
            }
            _ => Ok(()),
        }
    }

    /// The factor on each token of a completion of `len` tokens.
    pub(super) fn scale(self, len: f64, whole: &Whole) -> f64 {
        match self {
            Self::Grpo | Self::Sapo { .. } => 1.0 / (len * whole.completions),
            Self::Bnpo | Self::Dapo | Self::Cispo | Self::Vespo => 1.0 / whole.tokens,
            Self::DrGrpo { max_completion_length } => 1.0 / (whole.completions * max_completion_length),
            Self::Luspo => 1.0 / whole.completions,
        }
    }
}

/// One token's term: its value, its derivative by the log of the ratio, and by logp with the ratio held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term {
    pub value: f64,
    pub through_ratio: f64,
    pub direct: f64,
}

impl Term {
    pub fn scale(&mut self, a: f64) {
        *self = Self {
            value: a * self.value,
            through_ratio: a * self.through_ratio,
            direct: a * self.direct,
        };
    }
}

/// Sums over a completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// Masked tokens.
    pub tokens: f64,
    /// The same, at least 1: the divisor.
    pub len: f64,
    /// GSPO's.
    pub mean_log_ratio: f64,
    /// VESPO's, in its bounds.
    log_w: f64,
    /// sum_t (old - sampler).
    pub log_correction: f64,
}

impl Sequence {
    pub fn of<R: Real>(p: &GroupPolicy, c: &Completion<'_, R>) -> Self {
        let masked = (0..c.logp.len()).filter(|&t| counts(c.mask[t]));
        let (mut tokens, mut sum, mut bounded, mut log_correction, mut log_factor) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for t in masked {
            let ell = log_ratio(c.logp, c.old, t);
            tokens += 1.0;
            sum += ell;
            bounded += bound(ell, -20.0, 20.0);
            if c.sampler.is_some() {
                log_correction += log_ratio(c.old.unwrap_or(c.logp), c.sampler, t);
                log_factor += bound(p.correction.log_token(c, t), LOG_W.0, LOG_W.1);
            }
        }
        let len = f64::max(tokens, 1.0);
        Self {
            tokens,
            len,
            mean_log_ratio: sum / len,
            log_w: bound(bounded + log_factor, LOG_W.0, LOG_W.1),
            log_correction,
        }
    }

    /// Whether the completion is left out for this advantage.
    pub fn is_off_policy(&self, p: &GroupPolicy, advantage: f64) -> bool {
        advantage < 0.0
            && p.off_policy_mask_threshold
                .is_some_and(|most| -self.mean_log_ratio > most)
    }

    /// VESPO's weight of the completion, for its first advantage; 0 for other losses.
    pub fn phi<R: Real>(&self, loss: GroupLoss, c: &Completion<'_, R>) -> f64 {
        match c.advantage.first() {
            Some(a) if loss == GroupLoss::Vespo => self.vespo(a.to_f64()),
            _ => 0.0,
        }
    }

    fn vespo(&self, advantage: f64) -> f64 {
        let (k, lam) = if advantage >= 0.0 { (2.0, 3.0) } else { (3.0, 2.0) };
        exp(lam + k * self.log_w - lam * exp(self.log_w))
    }
}

impl GroupPolicy {
    /// The term of a token with ratio w, before any mask or correction.
    pub(super) fn policy(&self, sequence: &Sequence, w: Slope, advantage: f64, logp: f64) -> Term {
        let reinforce = |weight: f64| Term {
            value: -weight * advantage * logp,
            through_ratio: 0.0,
            direct: -weight * advantage,
        };
        match self.loss {
            GroupLoss::Cispo => reinforce(w.clamp(f64::NEG_INFINITY, self.epsilon_high).v),
            GroupLoss::Vespo => reinforce(sequence.vespo(advantage)),
            GroupLoss::Sapo { positive, negative } => {
                let tau = if advantage > 0.0 { positive } else { negative };
                let x = tau * (w.v - 1.0);
                Term {
                    value: -4.0 / tau * sigmoid(x) * advantage,
                    through_ratio: -4.0 * sigmoid(x) * sigmoid(-x) * w.d * advantage,
                    direct: 0.0,
                }
            }
            GroupLoss::Grpo | GroupLoss::Bnpo | GroupLoss::DrGrpo { .. } | GroupLoss::Dapo | GroupLoss::Luspo => {
                let gain = match self.delta {
                    None => clipped(w, advantage, self.epsilon, self.epsilon_high),
                    Some(delta) => {
                        let capped = w.clamp(f64::NEG_INFINITY, delta).scale(advantage);
                        capped.min(w.clamp(1.0 - self.epsilon, 1.0 + self.epsilon_high).scale(advantage))
                    }
                };
                Term {
                    value: -gain.v,
                    through_ratio: -gain.d,
                    direct: 0.0,
                }
            }
        }
    }

    /// Rollout correction of the policy term. VESPO has it in W.
    pub(super) fn factor<R: Real>(&self, sequence: &Sequence, c: &Completion<'_, R>, t: usize) -> f64 {
        if self.loss == GroupLoss::Vespo || c.sampler.is_none() {
            return 1.0;
        }
        self.correction.factor(sequence.log_correction, c, t)
    }

    /// Whether the ratio counts as clipped below, above.
    pub(super) fn clips(&self, w: f64, advantage: f64) -> [bool; 2] {
        match self.loss {
            GroupLoss::Sapo { .. } | GroupLoss::Vespo => [false; 2],
            GroupLoss::Cispo => [false, w > self.epsilon_high && advantage > 0.0],
            _ => [
                w < 1.0 - self.epsilon && advantage < 0.0,
                w > 1.0 + self.epsilon_high && advantage > 0.0,
            ],
        }
    }
}

pub(super) fn bound(x: f64, low: f64, high: f64) -> f64 {
    Slope { v: x, d: 0.0 }.clamp(low, high).v
}

/// The entropy that the part `top` of the tokens is at or above: the 1 - top quantile, interpolated as torch.quantile
/// does. `entropies` are those of all masked tokens of the step; they are sorted. -infinity where top is 1, +infinity
/// where there are no tokens.
pub fn entropy_threshold(entropies: &mut [f64], top: f64) -> f64 {
    if top >= 1.0 {
        return f64::NEG_INFINITY;
    }
    let Some(last) = entropies.len().checked_sub(1) else {
        return f64::INFINITY;
    };
    entropies.sort_by(f64::total_cmp);
    let at = (1.0 - top) * last as f64;
    let below = libm::floor(at) as usize;
    let (a, b) = (entropies[below], entropies[(below + 1).min(last)]);
    a + (at - below as f64) * (b - a)
}
