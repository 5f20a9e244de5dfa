use super::*;
use serde_json::json;

fn row() -> Row {
    let value = json!({
        "query": "  How  do I\nexit vim? ", "answer": "so 6 * 7 = 42\n#### 42", "n": 7, "half": 12.5, "none": null,
        "query-id": "q1", "list": ["a", 1], "Å": "ja",
    });
    value.as_object().unwrap().clone()
}

fn eval(source: &str) -> Value {
    Expression::parse(source).unwrap().eval(&row()).unwrap()
}

fn fails(source: &str) -> String {
    let fault = Expression::parse(source).and_then(|e| e.eval(&row())).unwrap_err();
    format!("expected {}, found {}", fault.expected, fault.found)
}

#[test]
fn functions() {
    for (source, expected) in [
        ("query-id", json!("q1")),
        ("word_count(query)", json!(5)),
        ("char_count( Å )", json!(2)),
        ("line_count(query)", json!(2)),
        ("upper(Å)", json!("JA")),
        ("lower(upper(Å))", json!("ja")),
        ("trim(query)", json!("How  do I\nexit vim?")),
        ("word_count(n)", json!(1)),
        (r"extract(answer, '####\s*(-?\d+)')", json!("42")),
        (r#"extract(answer, "\d \* \d")"#, json!("6 * 7")),
        ("extract(answer, 'x(y)', '')", json!("")),
        ("extract(answer, 'so', '')", json!("so")),
        (r"extract(answer, '####\s*(-?\d+)', null)", json!("42")),
        ("extract(answer, '@@@@ (.*)', null)", json!(null)),
        (
            "trim(replace(extract(answer, '@@@@ (.*)', null), ',', ''))",
            json!(null),
        ),
        (
            "round_to(extract(upper(extract(answer, 'z', null)), 'y'), 10)",
            json!(null),
        ),
        ("replace(answer, '4', '')", json!("so 6 * 7 = 2\n#### 2")),
        ("replace(n, '7', 'seven')", json!("seven")),
        ("round_to(word_count(query), 10)", json!(10)),
        ("round_to(n, 5)", json!(5)),
        ("round_to(half, 5)", json!(15)),
        ("round_to(half, 25)", json!(25)),
        (r"round_to(extract(answer, '(\d+)$'), 20)", json!(40)),
        ("default(none, 'x')", json!("x")),
        ("default(nowhere, 'x')", json!("x")),
        ("default(n, 'x')", json!(7)),
    ] {
        assert_eq!(eval(source), expected, "{source}");
    }
    assert_eq!(Expression::parse("list").unwrap().text(&row()).unwrap(), r#"["a",1]"#);
}

#[test]
fn errors_say_what_is_known() {
    assert_eq!(
        fails("word_cout(query)"),
        "expected a function that is one of word_count, char_count, line_count, upper, lower, trim, extract, replace, round_to, default \
         (did you mean word_count?), found \"word_cout\" in \"word_cout(query)\""
    );
    assert_eq!(
        fails("upper(qery)"),
        "expected a column that is one of query, answer, n, half, none, query-id, list, Å (did you mean query?), found \"qery\""
    );
    assert_eq!(
        fails("upper(none)"),
        "expected a value in column \"none\" (default(none, 'text') stands in for one), found null"
    );
    assert_eq!(
        fails("upper(n, n)"),
        "expected upper(column), found 2 arguments or other kinds in \"upper(n, n)\""
    );
    assert_eq!(
        fails("round_to(n, 0)"),
        "expected round_to(column, 10), the second a positive whole number, found 2 arguments or other kinds in \"round_to(n, 0)\""
    );
    assert_eq!(
        fails("round_to(query, 5)"),
        "expected a number to round, found \"  How  do I\\nexit vim? \""
    );
    assert_eq!(
        fails("extract(answer, 'q+')"),
        "expected a match of q+ (a third argument to extract, null or a text, stands in for one), found none in \"so 6 * 7 = 42\\n#### 42\""
    );
    assert!(fails("extract(answer, '(')").starts_with("expected a regular expression, found \"(\": "));
    for (source, found) in [
        (
            "",
            "a column, a function, a quoted text or a number, found the end in \"\"",
        ),
        ("upper(n", "a comma or a closing bracket, found the end in \"upper(n\""),
        ("upper(n))", "the end of the expression, found \")\" in \"upper(n))\""),
        ("extract(n, 'x)", "a closing ', found \"x)\" in \"extract(n, 'x)\""),
        ("7", "a column or a function of columns, found the end in \"7\""),
        (
            "upper(,)",
            "a column, a function, a quoted text or a number, found \",)\" in \"upper(,)\"",
        ),
    ] {
        assert_eq!(fails(source), format!("expected {found}"));
    }
}
