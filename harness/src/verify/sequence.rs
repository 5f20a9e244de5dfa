//! One entry of "sequences" in case.json, and what an objective needs of it.
use std::collections::BTreeMap;
use std::path::Path;

use model_qwen2::{Error, Result};
use serde::Deserialize;

use super::settings::Objective;

/// Prompt and completion, with what the objectives ask of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Tokens before; may be empty.
    pub prompt: Vec<u32>,
    /// Tokens to be predicted: all of them, but for the first where there is no prompt.
    pub completion: Vec<u32>,
    /// 0 or 1 for each prediction.
    pub mask: Option<Vec<u8>>,
    /// Of the policy at rollout; the policy's own, detached, where not given.
    pub old_logps: Option<Vec<f64>>,
    /// Of the reference.
    pub ref_logps: Option<Vec<f64>>,
    /// Of the sampler.
    pub sampler_logps: Option<Vec<f64>>,
    /// Of the completion or of each prediction.
    pub advantage: Option<Advantage>,
    /// At rollout; nothing is clipped where not given.
    pub old_values: Option<Vec<f64>>,
    /// What the values are fitted to.
    pub returns: Option<Vec<f64>>,
    /// In place of the advantage; null for a completion that nothing scored.
    pub reward: Option<f64>,
    /// Completions of one prompt.
    pub group: Option<u64>,
    /// Completions that are compared.
    pub pair: Option<u64>,
    /// Which of them this is.
    pub role: Option<Role>,
}

/// One number or one for each prediction.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Advantage {
    /// Of all tokens.
    One(f64),
    /// Of each.
    Each(Vec<f64>),
}

/// Which completion of a pair.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The better one.
    Chosen,
    /// The worse one.
    Rejected,
}

impl Sequence {
    /// Tokens that are predicted.
    pub fn predictions(&self) -> usize {
        self.completion.len() - self.prompt.is_empty() as usize
    }

    /// 1.0 where the token counts.
    pub fn weights(&self) -> Vec<f64> {
        match &self.mask {
            Some(mask) => mask.iter().map(|&m| m as f64).collect(),
            None => vec![1.0; self.predictions()],
        }
    }

    /// Errors: no tokens, an id outside the vocabulary, a list of the wrong length, a mask that is not 0 or 1.
    pub fn check(&self, file: &Path, i: usize, vocab: usize) -> Result<()> {
        if self.completion.is_empty() {
            return invalid(file, i, "completion", "at least one token", "none");
        }
        for (field, ids) in [("prompt", &self.prompt), ("completion", &self.completion)] {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
                let expected = format!("ids below the vocabulary of {vocab}");
                return invalid(file, i, field, &expected, &id.to_string());
            }
        }
        let each = match &self.advantage {
            Some(Advantage::Each(each)) => Some(each),
            _ => None,
        };
        let lists = [
            ("mask", self.mask.as_ref().map(Vec::len)),
            ("old_logps", self.old_logps.as_ref().map(Vec::len)),
            ("ref_logps", self.ref_logps.as_ref().map(Vec::len)),
            ("sampler_logps", self.sampler_logps.as_ref().map(Vec::len)),
            ("advantage", each.map(Vec::len)),
            ("old_values", self.old_values.as_ref().map(Vec::len)),
            ("returns", self.returns.as_ref().map(Vec::len)),
        ];
        let n = self.predictions();
        for (field, len) in lists {
            if let Some(len) = len.filter(|&len| len != n) {
                return invalid(file, i, field, &format!("{n} numbers"), &len.to_string());
            }
        }
        if let Some(m) = self.mask.iter().flatten().find(|&&m| m > 1) {
            return invalid(file, i, "mask", "0 or 1", &m.to_string());
        }
        Ok(())
    }
}

/// Errors: a field that the objective needs is missing, or one that excludes another is there.
pub fn check_for(file: &Path, objective: &Objective, sequences: &[Sequence], value_head: bool) -> Result<()> {
    let reference = match objective {
        Objective::Dpo(_) => Some("dpo"),
        Objective::Grpo(p, _) if p.beta != 0.0 => Some("beta"),
        Objective::Rloo { beta, .. } if *beta != 0.0 && sequences.iter().all(|s| s.advantage.is_none()) => Some("beta"),
        _ => None,
    };
    let by_advantage = sequences.iter().all(|s| s.advantage.is_some());
    let with_returns = sequences.iter().any(|s| s.returns.is_some());
    for (i, s) in sequences.iter().enumerate() {
        if let (Some(why), None) = (reference, &s.ref_logps) {
            return invalid(file, i, "ref_logps", &format!("a list, which {why} needs"), "none");
        }
        match objective {
            Objective::Logprobs | Objective::Sft(_) | Objective::Fisher => {}
            Objective::Dpo(_) => {
                if s.pair.is_none() || s.role.is_none() {
                    return invalid(file, i, "pair", "a pair and a role, which dpo needs", "none");
                }
            }
            Objective::Ppo(_) => {
                if s.advantage.is_none() {
                    return invalid(file, i, "advantage", "a number or a list, which ppo needs", "none");
                }
                if with_returns && (s.returns.is_none() || !value_head) {
                    let expected = "in all sequences or in none, and with value_head";
                    return invalid(file, i, "returns", expected, "one that is not");
                }
            }
            Objective::Grpo(..) | Objective::Rloo { .. } | Objective::Trpo => {
                if by_advantage && s.reward.is_some() {
                    return invalid(file, i, "reward", "no reward beside an advantage", "both");
                }
                if !by_advantage && (s.advantage.is_some() || s.group.is_none()) {
                    let expected = "an advantage in every sequence, or a reward and a group in every sequence";
                    return invalid(file, i, "group", expected, "neither or both");
                }
            }
        }
        if let (Objective::Rloo { .. }, Some(Advantage::Each(_))) = (objective, &s.advantage) {
            return invalid(
                file,
                i,
                "advantage",
                "one number: rloo's action is the completion",
                "a list",
            );
        }
    }
    if let Objective::Dpo(_) = objective {
        pairs(file, sequences)?;
    }
    Ok(())
}

/// Chosen and rejected sequence of each pair, in the order in which pairs first appear. Errors: a pair that is not two.
pub fn pairs(file: &Path, sequences: &[Sequence]) -> Result<Vec<[usize; 2]>> {
    let mut found: BTreeMap<u64, [Option<usize>; 2]> = BTreeMap::new();
    let mut order = Vec::new();
    for (i, s) in sequences.iter().enumerate() {
        let (Some(pair), Some(role)) = (s.pair, s.role) else {
            continue;
        };
        let sides = found.entry(pair).or_insert_with(|| {
            order.push(pair);
            [None; 2]
        });
        let side = &mut sides[(role == Role::Rejected) as usize];
        if side.is_some() {
            return invalid(
                file,
                i,
                "role",
                "one chosen and one rejected in each pair",
                "a second one",
            );
        }
        *side = Some(i);
    }
    let whole = order.iter().map(|pair| match found[pair] {
        [Some(chosen), Some(rejected)] => Ok([chosen, rejected]),
        [Some(i), None] | [None, Some(i)] => invalid(
            file,
            i,
            "pair",
            "a chosen and a rejected completion of the pair",
            "one alone",
        ),
        [None, None] => invalid(file, 0, "pair", "a pair", "none"),
    });
    whole.collect()
}

fn invalid<T>(file: &Path, i: usize, field: &str, expected: &str, found: &str) -> Result<T> {
    Err(Error::invalid(file, format!("sequences[{i}].{field}"), expected, found))
}
