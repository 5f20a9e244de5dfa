//! Files as memory: the unsafe lines of this crate.
use std::fs::File;
use std::ops::Range;
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

/// Says that these bytes were read and are not needed for now: they stop counting as this process's memory. Whoever reads
/// them again reads the file again. On other systems than Linux nothing is done.
pub(crate) fn release(map: &Mmap, range: Range<usize>) {
    #[cfg(target_os = "linux")]
    if !range.is_empty() {
        // SAFETY: the mapping is of a file and never written, so that the pages that go come back as they were. What the
        // advice is worth is the system's affair: where it refuses, the bytes stay.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, range);
}
