//! The nearest known name to a mistyped one.
use crate::edit_distance::distance;

#[cfg(test)]
mod tests;

/// "one of a, b, c", with the nearest to `wanted` in front when one is near.
pub(crate) fn one_of<S: AsRef<str>>(wanted: &str, known: &[S]) -> String {
    let list = known.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match nearest(wanted, known) {
        Some(name) => format!("one of {list} (did you mean {name}?)"),
        None => format!("one of {list}"),
    }
}

/// The known name at the least edit distance, when that is at most a third of the length (and at least 1).
fn nearest<'a, S: AsRef<str>>(wanted: &str, known: &'a [S]) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| {
            (
                distance(&wanted.to_lowercase(), &name.as_ref().to_lowercase()),
                name.as_ref(),
            )
        })
        .min_by_key(|(d, _)| *d)
        .filter(|(d, _)| *d <= limit)
        .map(|(_, name)| name)
}
