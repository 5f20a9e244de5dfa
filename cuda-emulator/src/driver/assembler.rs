//! NVIDIA's own assembler, where `CUDA_EMULATOR_PTXAS` names it: it refuses what hardware would, and tells how many registers a kernel takes.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Registers of a thread by kernel, or what the assembler says against the PTX. Its answer is kept in the folder for temporary files, since
/// every process of a test would ask the same.
pub fn registers(ptxas: &Path, target: &str, ptx: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut hash = DefaultHasher::new();
    (ptxas, std::fs::metadata(ptxas).map_or(0, |m| m.len()), target, ptx).hash(&mut hash);
    let folder = std::env::temp_dir().join("cuda-emulator-ptxas");
    let kept = folder.join(format!("{:016x}", hash.finish()));
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return Ok(parse(&text));
    }
    let text = assemble(ptxas, target, ptx)?;
    // Written under another name first: another process may read it at any time. Without a cache it only takes longer.
    let new = folder.join(format!("{}.new", std::process::id()));
    let _ = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&new, &text))
        .and_then(|()| std::fs::rename(&new, &kept));
    Ok(parse(&text))
}

/// Assembles PTX for its target; the report of `ptxas -v`.
fn assemble(ptxas: &Path, target: &str, ptx: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", ptxas.display());
    let mut child = Command::new(ptxas)
        .args(["-v", &format!("-arch={target}"), "-o", "/dev/null", "/dev/stdin"])
        // The emulated driver may be on the path for libraries; the assembler has no use for it.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // If it ends early, its message says why.
        let _ = input.write_all(ptx.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text.trim().into())
    }
}

/// Reads "Compiling entry function 'NAME' for ..." and "Used N registers, ..." of `ptxas -v`.
fn parse(text: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("entry function '") {
            name = rest.split('\'').next();
        } else if let Some((_, rest)) = line.split_once("Used ")
            && let Some(name) = name
            && let Some(count) = rest.split(' ').next().and_then(|n| n.parse().ok())
        {
            found.insert(name.into(), count);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_from_the_report() {
        let text = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'adamw' for 'sm_80'\n\
            ptxas info    : Function properties for adamw\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 40 registers, used 0 barriers, 424 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'rope' for 'sm_80'\n\
            ptxas info    : Used 29 registers, used 1 barriers, 32 bytes cumulative stack size\n";
        assert_eq!(parse(text), BTreeMap::from([("adamw".into(), 40), ("rope".into(), 29)]));
    }

    #[test]
    fn a_missing_assembler_is_an_error_that_names_it() {
        let error = registers(Path::new("/no/such/ptxas"), "sm_80", "").unwrap_err();
        assert!(error.starts_with("/no/such/ptxas: "), "{error}");
    }
}
