//! The keys of every trainer that generates: how completions are drawn, scored and logged. TRL 1.16's names.
//!
//! Where this differs from TRL: `log_completions` is true unless told otherwise and prints two; `stop_strings`,
//! `rollout_batch_size`, `rollout_cache_bytes`, `eval_temperature` and `kl_limit` are ours.
use model_qwen2::Result;

use super::keys::{Given, Key, Keys, Mismatch, keys};
use super::shared::Shared;
use super::whole::{Config, Trainer};
use crate::reward::{BadKey, RewardConfig};

keys! {
    /// Rollouts.
    pub struct Rollout {
        /// Tokens in a completion, at most.
        max_completion_length: usize = 512, in 1.0..;
        /// Divides the logits, when drawing and when training.
        temperature: f64 = 1.0, in f64::MIN_POSITIVE..;
        /// Draw from the most likely tokens that make up this much.
        top_p: f64 = 1.0, in f64::MIN_POSITIVE..=1.0;
        /// Draw from the most likely tokens, so many; 0 is all.
        top_k: usize = 0;
        /// Draw from tokens at least this times as likely as the likeliest.
        min_p: Option<f64> = None, in 0.0..=1.0;
        /// Above 1, tokens that are there already become less likely.
        repetition_penalty: f64 = 1.0, in f64::MIN_POSITIVE..;
        /// Texts that end a completion, beside the model's own end.
        stop_strings: Vec<String> = Vec::new();
        /// Reward functions: names or tables.
        reward_funcs: Option<toml::Value> = None;
        /// A weight for each reward function; 1 unless set.
        reward_weights: Option<toml::Value> = None;
        /// Leave completions that were cut off out of the loss.
        mask_truncated_completions: bool = false;
        /// Completions to each prompt of an evaluation; those of training unless set.
        num_generations_eval: Option<usize> = None, in 1.0..;
        /// Temperature of an evaluation; that of training unless set, 0 is the likeliest token always.
        eval_temperature: Option<f64> = None, in 0.0..;
        /// Write completions with their rewards to completions.jsonl when metrics are logged.
        log_completions: bool = true;
        /// Of those, print so many.
        num_completions_to_print: Option<usize> = Some(2);
        /// Completions that are decoded side by side.
        rollout_batch_size: usize = 32, in 1.0..;
        /// Memory for keys and values of rollouts, bytes.
        rollout_cache_bytes: usize = 1 << 30, in 1.0..;
        /// Stop when the mean KL of a token, to the reference or of a step, is above this.
        kl_limit: f64 = 10.0, in f64::MIN_POSITIVE..;
    }
}

/// A trainer's keys: those of rollouts and its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Online<K> {
    /// Rollouts.
    pub rollout: Rollout,
    /// The trainer's own.
    pub own: K,
}

impl<K: Keys> Keys for Online<K> {
    fn keys() -> Vec<Key> {
        [K::keys(), Rollout::keys()].concat()
    }

    fn set(&mut self, name: &str, given: &Given) -> Option<std::result::Result<(), Mismatch>> {
        self.own.set(name, given).or_else(|| self.rollout.set(name, given))
    }

    fn to_toml(&self) -> toml::Table {
        let mut table = self.own.to_toml();
        table.extend(self.rollout.to_toml());
        table
    }
}

/// How completions are divided: into prompts, optimizer steps, micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Completions of each prompt.
    pub group: usize,
    /// Prompts of one generation.
    pub prompts: usize,
    /// Completions of one optimizer step.
    pub per_step: usize,
    /// Optimizer steps that go once through a generation.
    pub parts: usize,
    /// Times that a generation is gone through.
    pub iterations: usize,
}

impl Division {
    /// Completions of one generation.
    pub fn completions(&self) -> usize {
        self.group * self.prompts
    }

    /// Optimizer steps on one generation.
    pub fn steps(&self) -> u64 {
        (self.parts * self.iterations) as u64
    }
}

impl<K: Keys> Config<Online<K>>
where
    Online<K>: Trainer,
{
    /// The division into `steps_per_generation` micro-batches, `group` completions of a prompt, `iterations` times.
    pub fn division(&self, group: usize, steps_per_generation: usize, iterations: usize) -> Result<Division> {
        let Shared {
            per_device_train_batch_size: micro,
            gradient_accumulation_steps: accumulation,
            ..
        } = self.shared;
        if !steps_per_generation.is_multiple_of(accumulation) {
            return Err(self.invalid(
                "steps_per_generation",
                format!("a multiple of gradient_accumulation_steps = {accumulation}"),
                steps_per_generation.to_string(),
            ));
        }
        let completions = micro * steps_per_generation;
        if !completions.is_multiple_of(group) {
            return Err(self.invalid(
                "num_generations",
                format!(
                    "a divisor of the {completions} completions of a generation (per_device_train_batch_size = {micro} \
                     times {steps_per_generation} micro-batches)"
                ),
                group.to_string(),
            ));
        }
        Ok(Division {
            group,
            prompts: completions / group,
            per_step: micro * accumulation,
            parts: steps_per_generation / accumulation,
            iterations,
        })
    }

    /// The reward functions and their weights.
    pub fn rewards(&self) -> Result<(Vec<RewardConfig>, Option<Vec<f64>>)> {
        let rollout = &self.own.rollout;
        let bad = |e: BadKey| self.invalid(&e.key, e.expected, e.found);
        let Some(functions) = &rollout.reward_funcs else {
            return Err(self.invalid("reward_funcs", "at least one reward function", "none"));
        };
        let functions = RewardConfig::list("reward_funcs", functions).map_err(bad)?;
        let weights = rollout.reward_weights.as_ref();
        let weights = weights.map(|w| RewardConfig::weights("reward_weights", w)).transpose();
        Ok((functions, weights.map_err(bad)?))
    }
}

#[cfg(test)]
mod tests;
