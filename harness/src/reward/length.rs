//! Rewards for the length of a completion and for not repeating itself. Lengths are tokens, with the one that ends it.
use std::collections::HashSet;

use serde::Deserialize;

use super::config::BadKey;
use super::each::Each;
use super::{Reward, Setup};

#[cfg(test)]
mod tests;

/// `length`: `-n / max`; with a target, `-|n - target| / max`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Length {
    /// Tokens that are best. Default: none, the fewer the better.
    pub target: Option<u32>,
    /// Tokens that cost 1. Default: the run's longest completion.
    pub max: Option<u32>,
}

impl Length {
    pub(super) fn open(&self, key: &str, name: String, setup: &Setup) -> Result<impl Reward + use<>, BadKey> {
        let max = self.max.map_or(setup.max_completion_length, |n| n as usize);
        if max == 0 {
            return Err(BadKey::new(format!("{key}.max"), "a number of tokens above 0", "0"));
        }
        let target = self.target.unwrap_or(0) as usize;
        Ok(Each::new(name, &[], move |sample| {
            // Not -0.
            Some(0.0 - sample.completion_ids.len().abs_diff(target) as f64 / max as f64)
        }))
    }
}

/// `soft_overlong_punishment`, TRL's `get_soft_overlong_punishment` (DAPO, arXiv 2503.14476, equation 13), with n tokens:
///
/// ```text
/// 0                        n <= max - cache
/// (max - cache - n)/cache  max - cache < n <= max
/// -1                       max < n
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftOverlong {
    /// Tokens at which the punishment is whole. Default: the run's longest completion.
    pub max_completion_len: Option<u32>,
    /// Tokens over which it grows. Default: a fifth of that, DAPO's share.
    pub soft_punish_cache: Option<u32>,
}

impl SoftOverlong {
    pub(super) fn open(&self, key: &str, name: String, setup: &Setup) -> Result<impl Reward + use<>, BadKey> {
        let max = self
            .max_completion_len
            .map_or(setup.max_completion_length, |n| n as usize);
        let cache = self.soft_punish_cache.map_or(max / 5, |n| n as usize);
        if cache > max {
            return Err(BadKey::new(
                format!("{key}.soft_punish_cache"),
                format!("at most max_completion_len, {max}"),
                cache.to_string(),
            ));
        }
        let free = max - cache;
        Ok(Each::new(name, &[], move |sample| {
            let n = sample.completion_ids.len();
            Some(match n {
                _ if n <= free => 0.0,
                _ if n <= max => (free as f64 - n as f64) / cache as f64,
                _ => -1.0,
            })
        }))
    }
}

/// `repetition_penalty`, TRL's `get_repetition_penalty_reward` (arXiv 2502.03373, appendix C.2):
/// `max_penalty (1 - unique n-grams / n-grams)` over the tokens, 0 for fewer than n.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repetition {
    /// Tokens in an n-gram. Default 3.
    pub ngram_size: u32,
    /// The penalty of nothing but repetition, at most 0. Default -1.
    pub max_penalty: f64,
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            ngram_size: 3,
            max_penalty: -1.0,
        }
    }
}

impl Repetition {
    pub(super) fn open(&self, key: &str, name: String) -> Result<impl Reward + use<>, BadKey> {
        let (n, penalty) = (self.ngram_size as usize, self.max_penalty);
        if n == 0 {
            return Err(BadKey::new(
                format!("{key}.ngram_size"),
                "a number of tokens above 0",
                "0",
            ));
        }
        if !(penalty <= 0.0 && penalty.is_finite()) {
            let key = format!("{key}.max_penalty");
            return Err(BadKey::new(key, "a number of at most 0", penalty.to_string()));
        }
        Ok(Each::new(name, &[], move |sample| {
            let all = sample.completion_ids.windows(n);
            let count = all.len();
            let unique = all.collect::<HashSet<_>>().len();
            Some(if unique == count {
                0.0
            } else {
                (1.0 - unique as f64 / count as f64) * penalty
            })
        }))
    }
}
