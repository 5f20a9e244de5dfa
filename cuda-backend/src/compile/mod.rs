//! From the sources in `cuda-src` to a loaded module.
//!
//! Looked for in this order:
//! 1. The folder that `PROXIMAL_CUDA_KERNELS` names, as a release has it: for each source `NAME.cu` (which must be this build's),
//!    `NAME.ptx`, `NAME.sm_80.cubin` and `NAME.sm_90a.cubin`; where the name ends in `_sm90`, for sm_90a alone.
//! 2. What a compiler makes: nvcc (`NVCC`, `CUDA_HOME/bin/nvcc`, or in `PATH`), else NVRTC, loaded at run time. It is kept in a cache on disk,
//!    `PROXIMAL_CUDA_CACHE` or `proximal/cuda` in the user's cache folder, under the hash of source, compiler and device, so it is made once.

mod cache;
mod nvcc;
mod nvrtc;
mod shipped;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::Ptx;

use crate::device::driver;
use crate::error::Error;

/// A file of kernels.
pub(crate) struct Source {
    /// Its name without `.cu`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The devices it is for.
    pub target: Target,
}

/// What a source may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// What every device of compute capability 8.0 and newer has.
    Common,
    /// What compute capability 9.0 alone has: wgmma.
    Sm90a,
}

/// What the kernels include.
const HEADERS: &[(&str, &str)] = &[
    ("common.cuh", include_str!("../../../cuda-src/common.cuh")),
    ("attention.cuh", include_str!("../../../cuda-src/attention.cuh")),
    ("attention_mma.cuh", include_str!("../../../cuda-src/attention_mma.cuh")),
    ("gemm.cuh", include_str!("../../../cuda-src/gemm.cuh")),
    ("head.cuh", include_str!("../../../cuda-src/head.cuh")),
    ("mma.cuh", include_str!("../../../cuda-src/mma.cuh")),
    ("philox.cuh", include_str!("../../../cuda-src/philox.cuh")),
    ("sm90.cuh", include_str!("../../../cuda-src/sm90.cuh")),
    ("sums.cuh", include_str!("../../../cuda-src/sums.cuh")),
    ("surrogate.cuh", include_str!("../../../cuda-src/surrogate.cuh")),
];

/// The file `cuda-src/NAME.cu`, for all devices unless a target is named.
macro_rules! source {
    ($name:literal) => {
        source!($name, Common)
    };
    ($name:literal, $target:ident) => {
        crate::compile::Source {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../cuda-src/", $name, ".cu")),
            target: crate::compile::Target::$target,
        }
    };
}
pub(crate) use source;

/// The module of a source for a device of this compute capability.
pub(crate) fn module(
    context: &Arc<CudaContext>,
    capability: (i32, i32),
    source: &Source,
) -> Result<Arc<CudaModule>, Error> {
    let load = |image: Ptx| {
        let doing = format!("loading the kernels of {}.cu", source.name);
        context.load_module(image).map_err(|e| driver(&doing, e))
    };
    if let Some(folder) = path("PROXIMAL_CUDA_KERNELS") {
        return shipped::module(&folder, capability, source, load);
    }
    let compiler = Compiler::find()?;
    let ptx = cache::ptx(source, capability, &compiler, || compiler.compile(source, capability))?;
    load(Ptx::from_src(ptx))
}

/// A folder or file that the environment names.
fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// What turns CUDA C++ into PTX.
enum Compiler {
    /// NVIDIA's compiler driver.
    Nvcc(PathBuf),
    /// The library that compiles at run time, and where CUDA's headers lie.
    Nvrtc(Option<PathBuf>),
}

impl Compiler {
    fn find() -> Result<Self, Error> {
        if let Some(nvcc) = nvcc::find()? {
            return Ok(Self::Nvcc(nvcc));
        }
        if nvrtc::is_present() {
            return Ok(Self::Nvrtc(nvrtc::headers()));
        }
        Err(Error::Kernels(
            "no compiler for the CUDA kernels was found: neither nvcc (NVCC, CUDA_HOME, PATH) nor libnvrtc.so (library path), and PROXIMAL_CUDA_KERNELS names no folder of compiled kernels".into(),
        ))
    }

    fn compile(&self, source: &Source, capability: (i32, i32)) -> Result<String, Error> {
        match self {
            Self::Nvcc(nvcc) => nvcc::compile(nvcc, source, capability),
            Self::Nvrtc(headers) => nvrtc::compile(headers.as_deref(), source, capability),
        }
    }

    /// What the cache tells compilers apart by.
    fn identity(&self) -> String {
        match self {
            Self::Nvcc(path) => format!("nvcc {} {:?}", path.display(), modified(path)),
            Self::Nvrtc(headers) => {
                let bf16 = headers.as_ref().map(|h| h.join("cuda_bf16.h"));
                let of_headers = bf16.as_deref().and_then(modified);
                format!("nvrtc {} {bf16:?} {of_headers:?}", nvrtc::version())
            }
        }
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

/// The compiler's word for the virtual architecture of a source on a device.
fn arch(source: &Source, (major, minor): (i32, i32)) -> String {
    match source.target {
        Target::Common => format!("compute_{major}{minor}"),
        Target::Sm90a => "compute_90a".to_owned(),
    }
}

fn failed(source: &Source, what: impl core::fmt::Display) -> Error {
    Error::Kernels(format!("{}.cu: {what}", source.name).into())
}
