//! Files of JSON lines that a run goes on with.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Result;
use model_qwen2::Error;
use serde_json::{Map, Value};

/// Opens a file of JSON lines, made where it is not there, to write after its last whole line. What follows that, as a
/// process that was killed leaves it, is cut off once `check` has found the whole lines to be good. Errors: a line that is
/// no object, a file that is no JSON lines at all, and those of `check`; then the file is as it was.
pub fn go_on<T>(
    path: &Path,
    what: &str,
    check: impl FnOnce(&[Map<String, Value>]) -> Result<T, Error>,
) -> Result<(File, T)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::io(path, "open"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let parsed = bytes[..whole].split(|&b| b == b'\n').filter(|l| !l.is_empty());
    let parsed = parsed.enumerate().map(|(i, line)| {
        serde_json::from_slice(line).map_err(|e| Error::invalid(path, format!("line {}", i + 1), what, e.to_string()))
    });
    let lines: Vec<_> = parsed.collect::<Result<_, Error>>()?;
    if lines.is_empty() && bytes.first().is_some_and(|&b| b != b'{' && b != b'\n') {
        return Err(Error::invalid(path, "line 1", what, "something else").into());
    }
    let checked = check(&lines)?;
    file.set_len(whole as u64).map_err(Error::io(path, "cut"))?;
    file.seek(SeekFrom::Start(whole as u64))
        .map_err(Error::io(path, "seek in"))?;
    Ok((file, checked))
}
