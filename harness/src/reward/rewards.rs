//! The functions with their weights, and the sum.
use anyhow::{Result, bail, ensure};

use super::config::{BadKey, RewardConfig};
use super::{Kind, Reward, Sample};
use crate::data::one_of;

#[cfg(test)]
mod tests;

/// What reward functions need to know of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Tokens in a completion, at most: the default length of those functions that have one.
    pub max_completion_length: usize,
    /// Threads of a reward model; all cores unless set.
    pub threads: Option<usize>,
}

/// Reward functions and their weights.
pub struct Rewards {
    functions: Vec<(Box<dyn Reward>, f64)>,
    names: Vec<String>,
}

/// What the functions gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// For each function, in the order of [`Rewards::names`], one number for each sample.
    pub by_function: Vec<Vec<Option<f64>>>,
    /// For each sample sum of weight times reward over the functions that scored it; `None` where none did.
    pub total: Vec<Option<f64>>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Rewards {
    /// Makes the functions. `weights` is `reward_weights`: one for each function, in their order.
    /// Errors: numbers that do not fit, a pattern that does not parse, a reward model that is missing or broken.
    pub fn open(configs: &[RewardConfig], weights: Option<&[f64]>, setup: &Setup) -> Result<Self> {
        if let Some(weights) = weights {
            if weights.len() != configs.len() {
                let expected = format!("{} numbers, one for each of reward_funcs", configs.len());
                return Err(BadKey::new("reward_weights", expected, weights.len().to_string()).into());
            }
            if let Some(i) = configs.iter().position(|config| config.weight.is_some()) {
                let key = format!("reward_funcs[{i}].weight");
                return Err(BadKey::new(key, "either it or reward_weights", "both").into());
            }
        }
        let mut functions = Vec::new();
        for (i, config) in configs.iter().enumerate() {
            let weight = weights.map(|weights| weights[i]).or(config.weight).unwrap_or(1.0);
            ensure!(
                weight.is_finite(),
                "reward_weights: expected a finite number, found {weight}"
            );
            functions.push((open(&format!("reward_funcs[{i}]"), config, setup)?, weight));
        }
        Ok(Self::new(functions))
    }

    /// These functions with these weights.
    pub fn new(functions: Vec<(Box<dyn Reward>, f64)>) -> Self {
        let mut names: Vec<String> = Vec::new();
        for (function, _) in &functions {
            let name = function.name();
            let same = |name: &str| names.iter().any(|n| n == name);
            let free = (2..).map(|i| format!("{name}_{i}")).find(|name| !same(name));
            let name = if same(name) { free } else { Some(name.to_owned()) };
            names.extend(name);
        }
        Self { functions, names }
    }

    /// What metrics and tables call the functions: no two alike, a number is put behind the second of a name.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The functions' weights.
    pub fn weights(&self) -> Vec<f64> {
        self.functions.iter().map(|(_, weight)| *weight).collect()
    }

    /// Checks that the dataset has every column that a function reads. Errors: the first that is missing.
    pub fn check_columns<S: AsRef<str>>(&self, available: &[S]) -> Result<(), BadKey> {
        for ((function, _), name) in self.functions.iter().zip(&self.names) {
            for column in function.columns() {
                if !available.iter().any(|a| a.as_ref() == column) {
                    let expected = match available {
                        [] => format!("a dataset with the column {column:?}, which {name} reads"),
                        _ => format!("a column of the dataset, {}", one_of(column, available)),
                    };
                    let found = format!("{column:?}, which {name} reads");
                    return Err(BadKey::new("reward_funcs", expected, found));
                }
            }
        }
        Ok(())
    }

    /// Sum of weight times reward over the functions that gave one; `None` where none did.
    pub fn total(&self, rewards: &[Option<f64>]) -> Option<f64> {
        let weights = self.functions.iter().map(|(_, weight)| weight);
        let products = weights.zip(rewards).filter_map(|(w, r)| r.map(|r| w * r));
        products.reduce(|a, b| a + b)
    }

    /// Scores `samples`. Errors: a function's own; a number that is not finite, or not one for each sample, with the
    /// function and the sample.
    pub fn score(&mut self, samples: &[Sample<'_>]) -> Result<Scored> {
        let mut scored = Scored::default();
        for ((function, _), name) in self.functions.iter_mut().zip(&self.names) {
            let values = match samples {
                [] => Vec::new(),
                _ => function.score(samples)?,
            };
            scored.notes.extend(function.notes());
            ensure!(
                values.len() == samples.len(),
                "reward {name}: expected {} numbers, one for each sample, found {}",
                samples.len(),
                values.len()
            );
            for (i, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                if !value.is_finite() {
                    bail!(
                        "reward {name}: expected a finite number or null for sample {i} of {}, found {value} (completion {:?})",
                        samples.len(),
                        first(samples[i].completion, 80)
                    );
                }
            }
            scored.by_function.push(values);
        }
        for i in 0..samples.len() {
            let rewards: Vec<Option<f64>> = scored.by_function.iter().map(|f| f[i]).collect();
            scored.total.push(self.total(&rewards));
        }
        Ok(scored)
    }
}

/// The first characters of a text, for messages.
pub(crate) fn first(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// One function, from its configuration.
fn open(key: &str, config: &RewardConfig, setup: &Setup) -> Result<Box<dyn Reward>> {
    let name = config.name.clone();
    Ok(match &config.kind {
        Kind::Boxed(keys) => Box::new(keys.open(name)),
        Kind::Exact(keys) => Box::new(keys.open(key, name)?),
        Kind::Numeric(keys) => Box::new(keys.open(key, name)?),
        Kind::Accuracy(keys) => Box::new(keys.open(name)),
        Kind::Reasoning(keys) => Box::new(keys.open(name)),
        Kind::Cosine(keys) => Box::new(keys.open(key, name, setup)?),
        Kind::ThinkFormat => Box::new(super::format::think(name)),
        Kind::Regex(keys) => Box::new(keys.open(key, name)?),
        Kind::Length(keys) => Box::new(keys.open(key, name, setup)?),
        Kind::SoftOverlong(keys) => Box::new(keys.open(key, name, setup)?),
        Kind::Repetition(keys) => Box::new(keys.open(key, name)?),
        Kind::Model(keys) => Box::new(keys.open(name, setup)?),
        Kind::Command(keys) => Box::new(keys.open(key, name)?),
    })
}
