//! The keys of `proximal trpo`. No framework for language models has this trainer, so the names are the paper's and those
//! of the field's earlier libraries.
use crate::plan::Method;
use kernel::objective::ppo::Gae;
use kernel::trust_region::{LineSearch, Settings};
use model_qwen2::Result;
use std::path::PathBuf;

use super::grpo::ScaleRewards;
use super::keys::{Keys, keys};
use super::ppo::CriticKind;
use super::rollout::{Division, Online};
use super::shared::{Dtype, Shared};
use super::value::choice;
use super::whole::{Config, Trainer};

choice! {
    /// What a completion's advantage comes from.
    pub enum AdvantageKind {
        /// Its group's rewards, as GRPO.
        Group = "group",
        /// A critic, by GAE.
        Critic = "critic",
    }
}

keys! {
    /// The keys that only TRPO has.
    pub struct TrpoKeys {
        /// Completions of each prompt.
        num_generations: usize = 8, in 1.0..;
        /// Radius of the trust region: mean KL(old || new) of a token over the whole vocabulary.
        max_kl: f64 = 0.01, in f64::MIN_POSITIVE..;
        /// Added to the diagonal of the Fisher matrix.
        cg_damping: f64 = 0.1, in 0.0..;
        /// Products with the Fisher matrix, at most.
        cg_iters: usize = 10, in 1.0..;
        /// Conjugate gradients end at this residual, relative to the gradient.
        cg_residual_tol: f64 = 1e-10, in 0.0..;
        /// A step that is not accepted is shortened by this.
        backtrack_coeff: f64 = 0.8, in f64::MIN_POSITIVE..1.0;
        /// Lengths tried, at most.
        backtrack_iters: usize = 10, in 1.0..;
        /// Take the full step without a line search: the natural policy gradient.
        npg: bool = false;
        /// Part of the completions that the Fisher matrix is made from.
        fisher_fraction: f64 = 1.0, in f64::MIN_POSITIVE..=1.0;
        /// What an advantage comes from.
        advantage: AdvantageKind = AdvantageKind::Group;
        /// What a group's advantage is divided by.
        scale_rewards: ScaleRewards = ScaleRewards::Group;
        /// Discount of later rewards, with a critic.
        gamma: f64 = 1.0, in 0.0..=1.0;
        /// Decay of later temporal differences, with a critic.
        lam: f64 = 0.95, in 0.0..=1.0;
        /// Where values come from: a head that leaves the policy's trunk alone, or a model of its own.
        critic: CriticKind = CriticKind::Head;
        /// Folder that a critic of its own begins with; the policy's unless set.
        value_model: Option<PathBuf> = None;
        /// The critic's learning rate.
        critic_learning_rate: f64 = 1e-3, in 0.0..;
        /// Times that the critic is fitted to a generation.
        critic_epochs: usize = 4, in 1.0..;
    }
}

/// TRPO's keys.
pub type Trpo = Online<TrpoKeys>;
/// The configuration of `proximal trpo`.
pub type TrpoConfig = Config<Trpo>;

impl Trainer for Trpo {
    const COMMAND: &'static str = "trpo";
    const METHOD: Method = Method::Trpo;

    fn validate(config: &Config<Self>) -> Result<()> {
        config.plan()?;
        config.rewards()?;
        let own = &config.own.own;
        if own.advantage == AdvantageKind::Group && own.num_generations < 2 {
            let expected = "at least 2, or advantage = \"critic\": a group of one has no advantage";
            return Err(config.invalid("num_generations", expected, own.num_generations.to_string()));
        }
        if config.shared.precision() == Ok(Dtype::Bf16) {
            let expected = "f32: a step within a trust region needs its digits";
            return Err(config.invalid("dtype", expected, "bf16"));
        }
        let limit = config.own.rollout.kl_limit;
        if own.max_kl > limit {
            let expected = format!("at most kl_limit = {limit}, where the run stops");
            return Err(config.invalid("max_kl", expected, own.max_kl.to_string()));
        }
        config.region().check().map_err(|e| {
            let key = if e.field == "cg_tolerance" {
                "cg_residual_tol"
            } else {
                e.field
            };
            let found = config
                .own
                .to_toml()
                .get(key)
                .map_or("nothing".into(), ToString::to_string);
            config.invalid(key, e.expected, found)
        })
    }

    fn shared() -> Shared {
        Shared::default()
    }
}

impl TrpoConfig {
    /// How completions are divided: a generation is one step.
    pub fn plan(&self) -> Result<Division> {
        self.division(self.own.own.num_generations, self.shared.gradient_accumulation_steps, 1)
    }

    /// The trust region.
    pub fn region(&self) -> Settings {
        let own = &self.own.own;
        Settings {
            max_kl: own.max_kl,
            cg_damping: own.cg_damping,
            cg_iters: own.cg_iters,
            cg_tolerance: own.cg_residual_tol,
            line_search: match own.npg {
                true => LineSearch::None,
                false => LineSearch::Backtrack,
            },
            backtrack_coeff: own.backtrack_coeff,
            backtrack_iters: own.backtrack_iters,
        }
    }

    /// Advantages, with a critic.
    pub fn gae(&self) -> Gae {
        Gae {
            gamma: self.own.own.gamma,
            lambda: self.own.own.lam,
        }
    }
}
