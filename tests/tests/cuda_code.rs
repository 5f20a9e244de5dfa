//! The kernels' machine code for sm_80 and sm_90a, by NVIDIA's ptxas and nvdisasm: no spills, no local memory, registers within their
//! budget, 16-byte accesses and tensor cores where they belong. Needs `PROXIMAL_CUDA_BUILT` and `CUDA_HOME` (`tests/cuda-env.sh`
//! sets both); without them it says so and passes.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What must be in the code of the kernels whose names begin so: each word is found in some instruction.
#[rustfmt::skip]
const FACTS: &[(&str, &[&str])] = &[
    ("narrow_", &["LDG.E.128"]),
    ("widen_", &["STG.E.128"]),
    ("attention_tensor_fwd_", &["HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("attention_tensor_dq_", &["HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("attention_tensor_dkv_", &["HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("attention_tensor_stats_", &["LDG.E.128"]),
    ("gemm_nt_bf16", &["HMMA.16816.F32.BF16", "LDSM.16", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("gemm_nn_bf16", &["HMMA.16816.F32.BF16", "LDSM.16", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("gemm_tn_bf16", &["HMMA.16816.F32.BF16", "LDSM.16", "LDGSTS.E.BYPASS.128", "STG.E.128"]),
    ("attention_combine_", &["LDG.E.128"]),
    ("head_dz_", &["LDG.E.128"]),
    ("adamw", &["LDG.E.128", "STG.E.128"]),
    ("swiglu", &["LDG.E.128", "STG.E.128"]),
];

/// The same of kernels that are for sm_90a alone.
#[rustfmt::skip]
const FACTS_90A: &[(&str, &[&str])] = &[
    ("gemm_nt_sm90_bf16", &["HGMMA.64x256x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
    ("gemm_nt_sm90_128_bf16", &["HGMMA.64x128x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
    ("gemm_nn_sm90_bf16", &["HGMMA.64x256x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
    ("gemm_nn_sm90_128_bf16", &["HGMMA.64x128x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
    ("gemm_tn_sm90_bf16", &["HGMMA.64x256x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
    ("gemm_tn_sm90_128_bf16", &["HGMMA.64x128x16.F32.BF16", "UTMALDG.2D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "STG.E.128"]),
];

/// Kernels that may use more than the 128 registers with which two blocks of 256 threads fit a multiprocessor, and how many.
const REGISTERS: &[(&str, u32)] = &[
    // Blocks of 128 threads: two fit with all that a thread can have.
    ("attention_tensor_", 255),
    ("attention_decode_", 255),
    ("skinny_", 255),
    // Blocks of 128 threads: the sums of a 128 x 128 tile alone are 128 registers of each thread.
    ("gemm_nt_bf16", 255),
    ("gemm_nn_bf16", 255),
    ("gemm_tn_bf16", 255),
    ("gemm_nt_any_bf16", 255),
    ("gemm_nn_any_bf16", 255),
    ("gemm_tn_any_bf16", 255),
    // One block of 288 threads: the same sums of two warpgroups.
    ("gemm_nt_sm90_bf16", 224),
    ("gemm_nn_sm90_bf16", 224),
    ("gemm_tn_sm90_bf16", 224),
];

/// Kernels that keep so many bytes on the stack, and why it is no loss: around the call of the slow path of an f64 division, once a token.
const STACK: &[(&str, u32)] = &[("sample", 8)];
const BUDGET: u32 = 128;

/// What ptxas says of a kernel.
#[derive(Default)]
struct Usage {
    registers: u32,
    stack: u32,
    spills: u32,
}

fn built() -> Option<(PathBuf, PathBuf)> {
    let of = |name| env::var_os(name).map(PathBuf::from);
    let found = of("PROXIMAL_CUDA_BUILT").zip(of("CUDA_HOME"));
    if found.is_none() {
        println!("skipped: PROXIMAL_CUDA_BUILT and CUDA_HOME are not set; see tests/cuda-env.sh");
    }
    found
}

/// Files of the folder that end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let mut all: Vec<_> = all.filter(|f| f.to_string_lossy().ends_with(ending)).collect();
    all.sort();
    assert!(!all.is_empty(), "{}: no *{ending}", folder.display());
    all
}

fn usages(report: &str) -> BTreeMap<String, Usage> {
    let mut all = BTreeMap::new();
    let mut name = String::new();
    for line in report.lines() {
        let number = |after: &str, of: &str| -> Option<u32> {
            let rest = of.split(after).nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            name = rest.split('\'').next().unwrap().to_owned();
        } else if line.contains("bytes stack frame") {
            let words: Vec<u32> = line
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|w| w.parse().ok())
                .collect();
            let usage: &mut Usage = all.entry(name.clone()).or_default();
            usage.stack = words[0];
            usage.spills = words[1] + words[2];
        } else if let Some(registers) = number("Used ", line) {
            all.entry(name.clone()).or_default().registers = registers;
        }
    }
    all
}

#[test]
fn no_kernel_spills_or_takes_more_registers_than_its_budget() {
    let Some((folder, _)) = built() else { return };
    let mut wrong = Vec::new();
    let mut kernels = 0;
    for arch in ["sm_80", "sm_90a"] {
        for file in files(&folder, &format!(".{arch}.txt")) {
            for (name, usage) in usages(&fs::read_to_string(&file).unwrap()) {
                kernels += 1;
                let budget = REGISTERS.iter().find(|r| name.starts_with(r.0)).map_or(BUDGET, |r| r.1);
                let stack = STACK.iter().find(|r| name.starts_with(r.0)).map_or(0, |r| r.1);
                if usage.spills > 0 || usage.stack > stack || usage.registers == 0 || usage.registers > budget {
                    wrong.push(format!(
                        "{arch} {name}: {} bytes spilt, {} of stack, {} registers of {budget}",
                        usage.spills, usage.stack, usage.registers
                    ));
                }
            }
        }
    }
    println!("{kernels} kernels");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where ptxas cannot tell that no one touches the sums of a wgmma before the wait, it waits after each: correct, and slow.
#[test]
fn no_wgmma_waits_for_the_one_before() {
    let Some((folder, _)) = built() else { return };
    for file in files(&folder, ".sm_90a.txt") {
        let report = fs::read_to_string(&file).unwrap();
        assert!(!report.contains("serialized"), "{}: {report}", file.display());
    }
}

/// The instructions of each kernel of a cubin.
fn disassembled(nvdisasm: &Path, cubin: &Path) -> BTreeMap<String, Vec<String>> {
    let out = Command::new(nvdisasm).arg("-c").arg(cubin).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        if let Some(section) = line
            .trim()
            .strip_prefix(".section\t.text.")
            .or(line.trim().strip_prefix(".section .text."))
        {
            name = section.split([',', ' ', '\t']).next().unwrap().to_owned();
        } else if line.contains("/*") && line.trim_end().ends_with(';') {
            all.entry(name.clone()).or_default().push(line.to_owned());
        }
    }
    all
}

#[test]
fn the_code_has_wide_accesses_and_tensor_cores_and_no_local_memory() {
    let Some((folder, home)) = built() else { return };
    let nvdisasm = home.join("bin/nvdisasm");
    let mut wrong = Vec::new();
    for arch in ["sm_80", "sm_90a"] {
        let own = if arch == "sm_90a" { FACTS_90A } else { &[] };
        let facts: Vec<_> = FACTS.iter().chain(own).collect();
        let mut seen = vec![0; facts.len()];
        for file in files(&folder, &format!(".{arch}.cubin")) {
            for (name, code) in disassembled(&nvdisasm, &file) {
                let has = |word: &str| code.iter().any(|line| line.contains(word));
                let stack = STACK.iter().any(|r| name.starts_with(r.0));
                if !stack && (has(" LDL") || has(" STL")) {
                    wrong.push(format!("{arch} {name}: local memory"));
                }
                for ((prefix, words), seen) in facts.iter().zip(&mut seen) {
                    if name.starts_with(prefix) {
                        *seen += 1;
                        wrong.extend(
                            words
                                .iter()
                                .filter(|w| !has(w))
                                .map(|w| format!("{arch} {name}: no {w}")),
                        );
                    }
                }
            }
        }
        let missing = facts.iter().zip(&seen).filter(|(_, seen)| **seen == 0);
        wrong.extend(missing.map(|((prefix, _), _)| format!("{arch}: no kernel begins with {prefix}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
