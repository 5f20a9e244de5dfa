//! Rewards of tokens: the KL to the reference at each, the score at the last.
use crate::objective::kl::Estimator;
use crate::objective::scalar::counts;
use crate::real::Real;

/// How.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shaping {
    /// Factor on the KL.
    pub kl_coef: f64,
    /// Its estimator.
    pub estimator: Estimator,
    /// Taken from the score of a completion that has no end-of-sequence token; 0 for none.
    pub missing_eos_penalty: f64,
}

/// Whether a completion ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an end-of-sequence token.
    Eos,
    /// It was cut off.
    Truncated,
}

impl Shaping {
    /// reward_t = -kl_coef KL_t, and the score is added at the last masked token; 0 where the mask is. `logp` and
    /// `reference` are of the policy at rollout and of the reference. Returns the sum of the KL part.
    pub fn rewards<R: Real>(
        &self,
        rewards: &mut [R],
        logp: &[R],
        reference: &[R],
        mask: &[R],
        score: f64,
        ending: Ending,
    ) -> f64 {
        assert!(
            [rewards.len(), reference.len(), mask.len()] == [logp.len(); 3],
            "shaping: one reward, reference log-prob and mask number for each log-prob"
        );
        let score = match ending {
            Ending::Eos => score,
            Ending::Truncated => score - self.missing_eos_penalty,
        };
        let last = mask.iter().rposition(|&m| counts(m));
        let mut sum = 0.0;
        for t in 0..logp.len() {
            let mut reward = 0.0;
            if counts(mask[t]) {
                reward = -self.kl_coef * self.estimator.estimate(logp[t].to_f64(), reference[t].to_f64());
                sum += reward;
            }
            rewards[t] = R::from_f64(if Some(t) == last { reward + score } else { reward });
        }
        sum
    }
}
