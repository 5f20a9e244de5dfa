//! The CUDA kernels at a model's sizes. On the emulated device (`eval "$(tests/cuda-env.sh)"`): what was counted, beside the ideal, as a table
//! that is committed (`benches/cuda-counters.txt`), so that a change shows as a diff of numbers. With `CUDA_EMULATOR_ARCH=90` it is the table of the products
//! that have kernels of their own there (`benches/cuda-counters-90.txt`). On a GPU: times.
//!
//! `cargo bench -p benches --bench cuda` prints it; `-- --check` compares it with the committed one and fails where they differ; `-- --bless`
//! writes that; `-- rmsnorm` is only of the operations whose names have that in them. Columns: MB distinct, those over the ideal bytes,
//! bytes moved over distinct, bytes asked for over moved, passes through shared memory's banks over the passes without conflicts, the share
//! of the modelled time in which the tensor cores work, and the unit that bounds the model (design: issue, tensor, fp32, special, shared,
//! l2, hbm). The model is not time.
mod rows;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, io};

use cuda_backend::{Cuda, Element, Error};
use half::bf16;
use kernel::backend::Memory;
use serde_json::Value;

use rows::{ROWS, ROWS_90, Row, acc, operation};

/// Columns of the tables for an operation's name.
const NAME: usize = 20;

/// The table of a device: its rows, the numbers it is of by name and width, the file it is committed as.
struct Table {
    rows: Vec<&'static Row>,
    numbers: &'static [(&'static str, usize)],
    file: &'static str,
}

impl Table {
    fn of(capability: (i32, i32)) -> Self {
        if capability < (9, 0) {
            return Self {
                rows: ROWS.iter().collect(),
                numbers: &[("f32", 4), ("bf16", 2)],
                file: "cuda-counters.txt",
            };
        }
        let squares = ROWS
            .iter()
            .filter(|row| ["linear", "linear_bwd_x", "linear_bwd_w"].contains(&row.name));
        Self {
            rows: squares.chain(ROWS_90).collect(),
            numbers: &[("bf16", 2)],
            file: "cuda-counters-90.txt",
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let has = |flag: &str| args.iter().any(|a| a == flag);
    if let Some(at) = args.iter().position(|a| a == "--one") {
        let (row, precision) = (&args[at + 1], &args[at + 2]);
        match precision.as_str() {
            "f32" => one::<f32>(row, has("--time")),
            _ => one::<bf16>(row, has("--time")),
        }
        return ExitCode::SUCCESS;
    }
    let of = match Cuda::<f32>::new(0) {
        Ok(b) => Table::of(b.capability()),
        Err(Error::NoDriver) if !has("--check") => {
            println!("skipped: {}", Error::NoDriver);
            return ExitCode::SUCCESS;
        }
        Err(e) => panic!("device cuda: {e}"),
    };
    let filter = args[1..]
        .iter()
        .find(|a| !a.starts_with('-'))
        .map_or("", String::as_str);
    let fresh = match table(&of, filter) {
        Ok(Some(fresh)) => fresh,
        Ok(None) => return times(filter),
        Err(e) => panic!("a bench cannot be run: {e}"),
    };
    print!("{fresh}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(of.file);
    let read = || fs::read_to_string(&committed).unwrap_or_else(|e| panic!("{}: {e}", committed.display()));
    if has("--bless") {
        // What the filter leaves out stays as it is.
        let kept = if filter.is_empty() { String::new() } else { read() };
        fs::write(&committed, merged(&of.rows, &fresh, &kept, filter))
            .unwrap_or_else(|e| panic!("{}: {e}", committed.display()));
    } else if has("--check") {
        let expected = read();
        let table = merged(&of.rows, &fresh, &expected, filter);
        let differ = table.lines().zip(expected.lines()).filter(|(a, b)| a != b).count();
        if table != expected {
            println!(
                "{differ} lines differ from {}; if that is meant: --bless",
                committed.display()
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// This program on one row, in a process of its own, with `counters` as the emulated device's file.
fn child(row: &Row, precision: &str, counters: &Path, more: &[&str]) -> io::Result<Option<Vec<Value>>> {
    let _ = fs::remove_file(counters);
    let status = Command::new(env::current_exe()?)
        .args(["--one", row.name, precision])
        .args(more)
        .env("CUDA_EMULATOR_COUNTERS", counters)
        .status()?;
    assert!(status.success(), "{} in {precision} failed", row.name);
    let Ok(text) = fs::read_to_string(counters) else {
        return Ok(None);
    };
    let parse = |line| serde_json::from_str(line).map_err(io::Error::other);
    text.lines().map(parse).collect::<io::Result<Vec<Value>>>().map(Some)
}

/// The whole table: the chosen operations' lines from `fresh`, the others' from `kept`.
fn merged(rows: &[&Row], fresh: &str, kept: &str, filter: &str) -> String {
    let of = |row: &Row| if row.name.contains(filter) { fresh } else { kept };
    let lines = rows
        .iter()
        .flat_map(|row| of(row).lines().filter(|l| operation_of(l) == row.name));
    let mut all = String::new();
    for line in fresh.lines().take(1).chain(lines) {
        all += line;
        all.push('\n');
    }
    all
}

/// What a line of the table is of.
fn operation_of(line: &str) -> &str {
    line.get(..NAME).unwrap_or_default().trim_end()
}

/// The table of counters of the operations whose names have `filter` in them; none where the device does not count.
fn table(of: &Table, filter: &str) -> io::Result<Option<String>> {
    let counters: PathBuf = env::temp_dir().join(format!("proximal-counters-{}", std::process::id()));
    let mut out = format!(
        "{:<NAME$} {:<5} {:<32} {:>9} {:>8} {:>7} {:>7} {:>7} {:>7} {:>8}\n",
        "operation", "type", "kernel", "MB", "of ideal", "moved/d", "useful", "banks", "tensor", "bound"
    );
    for row in of.rows.iter().filter(|r| r.name.contains(filter)) {
        for &(precision, width) in of.numbers {
            let Some(kernels) = child(row, precision, &counters, &[])? else {
                return Ok(None);
            };
            let distinct: u64 = kernels.iter().map(distinct).sum();
            for kernel in &kernels {
                let ideal = match (row.ideal)(width) {
                    0 => String::new(),
                    ideal => format!("{:.3}", distinct as f64 / ideal as f64),
                };
                line(&mut out, row, precision, kernel, &ideal);
            }
        }
    }
    let _ = fs::remove_file(&counters);
    Ok(Some(out))
}

fn number(kernel: &Value, path: &str) -> f64 {
    kernel
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no {path} in {kernel}"))
}

fn distinct(kernel: &Value) -> u64 {
    32 * (number(kernel, "/load/distinct") + number(kernel, "/store/distinct")) as u64
}

fn line(out: &mut String, row: &Row, precision: &str, kernel: &Value, ideal: &str) {
    let both = |what: &str| number(kernel, &format!("/load/{what}")) + number(kernel, &format!("/store/{what}"));
    let banks =
        |what: &str| number(kernel, &format!("/shared_load/{what}")) + number(kernel, &format!("/shared_store/{what}"));
    let ratio = |a: f64, b: f64| if b == 0.0 { 1.0 } else { a / b };
    let _ = writeln!(
        out,
        "{:<NAME$} {precision:<5} {:<32} {:>9.3} {ideal:>8} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>8}",
        row.name,
        kernel["kernel"].as_str().unwrap_or_default(),
        distinct(kernel) as f64 / 1e6,
        ratio(both("sectors"), both("distinct")),
        ratio(both("useful_bytes"), 32.0 * both("sectors")),
        ratio(banks("wavefronts"), banks("ideal")),
        number(kernel, "/tensor_share"),
        kernel["bound"].as_str().unwrap_or_default(),
    );
}

/// Times on a GPU.
fn times(filter: &str) -> ExitCode {
    println!(
        "{:<NAME$} {:<5} {:>12} {:>9} {:>9}",
        "operation", "type", "ms", "GB/s", "TFLOP/s"
    );
    for row in ROWS.iter().chain(ROWS_90).filter(|r| r.name.contains(filter)) {
        for precision in ["f32", "bf16"] {
            let status = env::current_exe()
                .and_then(|me| Command::new(me).args(["--one", row.name, precision, "--time"]).status());
            assert!(status.is_ok_and(|s| s.success()), "{} in {precision} failed", row.name);
        }
    }
    ExitCode::SUCCESS
}

/// Makes one row's matrices (zeros: no launch of a kernel) and runs it once, or times it.
fn one<T: Element>(name: &str, timed: bool) {
    let b = &Cuda::<T>::new(0).unwrap_or_else(|e| panic!("{e}"));
    let row = ROWS
        .iter()
        .chain(ROWS_90)
        .find(|r| r.name == name)
        .unwrap_or_else(|| panic!("no row {name}"));
    let mut run = operation(b, name);
    let wait = || {
        b.download(&mut [0.0], &acc(b, 1, 1))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    run();
    wait();
    if !timed {
        return;
    }
    let (repeats, begin) = (50, Instant::now());
    (0..repeats).for_each(|_| run());
    wait();
    let seconds = begin.elapsed().as_secs_f64() / f64::from(repeats);
    println!(
        "{name:<NAME$} {:<5} {:>12.4} {:>9.1} {:>9.2}",
        T::SUFFIX,
        1e3 * seconds,
        (row.ideal)(size_of::<T>()) as f64 / seconds / 1e9,
        row.flops as f64 / seconds / 1e12,
    );
}
