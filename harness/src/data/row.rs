//! Rows as every reader gives them: a JSON object each, and where it came from.
use model_qwen2::Error;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One row: column name to value, in the order of the file.
pub type Row = Map<String, Value>;

/// What a reader counts, so that a message can be looked up in an editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Lines of text, from 1.
    Line,
    /// Rows of a table or elements of an array, from 1.
    Row,
}

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Table::files`].
    pub file: u32,
    /// Line or row number, from 1.
    pub number: u32,
    /// What `number` counts.
    pub unit: Unit,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.unit {
            Unit::Line => write!(f, "line {}", self.number),
            Unit::Row => write!(f, "row {}", self.number),
        }
    }
}

/// The rows of one or more files.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The files, in reading order; never empty in a table that a reader made.
    pub files: Vec<PathBuf>,
    /// Every column that some row has, in the order of first sight.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// The place of each row.
    pub places: Vec<Place>,
}

impl Table {
    /// The file that row `i` came from.
    pub fn file(&self, i: usize) -> &Path {
        &self.files[self.places[i].file as usize]
    }

    /// The first file: what an error about the table as a whole names.
    pub(super) fn name(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |p| p)
    }

    /// The rows of `range`, in its order.
    pub(super) fn select(mut self, range: impl Iterator<Item = usize>) -> Self {
        let mut rows = Vec::new();
        let mut places = Vec::new();
        for i in range {
            rows.push(std::mem::take(&mut self.rows[i]));
            places.push(self.places[i]);
        }
        Self { rows, places, ..self }
    }

    /// Puts `other` behind this one.
    pub(super) fn append(&mut self, other: Self) {
        let base = self.files.len() as u32;
        self.files.extend(other.files);
        self.rows.extend(other.rows);
        self.places.extend(other.places.into_iter().map(|p| Place {
            file: p.file + base,
            ..p
        }));
        for column in other.columns {
            if !self.columns.contains(&column) {
                self.columns.push(column);
            }
        }
    }
}

/// The union of the rows' keys, in the order of first sight.
pub(super) fn columns<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut columns = Vec::new();
    for key in rows.into_iter().flat_map(Row::keys) {
        if seen.insert(key) {
            columns.push(key.clone());
        }
    }
    columns
}

/// Half an error: what was wrong, before it is known in which file and field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub expected: String,
    pub found: String,
}

impl Fault {
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The other half.
    pub fn at(self, path: impl AsRef<Path>, field: impl Into<String>) -> Error {
        Error::invalid(path, field, self.expected, self.found)
    }
}

/// A value's JSON type, for messages.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A scalar as text: strings as they are, numbers and booleans as JSON writes them; `None` for the rest.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
