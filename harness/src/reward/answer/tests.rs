use super::*;
use quickcheck::quickcheck;
use serde_json::Map;

#[test]
fn the_last_box() {
    for (text, expected) in [
        ("\\boxed{42}", Some("42")),
        ("\\boxed{1} and \\boxed{2}", Some("2")),
        ("\\boxed{\\frac{1}{2}}", Some("\\frac{1}{2}")),
        ("\\boxed{\\text{a {b} c}} d}", Some("\\text{a {b} c}")),
        ("\\boxed {42}", Some("42")),
        ("\\boxed{a\nb}", Some("a\nb")),
        ("\\boxed{\\{1\\}}", Some("\\{1\\}")),
        ("\\boxed{1} \\boxed{2", Some("1")),
        ("\\boxed{}", Some("")),
        ("\\boxed 42", None),
        ("\\boxed{42", None),
        ("boxed{42}", None),
        ("", None),
    ] {
        assert_eq!(last_boxed(text), expected, "{text:?}");
    }
}

#[test]
fn the_first_box_is_the_users_pattern() {
    for (text, expected) in [
        ("\\boxed{1} and \\boxed{2}", Some("1")),
        ("\\boxed{\\frac{1}{2}}", Some("\\frac{1")),
        ("\\boxed{a\nb} \\boxed{c}", Some("c")),
        ("\\boxed{}", Some("")),
        ("\\boxed {1}", None),
        ("1", None),
    ] {
        assert_eq!(first_boxed(text), expected, "{text:?}");
    }
}

#[test]
fn formulas() {
    for (text, expected) in [
        ("so $x = 4$.", Some("x = 4")),
        ("$1$ and $2$", Some("2")),
        ("\\(3\\)", Some("3")),
        ("\\[\n3\n\\]", Some("\n3\n")),
        ("$$5$$", Some("5")),
        ("it costs $5", None),
    ] {
        assert_eq!(last_formula(text), expected, "{text:?}");
    }
}

#[test]
fn answers_that_are_no_numbers_are_compared_as_text() {
    assert!(same("x + 1", "x+1", 0.0));
    assert!(same("\\text{Paris}", "paris.", 0.0));
    assert!(same("3:4", "$3 : 4$", 0.0));
    assert!(!same("paris", "london", 0.0));
    assert!(!same("5", "five", 0.0));
    assert!(!same("2x", "2", 0.0));
}

#[test]
fn a_row_s_truth() {
    let columns = serde_json::json!({ "text": "a", "number": 7, "half": 0.5, "none": null, "list": [1, "b"] });
    let columns: &Map<String, Value> = columns.as_object().unwrap();
    let sample = Sample {
        prompt: "",
        messages: None,
        completion: "",
        completion_ids: &[],
        finished: model_qwen2::generate::Finish::Stop,
        columns,
    };
    let found = ["text", "number", "half", "none", "list", "nowhere"].map(|column| truth(&sample, column));
    let found = found.each_ref().map(Option::as_deref);
    assert_eq!(
        found,
        [Some("a"), Some("7"), Some("0.5"), None, Some("[1,\"b\"]"), None]
    );
}

quickcheck! {
    fn every_answer_is_itself(text: String) -> bool {
        let boxed = format!("\\boxed{{{text}}}");
        let _ = (last_boxed(&text), first_boxed(&text), last_formula(&text), last_boxed(&boxed));
        same(&text, &text, 0.0)
    }

    fn a_box_holds_what_was_put_in(inside: u64, before: String, after: String) -> bool {
        let text = format!("{before} \\boxed{{\\text{{{inside}}}}} {after}");
        last_boxed(&text) == Some(&format!("\\text{{{inside}}}"))
    }
}
