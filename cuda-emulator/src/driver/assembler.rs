//! NVIDIA's own assembler, where `CUDA_EMULATOR_PTXAS` names it: it refuses what hardware would, and tells how many registers a kernel takes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Assembles PTX for its target. Registers of a thread by kernel, or what the assembler says against it.
pub fn registers(ptxas: &Path, target: &str, ptx: &str) -> Result<BTreeMap<String, u32>, String> {
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
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(parse(&text))
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
