use super::*;
use serde_json::json;

fn render(source: &str) -> Result<String, Fault> {
    let row = json!({"query": "Varför {så}?", "num": 3, "Full name (x)": "Åsa", "none": null})
        .as_object()
        .unwrap()
        .clone();
    let columns: Vec<String> = row.keys().cloned().collect();
    Template::parse(source, &columns)?.render(&row)
}

#[test]
fn columns_functions_and_braces() {
    for (source, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("In {num} words: {query}", "In 3 words: Varför {så}?"),
        ("{ num }{num}", "33"),
        ("{{num}} {{{num}}} }}{{", "{num} {3} }{"),
        ("{Full name (x)}", "Åsa"),
        ("{upper(query)} {round_to(num, 10)}", "VARFÖR {SÅ}? 0"),
        (r"{extract(query, '\{(.*)\}')}!", "så!"),
        ("{extract(query, \"r\u{f6}{0,1}\")}", "r"),
        ("{default(none, '}')}", "}"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn faults() {
    for (source, expected, found) in [
        (
            "{quer}",
            "a column that is one of query, num, Full name (x), none (did you mean query?)",
            "\"quer\"",
        ),
        (
            "{upper(quer)}",
            "a column that is one of query, num, Full name (x), none (did you mean query?)",
            "\"quer\"",
        ),
        (
            "a {query",
            "{column} with both braces ({{ and }} are the braces themselves)",
            "a lone { before \"query\"",
        ),
        (
            "a } b",
            "{column} with both braces ({{ and }} are the braces themselves)",
            "a lone } before \" b\"",
        ),
        (
            "{none}",
            "a value in column \"none\" (default(none, 'text') stands in for one)",
            "null",
        ),
    ] {
        assert_eq!(render(source).unwrap_err(), Fault::new(expected, found), "{source}");
    }
}
