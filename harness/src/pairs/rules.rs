//! What is done to an answer: texts replaced, patterns replaced, a command asked.
use anyhow::{Result, anyhow};
use regex::Regex;
use serde_json::Value;

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

/// What rewrites an answer, given its prompt: the new text, or `None` to leave the pair out.
pub type Rewriter<'a> = dyn FnMut(&Value, &str) -> Result<Option<String>> + 'a;
