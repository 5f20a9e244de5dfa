//! The answer within a text, and whether two answers are the same.
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::Sample;
use super::number::{Number, closing, plain, regex};

#[cfg(test)]
mod tests;

/// What stands in the last `\boxed{…}` that is closed; braces nest.
pub(super) fn last_boxed(text: &str) -> Option<&str> {
    text.rmatch_indices("\\boxed").find_map(|(at, word)| {
        let inside = text[at + word.len()..].trim_start().strip_prefix('{')?;
        closing(inside).map(|end| &inside[..end])
    })
}

/// What the first match of `\boxed{(.*?)}` takes: up to the first closing brace, within one line.
pub(super) fn first_boxed(text: &str) -> Option<&str> {
    static BOXED: LazyLock<Regex> = LazyLock::new(|| regex(r"\\boxed\{(.*?)\}"));
    BOXED.captures(text).and_then(|c| c.get(1)).map(|m| m.as_str())
}

/// The last formula: `$…$`, `\(…\)` or `\[…\]`.
pub(super) fn last_formula(text: &str) -> Option<&str> {
    static FORMULA: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?s)\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]"));
    let found = FORMULA.captures_iter(text).last()?;
    (1..5).find_map(|i| found.get(i)).map(|m| m.as_str())
}

/// Whether two answers are the same: as numbers where both are, else as texts but for LaTeX's dress, white space and case.
pub(super) fn same(a: &str, b: &str, tolerance: f64) -> bool {
    match (Number::parse(a), Number::parse(b)) {
        (Some(a), Some(b)) => a.same(b, tolerance),
        _ => bare(a) == bare(b),
    }
}

fn bare(text: &str) -> String {
    let text = plain(text);
    let text = text.trim_end_matches('.');
    text.chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The truth that a row holds, as text; `None` where it is null or not there.
pub(super) fn truth(sample: &Sample<'_>, column: &str) -> Option<String> {
    match sample.columns.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
