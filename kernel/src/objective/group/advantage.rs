//! Advantages from the rewards of a group of completions of one prompt. A reward of None (no reward function scored the
//! completion) is left out, and its advantage is 0.
use crate::objective::scalar::moments;

/// What an advantage is divided by: `scale_rewards`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scale {
    /// The group's standard deviation + 1e-4.
    #[default]
    Group,
    /// The standard deviation of all rewards of the batch, as [`reward_std`] gives it, + 1e-4.
    Batch {
        /// It.
        std: f64,
    },
    /// Nothing.
    None,
}

/// Unbiased standard deviation of the rewards there are; 0 where there are fewer than two.
pub fn reward_std(rewards: &[Option<f64>]) -> f64 {
    libm::sqrt(moments(rewards.iter().flatten().copied()).2)
}

/// A = (R - mean) / scale for one group. A group with fewer than two rewards has advantages of 0.
pub fn group_advantages(advantages: &mut [f64], rewards: &[Option<f64>], scale: Scale) {
    assert_eq!(advantages.len(), rewards.len(), "advantages: one for each reward");
    let (n, mean, variance) = moments(rewards.iter().flatten().copied());
    let divisor = match scale {
        Scale::Group => libm::sqrt(variance) + 1e-4,
        Scale::Batch { std } => std + 1e-4,
        Scale::None => 1.0,
    };
    for (a, r) in advantages.iter_mut().zip(rewards) {
        *a = r.filter(|_| n > 1).map_or(0.0, |r| (r - mean) / divisor);
    }
}
