//! JSON lines, JSON arrays, plain lines.
use super::super::row::{Row, Unit, type_name};
use super::{Numbered, utf8};
use model_qwen2::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// One object a line.
pub(super) fn lines(path: &Path, bytes: &[u8]) -> Result<Vec<Numbered>> {
    numbered(path, bytes)
        .filter(|line| !matches!(line, Ok((_, text)) if text.trim().is_empty()))
        .map(|line| {
            let (number, text) = line?;
            let field = || format!("line {number}");
            let value = serde_json::from_str(text).map_err(|e| {
                Error::invalid(
                    path,
                    field(),
                    "a JSON object",
                    format!("{} at column {}", reason(&e), e.column()),
                )
            })?;
            Ok((number as u32, object(path, value, field)?))
        })
        .collect()
}

/// One array of objects, or else lines.
pub(super) fn array_or_lines(path: &Path, bytes: &[u8]) -> Result<(Unit, Vec<Numbered>)> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        return Ok((Unit::Line, lines(path, bytes)?));
    }
    // Checks the encoding line by line first, so that its error has a line.
    numbered(path, bytes).try_for_each(|line| line.map(drop))?;
    let values: Vec<Value> = serde_json::from_slice(bytes).map_err(|e| {
        let found = format!("{} at column {}", reason(&e), e.column());
        Error::invalid(path, format!("line {}", e.line()), "a JSON array of objects", found)
    })?;
    let rows = values
        .into_iter()
        .zip(1u32..)
        .map(|(value, n)| Ok((n, object(path, value, || format!("row {n}"))?)));
    Ok((Unit::Row, rows.collect::<Result<_>>()?))
}

/// One row with the column `text` a line.
pub(super) fn text(path: &Path, bytes: &[u8]) -> Result<Vec<Numbered>> {
    numbered(path, bytes)
        .filter(|line| !matches!(line, Ok((_, text)) if text.trim().is_empty()))
        .map(|line| line.map(|(n, text)| (n as u32, Row::from_iter([("text".to_owned(), Value::from(text))]))))
        .collect()
}

/// The lines with their numbers, without their ends.
fn numbered<'a>(path: &'a Path, bytes: &'a [u8]) -> impl Iterator<Item = Result<(usize, &'a str)>> {
    bytes.split(|b| *b == b'\n').enumerate().map(move |(i, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok((i + 1, utf8(path, i + 1, line)?))
    })
}

fn object(path: &Path, value: Value, field: impl FnOnce() -> String) -> Result<Row> {
    match value {
        Value::Object(row) => Ok(row),
        other => Err(Error::invalid(path, field(), "a JSON object", type_name(&other))),
    }
}

/// serde_json's message without its own "at line 1 column 5".
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(reason, _)| reason.to_owned())
}
