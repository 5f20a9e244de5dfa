//! What is done to an answer: texts replaced, patterns replaced, a command asked.
use std::time::Duration;

use anyhow::{Result, anyhow};
use regex::Regex;
use serde_json::{Value, json};

use crate::process::{Fault, Lines};

/// A change of a text.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Every `from` becomes `to`, in the case as written.
    Replace {
        /// At least one character.
        from: String,
        /// May be empty.
        to: String,
    },
    /// Every match becomes `to`, in which `$1` is the first group.
    Pattern {
        /// In the syntax of the crate `regex`.
        pattern: Regex,
        /// May be empty.
        to: String,
    },
}

impl Rule {
    /// `FROM=TO`, parted at the first `=`. Errors: no `=`, nothing before it.
    pub fn replace(text: &str) -> Result<Self> {
        let (from, to) = parts(text, text.find('='), "FROM=TO")?;
        Ok(Self::Replace {
            from: from.into(),
            to: to.into(),
        })
    }

    /// `PATTERN=TO`, parted at the last `=`. Errors: no `=`, nothing before it, no regular expression.
    pub fn pattern(text: &str) -> Result<Self> {
        let (from, to) = parts(text, text.rfind('='), "PATTERN=TO")?;
        let pattern = Regex::new(from).map_err(|e| {
            let why = e.to_string();
            let last = why.lines().last().unwrap_or_default();
            anyhow!("expected a regular expression, found {from:?} ({last})")
        })?;
        Ok(Self::Pattern { pattern, to: to.into() })
    }

    /// The changed text.
    pub fn apply(&self, text: &str) -> String {
        match self {
            Self::Replace { from, to } => text.replace(from.as_str(), to),
            Self::Pattern { pattern, to } => pattern.replace_all(text, to.as_str()).into_owned(),
        }
    }
}

fn parts<'a>(text: &'a str, at: Option<usize>, form: &str) -> Result<(&'a str, &'a str)> {
    match at {
        Some(at) if at > 0 => Ok((&text[..at], &text[at + 1..])),
        _ => Err(anyhow!("expected {form}, found {text:?}")),
    }
}

/// All that rewrites an answer: rules in their order, then a process of the user's. That reads
/// `{"prompt": …, "answer": "…"}`, a line for each answer, and writes a line for each: the new text as a JSON string, or
/// null to leave the pair out.
pub struct Rewriting {
    rules: Vec<Rule>,
    command: Option<Lines>,
}

impl Rewriting {
    /// `command` is a program with its arguments; it may take `timeout` for an answer, and is asked again once when it fails.
    pub fn new(rules: Vec<Rule>, command: Option<Vec<String>>, timeout: Duration) -> Self {
        Self {
            rules,
            command: command.map(|words| Lines::new(words, timeout, 1)),
        }
    }

    /// The new text, or `None` to leave the pair out. Errors: the command's.
    pub fn rewrite(&mut self, prompt: &Value, answer: &str) -> Result<Option<String>> {
        let text = self
            .rules
            .iter()
            .fold(answer.to_owned(), |text, rule| rule.apply(&text));
        let Some(command) = &mut self.command else {
            return Ok(Some(text));
        };
        let question = json!({ "prompt": prompt, "answer": text }).to_string() + "\n";
        command.ask("rewriting", &question, |line| {
            serde_json::from_str::<Option<String>>(line).map_err(|_| {
                let found = format!("the line {:?}", crate::reward::first(line, 200));
                Fault::new("one line, a JSON string or null", found)
            })
        })
    }

    /// What the user should know of the command's faults, once.
    pub fn notes(&mut self) -> Vec<String> {
        self.command.as_mut().map_or(Vec::new(), Lines::notes)
    }
}
