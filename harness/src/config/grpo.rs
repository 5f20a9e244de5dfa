//! The keys of `proximal grpo` and `proximal rloo`: TRL 1.16's `GRPOConfig` and `RLOOConfig`.
use crate::plan::{Beside, Method, Reference, Sampler};
use kernel::objective::group::{Correction, GroupLoss, GroupPolicy, KlCorrection, Level};
use model_qwen2::Result;

use super::keys::{Keys, keys};
use super::rollout::{Division, Online};
use super::shared::{DeviceKind, Shared};
use super::value::choice;
use super::whole::{Config, Trainer};

choice! {
    /// A loss of the family; the formulas are in [`GroupLoss`].
    pub enum GroupLossType {
        /// Mean over completions of the mean over tokens.
        Grpo = "grpo",
        /// Mean over tokens.
        Bnpo = "bnpo",
        /// Sum over tokens by a constant length.
        DrGrpo = "dr_grpo",
        /// Mean over the tokens of the optimizer step.
        Dapo = "dapo",
        /// Mean over completions of the sum over tokens.
        Luspo = "luspo",
        /// Clipped importance weights on REINFORCE.
        Cispo = "cispo",
        /// A sigmoid in place of the clip.
        Sapo = "sapo",
        /// A smooth weight of the whole completion.
        Vespo = "vespo",
    }
}

choice! {
    /// What a ratio is of.
    pub enum ImportanceLevel {
        /// Each token.
        Token = "token",
        /// The completion (GSPO).
        Sequence = "sequence",
    }
}

choice! {
    /// What an advantage is divided by.
    pub enum ScaleRewards {
        /// The standard deviation of its group.
        Group = "group" | "true",
        /// That of all completions of the generation.
        Batch = "batch",
        /// Nothing.
        None = "none" | "false",
    }
}

choice! {
    /// What completions are drawn from.
    pub enum RolloutDtype {
        /// The policy as it is.
        Same = "same",
        /// A copy whose blocks multiply integers of eight bits.
        Int8 = "int8",
    }
}

choice! {
    /// What a correction weighs, and what it does above the largest weight; the formulas are in [`Correction`].
    pub enum CorrectionMode {
        /// Each token, no more than the largest.
        TokenTruncate = "token_truncate",
        /// Each token, none above the largest.
        TokenMask = "token_mask",
        /// The completion, no more than the largest.
        SequenceTruncate = "sequence_truncate",
        /// The completion, none above the largest.
        SequenceMask = "sequence_mask",
    }
}

keys! {
    /// The keys that only GRPO has.
    pub struct GrpoKeys {
        /// Completions of each prompt.
        num_generations: usize = 8, in 1.0..;
        /// Strength of the KL to the reference; 0 is none, and no reference in memory.
        beta: f64 = 0.0, in 0.0..;
        /// Times that a generation is trained on.
        num_iterations: usize = 1, in 1.0..;
        /// Micro-batches that a generation is divided into; gradient_accumulation_steps unless set.
        steps_per_generation: Option<usize> = None, in 1.0..;
        /// Completions of a generation, instead of steps_per_generation.
        generation_batch_size: Option<usize> = None, in 1.0..;
        /// The ratio is clipped below 1 - this.
        epsilon: f64 = 0.2, in 0.0..;
        /// And above 1 + this; epsilon unless set. For cispo the absolute cap.
        epsilon_high: Option<f64> = None, in 0.0..;
        /// Cap on the branch that is not clipped.
        delta: Option<f64> = None, in f64::MIN_POSITIVE..;
        /// Temperature of sapo where the advantage is positive.
        sapo_temperature_pos: f64 = 1.0, in f64::MIN_POSITIVE..;
        /// And elsewhere.
        sapo_temperature_neg: f64 = 1.05, in f64::MIN_POSITIVE..;
        /// What a ratio is of.
        importance_sampling_level: ImportanceLevel = ImportanceLevel::Token;
        /// What an advantage is divided by.
        scale_rewards: ScaleRewards = ScaleRewards::Group;
        /// Loss.
        loss_type: GroupLossType = GroupLossType::Dapo;
        /// Multiply the KL by the ratio.
        use_bias_correction_kl: bool = true;
        /// Leave out completions of negative advantage whose mean log-ratio is below minus this.
        off_policy_mask_threshold: Option<f64> = None;
        /// What completions are drawn from: the policy, or a copy with weights of eight bits (CPU only).
        rollout_dtype: RolloutDtype = RolloutDtype::Same;
        /// Weigh the policy term by policy / sampler where completions are not drawn from the policy itself.
        vllm_importance_sampling_correction: bool = true;
        /// Weights of tokens or of completions, and what becomes of one above the largest.
        vllm_importance_sampling_mode: CorrectionMode = CorrectionMode::SequenceMask;
        /// The largest weight.
        vllm_importance_sampling_clip_max: Option<f64> = Some(3.0), in f64::MIN_POSITIVE..;
        /// Train on this part of the tokens, the most uncertain ones.
        top_entropy_quantile: f64 = 1.0, in 0.0..=1.0;
        /// The mean entropy times this is subtracted from the loss.
        entropy_coef: f64 = 0.0;
        /// Move the reference towards the policy during training.
        sync_ref_model: bool = false;
        /// The policy's share, reference = alpha policy + (1 - alpha) reference.
        ref_model_mixup_alpha: f64 = 0.6, in 0.0..=1.0;
        /// Optimizer steps between two such moves.
        ref_model_sync_steps: u64 = 512, in 1.0..;
    }
}

keys! {
    /// The keys that only RLOO has.
    pub struct RlooKeys {
        /// Completions of each prompt.
        num_generations: usize = 2, in 1.0..;
        /// Strength of the KL to the reference, which is taken from the reward; 0 is none, and no reference in memory.
        beta: f64 = 0.05, in 0.0..;
        /// Times that a generation is trained on.
        num_iterations: usize = 1, in 1.0..;
        /// Micro-batches that a generation is divided into; gradient_accumulation_steps unless set.
        steps_per_generation: Option<usize> = None, in 1.0..;
        /// Completions of a generation, instead of steps_per_generation.
        generation_batch_size: Option<usize> = None, in 1.0..;
        /// The ratio is clipped below 1 - this.
        epsilon: f64 = 0.2, in 0.0..;
        /// And above 1 + this; epsilon unless set.
        epsilon_high: Option<f64> = None, in 0.0..;
        /// Subtract the mean of all advantages and divide by their standard deviation.
        normalize_advantages: bool = false;
        /// Rewards are clipped to these two.
        reward_clip_range: Option<Vec<f64>> = None;
        /// What completions are drawn from: the policy, or a copy with weights of eight bits (CPU only). There is no correction.
        rollout_dtype: RolloutDtype = RolloutDtype::Same;
        /// Move the reference towards the policy during training.
        sync_ref_model: bool = false;
        /// The policy's share, reference = alpha policy + (1 - alpha) reference.
        ref_model_mixup_alpha: f64 = 0.6, in 0.0..=1.0;
        /// Optimizer steps between two such moves.
        ref_model_sync_steps: u64 = 512, in 1.0..;
    }
}

/// GRPO's keys.
pub type Grpo = Online<GrpoKeys>;
/// RLOO's keys.
pub type Rloo = Online<RlooKeys>;
/// The configuration of `proximal grpo`.
pub type GrpoConfig = Config<Grpo>;
/// The configuration of `proximal rloo`.
pub type RlooConfig = Config<Rloo>;

/// TRL's default for reinforcement learning.
fn shared() -> Shared {
    Shared {
        learning_rate: 1e-6,
        ..Shared::default()
    }
}

/// Micro-batches of a generation.
fn steps_per_generation<K: Keys>(
    config: &Config<Online<K>>,
    steps: Option<usize>,
    completions: Option<usize>,
) -> Result<usize>
where
    Online<K>: Trainer,
{
    let micro = config.shared.per_device_train_batch_size;
    match (steps, completions) {
        (None, None) => Ok(config.shared.gradient_accumulation_steps),
        (Some(steps), None) => Ok(steps),
        (None, Some(completions)) => {
            let step = micro * config.shared.gradient_accumulation_steps;
            if !completions.is_multiple_of(step) {
                let product = "per_device_train_batch_size x gradient_accumulation_steps";
                let expected = format!("a multiple of {product} = {step}");
                return Err(config.invalid("generation_batch_size", expected, completions.to_string()));
            }
            Ok(completions / micro)
        }
        (Some(_), Some(_)) => Err(config.invalid(
            "generation_batch_size",
            "steps_per_generation or generation_batch_size, not both",
            "both",
        )),
    }
}

/// One completion of a prompt has nothing to be compared with.
fn check_group<K: Keys>(config: &Config<Online<K>>, group: usize) -> Result<()>
where
    Online<K>: Trainer,
{
    if group < 2 {
        let expected = "at least 2: a group of one has no advantage, so nothing would be learnt";
        return Err(config.invalid("num_generations", expected, group.to_string()));
    }
    Ok(())
}

/// Integers are the CPU's.
fn check_sampler<K: Keys>(config: &Config<Online<K>>, dtype: RolloutDtype) -> Result<()>
where
    Online<K>: Trainer,
{
    if dtype == RolloutDtype::Int8 && config.shared.device != DeviceKind::Cpu {
        let expected = "same on device cuda: only the CPU draws with int8";
        return Err(config.invalid("rollout_dtype", expected, "int8"));
    }
    Ok(())
}

/// What a run with this KL weight and sampler has beside the policy.
fn beside(beta: f64, sync_ref_model: bool, rollout_dtype: RolloutDtype) -> Beside {
    let reference = match (beta > 0.0, sync_ref_model) {
        (false, _) => Reference::None,
        (true, false) => Reference::Frozen,
        (true, true) => Reference::Moving,
    };
    Beside {
        reference,
        sampler: match rollout_dtype {
            RolloutDtype::Same => Sampler::Policy,
            RolloutDtype::Int8 => Sampler::Int8,
        },
        ..Method::Grpo.beside()
    }
}

impl Trainer for Grpo {
    const COMMAND: &'static str = "grpo";
    const METHOD: Method = Method::Grpo;

    fn shared() -> Shared {
        shared()
    }

    fn beside(&self) -> Beside {
        beside(self.own.beta, self.own.sync_ref_model, self.own.rollout_dtype)
    }

    fn validate(config: &Config<Self>) -> Result<()> {
        let own = &config.own.own;
        check_group(config, own.num_generations)?;
        check_sampler(config, own.rollout_dtype)?;
        config.plan()?;
        config.rewards()?;
        if own.loss_type == GroupLossType::Cispo && own.epsilon_high.is_none() {
            return Err(config.invalid("epsilon_high", "a number, the absolute cap of cispo", "none"));
        }
        config.objective().check().map_err(|e| {
            let found = config
                .own
                .to_toml()
                .get(e.field)
                .map_or("nothing".into(), ToString::to_string);
            config.invalid(e.field, e.expected, found)
        })
    }
}

impl GrpoConfig {
    /// How completions are divided.
    pub fn plan(&self) -> Result<Division> {
        let own = &self.own.own;
        let steps = steps_per_generation(self, own.steps_per_generation, own.generation_batch_size)?;
        self.division(own.num_generations, steps, own.num_iterations)
    }

    /// The objective that the keys describe.
    pub fn objective(&self) -> GroupPolicy {
        let own = &self.own.own;
        GroupPolicy {
            loss: match own.loss_type {
                GroupLossType::Grpo => GroupLoss::Grpo,
                GroupLossType::Bnpo => GroupLoss::Bnpo,
                GroupLossType::DrGrpo => GroupLoss::DrGrpo {
                    max_completion_length: self.own.rollout.max_completion_length as f64,
                },
                GroupLossType::Dapo => GroupLoss::Dapo,
                GroupLossType::Luspo => GroupLoss::Luspo,
                GroupLossType::Cispo => GroupLoss::Cispo,
                GroupLossType::Sapo => GroupLoss::Sapo {
                    positive: own.sapo_temperature_pos,
                    negative: own.sapo_temperature_neg,
                },
                GroupLossType::Vespo => GroupLoss::Vespo,
            },
            beta: own.beta,
            epsilon: own.epsilon,
            epsilon_high: own.epsilon_high.unwrap_or(own.epsilon),
            delta: own.delta,
            level: match own.importance_sampling_level {
                ImportanceLevel::Token => Level::Token,
                ImportanceLevel::Sequence => Level::Sequence,
            },
            kl_correction: match own.use_bias_correction_kl {
                true => KlCorrection::Ratio,
                false => KlCorrection::None,
            },
            off_policy_mask_threshold: own.off_policy_mask_threshold,
            entropy_coef: own.entropy_coef,
            top_entropy_quantile: own.top_entropy_quantile,
            correction: self.correction(),
        }
    }

    /// None where completions are drawn from the policy: every weight would be 1.
    fn correction(&self) -> Correction {
        let own = &self.own.own;
        if own.rollout_dtype == RolloutDtype::Same || !own.vllm_importance_sampling_correction {
            return Correction::None;
        }
        let cap = own.vllm_importance_sampling_clip_max.unwrap_or(f64::INFINITY);
        match own.vllm_importance_sampling_mode {
            CorrectionMode::TokenTruncate => Correction::TokenTruncate { cap },
            CorrectionMode::TokenMask => Correction::TokenMask { cap },
            CorrectionMode::SequenceTruncate => Correction::SequenceTruncate { cap },
            CorrectionMode::SequenceMask => Correction::SequenceMask { cap },
        }
    }
}

impl Trainer for Rloo {
    const COMMAND: &'static str = "rloo";
    const METHOD: Method = Method::Grpo;

    fn shared() -> Shared {
        shared()
    }

    fn beside(&self) -> Beside {
        beside(self.own.beta, self.own.sync_ref_model, self.own.rollout_dtype)
    }

    fn validate(config: &Config<Self>) -> Result<()> {
        check_group(config, config.own.own.num_generations)?;
        check_sampler(config, config.own.own.rollout_dtype)?;
        config.plan()?;
        config.rewards()?;
        match config.own.own.reward_clip_range.as_deref() {
            None => Ok(()),
            Some([low, high]) if low < high => Ok(()),
            Some(other) => Err(config.invalid(
                "reward_clip_range",
                "two numbers, the lower first",
                format!("{other:?}"),
            )),
        }
    }
}

impl RlooConfig {
    /// How completions are divided.
    pub fn plan(&self) -> Result<Division> {
        let own = &self.own.own;
        let steps = steps_per_generation(self, own.steps_per_generation, own.generation_batch_size)?;
        self.division(own.num_generations, steps, own.num_iterations)
    }
}
