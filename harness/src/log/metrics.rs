//! metrics.jsonl, and other JSON lines with a step.
use super::Start;
use model_qwen2::{Error, Result};
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The open file.
#[derive(Debug)]
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// Opens the file; on resume cuts off what is after the checkpoint, also a last line that was cut in the middle.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Invalid`, naming the line, when a complete line to keep is not an object with a `step`.
    pub fn open(path: &Path, start: Start) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(start == Start::Fresh)
            .open(path)
            .map_err(Error::io(path, "open"))?;
        if let Start::After(step) = start {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
            let keep = prefix(path, &bytes, step)?;
            file.set_len(keep).map_err(Error::io(path, "truncate"))?;
            file.seek(SeekFrom::Start(keep)).map_err(Error::io(path, "seek in"))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut object = Map::new();
        object.insert("step".into(), step.into());
        object.extend(values.iter().map(|(name, value)| ((*name).to_owned(), number(*value))));
        self.write(&Value::Object(object))
    }

    /// Writes one line, an object with a `step`.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&mut self, object: &Value) -> Result<()> {
        let line = format!("{object}\n");
        // One write, so that only a killed process leaves a part of a line.
        self.file
            .write_all(line.as_bytes())
            .map_err(Error::io(&self.path, "write"))
    }

    /// Brings the lines to the disk.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path, "sync"))
    }
}

/// A whole number without ".0", as Python writes token counts.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 2f64.powi(53) {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

/// The bytes of the complete lines with a step of at most `last`, up to the first line that has a later one.
fn prefix(path: &Path, bytes: &[u8], last: u64) -> Result<u64> {
    let mut keep = 0;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        let object: Option<Value> = serde_json::from_slice(line).ok();
        let step = object
            .as_ref()
            .and_then(|object| object.get("step")?.as_u64())
            .ok_or_else(|| {
                let found = String::from_utf8_lossy(line)
                    .trim_end()
                    .chars()
                    .take(60)
                    .collect::<String>();
                Error::invalid(
                    path,
                    format!("line {}", index + 1),
                    "a JSON object with a whole step",
                    found,
                )
            })?;
        if step > last {
            break;
        }
        keep += line.len() as u64;
    }
    Ok(keep)
}
