//! NVIDIA's compiler as a library, loaded at run time.
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts, sys};

use super::{HEADERS, Source, arch, failed, path};
use crate::error::Error;

/// Whether the library is there.
pub(super) fn is_present() -> bool {
    // SAFETY: it only tries to open the library.
    unsafe { sys::is_culib_present() }
}

/// Where CUDA's headers lie, if the environment says so.
pub(super) fn headers() -> Option<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(path);
    let homes = homes.chain([PathBuf::from("/usr/local/cuda")]);
    homes
        .map(|home| home.join("include"))
        .find(|folder| folder.join("cuda_bf16.h").is_file())
}

/// The library's version.
pub(super) fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two integers to write to.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    format!("{major}.{minor}")
}

/// The PTX of a source, with its line numbers.
pub(super) fn compile(headers: Option<&Path>, source: &Source, capability: (i32, i32)) -> Result<String, Error> {
    let Some(headers) = headers else {
        return Err(failed(
            source,
            "NVRTC needs CUDA's headers (cuda_bf16.h): CUDA_HOME names no folder that has them",
        ));
    };
    let options = CompileOptions {
        include_paths: vec![headers.display().to_string()],
        options: vec![
            "--std=c++17".to_owned(),
            "-lineinfo".to_owned(),
            format!("--gpu-architecture={}", arch(source, capability)),
        ],
        name: Some(format!("{}.cu", source.name)),
        ..CompileOptions::default()
    };
    let compiled = compile_ptx_with_opts(inlined(source.text), options);
    compiled.map(|ptx| ptx.to_src()).map_err(|e| match e {
        CompileError::CompileError { log, .. } => failed(source, format!("NVRTC failed:\n{}", log.to_string_lossy())),
        e => failed(source, format!("NVRTC failed: {e}")),
    })
}

/// The text with our own headers in the places of their `#include` lines: NVRTC reads no files of ours.
fn inlined(text: &str) -> String {
    let mut seen = Vec::new();
    expand(text, &mut seen)
}

fn expand(text: &str, seen: &mut Vec<&'static str>) -> String {
    let mut all = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let named = HEADERS
            .iter()
            .find(|(name, _)| line.trim() == format!("#include \"{name}\""));
        match named {
            Some((name, header)) if !seen.contains(name) => {
                seen.push(name);
                all += &format!("#line 1 \"{name}\"\n{}#line {} \n", expand(header, seen), number + 2);
            }
            Some(_) => all.push('\n'),
            None => {
                all += line;
                all.push('\n');
            }
        }
    }
    all
}
