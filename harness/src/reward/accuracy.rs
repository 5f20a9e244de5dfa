//! Rewards for the right answer. A row whose truth is null is left out of them.
use std::f64::consts::PI;

use regex::Regex;
use serde::Deserialize;

use super::answer::{first_boxed, last_boxed, last_formula, same, truth};
use super::config::BadKey;
use super::each::Each;
use super::format::compile;
use super::number::Number;
use super::{Reward, Sample, Setup};

#[cfg(test)]
mod tests;

/// `boxed`: 1 where what stands in `\boxed{…}` is the truth, else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Boxed {
    /// The column of the truth. Default `answer`.
    pub column: String,
    /// How the two are compared. Default `numeric`.
    pub mode: BoxedMode,
    /// How far two numbers may be apart, `numeric` alone. Default 0.
    pub tolerance: f64,
}

/// How a boxed answer is read and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxedMode {
    /// The last `\boxed{…}`, braces nested, as a number where it is one.
    #[default]
    Numeric,
    /// The first match of `\boxed{(.*?)}`, or the empty text, equal to the truth character by character: what the widely
    /// copied reward function of TRL's documentation does.
    Strict,
}

impl Default for Boxed {
    fn default() -> Self {
        Self {
            column: "answer".into(),
            mode: BoxedMode::Numeric,
            tolerance: 0.0,
        }
    }
}

impl Boxed {
    pub(super) fn open(&self, name: String) -> impl Reward + use<> {
        let keys = self.clone();
        Each::new(name, &[&self.column], move |sample| {
            let truth = truth(sample, &keys.column)?;
            let right = match keys.mode {
                BoxedMode::Numeric => {
                    last_boxed(sample.completion).is_some_and(|answer| same(answer, &truth, keys.tolerance))
                }
                BoxedMode::Strict => first_boxed(sample.completion).unwrap_or_default() == truth,
            };
            Some(f64::from(right))
        })
    }
}

/// `exact`: 1 where the answer is the truth as text, white space at both ends aside, else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exact {
    /// The column of the truth. Default `answer`.
    pub column: String,
    /// The answer is the first group of the last match of this regular expression. Default: all of the completion.
    pub pattern: Option<String>,
    /// Whether case is overlooked. Default false.
    pub ignore_case: bool,
}

impl Default for Exact {
    fn default() -> Self {
        Self {
            column: "answer".into(),
            pattern: None,
            ignore_case: false,
        }
    }
}

impl Exact {
    pub(super) fn open(&self, key: &str, name: String) -> Result<impl Reward + use<>, BadKey> {
        let keys = self.clone();
        let finder = Finder::new(key, self.pattern.as_deref())?;
        let fold = move |text: &str| match keys.ignore_case {
            true => text.trim().to_lowercase(),
            false => text.trim().to_owned(),
        };
        Ok(Each::new(name, &[&self.column], move |sample| {
            let truth = truth(sample, &keys.column)?;
            let answer = finder.find(sample.completion);
            Some(f64::from(answer.is_some_and(|answer| fold(answer) == fold(&truth))))
        }))
    }
}

/// `numeric`: 1 where the last number of the completion is the truth, else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Numeric {
    /// The column of the truth. Default `answer`.
    pub column: String,
    /// The answer is the first group of the last match of this regular expression. Default: the last number there is.
    pub pattern: Option<String>,
    /// How far the two may be apart. Default 0.
    pub tolerance: f64,
}

impl Default for Numeric {
    fn default() -> Self {
        Self {
            column: "answer".into(),
            pattern: None,
            tolerance: 0.0,
        }
    }
}

impl Numeric {
    pub(super) fn open(&self, key: &str, name: String) -> Result<impl Reward + use<>, BadKey> {
        let keys = self.clone();
        let finder = Finder::new(key, self.pattern.as_deref())?;
        Ok(Each::new(name, &[&self.column], move |sample| {
            let truth = truth(sample, &keys.column)?;
            let right = Number::parse(&truth).or_else(|| Number::last(&truth))?;
            let answer = match keys.pattern {
                Some(_) => finder.find(sample.completion).and_then(Number::parse),
                None => Number::last(sample.completion),
            };
            Some(f64::from(answer.is_some_and(|a| a.same(right, keys.tolerance))))
        }))
    }
}

/// `accuracy`: TRL's `accuracy_reward` for answers that are numbers. 1 where the last boxed answer, or without one the last
/// formula, is the truth, else 0; left out where the truth is no number. TRL's compares any formula with `math_verify`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accuracy {
    /// The column of the truth. Default `solution`.
    pub column: String,
}

impl Default for Accuracy {
    fn default() -> Self {
        Self {
            column: "solution".into(),
        }
    }
}

impl Accuracy {
    pub(super) fn open(&self, name: String) -> impl Reward + use<> {
        let column = self.column.clone();
        Each::new(name, &[&self.column], move |sample| {
            accurate(sample.completion, sample, &column).map(f64::from)
        })
    }
}

/// `reasoning_accuracy`: the same of what follows the last delimiter; 0 without one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reasoning {
    /// The column of the truth. Default `solution`.
    pub column: String,
    /// What ends the reasoning; the first of them that is there counts. Default `["</think>"]`.
    pub reasoning_delimiters: Vec<String>,
}

impl Default for Reasoning {
    fn default() -> Self {
        Self {
            column: "solution".into(),
            reasoning_delimiters: vec!["</think>".into()],
        }
    }
}

impl Reasoning {
    pub(super) fn open(&self, name: String) -> impl Reward + use<> {
        let keys = self.clone();
        Each::new(name, &[&self.column], move |sample| {
            let mut delimiters = keys.reasoning_delimiters.iter();
            match delimiters.find_map(|d| sample.completion.rsplit_once(d.as_str())) {
                Some((_, answer)) => accurate(answer, sample, &keys.column).map(f64::from),
                // Unfinished reasoning is wrong, whatever the truth.
                None => Some(0.0),
            }
        })
    }
}

/// `cosine_scaled`: accuracy scaled by length, TRL's `get_cosine_scaled_reward` (arXiv 2502.03373, appendix C.1):
///
/// ```text
/// min + (max - min) (1 + cos(pi min(n / max_len, 1))) / 2
/// ```
///
/// with min and max of a right answer, and for a wrong one the two exchanged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cosine {
    /// The column of the truth. Default `solution`.
    pub column: String,
    /// Tokens at the long end. Default: the run's longest completion.
    pub max_len: Option<u32>,
    /// A wrong answer at no length. Default -1.
    pub min_value_wrong: f64,
    /// A wrong answer at the long end. Default -0.5.
    pub max_value_wrong: f64,
    /// A right answer at the long end. Default 0.5.
    pub min_value_correct: f64,
    /// A right answer at no length. Default 1.
    pub max_value_correct: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self {
            column: "solution".into(),
            max_len: None,
            min_value_wrong: -1.0,
            max_value_wrong: -0.5,
            min_value_correct: 0.5,
            max_value_correct: 1.0,
        }
    }
}

impl Cosine {
    pub(super) fn open(&self, key: &str, name: String, setup: &Setup) -> Result<impl Reward + use<>, BadKey> {
        let keys = self.clone();
        let longest = keys.max_len.map_or(setup.max_completion_length, |n| n as usize);
        if longest == 0 {
            return Err(BadKey::new(format!("{key}.max_len"), "a number of tokens above 0", "0"));
        }
        Ok(Each::new(name, &[&self.column], move |sample| {
            let (min, max) = match accurate(sample.completion, sample, &keys.column)? {
                true => (keys.min_value_correct, keys.max_value_correct),
                false => (keys.max_value_wrong, keys.min_value_wrong),
            };
            let progress = (sample.completion_ids.len() as f64 / longest as f64).min(1.0);
            Some(min + 0.5 * (max - min) * (1.0 + (progress * PI).cos()))
        }))
    }
}

/// Whether `text` gives the truth; `None` where that is no number.
fn accurate(text: &str, sample: &Sample<'_>, column: &str) -> Option<bool> {
    let truth = truth(sample, column)?;
    let within = last_boxed(&truth).or_else(|| last_formula(&truth));
    let right = Number::parse(within.unwrap_or(&truth)).or_else(|| Number::last(&truth))?;
    let answer = last_boxed(text).or_else(|| last_formula(text)).and_then(Number::parse);
    Some(answer.is_some_and(|answer| answer.same(right, 0.0)))
}

/// What takes the answer out of a completion: the first group (or all) of a pattern's last match; without a pattern, everything.
struct Finder(Option<Regex>);

impl Finder {
    fn new(key: &str, pattern: Option<&str>) -> Result<Self, BadKey> {
        pattern.map(|pattern| compile(key, pattern)).transpose().map(Self)
    }

    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let Some(pattern) = &self.0 else {
            return Some(text);
        };
        let last = pattern.captures_iter(text).last()?;
        last.get(1).or(last.get(0)).map(|found| found.as_str())
    }
}
