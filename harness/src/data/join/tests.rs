use super::super::row::{Place, Row, Unit, columns};
use super::*;
use serde_json::json;
use std::collections::BTreeMap;

fn table(rows: Value) -> Table {
    let rows: Vec<Row> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_object().unwrap().clone())
        .collect();
    let places = (1..=rows.len() as u32)
        .map(|number| Place {
            file: 0,
            number,
            unit: Unit::Row,
        })
        .collect();
    Table {
        files: vec!["pairs.json".into()],
        columns: columns(&rows),
        rows,
        places,
    }
}

/// Joins `pairs` on `id` with a file of these lines.
fn joined(pairs: Value, other: &str, take: &[(&str, &str)]) -> Result<(Table, JoinReport)> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other.jsonl"), other).unwrap();
    let take: BTreeMap<String, String> = take.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let config = Join {
        column: "id".into(),
        table: "other.jsonl".into(),
        key: "_id".into(),
        take,
    };
    join(table(pairs), &config, dir.path())
}

const TEXTS: &str = "{\"_id\": 7, \"text\": \"seven\"}\n{\"_id\": \"a\", \"text\": \"å\"}\n{\"_id\": \"7\", \"text\": \"again\"}\n{\"_id\": true}\n";

#[test]
fn ids_are_compared_as_text_and_missing_ones_counted() {
    let pairs = json!([
        {"id": "7", "score": 1}, {"id": 8}, {"id": "a"}, {"id": 7}, {"id": null}, {"score": 3}, {"id": "true"},
    ]);
    let (table, report) = joined(pairs, TEXTS, &[("text", "query")]).unwrap();
    let rows: Value = table.rows.into_iter().map(Value::Object).collect();
    assert_eq!(
        rows,
        json!([
            {"id": "7", "score": 1, "query": "seven"}, {"id": "a", "query": "å"}, {"id": 7, "query": "seven"}, {"id": "true", "query": null},
        ])
    );
    assert_eq!(table.places.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 3, 4, 7]);
    assert_eq!(table.columns, ["id", "score", "query"]);
    let expected = JoinReport {
        column: "id".into(),
        table: "other.jsonl".into(),
        missing: 3,
        missing_ids: vec!["8".into(), "null".into(), "null".into()],
        duplicate_keys: 1,
    };
    assert_eq!(report, expected);
}

#[test]
fn only_the_first_few_ids_are_listed() {
    let mut pairs: Vec<Value> = (100..120).map(|i| json!({"id": i})).collect();
    pairs.push(json!({"id": 7}));
    let (_, report) = joined(Value::Array(pairs), TEXTS, &[("text", "query")]).unwrap();
    assert_eq!(report.missing, 20);
    assert_eq!(report.missing_ids, ["100", "101", "102", "103", "104"]);
}

#[test]
fn errors() {
    let error = |pairs: Value, other: &str, take: &[(&str, &str)]| joined(pairs, other, take).unwrap_err().to_string();
    assert_eq!(
        error(json!([{"ids": 1, "n": 2}]), TEXTS, &[]),
        "pairs.json: column \"id\": expected one of ids, n (did you mean ids?), found no such column"
    );
    let text = error(json!([{"id": 1}]), TEXTS, &[("texts", "query")]);
    assert!(
        text.ends_with(
            "other.jsonl: column \"texts\": expected one of _id, text (did you mean text?), found no such column"
        ),
        "{text}"
    );
    assert_eq!(
        error(json!([{"id": 7, "text": ""}]), TEXTS, &[("text", "text")]),
        "pairs.json: join on \"id\": expected a new name for column \"text\", found \"text\", which is there"
    );
    let text = error(json!([{"id": 7}]), "{\"_id\": 1}\n{\"_id\": null}\n", &[]);
    assert!(
        text.ends_with("other.jsonl: line 2, column \"_id\": expected an id, a string or a number, found null"),
        "{text}"
    );
    assert_eq!(
        error(json!([{"id": 1}, {"id": 2}]), TEXTS, &[("text", "query")]),
        "pairs.json: join on \"id\": expected ids that other.jsonl has in \"_id\", found none of them; the first are 1, 2"
    );
}
