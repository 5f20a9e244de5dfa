//! Prompt templates: `Answer in {num} words: {query}`; `{{` and `}}` are braces.
use super::expression::{Expression, check};
use super::row::{Fault, Row};

#[cfg(test)]
mod tests;

/// A parsed template.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Value(Expression),
}

impl Template {
    /// Parses `source` and checks its columns against the table's. What stands in braces is a column by its name, whatever
    /// characters that has, or an expression when it has a bracket.
    pub fn parse(source: &str, columns: &[String]) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let open = || {
                Fault::new(
                    "{column} with both braces ({{ and }} are the braces themselves)",
                    format!("a lone {brace} before {:?}", start(rest)),
                )
            };
            if brace == "}" {
                return Err(open());
            }
            let end = closing(rest).ok_or_else(open)?;
            let name = rest[..end].trim();
            let expression = if name.contains('(') && !columns.iter().any(|c| c == name) {
                Expression::parse(name)?
            } else {
                Expression::Column(name.to_owned())
            };
            check(&expression, columns)?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Value(expression));
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    /// The text for one row.
    pub fn render(&self, row: &Row) -> Result<String, Fault> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(expression) => out.push_str(&expression.text(row)?),
            }
        }
        Ok(out)
    }
}

/// Where the closing brace is, quoted text skipped.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return Some(i),
            (None, '\'' | '"') if text[..i].contains('(') => quote = Some(c),
            (Some(q), _) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

fn start(text: &str) -> String {
    text.chars().take(20).collect()
}
