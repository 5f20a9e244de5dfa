//! What a generation leaves for training, and how it is packed into batches.
use std::ops::Range;

use anyhow::Result;
use kernel::batch::{Batch, BatchError};
use kernel::real::Real;
use model_qwen2::Error;
use model_qwen2::generate::Finish;
use serde::{Deserialize, Serialize};

use super::prompts::Prompt;
use crate::checkpoint::Writer;
use crate::config::Division;
use crate::data::permutation;
use crate::train::Restored;

/// A completion with everything that training needs of it. Lists have one number for each token, or none where the trainer
/// does not use them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experience {
    /// Number of its prompt in the dataset.
    pub prompt: usize,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Log-probs under the policy of their generation.
    pub old: Vec<f64>,
    /// Log-probs under the model that drew them, where that is not the policy itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sampler: Vec<f64>,
    /// Sum of the entropies that they were drawn from.
    pub entropy: f64,
    /// Log-probs under the reference.
    pub reference: Vec<f64>,
    /// Advantages.
    pub advantages: Vec<f64>,
    /// Values at rollout.
    pub values: Vec<f64>,
    /// What values are fitted to.
    pub returns: Vec<f64>,
    /// Whether it ended by itself.
    pub stopped: bool,
    /// Whether its tokens count.
    pub trained: bool,
    /// Of each reward function.
    pub rewards: Vec<Option<f64>>,
    /// Their weighted sum.
    pub reward: Option<f64>,
}

impl Experience {
    /// A mask over its tokens.
    pub fn mask<R: Real>(&self) -> Vec<R> {
        vec![if self.trained { R::ONE } else { R::ZERO }; self.tokens.len()]
    }

    /// Tokens that count.
    pub fn trained_tokens(&self) -> usize {
        if self.trained { self.tokens.len() } else { 0 }
    }

    /// Why it ended.
    pub fn finish(&self) -> Finish {
        if self.stopped { Finish::Stop } else { Finish::Length }
    }
}

/// Numbers at the device's precision. They came from there, so nothing is lost.
pub fn narrow<R: Real>(xs: &[f64]) -> Vec<R> {
    xs.iter().map(|&x| R::from_f64(x)).collect()
}

/// A generation in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Its number.
    pub generation: u64,
    /// Group after group.
    pub experiences: Vec<Experience>,
    /// Whether its remaining steps are left out (`target_kl`).
    pub ended: bool,
}

const FILE: &str = "rollouts.json";

impl Buffer {
    /// Writes it into a checkpoint.
    pub fn save(&self, writer: &mut Writer) -> Result<()> {
        Ok(writer.write(FILE, &serde_json::to_vec(self)?)?)
    }

    /// Reads it from one; none where the checkpoint was between two generations. One that another batch arithmetic made is
    /// of no use: it is left out, and `notes` says so.
    pub fn restore(restored: Option<&Restored>, division: &Division, notes: &mut Vec<String>) -> Result<Option<Self>> {
        let Some(path) = restored.map(|r| r.path.join(FILE)).filter(|p| p.exists()) else {
            return Ok(None);
        };
        let text = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        let buffer: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::invalid(&path, "JSON", "the rollouts of a generation", e.to_string()))?;
        let (there, asked) = (buffer.experiences.len(), division.completions());
        if there != asked {
            notes.push(format!(
                "the checkpoint's generation has {there} completions, this configuration's {asked}: it is drawn anew"
            ));
            return Ok(None);
        }
        Ok(Some(buffer))
    }
}

/// Whether a generation is divided anew each time that it is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// No: as GRPO in TRL.
    Once,
    /// Yes: as PPO.
    EachIteration,
}

/// Where an optimizer step is: which generation, and which of its completions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Number of the generation.
    pub generation: u64,
    /// Its completions that are trained on now, in order.
    pub members: Vec<usize>,
    /// Whether this is the last step on the generation.
    pub last: bool,
}

impl Division {
    /// Where optimizer step number `step`, from 0, is.
    pub fn at(&self, step: u64, seed: u64, shuffle: Shuffle) -> At {
        let (generation, within) = (step / self.steps(), (step % self.steps()) as usize);
        let (iteration, part) = (within / self.parts, within % self.parts);
        let all = self.per_step * self.parts;
        let mut members: Vec<usize> = if self.parts == 1 {
            (0..all).collect()
        } else {
            let round = match shuffle {
                Shuffle::Once => generation,
                Shuffle::EachIteration => generation * self.iterations as u64 + iteration as u64,
            };
            // Of another kind than the order of prompts, which has the seed itself.
            let order = permutation(seed ^ 0x6d69_6e69, round, all);
            let part = &order[part * self.per_step..(part + 1) * self.per_step];
            part.iter().map(|&i| i as usize).collect()
        };
        // Completions of one prompt side by side, so that it is computed once.
        members.sort_unstable();
        At {
            generation,
            members,
            last: within + 1 == self.parts * self.iterations,
        }
    }

    /// The prompts of generation number `generation`, of `prompts` in all. As in TRL, those that make no whole
    /// generation at the end of an epoch are left out.
    pub fn prompts_of(&self, generation: u64, prompts: usize, seed: Option<u64>) -> Vec<usize> {
        let per_epoch = self.generations_per_epoch(prompts);
        let (epoch, at) = (generation / per_epoch, (generation % per_epoch) as usize);
        let order = match seed {
            Some(seed) => permutation(seed, epoch, prompts),
            None => (0..prompts as u32).collect(),
        };
        let of_generation = &order[at * self.prompts..(at + 1) * self.prompts];
        of_generation.iter().map(|&i| i as usize).collect()
    }

    /// Generations in one pass over so many prompts.
    pub fn generations_per_epoch(&self, prompts: usize) -> u64 {
        (prompts / self.prompts) as u64
    }
}

/// Completions in one batch, each prompt once for those of it that stand side by side.
pub struct Packed {
    /// The tokens.
    pub batch: Batch,
    /// The predictions of each completion.
    pub ranges: Vec<Range<usize>>,
}

/// Packs the completions `members`.
pub fn pack(
    vocab: usize,
    prompts: &[Prompt],
    experiences: &[Experience],
    members: &[usize],
) -> Result<Packed, BatchError> {
    let mut batch = Batch::new(vocab);
    let mut ranges = Vec::with_capacity(members.len());
    let mut root: Option<(usize, usize)> = None;
    for &i in members {
        let e = &experiences[i];
        let segment = match root {
            Some((prompt, segment)) if prompt == e.prompt => segment,
            _ => batch.segment(None, &prompts[e.prompt].ids)?,
        };
        root = Some((e.prompt, segment));
        ranges.push(batch.completion(Some(segment), &e.tokens)?);
    }
    Ok(Packed { batch, ranges })
}

#[cfg(test)]
mod tests;
