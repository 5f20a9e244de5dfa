//! Writing one checkpoint, all or nothing.
use super::folder::{aside, folder_name, hidden};
use super::manifest::{Checkpoint, Entry, Manifest, NAME};
use model_qwen2::{Error, Result};
use std::collections::{BTreeMap, btree_map};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A checkpoint that is being written. Dropped before [`Writer::commit`], it removes what it wrote.
#[derive(Debug)]
pub struct Writer {
    step: u64,
    output_dir: PathBuf,
    folder: PathBuf,
    // None while the file is open.
    entries: BTreeMap<String, Option<Entry>>,
}

impl Writer {
    /// Makes the hidden folder `.checkpoint-<step>.tmp` in the output folder, in place of one that was left there.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn begin(output_dir: &Path, step: u64) -> Result<Self> {
        let folder = output_dir.join(hidden(step));
        remove(&folder)?;
        fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        Ok(Self {
            step,
            output_dir: output_dir.into(),
            folder,
            entries: BTreeMap::new(),
        })
    }

    /// The folder, for callers that write files by themselves; [`Writer::commit`] reads those once for their checksums.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Creates a file whose checksum is counted as it is written. It belongs to the checkpoint once it is closed.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn file(&mut self, name: &str) -> Result<FileWriter<'_>> {
        let path = self.folder.join(name);
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        self.entries.insert(name.into(), None);
        let counting = Counting {
            file,
            size: 0,
            hasher: crc32fast::Hasher::new(),
        };
        Ok(FileWriter {
            out: BufWriter::with_capacity(1 << 20, counting),
            name: name.into(),
            path,
            entries: &mut self.entries,
        })
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(content).map_err(Error::io(file.path(), "write"))?;
        file.close()
    }

    /// Syncs everything, writes the manifest, gives the folder its name. One that has the name already is replaced.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::Invalid` for a file that was not closed; the hidden folder is gone then and earlier
    /// checkpoints are as they were.
    pub fn commit(mut self) -> Result<Checkpoint> {
        let mut entries = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut self.entries) {
            let entry =
                entry.ok_or_else(|| Error::invalid(self.folder.join(&name), "file", "a closed file", "an open one"))?;
            entries.insert(name, entry);
        }
        self.add_folder(&self.folder, "", &mut entries)?;
        let manifest = Manifest {
            step: self.step,
            files: entries,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let path = self.folder.join(NAME);
        let write = |text: Vec<u8>| {
            let mut file = File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        text.and_then(write).map_err(Error::io(&path, "write"))?;
        sync_folder(&self.folder)?;

        let path = self.output_dir.join(folder_name(self.step));
        let old = self.output_dir.join(aside(self.step));
        remove(&old)?;
        if path.exists() {
            // A folder with files in it cannot be renamed over. Killed between the two renames, the old one is put
            // back by OutputDir::open.
            fs::rename(&path, &old).map_err(Error::io(&path, "rename"))?;
        }
        if let Err(error) = fs::rename(&self.folder, &path) {
            if old.exists() {
                fs::rename(&old, &path).map_err(Error::io(&old, "rename back"))?;
            }
            return Err(Error::io(&path, "rename")(error));
        }
        sync_folder(&self.output_dir)?;
        remove(&old)?;
        Ok(Checkpoint { step: self.step, path })
    }

    /// Syncs the files of a folder and takes in those that were not written through [`Writer::file`].
    fn add_folder(&self, folder: &Path, prefix: &str, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
        for item in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
            let item = item.map_err(Error::io(folder, "list"))?;
            let (path, name) = (item.path(), format!("{prefix}{}", item.file_name().to_string_lossy()));
            if path.is_dir() {
                self.add_folder(&path, &format!("{name}/"), entries)?;
                sync_folder(&path)?;
            } else if let btree_map::Entry::Vacant(place) = entries.entry(name) {
                // Windows syncs only what is open for writing; a copied file may be read-only.
                let file = File::options().read(true).write(cfg!(windows)).open(&path);
                file.and_then(|file| file.sync_all())
                    .map_err(Error::io(&path, "sync"))?;
                place.insert(Entry::of(&path)?);
            }
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After commit there is nothing; after an error the error itself matters more than this one.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file of a checkpoint.
#[derive(Debug)]
pub struct FileWriter<'a> {
    out: BufWriter<Counting>,
    name: String,
    path: PathBuf,
    entries: &'a mut BTreeMap<String, Option<Entry>>,
}

#[derive(Debug)]
struct Counting {
    file: File,
    size: u64,
    hasher: crc32fast::Hasher,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileWriter<'_> {
    /// The file's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the file to the disk and takes it into the checkpoint.
    ///
    /// # Errors
    /// `Error::Io`, for instance when the disk is full.
    pub fn close(self) -> Result<()> {
        let done = self.out.into_inner().map_err(io::IntoInnerError::into_error);
        let done = done.and_then(|counting| counting.file.sync_all().map(|()| counting));
        let Counting { size, hasher, .. } = done.map_err(Error::io(&self.path, "write"))?;
        self.entries.insert(self.name, Some(Entry::new(size, hasher)));
        Ok(())
    }
}

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Removes a folder that may not be there.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(folder, "remove")(error)),
        _ => Ok(()),
    }
}

/// Brings a folder's entries to the disk; only Unix can.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(Error::io(folder, "sync"))?;
    }
    Ok(())
}
