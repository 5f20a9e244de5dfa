//! Kernels that were compiled before, as a release has them.
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::CudaModule;
use cudarc::nvrtc::Ptx;

use super::{HEADERS, Source, failed};
use crate::error::Error;

/// The module of a source from a folder of compiled kernels: the device's own cubin where the folder and the driver have it, else PTX,
/// which the driver compiles.
pub(super) fn module(
    folder: &Path,
    capability: (i32, i32),
    source: &Source,
    load: impl Fn(Ptx) -> Result<Arc<CudaModule>, Error>,
) -> Result<Arc<CudaModule>, Error> {
    let own = (format!("{}.cu", source.name), source.text);
    let headers = HEADERS.iter().map(|(name, text)| ((*name).to_owned(), *text));
    for (name, text) in headers.chain([own]) {
        let copy = folder.join(name);
        let found = fs::read_to_string(&copy).map_err(|e| failed(source, format!("{}: {e}", copy.display())))?;
        if found != text {
            let what = "is not the source of this build: the folder was made for another version";
            return Err(failed(source, format!("{} {what}", copy.display())));
        }
    }
    let arch = match capability {
        (9, 0) => "sm_90a".to_owned(),
        (8, _) => "sm_80".to_owned(),
        (major, minor) => format!("sm_{major}{minor}"),
    };
    let cubin = folder.join(format!("{}.{arch}.cubin", source.name));
    if let Ok(binary) = fs::read(&cubin)
        && is_whole(&binary)
        && let Ok(module) = load(Ptx::from_binary(binary))
    {
        return Ok(module);
    }
    let ptx = folder.join(format!("{}.ptx", source.name));
    let text = fs::read_to_string(&ptx).map_err(|e| failed(source, format!("{}: {e}", ptx.display())))?;
    // The compiler ends a function with a brace; the driver's own message would not name the file, and it reads up to a NUL.
    if !text.trim_end().ends_with('}') || text.contains('\0') {
        let what = "expected PTX that ends with a closing brace, found a file that was cut off or changed";
        return Err(failed(source, format!("{}: {what}", ptx.display())));
    }
    load(Ptx::from_src(text)).map_err(|e| failed(source, format!("{}: {e}", ptx.display())))
}

/// Whether an ELF file of 64 bits reaches to the end of its section headers: a driver reads on where it was cut off.
fn is_whole(elf: &[u8]) -> bool {
    let word = |at: usize, n: usize| {
        let bytes = elf.get(at..at + n)?;
        Some(bytes.iter().rev().fold(0u64, |x, &b| x << 8 | u64::from(b)))
    };
    let end = || {
        let (sections, size, number) = (word(0x28, 8)?, word(0x3a, 2)?, word(0x3c, 2)?);
        sections.checked_add(size * number)
    };
    elf.starts_with(b"\x7fELF\x02\x01") && end().is_some_and(|end| end <= elf.len() as u64)
}
