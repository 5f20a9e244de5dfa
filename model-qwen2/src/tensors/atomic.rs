//! Files that are either whole or not there.
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// Removes the temporary file unless it was renamed: also when the writer fails or panics.
struct Temporary<'a>(Option<&'a Path>);

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // Nothing better can be done with this error than with the one that led here.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes `path` through `write` so that at any moment, also after a crash or a full disk, it holds either the old
/// content or all of the new: a temporary file in the same folder, synced, renamed, the folder synced.
pub fn write_atomic(path: impl AsRef<Path>, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let file = File::create(&temporary).map_err(Error::io(&temporary, "create"))?;
    let mut guard = Temporary(Some(&temporary));

    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    let file = out
        .into_inner()
        .map_err(|error| Error::io(&temporary, "write")(error.into_error()))?;
    file.sync_all().map_err(Error::io(&temporary, "sync"))?;
    drop(file);
    fs::rename(&temporary, path).map_err(Error::io(path, "rename a temporary file to"))?;
    guard.0 = None;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io(folder, "sync"))
}

/// Writes `value` as indented JSON, whole or not at all.
pub fn write_json(path: impl AsRef<Path>, value: &Value) -> Result<()> {
    let path = path.as_ref();
    write_atomic(path, |out| writeln!(out, "{value:#}").map_err(Error::io(path, "write")))
}

/// Creates `folder` and those above it; one that is there must be empty, so that nothing of an older model is left
/// beside the new.
pub fn new_folder(folder: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let mut entries = fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    match entries.next().transpose().map_err(Error::io(folder, "list"))? {
        None => Ok(folder.to_owned()),
        Some(entry) => {
            let found = format!("{} in it", entry.file_name().to_string_lossy());
            Err(Error::invalid(folder, "output folder", "a new or empty folder", found))
        }
    }
}
