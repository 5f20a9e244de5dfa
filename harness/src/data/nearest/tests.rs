use super::*;

#[test]
fn distances() {
    for (a, b, d) in [
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("größe", "grösse", 2),
        ("x", "x", 0),
    ] {
        assert_eq!(distance(a, b), d, "{a} {b}");
        assert_eq!(distance(b, a), d, "{b} {a}");
    }
}

#[test]
fn suggests_only_what_is_near() {
    assert_eq!(
        one_of("promt", &["query", "prompt"]),
        "one of query, prompt (did you mean prompt?)"
    );
    assert_eq!(one_of("Answer", &["answer"]), "one of answer (did you mean answer?)");
    assert_eq!(one_of("prompt", &["query", "answer"]), "one of query, answer");
}
