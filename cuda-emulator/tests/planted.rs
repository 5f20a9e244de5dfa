//! Planted bugs: each must be reported, with its kind and its line, and its sound twin must not, over several orders of blocks
//! and warps. The sources in `planted/` are compiled by NVIDIA's compiler: set `NVCC` to its path. Without it this file says so
//! and checks nothing, or fails where `PROXIMAL_CUDA_REQUIRED` is set; the same classes are checked without a compiler in the unit tests of
//! `memory` and `exec`.
//!
//! The host's mistakes are planted in `driver/`: a stream that is not waited for, memory of another stream, leaks, memory freed
//! twice, bytes that nothing wrote copied to the host, parameters that are missing, too much shared memory.
#![allow(clippy::unwrap_used)]

use cuda_emulator::counters::Counters;
use cuda_emulator::engine::{Engine, Kernel, Launch, Options};
use cuda_emulator::fault::{Fault, FaultKind};
use cuda_emulator::memory::Kind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Orders of blocks and warps; 0 is the natural one.
const SEEDS: [u64; 5] = [0, 1, 2, 7, 1234];

/// A source file with a bug in it.
struct Plant {
    file: &'static str,
    kind: FaultKind,
    /// A race between a read and the write that comes before it in the program may be seen the other way round: then what is
    /// read has not been written.
    or_uninitialised: bool,
    /// Blocks.
    grid: u32,
    /// Threads of a block.
    block: u32,
    /// Dynamic shared memory in bytes.
    shared: usize,
    /// Numbers in the output `a`, which is uninitialised.
    outputs: u64,
    /// Numbers in the input `b`: 0, 1, 2 …
    inputs: u32,
    /// The last parameter.
    n: i32,
}

const fn plant(file: &'static str, kind: FaultKind) -> Plant {
    Plant {
        file,
        kind,
        or_uninitialised: false,
        grid: 1,
        block: 128,
        shared: 0,
        outputs: 1024,
        inputs: 1024,
        n: 100,
    }
}

const fn early(file: &'static str, kind: FaultKind) -> Plant {
    Plant {
        or_uninitialised: true,
        ..plant(file, kind)
    }
}

const fn blocks(file: &'static str, kind: FaultKind, grid: u32) -> Plant {
    Plant {
        grid,
        ..plant(file, kind)
    }
}

const PLANTS: &[Plant] = &[
    early("shared_raw", FaultKind::SharedRace),
    plant("shared_war", FaultKind::SharedRace),
    plant("shared_waw", FaultKind::SharedRace),
    Plant {
        grid: 4,
        ..early("global_raw", FaultKind::GlobalRace)
    },
    blocks("global_blocks", FaultKind::GlobalRace, 4),
    blocks("global_inplace", FaultKind::GlobalRace, 4),
    Plant {
        block: 1,
        ..blocks("global_halves", FaultKind::GlobalRace, 16)
    },
    blocks("last_block", FaultKind::GlobalRace, 6),
    blocks("last_block_scope", FaultKind::GlobalRace, 6),
    blocks("flag", FaultKind::GlobalRace, 3),
    blocks("atomic_scope", FaultKind::GlobalRace, 4),
    plant("constant_read", FaultKind::GlobalRace),
    blocks("counter_read", FaultKind::GlobalRace, 4),
    blocks("lanes_differ", FaultKind::GlobalRace, 2),
    Plant {
        n: 1000,
        inputs: 1000,
        ..blocks("global_read_bounds", FaultKind::OutOfBounds, 8)
    },
    Plant {
        n: 1000,
        outputs: 1000,
        ..blocks("global_write_bounds", FaultKind::OutOfBounds, 8)
    },
    Plant {
        shared: 512,
        ..plant("shared_bounds", FaultKind::OutOfBounds)
    },
    plant("misaligned", FaultKind::Misaligned),
    plant("global_uninitialised", FaultKind::Uninitialised),
    plant("shared_uninitialised", FaultKind::Uninitialised),
    plant("freed", FaultKind::Freed),
    plant("null", FaultKind::OutOfBounds),
    Plant {
        n: 4095,
        ..plant("wrapped", FaultKind::OutOfBounds)
    },
    Plant {
        n: 1 << 20,
        ..plant("local_bounds", FaultKind::OutOfBounds)
    },
    plant("constant_written", FaultKind::ReadOnly),
    plant("divergent_barrier", FaultKind::DivergentBarrier),
    plant("barrier_count", FaultKind::Deadlock),
    plant("shuffle_divergent", FaultKind::WarpSync),
    plant("shuffle_mask", FaultKind::WarpSync),
    early("syncwarp", FaultKind::SharedRace),
    plant("copy_not_waited", FaultKind::InFlight),
    plant("copy_wait_weak", FaultKind::InFlight),
    early("copy_no_barrier", FaultKind::SharedRace),
    plant("copy_overwritten", FaultKind::InFlight),
    plant("copy_source", FaultKind::InFlight),
    plant("threads", FaultKind::Launch),
    plant("assertion", FaultKind::Assert),
    plant("endless", FaultKind::Timeout),
];

/// Bugs of kernels for sm_90a.
const HOPPER: &[Plant] = &[
    early("bulk_not_waited", FaultKind::InFlight),
    plant("bulk_overwrites", FaultKind::InFlight),
    plant("bulk_bytes", FaultKind::Deadlock),
    plant("bulk_misaligned", FaultKind::Misaligned),
    plant("bulk_store_proxy", FaultKind::Proxy),
    plant("bulk_store_left", FaultKind::InFlight),
    plant("wgmma_proxy", FaultKind::Proxy),
    plant("wgmma_source_written", FaultKind::InFlight),
    plant("wgmma_early", FaultKind::InFlight),
    plant("wgmma_fence", FaultKind::Undefined),
    plant("wgmma_warps", FaultKind::WarpSync),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted")
}

/// All of these planted bugs in one source, each with and without its bug.
fn together(plants: &[Plant], name: &str) -> PathBuf {
    let mut all = String::new();
    for p in plants {
        for which in ["bug", "sound"] {
            let bug = if which == "bug" { "#define BUG\n" } else { "" };
            let file = folder().join(p.file).with_extension("cu");
            all += &format!(
                "{bug}#define planted {0}_{which}\n#define CONSTANT {0}_{which}_constant\n#include \"{1}\"\n#undef planted\n#undef CONSTANT\n#undef BUG\n",
                p.file,
                file.display()
            );
        }
    }
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("cu");
    std::fs::write(&source, all).unwrap();
    source
}

/// NVIDIA's compiler; none where there may be none.
fn nvcc() -> Option<String> {
    let nvcc = std::env::var("NVCC").ok();
    if nvcc.is_none() {
        let required = std::env::var_os("PROXIMAL_CUDA_REQUIRED").is_some();
        assert!(!required, "NVCC is not set, and PROXIMAL_CUDA_REQUIRED is");
        println!("skipped: NVCC is not set");
    }
    nvcc
}

fn compile(nvcc: &str, source: &Path, name: &str, arch: &str) -> String {
    let ptx = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("ptx");
    let run = Command::new(nvcc)
        .args(["-std=c++17", "-O3", "-lineinfo", "--ptx"])
        .arg(format!("-gencode=arch={arch},code={arch}"))
        .arg("-o")
        .args([ptx.as_path(), source])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    std::fs::read_to_string(ptx).unwrap()
}

fn run(ptx: &str, p: &Plant, name: &str, seed: u64, threads: usize) -> Result<Counters, Box<Fault>> {
    let max_steps = if p.kind == FaultKind::Timeout {
        100_000
    } else {
        u64::MAX
    };
    let mut e = Engine::new(Options {
        seed,
        threads,
        max_steps,
        ..Options::default()
    });
    let module = e.load(ptx).unwrap();
    let kernel: &Kernel = &module.kernels[name];
    let mut allocate = |bytes: u64| e.memory.allocate(bytes, Kind::Plain).unwrap();
    let (a, b, c) = (allocate(4 * p.outputs), allocate(4 * u64::from(p.inputs)), allocate(64));
    let numbers: Vec<u8> = (0..p.inputs).flat_map(|i| (i as f32).to_le_bytes()).collect();
    e.memory.write(b, &numbers).unwrap();
    e.memory.fill(c, &[0], 64).unwrap();
    if name == "freed_bug" {
        e.memory.free(b).unwrap();
    }
    let mut params = [a, b, c].map(u64::to_le_bytes).concat();
    params.extend(p.n.to_le_bytes());
    let launch = Launch {
        grid: [p.grid, 1, 1],
        block: [p.block, 1, 1],
        dynamic_shared: p.shared,
        params: &params,
    };
    e.launch(kernel, launch)
}

/// Lines of a source that say a fault is there.
fn marked(p: &Plant) -> Vec<u32> {
    let text = std::fs::read_to_string(folder().join(p.file).with_extension("cu")).unwrap();
    text.lines()
        .zip(1..)
        .filter(|(l, _)| l.ends_with("// fault"))
        .map(|(_, n)| n)
        .collect()
}

/// Each bug is found in every order, with its kind and its line; its twin is not held for one, and counts the same in every order.
fn check(plants: &[Plant], name: &str, arch: &str) {
    let Some(nvcc) = nvcc() else { return };
    let ptx = compile(&nvcc, &together(plants, name), name, arch);
    let mut wrong = Vec::new();
    for p in plants {
        let lines = marked(p);
        let mut counted = None;
        for seed in SEEDS {
            for threads in [1, 2] {
                let at = format!("{} (seed {seed}, {threads} threads)", p.file);
                match run(&ptx, p, &format!("{}_bug", p.file), seed, threads) {
                    Ok(_) => wrong.push(format!("{at}: not reported")),
                    Err(f) => {
                        let kind = f.kind == p.kind || p.or_uninitialised && f.kind == FaultKind::Uninitialised;
                        // Intrinsics are inline functions of NVIDIA's headers: the message says where they were called.
                        let here = |line: &u32| f.to_string().contains(&format!("{}.cu:{line}", p.file));
                        if !kind || !lines.is_empty() && !lines.iter().any(here) {
                            wrong.push(format!("{at}: expected {:?} at {lines:?}, got {f}", p.kind));
                        }
                    }
                }
                match run(&ptx, p, &format!("{}_sound", p.file), seed, threads) {
                    Err(f) => wrong.push(format!("{at}: the sound twin is reported: {f}")),
                    // Blocks that wait for each other ask as often as they must.
                    Ok(c) if p.grid == 1 && counted.get_or_insert_with(|| c.clone()) != &c => {
                        wrong.push(format!(
                            "{at}: the sound twin counts {c:?}, in another order {counted:?}"
                        ));
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_is_reported_and_its_twin_is_not() {
    check(PLANTS, "planted", "compute_80");
}

#[test]
fn the_same_for_asynchronous_operations() {
    check(HOPPER, "hopper", "compute_90a");
}

/// Kernels of `sound.cu`.
const SOUND: [&str; 16] = [
    "warp_tree",
    "group_tree",
    "pipeline",
    "specialised",
    "grid_barrier",
    "lock",
    "in_turn",
    "histogram",
    "bf16_in_place",
    "bytes_and_flags",
    "leaving",
    "reuse",
    "own_row",
    "early_exit",
    "groups",
    "stack",
];

#[test]
fn what_is_legal_is_not_reported() {
    let Some(nvcc) = nvcc() else { return };
    let ptx = compile(&nvcc, &folder().join("sound.cu"), "sound", "compute_80");
    let mut wrong = Vec::new();
    for kernel in SOUND {
        for seed in SEEDS {
            for threads in [1, 2] {
                let p = Plant {
                    inputs: 2048,
                    ..blocks("", FaultKind::Launch, 6)
                };
                if let Err(f) = run(&ptx, &p, kernel, seed, threads) {
                    wrong.push(format!("{kernel} (seed {seed}, {threads} threads): {f}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
