//! NVIDIA's compiler driver.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use super::{HEADERS, Source, arch, failed, path};
use crate::error::Error;

/// The compiler: `NVCC`, that of `CUDA_HOME` or `CUDA_PATH`, or one in `PATH`. Errors: `NVCC` names no file.
pub(super) fn find() -> Result<Option<PathBuf>, Error> {
    if let Some(nvcc) = path("NVCC") {
        if !nvcc.is_file() {
            let what = format!(
                "NVCC: expected the compiler's path, found {}, which is no file",
                nvcc.display()
            );
            return Err(Error::Kernels(what.into()));
        }
        return Ok(Some(nvcc));
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(path)
        .map(|home| home.join("bin"));
    let paths = env::var_os("PATH")
        .map(|p| env::split_paths(&p).collect::<Vec<_>>())
        .unwrap_or_default();
    let mut found = homes.chain(paths).map(|folder| folder.join("nvcc"));
    Ok(found.find(|nvcc| nvcc.is_file()))
}

/// The PTX of a source, with its line numbers.
pub(super) fn compile(nvcc: &Path, source: &Source, capability: (i32, i32)) -> Result<String, Error> {
    // Two devices of a process may compile the same source at once.
    static COMPILED: AtomicUsize = AtomicUsize::new(0);
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("proximal-{}-{}-{number}", source.name, process::id()));
    let compiled = in_folder(&folder, nvcc, source, capability);
    let _ = fs::remove_dir_all(&folder);
    compiled
}

fn in_folder(folder: &Path, nvcc: &Path, source: &Source, capability: (i32, i32)) -> Result<String, Error> {
    let io = |e| failed(source, format!("{}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(io)?;
    for (name, text) in HEADERS {
        fs::write(folder.join(name), text).map_err(io)?;
    }
    let (file, ptx) = (format!("{}.cu", source.name), format!("{}.ptx", source.name));
    fs::write(folder.join(&file), source.text).map_err(io)?;
    let code = arch(source, capability);
    let run = Command::new(nvcc)
        .current_dir(folder)
        .args(["-std=c++17", "-O3", "-lineinfo", "--ptx"])
        .arg(format!("-gencode=arch={code},code={code}"))
        .args([&file, "-o", &ptx])
        .output()
        .map_err(|e| failed(source, format!("{} cannot be run: {e}", nvcc.display())))?;
    if !run.status.success() {
        let log = String::from_utf8_lossy(&run.stderr);
        return Err(failed(source, format!("{} failed:\n{log}", nvcc.display())));
    }
    fs::read_to_string(folder.join(&ptx)).map_err(io)
}
