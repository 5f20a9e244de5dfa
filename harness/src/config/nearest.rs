//! The name that a mistyped one was meant to be.
use crate::edit_distance::distance;

/// "a known key", with the nearest when one is near.
pub(super) fn known<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|known| (distance(name, known), known)).min();
    match nearest.filter(|(distance, _)| *distance <= 2 + name.len() / 3) {
        Some((_, nearest)) => format!("a known key; the nearest is {nearest}"),
        None => "a known key; --help lists them".into(),
    }
}
