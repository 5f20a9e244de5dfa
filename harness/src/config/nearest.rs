//! The name that a mistyped one was meant to be.

/// "a known key", with the nearest when one is near.
pub(super) fn known<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|known| (distance(name, known), known)).min();
    match nearest.filter(|(distance, _)| *distance <= 2 + name.len() / 3) {
        Some((_, nearest)) => format!("a known key; the nearest is {nearest}"),
        None => "a known key; --help lists them".into(),
    }
}

/// Levenshtein's distance in characters.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
