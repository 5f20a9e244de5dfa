//! REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740), as TRL 1.16 computes it: the action is the whole
//! completion, its ratio is clipped as PPO's, and the KL to the reference is taken from the reward.
use super::scalar::{clipped, counts, exp, log_ratio, moments, ratio};
use crate::real::Real;

/// The reward that is trained on: clip(reward) - beta sum_t (old - reference).
pub fn shaped_reward<R: Real>(
    reward: f64,
    clip: Option<(f64, f64)>,
    beta: f64,
    old: &[R],
    reference: &[R],
    mask: &[R],
) -> f64 {
    let reward = clip.map_or(reward, |(low, high)| reward.clamp(low, high));
    if beta == 0.0 {
        return reward;
    }
    let masked = (0..old.len()).filter(|&t| counts(mask[t]));
    let kl: f64 = masked.map(|t| old[t].to_f64() - reference[t].to_f64()).sum();
    reward - beta * kl
}

/// A_i = R_i - mean of the others, for one group. A reward of None is left out; its advantage is None, as is that of a
/// reward without others. After [`normalize`], or without it, None is 0.
pub fn leave_one_out(advantages: &mut [Option<f64>], rewards: &[Option<f64>]) {
    assert_eq!(advantages.len(), rewards.len(), "advantages: one for each reward");
    let (n, sum) = rewards
        .iter()
        .flatten()
        .fold((0.0, 0.0), |(n, sum), r| (n + 1.0, sum + r));
    for (a, r) in advantages.iter_mut().zip(rewards) {
        *a = r.filter(|_| n > 1.0).map(|r| r - (sum - r) / (n - 1.0));
    }
}

/// (A - mean) / (std + 1e-4) over the advantages there are, in all groups of the batch: `normalize_advantages`.
pub fn normalize(advantages: &mut [Option<f64>]) {
    let (_, mean, variance) = moments(advantages.iter().flatten().copied());
    let divisor = libm::sqrt(variance) + 1e-4;
    for a in advantages.iter_mut().flatten() {
        *a = (*a - mean) / divisor;
    }
}

/// The clipped loss on completions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rloo {
    /// The ratio is clipped below 1 - this,
    pub epsilon: f64,
    /// and above 1 + this.
    pub epsilon_high: f64,
}

/// What one completion gives: shares of the step's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Of the loss.
    pub loss: f64,
    /// Of the part of completions clipped below.
    pub low: f64,
    /// And above.
    pub high: f64,
}

impl Rloo {
    /// -min(w A, clip(w) A) / completions with w = exp(sum_t (logp - old)); `dlogp` is replaced.
    pub fn loss<R: Real>(
        &self,
        dlogp: &mut [R],
        logp: &[R],
        old: Option<&[R]>,
        mask: &[R],
        advantage: f64,
        completions: f64,
    ) -> Outcome {
        assert_eq!(dlogp.len(), logp.len(), "rloo: one cotangent for each log-prob");
        assert_eq!(mask.len(), logp.len(), "rloo: one mask number for each log-prob");
        let masked = (0..logp.len()).filter(|&t| counts(mask[t]));
        let ell: f64 = masked.map(|t| log_ratio(logp, old, t)).sum();
        let gain = clipped(ratio(ell), advantage, self.epsilon, self.epsilon_high);
        for (d, &m) in dlogp.iter_mut().zip(mask) {
            *d = if counts(m) {
                R::from_f64(-gain.d / completions)
            } else {
                R::ZERO
            };
        }
        let flag = |yes: bool| yes as u8 as f64 / completions;
        Outcome {
            loss: -gain.v / completions,
            low: flag(exp(ell) < 1.0 - self.epsilon && advantage < 0.0),
            high: flag(exp(ell) > 1.0 + self.epsilon_high && advantage > 0.0),
        }
    }
}

#[cfg(test)]
mod tests;
