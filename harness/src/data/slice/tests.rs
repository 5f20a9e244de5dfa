use super::*;

fn ranges(spec: &str, n: usize) -> Vec<(String, Range<usize>)> {
    parse(spec)
        .unwrap()
        .into_iter()
        .map(|s| (s.name.clone(), s.range(n)))
        .collect()
}

#[test]
fn as_datasets_reads_them() {
    // Made with datasets 5.2: ReadInstruction.from_spec(spec).to_absolute({name: n}).
    for (spec, n, from, to) in [
        ("train", 10, 0, 10),
        ("train[:1000]", 10, 0, 10),
        ("train[3:]", 10, 3, 10),
        ("train[-3:]", 10, 7, 10),
        ("train[-30:]", 10, 0, 10),
        ("train[:-1]", 10, 0, 9),
        ("train[10%:20%]", 25, 2, 5), // 2.5 and 5: ties to even
        ("train[50%:]", 7, 4, 7),     // 3.5
        ("train[-10%:]", 95, 85, 95), // -9.5 is -10
        ("train[:1_000]", 5000, 0, 1000),
        ("train[10%:20]", 50, 5, 10), // one % makes both percent
    ] {
        assert_eq!(ranges(spec, n), [("train".to_owned(), from..to)], "{spec} of {n}");
    }
    assert_eq!(
        ranges("train[:2] + test", 5),
        [("train".to_owned(), 0..2), ("test".to_owned(), 0..5)]
    );
    assert_eq!(ranges("[1:2]", 5), [(String::new(), 1..2)]);
}

#[test]
fn an_empty_part_is_empty_not_backwards() {
    assert_eq!(ranges("train[5:3]", 10), [("train".to_owned(), 5..5)]);
}

#[test]
fn what_is_none_is_an_error() {
    for spec in [
        "",
        "train[",
        "train[1]",
        "train[a:b]",
        "train[:101%]",
        "train[:%]",
        "tr ain",
        "train]",
        "train+",
        "train[1:2:3]",
    ] {
        assert_eq!(parse(spec).unwrap_err().found, spec);
    }
}
