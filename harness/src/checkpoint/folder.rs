//! The output folder of a run: who may write there, which checkpoints it has, which of them go.
use super::manifest::{Checkpoint, verify};
use super::writer::{remove, sync_folder};
use model_qwen2::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

const LOCK: &str = ".lock";

/// The name of a checkpoint folder.
pub(super) fn folder_name(step: u64) -> String {
    format!("checkpoint-{step}")
}

/// The name while it is written.
pub(super) fn hidden(step: u64) -> String {
    format!(".checkpoint-{step}.tmp")
}

/// The name of one that is being replaced.
pub(super) fn aside(step: u64) -> String {
    format!(".checkpoint-{step}.old")
}

/// How a run begins in its output folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The folder must be empty or not there.
    Fresh,
    /// It goes on with what is there.
    Resume,
    /// It removes the checkpoints that are there.
    Overwrite,
}

/// An output folder that this process alone may write to, until it is dropped.
#[derive(Debug)]
pub struct OutputDir {
    path: PathBuf,
    // Held for its lock, which the system releases when the process ends, however it ends.
    _lock: File,
}

impl OutputDir {
    /// Makes the folder if need be, locks it, and clears away what a killed run left half written.
    ///
    /// # Errors
    /// `Error::Invalid` when another process writes there, or when it is not empty and [`Begin::Fresh`]; `Error::Io`.
    pub fn open(path: &Path, begin: Begin) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        if begin == Begin::Fresh {
            let names = names(path)?;
            if let Some(name) = names.iter().find(|name| *name != LOCK) {
                let expected =
                    "an empty folder; to go on with the run in it use --resume, to start anew --overwrite_output_dir";
                return Err(Error::invalid(path, "output_dir", expected, name.as_str()));
            }
        }
        let lock = path.join(LOCK);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(Error::io(&lock, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::invalid(
                    path,
                    "output_dir",
                    "a folder that no other run writes to",
                    "another run at work",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&lock, "lock")(error)),
        }
        clear(path)?;
        if begin == Begin::Overwrite {
            for checkpoint in list(path)? {
                remove(&checkpoint.path)?;
            }
        }
        Ok(Self {
            path: path.into(),
            _lock: file,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let read = fs::read_dir(folder).and_then(|items| {
        items
            .map(|item| Ok(item?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let mut names = read.map_err(Error::io(folder, "list"))?;
    names.sort();
    Ok(names)
}

/// The step in a name made by one of the functions above.
fn step_of(name: &str, make: fn(u64) -> String) -> Option<u64> {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|step| make(*step) == name)
}

/// Removes half-written checkpoints and files; puts back one that was set aside when its replacement did not come.
fn clear(output_dir: &Path) -> Result<()> {
    for name in names(output_dir)? {
        let path = output_dir.join(&name);
        if step_of(&name, hidden).is_some() {
            remove(&path)?;
        } else if let Some(step) = step_of(&name, aside) {
            let place = output_dir.join(folder_name(step));
            if place.exists() {
                remove(&path)?;
            } else {
                fs::rename(&path, &place).map_err(Error::io(&path, "rename"))?;
                sync_folder(output_dir)?;
            }
        } else if is_temporary(&name) && path.is_file() {
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// Whether a name is one that `write_atomic` gives a file before it is whole: `.<name>.<process>.tmp`.
fn is_temporary(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp"));
    parts
        .and_then(|parts| parts.rsplit_once('.'))
        .is_some_and(|(_, process)| process.parse::<u32>().is_ok())
}

/// The checkpoints of a folder by step, newest last; none when there is no folder. They are not verified.
///
/// # Errors
/// `Error::Io`.
pub fn list(output_dir: &Path) -> Result<Vec<Checkpoint>> {
    if !output_dir.exists() {
        return Ok(Vec::new());
    }
    let mut checkpoints: Vec<_> = names(output_dir)?
        .into_iter()
        .filter_map(|name| {
            Some(Checkpoint {
                step: step_of(&name, folder_name)?,
                path: output_dir.join(name),
            })
        })
        .collect();
    checkpoints.sort_by_key(|checkpoint| checkpoint.step);
    Ok(checkpoints)
}

/// What [`latest_valid`] found.
#[derive(Debug)]
pub struct Newest {
    /// The newest checkpoint whose files all match its manifest.
    pub checkpoint: Option<Checkpoint>,
    /// One for each newer one that does not: which file, what was expected, what was found.
    pub warnings: Vec<String>,
}

/// The newest checkpoint that is whole. It reads every byte of it.
///
/// # Errors
/// `Error::Io` when the folder cannot be listed; a broken checkpoint is a warning.
pub fn latest_valid(output_dir: &Path) -> Result<Newest> {
    let mut warnings = Vec::new();
    for checkpoint in list(output_dir)?.into_iter().rev() {
        match verify(&checkpoint.path) {
            Ok(checkpoint) => {
                return Ok(Newest {
                    checkpoint: Some(checkpoint),
                    warnings,
                });
            }
            Err(error) => warnings.push(format!("{} is not used: {error}", folder_name(checkpoint.step))),
        }
    }
    Ok(Newest {
        checkpoint: None,
        warnings,
    })
}

/// Removes checkpoints beyond `limit` and returns their steps. `keep` has the one just written, which is known to be
/// good, and the best: they stay even when they are more than `limit`. Steps after all of `keep` go first: they are
/// of a run that was given up by resuming from an earlier one.
///
/// # Errors
/// `Error::Io`.
pub fn prune(output_dir: &Path, limit: Option<usize>, keep: &[u64]) -> Result<Vec<u64>> {
    let all = list(output_dir)?;
    let excess = all.len().saturating_sub(limit.unwrap_or(usize::MAX));
    let newest = keep.iter().max().copied().unwrap_or(u64::MAX);
    let (given_up, old): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|item| !keep.contains(&item.step))
        .partition(|item| item.step > newest);
    let mut removed = Vec::new();
    for checkpoint in given_up.into_iter().chain(old).take(excess) {
        // Renamed first: a removal that is killed half-way leaves no broken checkpoint.
        let gone = output_dir.join(hidden(checkpoint.step));
        fs::rename(&checkpoint.path, &gone).map_err(Error::io(&checkpoint.path, "rename"))?;
        remove(&gone)?;
        removed.push(checkpoint.step);
    }
    Ok(removed)
}
