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
        && let Ok(module) = load(Ptx::from_binary(binary))
    {
        return Ok(module);
    }
    let ptx = folder.join(format!("{}.ptx", source.name));
    let text = fs::read_to_string(&ptx).map_err(|e| failed(source, format!("{}: {e}", ptx.display())))?;
    load(Ptx::from_src(text))
}
