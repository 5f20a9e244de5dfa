//! The one unsafe line of this crate.
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// `path`, mapped read-only.
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    // SAFETY: the mapping is private to this process and never written. What remains is that another process cuts or
    // rewrites the file meanwhile; every reader of weights by mapping takes that on, and our own writers never
    // change a file in place: they rename a new one over it, which leaves the mapped one whole.
    let mapped = unsafe { Mmap::map(&file) };
    mapped.map_err(Error::io(path, "map"))
}
