//! Compiled kernels on disk.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::{fs, process};

use super::{Compiler, HEADERS, Source, path};
use crate::error::Error;

/// The PTX of a source from the cache, or made by `compile` and put there. A cache that cannot be written is passed over: it only
/// saves time.
pub(super) fn ptx(
    source: &Source,
    capability: (i32, i32),
    compiler: &Compiler,
    compile: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    let mut hash = DefaultHasher::new();
    (
        source.text,
        HEADERS,
        capability,
        compiler.identity(),
        env!("CARGO_PKG_VERSION"),
    )
        .hash(&mut hash);
    let file = folder().map(|f| f.join(format!("{}-{:016x}.ptx", source.name, hash.finish())));
    // What ends in a line break was written whole: `store` adds it last.
    let stored = file
        .as_ref()
        .and_then(|f| fs::read_to_string(f).ok())
        .filter(|t| t.ends_with("// end\n"));
    if let Some(ptx) = stored {
        return Ok(ptx);
    }
    let ptx = compile()?;
    let ptx = format!("{}\n// end\n", ptx.trim_end_matches('\0'));
    if let Some(file) = file {
        store(&file, &ptx);
    }
    Ok(ptx)
}

fn store(file: &std::path::Path, ptx: &str) {
    let Some(folder) = file.parent() else { return };
    // Another process may write the same file: each writes its own and renames it.
    let part = file.with_extension(format!("{}.part", process::id()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&part, ptx))
        .and_then(|()| fs::rename(&part, file));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
}

fn folder() -> Option<PathBuf> {
    path("PROXIMAL_CUDA_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|d| d.join("proximal/cuda")))
        .or_else(|| path("HOME").map(|d| d.join(".cache/proximal/cuda")))
}
