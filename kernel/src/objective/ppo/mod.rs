//! Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on tokens: policy, value and entropy terms, each
//! a mean over the masked tokens of the optimizer step. Total = policy + vf_coef value - ent_coef entropy.

mod gae;
mod reward;

pub use gae::{Gae, explained_variance, whiten};
pub use reward::{Ending, Shaping};

use super::scalar::{Slope, clipped, counts, exp, log_ratio, ratio};
use super::{SettingError, require};
use crate::real::Real;

/// Settings, named as TRL's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ppo {
    /// The ratio is clipped to 1 - this .. 1 + this.
    pub cliprange: f64,
    /// The value is clipped to that at rollout +- this.
    pub cliprange_value: f64,
    /// Factor on the value loss.
    pub vf_coef: f64,
    /// Factor on the mean entropy, which is subtracted.
    pub ent_coef: f64,
}

impl Default for Ppo {
    /// TRL's defaults.
    fn default() -> Self {
        Self {
            cliprange: 0.2,
            cliprange_value: 0.2,
            vf_coef: 0.1,
            ent_coef: 0.0,
        }
    }
}

/// Shares of the policy term's numbers, all means over masked tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyOutcome {
    /// Of the policy loss.
    pub loss: f64,
    /// Of (logp - old)^2 / 2: k2 of the two policies.
    pub approx_kl: f64,
    /// Of the part of tokens where the clipped branch is the larger loss.
    pub clipped: f64,
    /// Of the ratio.
    pub ratio: f64,
}

/// Shares of the value term's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueOutcome {
    /// Of the value loss, before vf_coef.
    pub loss: f64,
    /// Of the part of tokens where the clipped branch is the larger loss.
    pub clipped: f64,
}

impl Ppo {
    /// Errors: a setting out of range.
    pub fn check(&self) -> Result<(), SettingError> {
        require(self.cliprange >= 0.0, "cliprange", "a number from 0 up")?;
        require(self.cliprange_value >= 0.0, "cliprange_value", "a number from 0 up")?;
        require(self.vf_coef.is_finite(), "vf_coef", "a number")?;
        require(self.ent_coef.is_finite(), "ent_coef", "a number")
    }

    /// sum mask max(-A w, -A clip(w)) / tokens; `dlogp` is replaced.
    pub fn policy<R: Real>(
        &self,
        dlogp: &mut [R],
        logp: &[R],
        old: Option<&[R]>,
        advantage: &[R],
        mask: &[R],
        tokens: f64,
    ) -> PolicyOutcome {
        same([dlogp.len(), logp.len(), advantage.len(), mask.len()], "policy");
        let mut out = PolicyOutcome::default();
        dlogp.fill(R::ZERO);
        for t in (0..logp.len()).filter(|&t| counts(mask[t])) {
            let (ell, a) = (log_ratio(logp, old, t), advantage[t].to_f64());
            let w = ratio(ell);
            let gain = clipped(w, a, self.cliprange, self.cliprange);
            dlogp[t] = R::from_f64(-gain.d / tokens);
            out.loss -= gain.v / tokens;
            out.approx_kl += 0.5 * ell * ell / tokens;
            out.clipped += (gain.v < w.v * a) as u8 as f64 / tokens;
            out.ratio += exp(ell) / tokens;
        }
        out
    }

    /// sum mask max((V - R)^2, (clip(V) - R)^2) / 2 / tokens; `dvalue` is replaced by vf_coef times its derivative. `old`
    /// are the values at rollout; where not given, nothing is clipped.
    pub fn value<R: Real>(
        &self,
        dvalue: &mut [R],
        value: &[R],
        old: Option<&[R]>,
        returns: &[R],
        mask: &[R],
        tokens: f64,
    ) -> ValueOutcome {
        same([dvalue.len(), value.len(), returns.len(), mask.len()], "value");
        let mut out = ValueOutcome::default();
        dvalue.fill(R::ZERO);
        for t in (0..value.len()).filter(|&t| counts(mask[t])) {
            let v = value[t].to_f64();
            let at = old.map_or(v, |old| old[t].to_f64());
            let now = Slope { v, d: 1.0 };
            let half = |x: Slope| {
                let miss = x.v - returns[t].to_f64();
                // Negated, so that the larger loss is the minimum.
                Slope {
                    v: -0.5 * miss * miss,
                    d: -miss * x.d,
                }
            };
            let free = half(now);
            let held = half(now.clamp(at - self.cliprange_value, at + self.cliprange_value));
            let gain = free.min(held);
            dvalue[t] = R::from_f64(-self.vf_coef * gain.d / tokens);
            out.loss -= gain.v / tokens;
            out.clipped += (held.v < free.v) as u8 as f64 / tokens;
        }
        out
    }

    /// sum mask entropy / tokens; `dentropy` is replaced by -ent_coef times its derivative.
    pub fn entropy<R: Real>(&self, dentropy: &mut [R], entropy: &[R], mask: &[R], tokens: f64) -> f64 {
        same([dentropy.len(), entropy.len(), mask.len(), mask.len()], "entropy");
        let mut mean = 0.0;
        dentropy.fill(R::ZERO);
        for t in (0..entropy.len()).filter(|&t| counts(mask[t])) {
            dentropy[t] = R::from_f64(-self.ent_coef / tokens);
            mean += entropy[t].to_f64() / tokens;
        }
        mean
    }
}

fn same(lengths: [usize; 4], what: &str) {
    assert!(
        lengths.iter().all(|&n| n == lengths[0]),
        "ppo {what}: lengths {lengths:?} differ"
    );
}

#[cfg(test)]
mod tests;
