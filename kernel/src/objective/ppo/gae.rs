//! Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438) and whitening.
use crate::objective::scalar::{counts, moments};
use crate::real::Real;

/// Discounting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gae {
    /// Discount of later rewards.
    pub gamma: f64,
    /// Decay of later temporal differences.
    pub lambda: f64,
}

impl Gae {
    /// For one completion: delta_t = reward_t + gamma V_{t+1} - V_t with V = 0 after the end,
    /// A_t = delta_t + gamma lambda A_{t+1}, returns = A + V. All slices have one number for each token.
    pub fn advantages<R: Real>(&self, advantages: &mut [R], returns: &mut [R], rewards: &[R], values: &[R]) {
        let n = rewards.len();
        assert!(
            [advantages.len(), returns.len(), values.len()] == [n; 3],
            "gae: one advantage, return and value for each reward"
        );
        let (mut next_value, mut next) = (0.0, 0.0);
        for t in (0..n).rev() {
            let v = values[t].to_f64();
            next = rewards[t].to_f64() + self.gamma * next_value - v + self.gamma * self.lambda * next;
            next_value = v;
            advantages[t] = R::from_f64(next);
            returns[t] = R::from_f64(next + v);
        }
    }
}

/// x = (x - mean) / sqrt(var + 1e-8) over the masked numbers, var unbiased. Others become 0.
pub fn whiten<R: Real>(xs: &mut [R], mask: &[R]) {
    assert_eq!(xs.len(), mask.len(), "whiten: one mask number for each number");
    let (_, mean, variance) = moments(masked(xs, mask));
    let factor = 1.0 / libm::sqrt(variance + 1e-8);
    for (x, &m) in xs.iter_mut().zip(mask) {
        *x = if counts(m) {
            R::from_f64((x.to_f64() - mean) * factor)
        } else {
            R::ZERO
        };
    }
}

/// 1 - var(returns - values) / var(returns) over the masked tokens; None where the returns do not vary.
pub fn explained_variance<R: Real>(values: &[R], returns: &[R], mask: &[R]) -> Option<f64> {
    let miss = (0..mask.len())
        .filter(|&t| counts(mask[t]))
        .map(|t| returns[t].to_f64() - values[t].to_f64());
    let (missed, all) = (moments(miss).2, moments(masked(returns, mask)).2);
    (all > 0.0).then(|| 1.0 - missed / all)
}

fn masked<'a, R: Real>(xs: &'a [R], mask: &'a [R]) -> impl Iterator<Item = f64> + Clone + 'a {
    xs.iter()
        .zip(mask)
        .filter(|(_, m)| counts(**m))
        .map(|(x, _)| x.to_f64())
}
