//! manifest.json: what a checkpoint consists of.
use model_qwen2::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(super) const NAME: &str = "manifest.json";

/// A checkpoint folder on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The optimizer step after which it was written.
    pub step: u64,
    /// `checkpoint-<step>` in the output folder.
    pub path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub step: u64,
    pub files: BTreeMap<String, Entry>,
}

/// Size in bytes and CRC-32 (IEEE) in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub size: u64,
    pub crc32: String,
}

impl Entry {
    pub fn new(size: u64, hasher: crc32fast::Hasher) -> Self {
        Self {
            size,
            crc32: format!("{:08x}", hasher.finalize()),
        }
    }

    /// Reads the whole file.
    pub fn of(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let mut buffer = vec![0; 1 << 20];
        let (mut size, mut hasher) = (0, crc32fast::Hasher::new());
        loop {
            let read = file.read(&mut buffer).map_err(Error::io(path, "read"))?;
            if read == 0 {
                return Ok(Self::new(size, hasher));
            }
            hasher.update(&buffer[..read]);
            size += read as u64;
        }
    }
}

/// Reads every file of a checkpoint and compares it with the manifest.
///
/// # Errors
/// `Error::Io` for a file that is missing; `Error::Invalid`, naming file, expected and found, for one of another size
/// or checksum.
pub fn verify(checkpoint: &Path) -> Result<Checkpoint> {
    let path = checkpoint.join(NAME);
    let text = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(&path, format!("line {}", error.line()), "a manifest", error.to_string()))?;
    for (name, expected) in &manifest.files {
        let path = checkpoint.join(name);
        // The size first: a file that was cut need not be read.
        let size = std::fs::metadata(&path).map_err(Error::io(&path, "open"))?.len();
        if size != expected.size {
            return Err(Error::invalid(
                &path,
                "size",
                format!("{} bytes", expected.size),
                format!("{size} bytes"),
            ));
        }
        let found = Entry::of(&path)?;
        if found != *expected {
            return Err(Error::invalid(&path, "crc32", &expected.crc32, found.crc32));
        }
    }
    Ok(Checkpoint {
        step: manifest.step,
        path: checkpoint.into(),
    })
}
