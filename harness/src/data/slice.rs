//! Hugging Face's split syntax: `train`, `train[:1000]`, `test[10%:20%]`, `train[:-100]+validation`.
use super::row::Fault;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// One term of a split: a name and the part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// The split's name; empty for a bare `[:100]`, which means the default split.
    pub name: String,
    from: Option<i64>,
    to: Option<i64>,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Rows,
    Percent,
}

/// Parses the terms of `spec`, joined by `+`.
pub(super) fn parse(spec: &str) -> Result<Vec<Slice>, Fault> {
    spec.split('+')
        .map(|term| {
            let fault = || {
                Fault::new(
                    "a split such as train, train[:1000], train[10%:20%] or train+test[-100:]",
                    spec,
                )
            };
            slice(term.trim()).ok_or_else(fault)
        })
        .collect()
}

fn slice(term: &str) -> Option<Slice> {
    let (name, bounds) = match term.strip_suffix(']') {
        Some(rest) => rest.split_once('[').map(|(name, bounds)| (name, Some(bounds)))?,
        None => (term, None),
    };
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.chars().all(word) || (name.is_empty() && bounds.is_none()) {
        return None;
    }
    let (from, to) = match bounds {
        Some(bounds) => bounds.split_once(':')?,
        None => ("", ""),
    };
    let unit = if from.ends_with('%') || to.ends_with('%') {
        Unit::Percent
    } else {
        Unit::Rows
    };
    let number = |s: &str| -> Option<Option<i64>> {
        let digits = s.trim().trim_end_matches('%').replace('_', "");
        if digits.is_empty() {
            return s.trim().is_empty().then_some(None);
        }
        let n: i64 = digits.parse().ok()?;
        (unit == Unit::Rows || n.abs() <= 100).then_some(Some(n))
    };
    Some(Slice {
        name: name.to_owned(),
        from: number(from)?,
        to: number(to)?,
        unit,
    })
}

impl Slice {
    /// The rows meant, out of `n`: a negative bound counts from the end, one beyond the end stops there, percentages
    /// round to the closest row (ties to even), all as `datasets` does.
    pub fn range(&self, n: usize) -> Range<usize> {
        let bound = |value: Option<i64>, open: i64| {
            let n = n as i64;
            let value = match (value, self.unit) {
                (None, _) => open,
                (Some(v), Unit::Rows) => v,
                (Some(v), Unit::Percent) => (v as f64 * n as f64 / 100.0).round_ties_even() as i64,
            };
            (if value < 0 { (n + value).max(0) } else { value.min(n) }) as usize
        };
        let (from, to) = (bound(self.from, 0), bound(self.to, n as i64));
        from..to.max(from)
    }
}
