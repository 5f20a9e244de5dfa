//! Fails when a method of the backend traits has no case.
use std::collections::BTreeSet;

use tests::cases::{Sizes, all};
use tests::devices::oracle;

/// The traits' files: all of the folder but its table of contents.
fn sources() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel/src/backend");
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the kernel is beside this crate") {
        let path = entry.expect("a readable folder").path();
        let name = path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        if name.ends_with(".rs") && name != "mod.rs" {
            sources.push((name, std::fs::read_to_string(path).expect("a readable file")));
        }
    }
    sources
}

/// The names after `fn` between `pub trait` and the brace that closes it.
fn methods(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in source.lines() {
        inside = (inside || line.starts_with("pub trait ")) && line != "}";
        let name = line.trim_start().strip_prefix("fn ").filter(|_| inside);
        names.extend(name.map(|n| n.split(['(', '<']).next().unwrap_or(n).to_string()));
    }
    names
}

#[test]
fn every_method_of_the_backend_traits_has_a_case() {
    let covered: BTreeSet<String> = all(&oracle(), Sizes::Small)
        .iter()
        .flat_map(|c| c.case.call.methods())
        .map(|m| m.to_string())
        .collect();
    let sources = sources();
    let declared: BTreeSet<String> = sources.iter().flat_map(|(_, s)| methods(s)).collect();
    assert!(declared.len() >= 35, "the traits were not read: {declared:?}");
    for (name, source) in &sources {
        let missing: Vec<_> = methods(source).difference(&covered).cloned().collect();
        assert!(missing.is_empty(), "{name}: no case for {missing:?}");
    }
    let unknown: Vec<_> = covered.difference(&declared).collect();
    assert!(unknown.is_empty(), "cases for methods that no trait has: {unknown:?}");
}
