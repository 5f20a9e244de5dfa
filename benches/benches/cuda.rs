//! The CUDA kernels at a model's sizes. On the emulated device (`eval "$(tests/cuda-env.sh)"`): what was counted, beside the ideal, as a table
//! that is committed (`benches/cuda-counters.txt`), so that a change shows as a diff of numbers. With `CUDA_EMULATOR_ARCH=90` it is the table of the products
//! that have kernels of their own there (`benches/cuda-counters-90.txt`). On a GPU: times.
//!
//! `cargo bench -p benches --bench cuda` prints it; `-- --check` compares it with the committed one and fails where they differ; `-- --bless`
//! writes that; `-- rmsnorm` is only of the operations whose names have that in them. Columns: MB distinct, those over the ideal bytes,
//! bytes moved over distinct, bytes asked for over moved, passes through shared memory's banks over the passes without conflicts, the share
//! of the modelled time in which the tensor cores work, and the unit that bounds the model (design: issue, tensor, fp32, special, shared,
//! l2, hbm). The model is not time.
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, io};

use cuda_backend::{Cuda, Element, Error, GroupTokens, Tokens};
use half::bf16;
use kernel::backend::{
    AdamW, CacheShape, Decode, HeadCotangent, HeadOut, Heads, Memory, Ops, Paths, Qkv, QkvMut, Span, Vector,
};
use kernel::batch::Segment;
use kernel::mat::{Accum, Direction, Use};
use kernel::objective::group::{GroupPolicy, Whole};
use serde_json::Value;

/// SmolLM2-135M.
const C: usize = 576;
const F: usize = 1536;
const V: usize = 49152;
const WIDE: Heads = Heads {
    heads: 2,
    kv_heads: 1,
    head_dim: 128,
};
const NARROW: Heads = Heads {
    heads: 3,
    kv_heads: 1,
    head_dim: 64,
};
const CACHED: Heads = Heads {
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
};
/// Tokens.
const N: usize = 512;
/// Keys of a sequence in decoding.
const T: usize = 2048;
/// Qwen2.5-0.5B, for the products of compute capability 9.0.
const WIDTH: usize = 896;
const HIDDEN: usize = 4864;
const TOKENS: usize = 2048;
/// Rows and columns of a square product.
const SQUARE: usize = 1024;

/// An operation at one size.
struct Row {
    name: &'static str,
    /// Bytes that it must touch, where that is what bounds it; the width of a number is an argument.
    ideal: fn(usize) -> usize,
    /// Floating-point operations, where those do.
    flops: usize,
}

/// Columns of the tables for an operation's name.
const NAME: usize = 20;

const NO_IDEAL: fn(usize) -> usize = |_| 0;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "rmsnorm", ideal: |w| N * (2 * w * C + 4) + w * C, flops: 0 },
    Row { name: "rmsnorm_bwd", ideal: |w| N * (3 * w * C + 4) + w * C + 8 * C, flops: 0 },
    Row { name: "rope", ideal: |w| N * (2 * w * C + 4 * 64 + 4), flops: 0 },
    Row { name: "swiglu", ideal: |w| N * 3 * w * F, flops: 0 },
    Row { name: "swiglu_bwd", ideal: |w| N * 5 * w * F, flops: 0 },
    Row { name: "gather", ideal: |w| N * (2 * w * C + 4), flops: 0 },
    Row { name: "adamw", ideal: |_| 28 * N * C, flops: 0 },
    Row { name: "dot", ideal: |_| 8 * N * C, flops: 0 },
    Row { name: "narrow", ideal: |w| N * C * (4 + w), flops: 0 },
    Row { name: "linear", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "linear_bwd_x", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "linear_bwd_w", ideal: NO_IDEAL, flops: 2 * SQUARE * SQUARE * SQUARE },
    Row { name: "bias gradient", ideal: NO_IDEAL, flops: 0 },
    Row { name: "linear of 1 row", ideal: |w| w * (C * F + C + F), flops: 2 * C * F },
    Row { name: "attention d=64", ideal: NO_IDEAL, flops: 2 * T * T * 64 * 3 },
    Row { name: "attention d=128", ideal: NO_IDEAL, flops: 2 * T * T * 128 * 2 },
    Row { name: "attention_bwd d=64", ideal: NO_IDEAL, flops: 5 * N * N * 64 * 3 },
    Row { name: "kv_append", ideal: |w| N * (4 * w * CACHED.kv_heads * CACHED.head_dim + 4), flops: 0 },
    Row { name: "attention_decode", ideal: |w| 2 * w * 64 * T, flops: 0 },
    Row { name: "head", ideal: NO_IDEAL, flops: 2 * 64 * C * V },
    Row { name: "head_bwd", ideal: NO_IDEAL, flops: 6 * 64 * C * V },
    Row { name: "logp", ideal: |_| 16 * V * 4, flops: 0 },
    Row { name: "surrogate", ideal: |_| 32 * N * 21, flops: 0 },
];

/// Products in bf16 on devices of compute capability 9.0, of the up projection of an MLP.
#[rustfmt::skip]
const ROWS_90: &[Row] = &[
    Row { name: "linear of an mlp", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
    Row { name: "linear_bwd_x of it", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
    Row { name: "linear_bwd_w of it", ideal: NO_IDEAL, flops: 2 * TOKENS * WIDTH * HIDDEN },
];

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

type Buf<T> = kernel::mat::Mat<<Cuda<T> as Memory>::Buf>;
type Acc<T> = kernel::mat::Mat<<Cuda<T> as Memory>::Acc>;

fn buf<T: Element>(b: &Cuda<T>, rows: usize, cols: usize) -> Buf<T> {
    b.buf(rows, cols).unwrap_or_else(|e| panic!("{e}"))
}

fn acc<T: Element>(b: &Cuda<T>, rows: usize, cols: usize) -> Acc<T> {
    b.acc(rows, cols).unwrap_or_else(|e| panic!("{e}"))
}

fn operation<'a, T: Element>(b: &'a Cuda<T>, name: &str) -> Box<dyn FnMut() + 'a> {
    let index = |n: usize, of: usize| {
        let values: Vec<u32> = (0..n).map(|i| (i % of) as u32).collect();
        b.index(&values).unwrap_or_else(|e| panic!("{e}"))
    };
    let weight = |rows, cols| b.weight(rows, cols, Use::Training).unwrap_or_else(|e| panic!("{e}"));
    match name {
        "rmsnorm" | "rmsnorm_bwd" => {
            let (x, w, mut y, mut rstd) = (buf(b, N, C), buf(b, 1, C), buf(b, N, C), acc(b, N, 1));
            let (dy, mut dw) = (buf(b, N, C), acc(b, 1, C));
            match name {
                "rmsnorm" => Box::new(move || b.rmsnorm(&mut y, &mut rstd, &x, &w, 1e-5)),
                _ => Box::new(move || b.rmsnorm_bwd(&mut y, &mut dw, &dy, &x, &w, &rstd, Accum::Replace)),
            }
        }
        "rope" => {
            let (mut x, table, positions) = (buf(b, N, C), acc(b, N, 64), index(N, N));
            Box::new(move || b.rope(&mut x, &table, &positions, 64, Direction::Forward))
        }
        "swiglu" | "swiglu_bwd" => {
            let (gate, up, dy) = (buf(b, N, F), buf(b, N, F), buf(b, N, F));
            let (mut y, mut z) = (buf(b, N, F), buf(b, N, F));
            match name {
                "swiglu" => Box::new(move || b.swiglu(&mut y, &gate, &up)),
                _ => Box::new(move || b.swiglu_bwd(&mut y, &mut z, &dy, &gate, &up)),
            }
        }
        "gather" => {
            let (mut y, x, rows) = (buf(b, N, C), buf(b, N, C), index(N, N));
            Box::new(move || b.gather(&mut y, &x, &rows))
        }
        "adamw" => {
            let (mut p, mut m, mut v, grad) = (acc(b, N, C), acc(b, N, C), acc(b, N, C), acc(b, N, C));
            let step = AdamW {
                learning_rate: 1e-3,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.01,
                step: 1,
                grad_scale: 1.0,
            };
            Box::new(move || b.adamw(&mut p, &mut m, &mut v, &grad, &step))
        }
        "dot" => {
            let (x, y) = (acc(b, N, C), acc(b, N, C));
            Box::new(move || {
                b.dot(&x, &y).unwrap_or_else(|e| panic!("{e}"));
            })
        }
        "narrow" => {
            let (mut y, x) = (buf(b, N, C), acc(b, N, C));
            Box::new(move || b.narrow(&mut y, &x))
        }
        "linear" | "linear_bwd_x" | "linear_bwd_w" => {
            let (x, mut y, w, mut dw) = (
                buf(b, SQUARE, SQUARE),
                buf(b, SQUARE, SQUARE),
                weight(SQUARE, SQUARE),
                acc(b, SQUARE, SQUARE),
            );
            match name {
                "linear" => Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace)),
                "linear_bwd_x" => Box::new(move || b.linear_bwd_x(&mut y, &x, &w, Accum::Replace)),
                _ => Box::new(move || b.linear_bwd_w(&mut dw, None, &y, &x)),
            }
        }
        "linear of an mlp" | "linear_bwd_x of it" | "linear_bwd_w of it" => {
            let (mut x, mut y, w, mut dw) = (
                buf(b, TOKENS, WIDTH),
                buf(b, TOKENS, HIDDEN),
                weight(HIDDEN, WIDTH),
                acc(b, HIDDEN, WIDTH),
            );
            match name {
                "linear of an mlp" => Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace)),
                "linear_bwd_x of it" => Box::new(move || b.linear_bwd_x(&mut x, &y, &w, Accum::Replace)),
                _ => Box::new(move || b.linear_bwd_w(&mut dw, None, &y, &x)),
            }
        }
        // Of a product that is as small as it can be.
        "bias gradient" => {
            let (dy, x, mut dw, mut db) = (buf(b, N, F), buf(b, N, 8), acc(b, F, 8), acc(b, 1, F));
            Box::new(move || b.linear_bwd_w(&mut dw, Some(&mut db), &dy, &x))
        }
        "linear of 1 row" => {
            let (x, mut y, w) = (buf(b, 1, C), buf(b, 1, F), weight(F, C));
            Box::new(move || b.linear(&mut y, &x, &w, None, Accum::Replace))
        }
        "attention d=64" => attention(b, NARROW, T),
        "attention d=128" => attention(b, WIDE, T),
        "attention_bwd d=64" => attention_bwd(b, NARROW, N),
        "kv_append" => {
            let shape = CacheShape {
                layers: 1,
                rows: N,
                heads: CACHED,
            };
            let mut cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
            let cols = CACHED.kv_heads * CACHED.head_dim;
            let (k, v, slots) = (buf(b, N, cols), buf(b, N, cols), (0..N as u32).collect::<Vec<_>>());
            Box::new(move || b.kv_append(&mut cache, &k, &v, 0, &slots))
        }
        "attention_decode" => {
            let shape = CacheShape {
                layers: 1,
                rows: T,
                heads: NARROW,
            };
            let cache = b.cache(shape).unwrap_or_else(|e| panic!("{e}"));
            let (q, mut o) = (buf(b, 1, 3 * 64), buf(b, 1, 3 * 64));
            let mut paths = Paths::new();
            paths.push([Span { start: 0, len: T }]);
            Box::new(move || b.attention_decode(&mut o, &q, &cache, 0, &paths))
        }
        "head" | "head_bwd" => head(b, name),
        "logp" => {
            let (z, targets) = (acc(b, 16, V), index(16, V));
            let [mut logp, mut entropy, mut lse, mut best] = [0; 4].map(|_| acc(b, 16, 1));
            Box::new(move || {
                let out = HeadOut {
                    logp: &mut logp,
                    entropy: &mut entropy,
                    lse: &mut lse,
                    best: &mut best,
                };
                b.logp(out, &z, &targets, 1.0);
            })
        }
        "surrogate" => surrogate(b),
        _ => panic!("no row {name}"),
    }
}

/// 32 completions of N tokens, with policies at rollout and of reference.
fn surrogate<T: Element>(b: &Cuda<T>) -> Box<dyn FnMut() + '_> {
    let n = 32 * N;
    let [logp, old, reference, advantage, mut dlogp] = [0; 5].map(|_| acc(b, n, 1));
    let mask = b.mask(&vec![true; n]).unwrap_or_else(|e| panic!("{e}"));
    let starts: Vec<u32> = (0..=32).map(|i| i * N as u32).collect();
    let starts = b.index(&starts).unwrap_or_else(|e| panic!("{e}"));
    let policy = GroupPolicy {
        beta: 0.04,
        ..GroupPolicy::default()
    };
    let whole = Whole {
        completions: 32.0,
        tokens: n as f64,
        entropy_threshold: f64::NEG_INFINITY,
        entropy_tokens: n as f64,
    };
    Box::new(move || {
        let x = Tokens {
            logp: &logp,
            mask: &mask,
            old: Some(&old),
            starts: &starts,
        };
        let own = GroupTokens {
            advantage: &advantage,
            entropy: None,
            reference: Some(&reference),
            sampler: None,
        };
        b.group_loss(&mut dlogp, None, &policy, x, own, whole)
            .unwrap_or_else(|e| panic!("{e}"));
    })
}

fn tree<T: Element>(b: &Cuda<T>, n: usize) -> <Cuda<T> as Memory>::Tree {
    let one = Segment {
        start: 0,
        len: n,
        parent: None,
    };
    b.tree(&[one]).unwrap_or_else(|e| panic!("{e}"))
}

fn attention<T: Element>(b: &Cuda<T>, heads: Heads, n: usize) -> Box<dyn FnMut() + '_> {
    let (wide, narrow) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let (q, k, v, mut o, mut lse) = (
        buf(b, n, wide),
        buf(b, n, narrow),
        buf(b, n, narrow),
        buf(b, n, wide),
        acc(b, n, heads.heads),
    );
    let tree = tree(b, n);
    Box::new(move || {
        let qkv = Qkv { q: &q, k: &k, v: &v };
        b.attention(&mut o, &mut lse, qkv, &tree, heads);
    })
}

fn attention_bwd<T: Element>(b: &Cuda<T>, heads: Heads, n: usize) -> Box<dyn FnMut() + '_> {
    let (wide, narrow) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let (q, k, v, o, d_o, lse) = (
        buf(b, n, wide),
        buf(b, n, narrow),
        buf(b, n, narrow),
        buf(b, n, wide),
        buf(b, n, wide),
        acc(b, n, heads.heads),
    );
    let (mut dq, mut dk, mut dv) = (buf(b, n, wide), buf(b, n, narrow), buf(b, n, narrow));
    let tree = tree(b, n);
    Box::new(move || {
        let d = QkvMut {
            q: &mut dq,
            k: &mut dk,
            v: &mut dv,
        };
        b.attention_bwd(d, &d_o, &o, &lse, Qkv { q: &q, k: &k, v: &v }, &tree, heads);
    })
}

fn head<'a, T: Element>(b: &'a Cuda<T>, name: &str) -> Box<dyn FnMut() + 'a> {
    const P: usize = 64;
    let (h, mut dh, mut dw) = (buf(b, P, C), buf(b, P, C), acc(b, V, C));
    let w = b.weight(V, C, Use::Training).unwrap_or_else(|e| panic!("{e}"));
    let targets: Vec<u32> = (0..P as u32).collect();
    let targets = b.index(&targets).unwrap_or_else(|e| panic!("{e}"));
    let [mut logp, mut entropy, mut lse, mut best, dlogp, dentropy] = [0; 6].map(|_| acc(b, P, 1));
    match name {
        "head" => Box::new(move || {
            let out = HeadOut {
                logp: &mut logp,
                entropy: &mut entropy,
                lse: &mut lse,
                best: &mut best,
            };
            b.head(out, &h, &w, &targets, 1.0);
        }),
        _ => Box::new(move || {
            let cotangent = HeadCotangent {
                dlogp: &dlogp,
                dentropy: &dentropy,
                lse: &lse,
                entropy: &entropy,
            };
            b.head_bwd(&mut dh, &mut dw, cotangent, &h, &w, &targets, 1.0);
        }),
    }
}
