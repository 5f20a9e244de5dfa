//! Files into tables: JSON lines, JSON arrays, Parquet, CSV, TSV, plain lines of text.
use super::nearest::one_of;
use super::row::{Place, Row, Table, Unit, columns};
use model_qwen2::{Error, Result};
use std::path::Path;

mod csv;
mod json;
mod parquet;

#[cfg(test)]
mod tests;

/// The endings of the files that can be read.
pub const EXTENSIONS: [&str; 7] = ["jsonl", "ndjson", "json", "parquet", "csv", "tsv", "txt"];

/// A row with its line or row number.
type Numbered = (u32, Row);

/// The rows of one file, read as its ending says: `.jsonl`/`.ndjson` one object a line (blank lines are skipped),
/// `.json` an array of objects or the same lines, `.parquet`, `.csv`/`.tsv` with a header (every value is a string),
/// `.txt` one row `text` a line.
///
/// # Errors
/// A file that is missing, empty, cut or broken, with the line or row at fault.
pub fn read_table(path: &Path) -> Result<Table> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_lowercase();
    let (unit, rows) = match extension.as_str() {
        "jsonl" | "ndjson" => (Unit::Line, json::lines(path, &bytes(path)?)?),
        "json" => json::array_or_lines(path, &bytes(path)?)?,
        "parquet" => (Unit::Row, parquet::rows(path)?),
        "csv" => (Unit::Line, csv::rows(path, &bytes(path)?, b',')?),
        "tsv" => (Unit::Line, csv::rows(path, &bytes(path)?, b'\t')?),
        "txt" => (Unit::Line, json::text(path, &bytes(path)?)?),
        other => {
            return Err(Error::invalid(
                path,
                "file name",
                format!("an ending {}", one_of(other, &EXTENSIONS)),
                other,
            ));
        }
    };
    if rows.is_empty() {
        return Err(Error::invalid(path, "file", "at least one row", "none"));
    }
    let (places, rows): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(|(number, row)| (Place { file: 0, number, unit }, row))
        .unzip();
    Ok(Table {
        files: vec![path.to_owned()],
        columns: columns(&rows),
        rows,
        places,
    })
}

/// Several files as one table.
pub(super) fn read_tables(paths: &[impl AsRef<Path>]) -> Result<Table> {
    let mut table = Table::default();
    for path in paths {
        table.append(read_table(path.as_ref())?);
    }
    Ok(table)
}

/// The content, without a byte order mark.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.is_empty() {
        return Err(Error::invalid(path, "file", "at least one row", "an empty file"));
    }
    Ok(bytes)
}

/// A line as text.
fn utf8<'a>(path: &Path, number: usize, line: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(line).map_err(|e| {
        let byte = line[e.valid_up_to()];
        Error::invalid(
            path,
            format!("line {number}"),
            "UTF-8",
            format!("byte 0x{byte:02x} at column {}", e.valid_up_to() + 1),
        )
    })
}
