//! Where the kernels come from: a folder of a release, whole and broken; NVRTC where there is no nvcc; a compiler that fails; a cache that
//! cannot be written. Needs what `tests/cuda-env.sh` sets; without it each test says so and passes.
#![allow(clippy::unwrap_used)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;
use tests::devices::cuda;
use tests::program::{self, Ran};

/// The folder of compiled kernels and the compilers' home.
fn built() -> Option<[PathBuf; 2]> {
    cuda::<f32>()?;
    let [Some(built), Some(home)] = ["PROXIMAL_CUDA_BUILT", "CUDA_HOME"].map(env::var_os) else {
        println!("skipped: PROXIMAL_CUDA_BUILT and CUDA_HOME are not set; see tests/cuda-env.sh");
        return None;
    };
    Some([built, home].map(PathBuf::from))
}

/// `proximal verify` of a small case, with an empty cache of its own and no compiler but those that a test adds.
fn verify(cache: &Path) -> Command {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases/dpo-sigmoid");
    let mut command = program::command(["verify", case.to_str().unwrap(), "--device", "cuda"]);
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PROXIMAL_CUDA_KERNELS"] {
        command.env_remove(name);
    }
    command.env("PATH", "/usr/bin:/bin").env("PROXIMAL_CUDA_CACHE", cache);
    command
}

fn ran(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

/// The folder's files, linked, so that a test may put others in their places.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn put(folder: &TempDir, name: &str, bytes: &[u8]) {
    let path = folder.path().join(name);
    fs::remove_file(&path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn kernels_of_a_release_are_taken_as_they_are_and_broken_ones_refused() {
    let Some([built, _]) = built() else { return };
    let cache = tempfile::tempdir().unwrap();
    let with = |kernels: &Path| ran(verify(cache.path()).env("PROXIMAL_CUDA_KERNELS", kernels));
    with(&built).good();

    // Another version of the sources, of one header, or none.
    for name in ["rmsnorm.cu", "common.cuh"] {
        let other = copy_of(&built);
        let mut text = fs::read(built.join(name)).unwrap();
        *text.last_mut().unwrap() ^= 1;
        put(&other, name, &text);
        with(other.path()).refused(&[name, "is not the source of this build"]);
        fs::remove_file(other.path().join(name)).unwrap();
        with(other.path()).refused(&[name, "No such file"]);
    }

    // Machine code that was cut off is passed over; PTX that was is not.
    let cut = copy_of(&built);
    let part = |name: &str| {
        let whole = fs::read(built.join(name)).unwrap();
        whole[..whole.len() / 2].to_vec()
    };
    for cubin in ["rmsnorm.sm_80.cubin", "rmsnorm.sm_90a.cubin"] {
        put(&cut, cubin, &part(cubin));
    }
    with(cut.path()).good();
    for broken in [&[][..], &part("rmsnorm.ptx"), b"\0}", b"garbage }"] {
        put(&cut, "rmsnorm.ptx", broken);
        with(cut.path()).refused(&["rmsnorm.ptx"]);
    }
}

#[test]
fn nvrtc_compiles_where_there_is_no_nvcc_and_its_work_is_kept() {
    let Some([_, home]) = built() else { return };
    let (cache, toolkit) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // NVRTC lies in the library path; of the toolkit there are the headers alone.
    symlink(home.join("include"), toolkit.path().join("include")).unwrap();
    let with = || ran(verify(cache.path()).env("CUDA_HOME", toolkit.path()));
    let files = || {
        let mut files: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|f| f.unwrap()).collect();
        files.sort_by_key(|f| f.file_name());
        files
    };
    with().good();
    let made = files();
    assert!(made.len() > 5, "{made:?}");
    let times = |files: &[fs::DirEntry]| -> Vec<_> {
        files
            .iter()
            .map(|f| f.metadata().unwrap().modified().unwrap())
            .collect()
    };
    with().good();
    assert_eq!(times(&made), times(&files()));
    // One that was cut off is made anew.
    let text = fs::read(made[0].path()).unwrap();
    fs::write(made[0].path(), &text[..text.len() / 2]).unwrap();
    with().good();
    assert_eq!(fs::read(made[0].path()).unwrap(), text);
    // Without the headers.
    fs::remove_file(toolkit.path().join("include")).unwrap();
    let empty = tempfile::tempdir().unwrap();
    ran(verify(empty.path()).env("CUDA_HOME", toolkit.path())).refused(&["NVRTC needs CUDA's headers"]);
}

#[test]
fn a_compiler_that_fails_is_named_with_its_words_and_a_cache_that_cannot_be_written_is_not_needed() {
    let Some([_, home]) = built() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let driver = env::var("LD_LIBRARY_PATH").unwrap();
    let driver = driver
        .split(':')
        .find(|folder| Path::new(folder).join("libcuda.so").exists())
        .unwrap();
    // No compiler at all: the driver's folder has no NVRTC.
    ran(verify(scratch.path()).env("LD_LIBRARY_PATH", driver))
        .refused(&["no compiler for the CUDA kernels was found", "PROXIMAL_CUDA_KERNELS"]);
    ran(verify(scratch.path()).env("NVCC", scratch.path().join("none"))).refused(&["NVCC", "none", "which is no file"]);

    let nvcc = scratch.path().join("nvcc");
    fs::write(&nvcc, "#!/bin/sh\necho 'the licence has run out' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&nvcc, fs::Permissions::from_mode(0o755)).unwrap();
    let failed = ran(verify(scratch.path()).env("NVCC", &nvcc)).refused(&[".cu", "nvcc failed"]);
    assert!(failed.stderr.contains("the licence has run out"), "{failed:#?}");

    // A file where the cache's folder should be.
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    ran(verify(&file).env("NVCC", home.join("bin/nvcc"))).good();
}
