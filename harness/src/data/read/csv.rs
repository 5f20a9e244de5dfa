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
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
    let mut lines = Lines { bytes, at: 0, line: 1 };
    let header = reader.headers().map_err(|e| invalid(path, &e, &mut lines))?.clone();
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
        let record = record.map_err(|e| invalid(path, &e, &mut lines))?;
        let number = lines.of(record.position());
        let row = header
            .iter()
            .zip(&record)
            .map(|(name, value)| (name.to_owned(), Value::from(value)));
        Ok((number, row.collect::<Row>()))
    };
    reader.records().map(row).collect()
}

/// Counts lines up to a record's start. The reader's own count is one short after a line that ends in CR LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

impl Lines<'_> {
    /// The line of a position at or after the last one asked for; 1 without a position.
    fn of(&mut self, position: Option<&csv::Position>) -> u32 {
        let start = position.map_or(0, |p| p.byte() as usize);
        let ends = |b: &u8| matches!(b, b'\r' | b'\n');
        let blank = self.bytes[start..].iter().take_while(|b| ends(b)).count();
        let start = (start + blank).max(self.at);
        self.line += self.bytes[self.at..start].iter().filter(|b| **b == b'\n').count() as u32;
        self.at = start;
        self.line
    }
}

fn invalid(path: &Path, error: &csv::Error, lines: &mut Lines<'_>) -> Error {
    let line = lines.of(error.position());
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Error::invalid(
            path,
            format!("line {line}"),
            format!("{expected_len} fields, as in the header"),
            format!("{len} (a value with the delimiter or a newline in it must be quoted)"),
        ),
        _ => Error::invalid(path, format!("line {line}"), "CSV", error.to_string()),
    }
}
