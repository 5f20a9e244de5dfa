//! Group policy gradient: GRPO (Shao et al. 2024, arXiv 2402.03300) and its family, on one completion, as TRL 1.16
//! computes them. Deviations from TRL: every divisor, and the entropy quantile, is of the optimizer step.

mod advantage;
mod correction;
mod loss;

pub use advantage::{Scale, group_advantages, reward_std};
pub use correction::Correction;
pub use loss::{GroupLoss, entropy_threshold};

use super::kl::Estimator;
use super::scalar::{self, counts, log_ratio};
use super::{SettingError, require};
use crate::real::Real;
use loss::{Sequence, Term};

/// What a ratio is of: `importance_sampling_level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// w = exp(logp - old) of each token.
    #[default]
    Token,
    /// w = exp(mean_t (logp - old)) of each completion (GSPO, arXiv 2507.18071).
    Sequence,
}

/// Whether the KL estimate, made from tokens of the old policy, is corrected for it: `use_bias_correction_kl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KlCorrection {
    /// k3.
    None,
    /// w k3, with the gradient of w.
    #[default]
    Ratio,
}

/// A group objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupPolicy {
    /// Which loss.
    pub loss: GroupLoss,
    /// Strength of the KL to the reference; 0 for none.
    pub beta: f64,
    /// The ratio is clipped below 1 - this.
    pub epsilon: f64,
    /// And above 1 + this. For [`GroupLoss::Cispo`] the ratio's absolute cap.
    pub epsilon_high: f64,
    /// Cap on the branch that is not clipped (two-sided clipping).
    pub delta: Option<f64>,
    /// What a ratio is of.
    pub level: Level,
    /// Of the KL term.
    pub kl_correction: KlCorrection,
    /// A completion with a negative advantage is left out where mean_t (old - logp) is above this.
    pub off_policy_mask_threshold: Option<f64>,
    /// The mean entropy of the tokens times this is subtracted.
    pub entropy_coef: f64,
    /// Part of the tokens, the most uncertain ones, that policy and entropy term act on; 1 for all.
    pub top_entropy_quantile: f64,
    /// For a sampler that is not quite the old policy.
    pub correction: Correction,
}

impl Default for GroupPolicy {
    /// TRL's defaults.
    fn default() -> Self {
        Self {
            loss: GroupLoss::Dapo,
            beta: 0.0,
            epsilon: 0.2,
            epsilon_high: 0.2,
            delta: None,
            level: Level::Token,
            kl_correction: KlCorrection::Ratio,
            off_policy_mask_threshold: None,
            entropy_coef: 0.0,
            top_entropy_quantile: 1.0,
            correction: Correction::None,
        }
    }
}

/// One completion; all slices have one number for each token.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a, R> {
    /// Of the policy.
    pub logp: &'a [R],
    /// 0 or 1.
    pub mask: &'a [R],
    /// The same number throughout, or one for each token.
    pub advantage: &'a [R],
    /// Of the predictions; may be empty where neither `entropy_coef` nor `top_entropy_quantile` asks for it.
    pub entropy: &'a [R],
    /// Of the policy at rollout; the detached `logp` where not given.
    pub old: Option<&'a [R]>,
    /// Of the reference; needed where beta is not 0.
    pub reference: Option<&'a [R]>,
    /// Of the sampler; no correction where not given.
    pub sampler: Option<&'a [R]>,
}

/// Numbers of the optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whole {
    /// Completions, empty ones too.
    pub completions: f64,
    /// Masked tokens; at least 1.
    pub tokens: f64,
    /// What [`entropy_threshold`] gave: tokens below are left out. -infinity for none.
    pub entropy_threshold: f64,
    /// Masked tokens that are not left out; at least 1.
    pub entropy_tokens: f64,
}

/// What one completion gives: shares of the step's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Of the loss.
    pub loss: f64,
    /// Of the mean KL to the reference, as it is in the loss.
    pub kl: f64,
    /// Of the part of ratios that are clipped below: w < 1 - epsilon, A < 0. Not for cispo, sapo, vespo.
    pub low: f64,
    /// Of the part of ratios that are clipped above: w > 1 + epsilon_high (cispo: w > epsilon_high), A > 0.
    pub high: f64,
    /// The completion's own part of ratios clipped below and above; None where it has no tokens.
    pub own: Option<[f64; 2]>,
    /// VESPO's weight, mean over completions.
    pub phi: f64,
}

impl GroupPolicy {
    /// Errors: a setting out of range.
    pub fn check(&self) -> Result<(), SettingError> {
        let number = |x: f64| x.is_finite() && x >= 0.0;
        require(number(self.beta), "beta", "a number from 0 up")?;
        require(number(self.epsilon), "epsilon", "a number from 0 up")?;
        require(number(self.epsilon_high), "epsilon_high", "a number from 0 up")?;
        require(self.delta.is_none_or(|d| d > 0.0), "delta", "a positive number")?;
        require(self.entropy_coef.is_finite(), "entropy_coef", "a number")?;
        let q = self.top_entropy_quantile;
        require((0.0..=1.0).contains(&q), "top_entropy_quantile", "a number from 0 to 1")?;
        require(
            self.loss != GroupLoss::Vespo || !self.correction.is_of_sequences(),
            "loss_type",
            "a loss other than vespo where whole completions are corrected",
        )?;
        require(
            self.correction.cap() > 0.0,
            "importance_sampling_cap",
            "a positive number",
        )?;
        self.loss.check()
    }

    /// The completion's share of the step's loss; `dlogp` and `dentropy` are replaced. `dentropy` may be empty where
    /// `entropy_coef` is 0. Panics where lengths differ or beta is not 0 and there is no reference.
    pub fn loss<R: Real>(&self, dlogp: &mut [R], dentropy: &mut [R], c: &Completion<'_, R>, whole: Whole) -> Outcome {
        let n = c.logp.len();
        for (name, len) in [
            ("mask", c.mask.len()),
            ("advantage", c.advantage.len()),
            ("dlogp", dlogp.len()),
        ] {
            assert_eq!(len, n, "group: one {name} for each log-prob");
        }
        for (name, xs) in [("old", c.old), ("reference", c.reference), ("sampler", c.sampler)] {
            assert!(
                xs.is_none_or(|xs| xs.len() == n),
                "group: one {name} log-prob for each log-prob"
            );
        }
        dlogp.fill(R::ZERO);
        dentropy.fill(R::ZERO);
        let sequence = Sequence::of(self, c);
        let len = sequence.len;
        let scale = self.loss.scale(len, &whole);
        let share = match self.level {
            Level::Token => 1.0 / whole.tokens,
            Level::Sequence => 1.0 / (len * whole.completions),
        };
        let mut out = Outcome {
            phi: sequence.phi(self.loss, c) / whole.completions,
            ..Outcome::default()
        };
        // What reaches all of the completion's tokens through its one ratio.
        let (mut through_ratio, mut flags) = (0.0, [0.0; 2]);
        for t in (0..n).filter(|&t| counts(c.mask[t])) {
            let token = self.token(c, &sequence, &whole, t);
            out.loss += scale * token.term.value;
            out.kl += token.kl / whole.tokens;
            through_ratio += scale * token.term.through_ratio;
            if self.level == Level::Token {
                dlogp[t] = R::from_f64(scale * (token.term.direct + token.term.through_ratio));
            }
            if self.entropy_coef != 0.0 && token.uncertain {
                let d = -self.entropy_coef / whole.entropy_tokens;
                out.loss += d * c.entropy[t].to_f64();
                dentropy[t] = R::from_f64(d);
            }
            let clipped = self.clips(token.ratio, c.advantage[t].to_f64());
            flags[0] += clipped[0] as u8 as f64;
            flags[1] += clipped[1] as u8 as f64;
        }
        if self.level == Level::Sequence {
            // Each token's sum is made in f64: in f32 the two parts may be infinities of either sign.
            for t in (0..n).filter(|&t| counts(c.mask[t])) {
                let token = self.token(c, &sequence, &whole, t);
                dlogp[t] = R::from_f64(scale * token.term.direct + through_ratio / len);
            }
        }
        [out.low, out.high] = flags.map(|x| x * share);
        out.own = (sequence.tokens > 0.0).then(|| flags.map(|x| x / len));
        out
    }

    /// Policy and KL term of token t, before the reduction.
    fn token<R: Real>(&self, c: &Completion<'_, R>, sequence: &Sequence, whole: &Whole, t: usize) -> Token {
        let (logp, advantage) = (c.logp[t].to_f64(), c.advantage[t].to_f64());
        let all = whole.entropy_threshold == f64::NEG_INFINITY;
        let uncertain = all || c.entropy[t].to_f64() >= whole.entropy_threshold;
        let w = scalar::ratio(match self.level {
            Level::Token => log_ratio(c.logp, c.old, t),
            Level::Sequence => sequence.mean_log_ratio,
        });
        let mut term = self.policy(sequence, w, advantage, logp);
        let keep = uncertain && !sequence.is_off_policy(self, advantage);
        term.scale(if keep { self.factor(sequence, c, t) } else { 0.0 });
        let mut kl = 0.0;
        if self.beta != 0.0 {
            let Some(reference) = c.reference else {
                panic!("group: beta is {} and there is no reference", self.beta);
            };
            let reference = reference[t].to_f64();
            let k3 = Estimator::K3.estimate(logp, reference);
            let dk3 = Estimator::K3.derivative(logp, reference);
            let (through, direct);
            (kl, through, direct) = match self.kl_correction {
                KlCorrection::None => (k3, 0.0, dk3),
                KlCorrection::Ratio => (k3 * w.v, k3 * w.d, dk3 * w.v),
            };
            term.value += self.beta * kl;
            term.through_ratio += self.beta * through;
            term.direct += self.beta * direct;
        }
        Token {
            term,
            kl,
            uncertain,
            ratio: w.v,
        }
    }
}

/// One token's part.
struct Token {
    term: Term,
    kl: f64,
    uncertain: bool,
    ratio: f64,
}

#[cfg(test)]
mod tests;
