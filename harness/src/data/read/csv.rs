//! CSV and TSV with a header line.
use super::super::row::Row;
use super::{Numbered, utf8};
use model_qwen2::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The rows, every value a string; the number is that of the line where the record starts.
pub(super) fn rows(path: &Path, bytes: &[u8], delimiter: u8) -> Result<Vec<Numbered>> {
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        utf8(path, i + 1, line)?;
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(bytes);
    let header = reader.headers().map_err(|e| invalid(path, &e))?.clone();
    for (i, name) in header.iter().enumerate() {
        if header.iter().take(i).any(|earlier| earlier == name) {
            return Err(Error::invalid(
                path,
                "line 1",
                "a header of different names",
                format!("{name:?} twice"),
            ));
        }
    }
    let row = |record: std::result::Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|e| invalid(path, &e))?;
        let number = record.position().map_or(0, csv::Position::line);
        let row = header
            .iter()
            .zip(&record)
            .map(|(name, value)| (name.to_owned(), Value::from(value)));
        Ok((number as u32, row.collect::<Row>()))
    };
    reader.records().map(row).collect()
}

fn invalid(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Error::invalid(
            path,
            format!("line {line}"),
            format!("{expected_len} fields, as in the header"),
            format!("{len} (a value with the delimiter or a newline in it must be quoted)"),
        ),
        _ => Error::invalid(path, format!("line {line}"), "CSV", error.to_string()),
    }
}
