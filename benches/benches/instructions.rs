//! Instructions of the hot kernels, counted by valgrind: where a machine's times are too noisy to show that a kernel has become slower.
//!
//! Valgrind knows neither AVX-512 nor AMX, so they are the AVX2 kernels', on one thread. Each kernel runs once and three times in processes of
//! their own; half of the difference is one run, without what makes its matrices.
//!
//! `cargo bench -p benches --bench instructions` prints the table; `-- --check` compares it with the committed one
//! (`benches/instruction-counts.txt`) and fails where a count has grown by more than 2 %; `-- --bless` writes that; `-- linear` is only of the
//! kernels whose names have that in them. The counts are of one version of the compiler, and an instruction is not a time: a change that moves
//! less, or waits less, does not show.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io, thread};

use benches::operation::{Backend, Operation};
use benches::ops::attention::{Attention, Pass, Segments};
use benches::ops::decode::{AttentionDecode, Logits};
use benches::ops::head::{self, Head};
use benches::ops::linear::{Linear, LinearBwdW, LinearBwdX};
use benches::ops::rows::{Rmsnorm, RmsnormBwd, Swiglu, SwigluBwd};
use benches::ops::vector::{Adamw, Prepare};
use cpu_backend::{Cpu, Settings};
use half::bf16;
use kernel::backend::Heads;

/// How much a count may grow.
const GROWTH: f64 = 1.02;
const HEADS: Heads = Heads {
    heads: 3,
    kv_heads: 1,
    head_dim: 64,
};
const KERNELS: [&str; 16] = [
    "linear",
    "linear_row",
    "linear_bwd_x",
    "linear_bwd_w",
    "attention",
    "attention_bwd",
    "attention_decode",
    "head",
    "head_bwd",
    "logits",
    "rmsnorm",
    "rmsnorm_bwd",
    "swiglu",
    "swiglu_bwd",
    "adamw",
    "prepare",
];

/// Runs one kernel so many times and returns its units of work: multiply-adds of a product, numbers moved otherwise.
fn run<B: Backend>(b: &B, kernel: &str, times: usize) -> Option<usize> {
    let attention = |pass| Attention(HEADS, Segments::One, pass);
    Some(match kernel {
        "linear" => repeat(b, &Linear(192, 576), 64, times),
        "linear_row" => repeat(b, &Linear(192, 576), 1, times),
        "linear_bwd_x" => repeat(b, &LinearBwdX(192, 576), 64, times),
        "linear_bwd_w" => repeat(b, &LinearBwdW(192, 576), 64, times),
        "attention" => repeat(b, &attention(Pass::Forward), 192, times),
        "attention_bwd" => repeat(b, &attention(Pass::Backward), 192, times),
        "attention_decode" => repeat(b, &AttentionDecode(HEADS, 4), 192, times),
        "head" => repeat(b, &Head(2048, 192, head::What::Forward), 24, times),
        "head_bwd" => repeat(b, &Head(2048, 192, head::What::Backward), 24, times),
        "logits" => repeat(b, &Logits(2048, 192), 4, times),
        "rmsnorm" => repeat(b, &Rmsnorm(576), 64, times),
        "rmsnorm_bwd" => repeat(b, &RmsnormBwd(576), 64, times),
        "swiglu" => repeat(b, &Swiglu(1536), 64, times),
        "swiglu_bwd" => repeat(b, &SwigluBwd(1536), 64, times),
        "adamw" => repeat(b, &Adamw(576), 192, times),
        "prepare" => repeat(b, &Prepare(576), 192, times),
        _ => return None,
    })
}

fn repeat<O: Operation, B: Backend>(b: &B, operation: &O, rows: usize, times: usize) -> usize {
    let mut state = operation.make(b, rows);
    for _ in 0..times {
        operation.run(black_box(b), &mut state);
    }
    let cost = operation.cost(rows);
    match cost.flops {
        0 => cost.narrow + cost.wide,
        flops => flops / 2,
    }
}

/// In a process of its own: one kernel, so many times; prints its units.
fn one(args: &[String]) -> Result<(), String> {
    let [kernel, precision, times] = args else {
        return Err("--one KERNEL PRECISION TIMES".into());
    };
    let settings = Settings::detect().map_err(|e| e.to_string())?;
    let times = times.parse().map_err(|_| format!("{times}: expected a number"))?;
    let units = match precision.as_str() {
        "f32" => run(&Cpu::<f32>::new(settings), kernel, times),
        "bf16" => run(&Cpu::<bf16>::new(settings), kernel, times),
        _ => None,
    };
    println!("{}", units.ok_or_else(|| format!("no kernel {kernel} {precision}"))?);
    Ok(())
}

/// Instructions of a process that runs a kernel so many times, and its units.
fn count(kernel: &str, precision: &str, times: usize) -> Result<(u64, u64), String> {
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        // Where the instructions come from is not asked, and is slow to read.
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--read-inline-info=no",
        ])
        .arg(exe)
        .args(["--one", kernel, precision, &times.to_string()])
        .envs([("PROXIMAL_CPU", "avx2"), ("PROXIMAL_THREADS", "1")])
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let counted = err.lines().find_map(|l| l.split("Collected :").nth(1));
    let counted = counted.and_then(|n| n.trim().parse().ok());
    match (output.status.success(), counted, out.trim().parse()) {
        (true, Some(n), Ok(units)) => Ok((n, units)),
        _ => Err(format!("{kernel} {precision}: {}\n{out}{err}", output.status)),
    }
}

/// Of each kernel and precision: instructions of a run, units of work.
type Counts = BTreeMap<String, (u64, u64)>;

fn measure(filter: Option<&str>) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for kernel in KERNELS.iter().filter(|k| filter.is_none_or(|f| k.contains(f))) {
        for precision in ["f32", "bf16"] {
            // Beside each other: a count does not depend on what else runs.
            let (once, thrice) = thread::scope(|scope| {
                let once = scope.spawn(|| count(kernel, precision, 1));
                let thrice = count(kernel, precision, 3);
                (once.join(), thrice)
            });
            let (once, units) = once.map_err(|_| "the thread that counts".to_string())??;
            let (thrice, _) = thrice?;
            counts.insert(format!("{kernel} {precision}"), ((thrice - once) / 2, units));
        }
    }
    Ok(counts)
}

fn table(counts: &Counts) -> String {
    let compiler = Command::new("rustc").arg("--version").output();
    let mut out = compiler.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned());
    out += "kernel                   instructions  a unit of work\n";
    for (name, (n, units)) in counts {
        let _ = writeln!(out, "{name:24} {n:12}  {:14.4}", *n as f64 / *units as f64);
    }
    out
}

fn read(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = format!("{} {}", words.next()?, words.next()?);
        Some((name, words.next()?.parse().ok()?))
    };
    Ok(fs::read_to_string(path)?.lines().filter_map(line).collect())
}

/// What has grown by too much, or is not there.
fn compare(counts: &Counts, committed: &BTreeMap<String, u64>) -> Vec<String> {
    let verdict = |(name, (n, _)): (&String, &(u64, u64))| match committed.get(name) {
        None => Some(format!("{name}: not in the committed table")),
        Some(&was) if *n as f64 > was as f64 * GROWTH => {
            let percent = 100.0 * (*n as f64 / was as f64 - 1.0);
            Some(format!("{name}: {n} instructions, {percent:.1} % more than {was}"))
        }
        Some(_) => None,
    };
    counts.iter().filter_map(verdict).collect()
}

fn work(args: &[String]) -> Result<(), String> {
    if let Some(at) = args.iter().position(|a| a == "--one") {
        return one(&args[at + 1..]);
    }
    let has = |flag: &str| args.iter().any(|a| a == flag);
    let counts = measure(args.iter().find(|a| !a.starts_with('-')).map(String::as_str))?;
    print!("{}", table(&counts));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instruction-counts.txt");
    let at = |e: io::Error| format!("{}: {e}", path.display());
    if has("--bless") {
        return fs::write(&path, table(&counts)).map_err(at);
    }
    if has("--check") {
        let wrong = compare(&counts, &read(&path).map_err(at)?);
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match work(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
