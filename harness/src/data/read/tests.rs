use super::*;
use serde_json::{Value, json};
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/parquet")
        .join(name)
}

/// Writes `content` to a file called `name` and reads it.
fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Table> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    read_table(&path)
}

fn rows(table: &Table) -> Value {
    table.rows.iter().cloned().map(Value::Object).collect()
}

/// The error of reading `content`, without the folder's name.
fn error(name: &str, content: impl AsRef<[u8]>) -> String {
    let text = read(name, content).unwrap_err().to_string();
    text[text.find(name).unwrap()..].to_owned()
}

#[test]
fn json_lines() {
    let table = read(
        "a.jsonl",
        "\u{feff}{\"b\": 1, \"a\": \"é🙂\"}\r\n\n  \n{\"c\": [1.5, null], \"a\": \"\\ud83d\\ude42\"}",
    )
    .unwrap();
    assert_eq!(
        rows(&table),
        json!([{"b": 1, "a": "é🙂"}, {"c": [1.5, null], "a": "🙂"}])
    );
    assert_eq!(table.columns, ["b", "a", "c"]);
    assert_eq!(
        table.places.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["line 1", "line 4"]
    );
}

#[test]
fn json_lines_at_fault() {
    assert_eq!(
        error("a.jsonl", "{\"a\": 1}\n\n{\"a\": }\n"),
        "a.jsonl: line 3: expected a JSON object, found expected value at column 7"
    );
    assert_eq!(
        error("a.jsonl", "{\"a\": 1}\n{\"a\": \"x"),
        "a.jsonl: line 2: expected a JSON object, found EOF while parsing a string at column 8"
    );
    assert_eq!(
        error("a.jsonl", "[1]"),
        "a.jsonl: line 1: expected a JSON object, found a list"
    );
    assert_eq!(
        error("a.jsonl", b"{}\n{\"a\": \"\xff\"}"),
        "a.jsonl: line 2: expected UTF-8, found byte 0xff at column 8"
    );
    assert_eq!(
        error("a.jsonl", ""),
        "a.jsonl: file: expected at least one row, found an empty file"
    );
    assert_eq!(
        error("a.jsonl", "\n \n"),
        "a.jsonl: file: expected at least one row, found none"
    );
}

#[test]
fn json_arrays() {
    let table = read("a.json", " [{\"a\": 1},\n {\"a\": 2}]\n").unwrap();
    assert_eq!(rows(&table), json!([{"a": 1}, {"a": 2}]));
    assert_eq!(table.places[1].to_string(), "row 2");
    assert_eq!(
        rows(&read("a.json", "{\"a\": 1}\n{\"a\": 2}").unwrap()),
        json!([{"a": 1}, {"a": 2}])
    );
    assert_eq!(
        error("a.json", "[{\"a\": 1}, 2]"),
        "a.json: row 2: expected a JSON object, found a number"
    );
    assert_eq!(
        error("a.json", "[{\"a\": 1},\n{\"b\"]"),
        "a.json: line 2: expected a JSON array of objects, found expected `:` at column 5"
    );
    assert_eq!(
        error("a.json", b"[\n\"\xc3(\"]"),
        "a.json: line 2: expected UTF-8, found byte 0xc3 at column 2"
    );
    assert_eq!(
        error("a.json", "[]"),
        "a.json: file: expected at least one row, found none"
    );
}

#[test]
fn csv_quoting_and_newlines() {
    let content = "id,text,\"a b\"\r\n1,\"two\nlines, \"\"quoted\"\"\",é\r\n007,,🙂\n";
    let table = read("a.csv", content).unwrap();
    assert_eq!(
        rows(&table),
        json!([
            {"id": "1", "text": "two\nlines, \"quoted\"", "a b": "é"},
            {"id": "007", "text": "", "a b": "🙂"},
        ])
    );
    assert_eq!(table.columns, ["id", "text", "a b"]);
    assert_eq!(
        table.places[1].to_string(),
        "line 4",
        "the line in the file, not the record"
    );
    let table = read("a.tsv", "query-id\tscore\nq1\t1,5\n").unwrap();
    assert_eq!(rows(&table), json!([{"query-id": "q1", "score": "1,5"}]));
}

#[test]
fn csv_at_fault() {
    assert_eq!(
        error("a.csv", "a,b\n1,2\n3,4,5\n"),
        "a.csv: line 3: expected 2 fields, as in the header, found 3 (a value with the delimiter or a newline in it must be quoted)"
    );
    assert_eq!(
        error("a.csv", "a,a\n1,2\n"),
        "a.csv: line 1: expected a header of different names, found \"a\" twice"
    );
    assert_eq!(
        error("a.csv", b"a\n\xe9\n"),
        "a.csv: line 2: expected UTF-8, found byte 0xe9 at column 1"
    );
    assert_eq!(
        error("a.csv", "a,b\n"),
        "a.csv: file: expected at least one row, found none"
    );
}

#[test]
fn text_lines() {
    assert_eq!(
        rows(&read("a.txt", "What?\n\nÄh?").unwrap()),
        json!([{"text": "What?"}, {"text": "Äh?"}])
    );
}

#[test]
fn files_of_other_kinds() {
    assert_eq!(
        error("a.jsonls", "{}"),
        "a.jsonls: file name: expected an ending one of jsonl, ndjson, json, parquet, csv, tsv, txt (did you mean jsonl?), found jsonls"
    );
    let missing = read_table(Path::new("no/such.parquet")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.parquet: cannot open: "), "{missing}");
    let missing = read_table(Path::new("no/such.jsonl")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.jsonl: cannot read: "), "{missing}");
}

#[test]
fn parquet_as_pyarrow_writes_it() {
    for (name, expected) in [("scalars", "scalars"), ("nested", "nested"), ("nested_v2", "nested")] {
        let table = read_table(&golden(&format!("{name}.parquet"))).unwrap();
        let text = std::fs::read_to_string(golden(&format!("{expected}.json"))).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows(&table), expected, "{name}");
        let order: Vec<&String> = expected[0].as_object().unwrap().keys().collect();
        assert_eq!(
            table.columns.iter().collect::<Vec<_>>(),
            order,
            "{name}: columns as declared"
        );
        assert_eq!(table.places[2].to_string(), "row 3");
    }
}

#[test]
fn parquet_at_fault() {
    let path = golden("zstd.parquet");
    let zstd = read_table(&path).unwrap_err().to_string();
    assert!(
        zstd.contains("expected Parquet data that is whole, uncompressed, snappy or gzip")
            && zstd.to_lowercase().contains("zstd"),
        "{zstd}"
    );
    assert_eq!(
        error("a.parquet", "PAR1 but not really"),
        "a.parquet: file: expected a whole Parquet file, found Parquet error: Invalid Parquet file. Corrupt footer"
    );
    let whole = std::fs::read(golden("nested.parquet")).unwrap();
    for len in (0..whole.len()).step_by(7).chain(whole.len() - 20..whole.len()) {
        let cut = read("a.parquet", &whole[..len]).unwrap_err().to_string();
        assert!(
            cut.contains("a.parquet: file: expected a whole Parquet file, found "),
            "{len}: {cut}"
        );
    }
}

#[test]
fn corrupt_parquet_never_panics() {
    let whole = std::fs::read(golden("scalars.parquet")).unwrap();
    let mut gave_up = 0;
    for i in (0..whole.len()).step_by(4) {
        let mut flipped = whole.clone();
        flipped[i] ^= 0x80;
        if let Err(e) = read("a.parquet", &flipped) {
            gave_up += usize::from(e.to_string().ends_with("corrupt data on which its reader gave up"));
        }
    }
    assert!(gave_up > 0, "the reader no longer panics: catch_unwind can go");
}
