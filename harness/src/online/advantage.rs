//! From rewards to advantages: by comparison within a group, or by a critic.
use kernel::objective::group::{Scale, group_advantages, reward_std};
use kernel::objective::ppo::{Gae, explained_variance, whiten};

use super::experience::Experience;
use crate::config::ScaleRewards;
use crate::train::Meter;

/// A = (reward - mean of its group) / scale, the same for all tokens of a completion.
pub fn compare_groups(experiences: &mut [Experience], group: usize, scale: ScaleRewards) {
    let rewards: Vec<Option<f64>> = experiences.iter().map(|e| e.reward).collect();
    let scale = match scale {
        ScaleRewards::Group => Scale::Group,
        ScaleRewards::Batch => Scale::Batch {
            std: reward_std(&rewards),
        },
        ScaleRewards::None => Scale::None,
    };
    for (of_group, rewards) in experiences.chunks_mut(group).zip(rewards.chunks(group)) {
        let mut advantages = vec![0.0; rewards.len()];
        group_advantages(&mut advantages, rewards, scale);
        for (e, a) in of_group.iter_mut().zip(advantages) {
            e.advantages = vec![a; e.tokens.len()];
        }
    }
}

/// Advantages and returns by GAE from the values of completions and the rewards of their tokens; then the advantages are
/// whitened over all tokens that count. Meters `explained_variance`.
pub fn estimate(gae: &Gae, experiences: &mut [Experience], rewards: &[Vec<f64>], meter: &mut Meter) {
    let (mut advantages, mut values, mut returns) = (Vec::new(), Vec::new(), Vec::new());
    for (e, rewards) in experiences.iter_mut().zip(rewards) {
        (e.advantages, e.returns) = (vec![0.0; rewards.len()], vec![0.0; rewards.len()]);
        gae.advantages(&mut e.advantages, &mut e.returns, rewards, &e.values);
        advantages.extend_from_slice(&e.advantages);
        values.extend_from_slice(&e.values);
        returns.extend_from_slice(&e.returns);
    }
    let mask: Vec<f64> = experiences.iter().flat_map(Experience::mask::<f64>).collect();
    if let Some(share) = explained_variance(&values, &returns, &mask) {
        meter.add("explained_variance", share, 1.0);
    }
    whiten(&mut advantages, &mask);
    let whitened = &mut advantages.into_iter();
    for e in experiences {
        e.advantages = whitened.take(e.tokens.len()).collect();
    }
}
