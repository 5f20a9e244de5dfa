//! What `reward_funcs` and `reward_weights` may say.
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::accuracy::{Accuracy, Boxed, Cosine, Exact, Numeric, Reasoning};
use super::command::Process;
use super::format::Pattern;
use super::length::{Length, Repetition, SoftOverlong};
use super::model::Scorer;
use crate::data::one_of;

#[cfg(test)]
mod tests;

/// One reward function. In TOML its name, with the defaults, or a table:
///
/// ```toml
/// reward_funcs = ["boxed", { type = "regex", pattern = "<answer>.*</answer>", weight = 0.2 }]
/// ```
///
/// As a flag: `--reward_funcs boxed,think_format`. A folder is a reward model.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardConfig {
    /// What metrics and tables call it. Key `name`; default: the type as it was written, for a model its folder's name.
    pub name: String,
    /// Factor in the sum. Key `weight`; default 1.
    pub weight: Option<f64>,
    /// What it does.
    pub kind: Kind,
}

/// The types of reward functions with their own keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The boxed answer is the truth.
    Boxed(Boxed),
    /// The whole answer is the truth, as text.
    Exact(Exact),
    /// The last number of the answer is the truth.
    Numeric(Numeric),
    /// TRL's accuracy, for answers that are numbers.
    Accuracy(Accuracy),
    /// The same of what follows the reasoning.
    Reasoning(Reasoning),
    /// Accuracy scaled by length.
    Cosine(Cosine),
    /// Reasoning within tags.
    ThinkFormat,
    /// A regular expression.
    Regex(Pattern),
    /// Shorter, or nearer to a length, is better.
    Length(Length),
    /// DAPO's punishment of what is nearly cut.
    SoftOverlong(SoftOverlong),
    /// Repeated n-grams.
    Repetition(Repetition),
    /// A reward model.
    Model(Scorer),
    /// A process of the user's.
    Command(Process),
}

/// The types' names. TRL's own names are known too: with `_reward` at the end, with `get_` before.
pub const KINDS: [&str; 13] = [
    "boxed",
    "exact",
    "numeric",
    "accuracy",
    "reasoning_accuracy",
    "cosine_scaled",
    "think_format",
    "regex",
    "length",
    "soft_overlong_punishment",
    "repetition_penalty",
    "model",
    "command",
];

/// A key that is not what it should be; [`crate::config::Config::invalid`] names its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// Dotted: `reward_funcs`, `reward_funcs[1].pattern`.
    pub key: String,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl BadKey {
    pub(super) fn new(key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.key, self.expected, self.found)
    }
}

impl std::error::Error for BadKey {}

impl RewardConfig {
    /// The functions that `value` lists: an array of names and tables, one of them, or names with commas between.
    /// Errors name `key`.
    pub fn list(key: &str, value: &Value) -> Result<Vec<Self>, BadKey> {
        let words: Vec<Value>;
        let items = match value {
            Value::Array(items) => items,
            Value::String(names) => {
                let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
                words = names.map(Value::from).collect();
                &words
            }
            one => std::slice::from_ref(one),
        };
        if items.is_empty() {
            return Err(BadKey::new(key, "at least one reward function", "none"));
        }
        let items = items.iter().enumerate();
        items
            .map(|(i, item)| match item {
                // Words of a flag may have commas in them too.
                Value::String(names) if names.contains(',') => Self::list(key, item),
                one => Self::from_toml(&format!("{key}[{i}]"), one).map(|one| vec![one]),
            })
            .collect::<Result<Vec<_>, _>>()
            .map(|lists| lists.concat())
    }

    /// The weights that `value` lists: an array of numbers, one number, or numbers with commas between. Errors name `key`.
    pub fn weights(key: &str, value: &Value) -> Result<Vec<f64>, BadKey> {
        let bad = || BadKey::new(key, "a list of numbers", value.to_string());
        let number = |value: &Value| match value {
            Value::Float(x) if x.is_finite() => Some(vec![*x]),
            Value::Integer(x) => Some(vec![*x as f64]),
            Value::String(text) => text
                .split(',')
                .map(|word| word.trim().parse().ok().filter(|x: &f64| x.is_finite()))
                .collect(),
            _ => None,
        };
        match value {
            Value::Array(items) => items.iter().map(number).collect::<Option<Vec<_>>>().map(|l| l.concat()),
            one => number(one),
        }
        .ok_or_else(bad)
    }

    /// One function. Errors name `key` and what is in it.
    pub fn from_toml(key: &str, value: &Value) -> Result<Self, BadKey> {
        match value {
            Value::String(name) => Self::build(key, name, toml::Table::new()),
            Value::Table(table) => {
                let mut table = table.clone();
                match table.remove("type") {
                    Some(Value::String(name)) => Self::build(key, &name, table),
                    Some(other) => Err(BadKey::new(format!("{key}.type"), "a string", other.to_string())),
                    None => Err(BadKey::new(
                        format!("{key}.type"),
                        format!("one of {}", KINDS.join(", ")),
                        "nothing",
                    )),
                }
            }
            other => Err(BadKey::new(
                key,
                "the name of a reward function or a table with type",
                other.to_string(),
            )),
        }
    }

    fn build(key: &str, written: &str, mut table: toml::Table) -> Result<Self, BadKey> {
        let weight = match table.remove("weight") {
            None => None,
            Some(value) => match Self::weights(&format!("{key}.weight"), &value)?.as_slice() {
                [one] => Some(*one),
                _ => {
                    return Err(BadKey::new(format!("{key}.weight"), "one number", value.to_string()));
                }
            },
        };
        let name = match table.remove("name") {
            None => None,
            Some(Value::String(name)) if !name.trim().is_empty() => Some(name),
            Some(other) => {
                return Err(BadKey::new(format!("{key}.name"), "a name", other.to_string()));
            }
        };
        let plain = written.strip_prefix("get_").unwrap_or(written);
        let plain = plain.strip_suffix("_reward").unwrap_or(plain);
        let kind = match plain {
            "boxed" => Kind::Boxed(keys(key, table)?),
            "exact" => Kind::Exact(keys(key, table)?),
            "numeric" => Kind::Numeric(keys(key, table)?),
            "accuracy" => Kind::Accuracy(keys(key, table)?),
            "reasoning_accuracy" => Kind::Reasoning(keys(key, table)?),
            "cosine_scaled" => Kind::Cosine(keys(key, table)?),
            "think_format" => keys::<None>(key, table).map(|_| Kind::ThinkFormat)?,
            "regex" => Kind::Regex(keys(key, table)?),
            "length" => Kind::Length(keys(key, table)?),
            "soft_overlong_punishment" => Kind::SoftOverlong(keys(key, table)?),
            "repetition_penalty" => Kind::Repetition(keys(key, table)?),
            "model" => Kind::Model(keys(key, table)?),
            "command" => Kind::Command(keys(key, table)?),
            // As in TRL, the name of a model is a reward model.
            _ if Path::new(written).is_dir() => Kind::Model(Scorer::new(written)),
            _ => return Err(BadKey::new(key, one_of(plain, &KINDS), format!("{written:?}"))),
        };
        let name = name.unwrap_or_else(|| match &kind {
            Kind::Model(model) => model.name(),
            _ => written.to_owned(),
        });
        Ok(Self { name, weight, kind })
    }
}

/// A type without keys of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct None {}

/// A type's own keys.
fn keys<T: DeserializeOwned>(key: &str, table: toml::Table) -> Result<T, BadKey> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        // "unknown field `patern`, expected one of `pattern`, …", then on its own line "in `pattern`".
        let text = error.to_string();
        let inside = text
            .lines()
            .find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
        let place = inside.map_or(key.to_owned(), |inside| format!("{key}.{inside}"));
        let message = error.message().trim();
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        match (message.starts_with("unknown field"), names.split_first()) {
            (true, Some((field, known))) => {
                let known = [known, &["type", "name", "weight"]].concat();
                BadKey::new(
                    format!("{place}.{field}"),
                    one_of(field, &known),
                    format!("the unknown key {field}"),
                )
            }
            _ => BadKey::new(place, "a value of the right type", message),
        }
    })
}

impl<'de> Deserialize<'de> for RewardConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_toml("reward_funcs", &value).map_err(serde::de::Error::custom)
    }
}
