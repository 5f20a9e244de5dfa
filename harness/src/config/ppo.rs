//! The keys of `proximal ppo`: those that TRL's `PPOConfig` had until TRL 1.0 took its trainer out, and those of rollouts.
//!
//! Where this differs from TRL: rewards come from reward functions as well as reward models (`reward_funcs`), a completion's
//! longest length is `max_completion_length` (`response_length` there), and the critic may be a head on the policy's trunk.
use crate::plan::{Beside, Critic, Method, Reference};
use std::path::PathBuf;

use kernel::objective::kl::Estimator;
use kernel::objective::ppo::{Gae, Ppo as Objective, Shaping};
use model_qwen2::Result;

use super::keys::keys;
use super::rollout::{Division, Online};
use super::shared::Shared;
use super::value::choice;
use super::whole::{Config, Trainer};

choice! {
    /// Where values come from.
    pub enum CriticKind {
        /// A linear head on the policy's last hidden state; the trunk learns from both losses.
        Head = "head",
        /// A model of its own with such a head.
        Model = "model",
    }
}

choice! {
    /// How the KL of a token is estimated.
    pub enum KlEstimator {
        /// logp - ref.
        K1 = "k1",
        /// exp(ref - logp) - 1 - (ref - logp).
        K3 = "k3",
    }
}

keys! {
    /// The keys that only PPO has.
    pub struct PpoKeys {
        /// Completions of each prompt.
        num_generations: usize = 1, in 1.0..;
        /// Times that a generation is trained on.
        num_ppo_epochs: usize = 4, in 1.0..;
        /// Optimizer steps in one such time.
        num_mini_batches: usize = 1, in 1.0..;
        /// Divide the shaped rewards by their standard deviation.
        whiten_rewards: bool = false;
        /// Strength of the KL to the reference in the rewards; 0 is none, and no reference in memory.
        kl_coef: f64 = 0.05, in 0.0..;
        /// How that KL is estimated.
        kl_estimator: KlEstimator = KlEstimator::K1;
        /// The ratio is clipped to 1 - this .. 1 + this.
        cliprange: f64 = 0.2, in 0.0..;
        /// The value is clipped to that at rollout +- this.
        cliprange_value: f64 = 0.2, in 0.0..;
        /// Factor on the value loss.
        vf_coef: f64 = 0.1, in 0.0..;
        /// Factor on the mean entropy, which is subtracted.
        ent_coef: f64 = 0.0;
        /// Discount of later rewards.
        gamma: f64 = 1.0, in 0.0..=1.0;
        /// Decay of later temporal differences.
        lam: f64 = 0.95, in 0.0..=1.0;
        /// Taken from the score of a completion that was cut off.
        missing_eos_penalty: Option<f64> = None, in 0.0..;
        /// End the epochs of a generation when its approximate KL is above this.
        target_kl: Option<f64> = None, in f64::MIN_POSITIVE..;
        /// Where values come from.
        critic: CriticKind = CriticKind::Head;
        /// Folder that a critic of its own begins with; the policy's unless set.
        value_model: Option<PathBuf> = None;
        /// Its learning rate; the policy's unless set.
        critic_learning_rate: Option<f64> = None, in 0.0..;
    }
}

/// PPO's keys.
pub type Ppo = Online<PpoKeys>;
/// The configuration of `proximal ppo`.
pub type PpoConfig = Config<Ppo>;

impl Trainer for Ppo {
    const COMMAND: &'static str = "ppo";
    const METHOD: Method = Method::Ppo;

    fn shared() -> Shared {
        Shared {
            learning_rate: 3e-6,
            ..Shared::default()
        }
    }

    fn beside(&self) -> Beside {
        Beside {
            reference: match self.own.kl_coef > 0.0 {
                true => Reference::Frozen,
                false => Reference::None,
            },
            critic: match self.own.critic {
                CriticKind::Head => Critic::Head,
                CriticKind::Model => Critic::Model,
            },
            ..Self::METHOD.beside()
        }
    }

    fn validate(config: &Config<Self>) -> Result<()> {
        config.plan()?;
        config.rewards()?;
        let own = &config.own.own;
        if own.critic == CriticKind::Head {
            for (key, set) in [
                ("value_model", own.value_model.is_some()),
                ("critic_learning_rate", own.critic_learning_rate.is_some()),
            ] {
                if set {
                    return Err(config.invalid(key, "nothing, or critic = \"model\"", "critic = \"head\""));
                }
            }
        }
        Ok(())
    }
}

impl PpoConfig {
    /// How completions are divided.
    pub fn plan(&self) -> Result<Division> {
        let own = &self.own.own;
        let steps = self.shared.gradient_accumulation_steps * own.num_mini_batches;
        self.division(own.num_generations, steps, own.num_ppo_epochs)
    }

    /// Policy, value and entropy terms.
    pub fn objective(&self) -> Objective {
        let own = &self.own.own;
        Objective {
            cliprange: own.cliprange,
            cliprange_value: own.cliprange_value,
            vf_coef: own.vf_coef,
            ent_coef: own.ent_coef,
        }
    }

    /// Rewards of tokens.
    pub fn shaping(&self) -> Shaping {
        let own = &self.own.own;
        Shaping {
            kl_coef: own.kl_coef,
            estimator: match own.kl_estimator {
                KlEstimator::K1 => Estimator::K1,
                KlEstimator::K3 => Estimator::K3,
            },
            missing_eos_penalty: own.missing_eos_penalty.unwrap_or(0.0),
        }
    }

    /// Advantages.
    pub fn gae(&self) -> Gae {
        Gae {
            gamma: self.own.own.gamma,
            lambda: self.own.own.lam,
        }
    }
}
