//! `command`: a process of the user's that speaks JSON lines on standard input and output.
//!
//! One line goes in for a batch, one line comes out, the rewards in the order of the samples:
//!
//! ```text
//! {"samples": [{"prompt": "…", "messages": [...] or null, "completion": "…", "completion_ids": [...],
//!               "finished": "stop" or "length", "columns": {...}}, ...]}
//! [1.0, null, 0.5]
//! ```
//!
//! It is started at the first batch and lives as long as the run. When it crashes, is silent for too long or answers anything
//! else, it is started again and the same batch is asked again, a bounded number of times; then it is an error.
use std::time::Duration;

use anyhow::Result;
use model_qwen2::generate::Finish;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::BadKey;
use super::rewards::first;
use super::{Reward, Sample};
use crate::process::{Fault, Lines};

#[cfg(test)]
mod tests;

/// The keys of `command`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and its arguments: a list, or one text that is split at white space. No shell.
    pub command: Words,
    /// Seconds that a batch may take. Default 60.
    #[serde(default = "sixty")]
    pub timeout: f64,
    /// How many times a batch is asked again. Default 1.
    #[serde(default = "once")]
    pub retries: u32,
}

fn sixty() -> f64 {
    60.0
}

fn once() -> u32 {
    1
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub enum Words {
    /// With white space between.
    Line(String),
    /// Word by word.
    List(Vec<String>),
}

impl Words {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::List(words) => words.clone(),
        }
    }
}

impl Process {
    pub(super) fn open(&self, key: &str, name: String) -> Result<Asked, BadKey> {
        let words = self.command.words();
        if words.first().is_none_or(String::is_empty) {
            return Err(BadKey::new(format!("{key}.command"), "a program", "nothing"));
        }
        if !(self.timeout > 0.0 && self.timeout <= 86_400.0) {
            let key = format!("{key}.timeout");
            let expected = "a number of seconds above 0, at most a day";
            return Err(BadKey::new(key, expected, self.timeout.to_string()));
        }
        Ok(Asked {
            name,
            lines: Lines::new(words, Duration::from_secs_f64(self.timeout), self.retries),
        })
    }
}

/// The reward that asks the process.
pub(super) struct Asked {
    name: String,
    lines: Lines,
}

/// A batch as the process reads it.
#[derive(Serialize)]
struct Question<'a> {
    samples: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    prompt: &'a str,
    messages: Option<&'a [Value]>,
    completion: &'a str,
    completion_ids: &'a [u32],
    finished: &'static str,
    columns: &'a Map<String, Value>,
}

impl<'a> From<&Sample<'a>> for Line<'a> {
    fn from(s: &Sample<'a>) -> Self {
        Self {
            prompt: s.prompt,
            messages: s.messages,
            completion: s.completion,
            completion_ids: s.completion_ids,
            finished: match s.finished {
                Finish::Stop => "stop",
                Finish::Length => "length",
            },
            columns: s.columns,
        }
    }
}

impl Reward for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, samples: &[Sample<'_>]) -> Result<Vec<Option<f64>>> {
        let question = Question {
            samples: samples.iter().map(Line::from).collect(),
        };
        let question = serde_json::to_string(&question)? + "\n";
        let who = format!("reward {}", self.name);
        self.lines.ask(&who, &question, |answer| read(answer, samples.len()))
    }

    fn notes(&mut self) -> Vec<String> {
        self.lines.notes()
    }
}

/// The numbers of an answer.
fn read(answer: &str, samples: usize) -> Result<Vec<Option<f64>>, Fault> {
    let expected = || format!("one line, a JSON list of {samples} numbers or null");
    let line = || first(answer, 200);
    let values: Vec<Value> =
        serde_json::from_str(answer).map_err(|_| Fault::new(expected(), format!("the line {:?}", line())))?;
    if values.len() != samples {
        return Err(Fault::new(expected(), format!("{} of them: {}", values.len(), line())));
    }
    let number = |(i, value): (usize, &Value)| match value {
        Value::Null => Ok(None),
        Value::Number(n) => n.as_f64().filter(|x| x.is_finite()).map(Some).ok_or(i),
        _ => Err(i),
    };
    let numbers: Result<Vec<_>, usize> = values.iter().enumerate().map(number).collect();
    numbers.map_err(|i| {
        Fault::new(
            expected(),
            format!("{} for sample {i}", first(&values[i].to_string(), 200)),
        )
    })
}
