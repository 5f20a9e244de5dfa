//! Rewards for the form of an answer.
use regex::Regex;
use serde::Deserialize;

use super::Reward;
use super::config::BadKey;
use super::each::Each;

#[cfg(test)]
mod tests;

/// `think_format`, TRL's `think_format_reward`: 1 where the completion begins with `<think>`, has no second one and has a
/// `</think>` behind it; else 0. That is all that its pattern `^<think>(?!.*<think>)(.*?)</think>.*$` asks of a text.
pub(super) fn think(name: String) -> impl Reward {
    Each::new(name, &[], |sample| {
        let rest = sample.completion.strip_prefix("<think>");
        let formed = rest.is_some_and(|rest| !rest.contains("<think>") && rest.contains("</think>"));
        Some(f64::from(formed))
    })
}

/// `regex`: one value where the pattern matches the completion, another where it does not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The regular expression; `(?s)` lets a dot match a newline, `(?i)` overlooks case. No look-around.
    pub pattern: String,
    /// Where it must match. Default `search`.
    #[serde(default)]
    pub mode: Mode,
    /// The reward of a match. Default 1.
    #[serde(default = "one")]
    pub value: f64,
    /// The reward of none. Default 0.
    #[serde(default)]
    pub otherwise: f64,
}

fn one() -> f64 {
    1.0
}

/// Where a pattern must match, named after Python's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Anywhere.
    #[default]
    Search,
    /// From the beginning.
    Match,
    /// All of the completion.
    Full,
}

impl Pattern {
    pub(super) fn open(&self, key: &str, name: String) -> Result<impl Reward + use<>, BadKey> {
        // Compiled alone first, so that an error shows the pattern as it was written.
        compile(key, &self.pattern)?;
        let anchored = match self.mode {
            Mode::Search => self.pattern.clone(),
            Mode::Match => format!(r"\A(?:{})", self.pattern),
            Mode::Full => format!(r"\A(?:{})\z", self.pattern),
        };
        let pattern = compile(key, &anchored)?;
        let (value, otherwise) = (self.value, self.otherwise);
        Ok(Each::new(name, &[], move |sample| {
            Some(if pattern.is_match(sample.completion) {
                value
            } else {
                otherwise
            })
        }))
    }
}

/// A user's pattern.
pub(super) fn compile(key: &str, pattern: &str) -> Result<Regex, BadKey> {
    Regex::new(pattern).map_err(|error| {
        let found = format!("{pattern:?}: {}", error.to_string().lines().last().unwrap_or_default());
        BadKey::new(format!("{key}.pattern"), "a regular expression", found)
    })
}
