//! Sums of launches by kernel and shape: as lines of JSON, as a table.

use super::bound::{UNITS, bound};
use super::{CLASSES, Counters, Rates};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Names of the classes, in the order of [`Class`](super::Class).
pub const CLASS_NAMES: [&str; CLASSES] = [
    "int", "fp32", "fp64", "half", "special", "convert", "global", "shared", "local", "const", "tensor", "sync",
    "control", "atomic", "other",
];

/// What tells launches apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared: usize,
    /// Registers of a thread, where NVIDIA's assembler was asked.
    pub registers: Option<u32>,
    /// Blocks that a multiprocessor holds at one time.
    pub resident: u32,
}

/// The sums.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: BTreeMap<Shape, Counters>,
}

impl Report {
    /// Nothing so far.
    pub const fn new() -> Report {
        Report { rows: BTreeMap::new() }
    }

    /// Adds a launch.
    pub fn add(&mut self, shape: Shape, counters: &Counters) {
        self.rows.entry(shape).or_default().add(counters);
    }

    /// The sums, in order of kernels and shapes.
    pub fn rows(&self) -> impl Iterator<Item = (&Shape, &Counters)> {
        self.rows.iter()
    }

    /// One line of JSON for each kernel and shape: what was counted over all its launches, and the bound model.
    pub fn json(&self, arch: u32) -> String {
        let mut out = String::new();
        for (shape, c) in &self.rows {
            out += &json(shape, c, arch);
            out.push('\n');
        }
        out
    }

    /// A table for people: bytes of one launch, ratios, the unit that bounds it.
    pub fn table(&self, arch: u32) -> String {
        let mut out = format!(
            "{:<28} {:>14} {:>6} {:>8} {:>11} {:>9} {:>7} {:>7} {:>7} {:>7} {:>8}\n",
            "kernel", "grid", "block", "launches", "warp inst", "MB", "moved/d", "useful", "banks", "tensor", "bound"
        );
        for (s, c) in &self.rows {
            let per = c.launches.max(1) as f64;
            let b = bound(c, Rates::of(arch));
            let grid = s.grid.map(|n| n.to_string()).join("x");
            let _ = writeln!(
                out,
                "{:<28} {:>14} {:>6} {:>8} {:>11.0} {:>9.3} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>8}",
                s.kernel,
                grid.trim_end_matches("x1"),
                s.block.iter().product::<u32>(),
                c.launches,
                c.warp_instructions.iter().sum::<u64>() as f64 / per,
                c.distinct_bytes() as f64 / per / 1e6,
                ratio(c.moved_bytes(), c.distinct_bytes()),
                ratio(c.load.useful_bytes + c.store.useful_bytes, c.moved_bytes()),
                ratio(c.wavefronts().0, c.wavefronts().1),
                b.tensor_share(),
                b.limit().0,
            );
        }
        out
    }
}

impl Counters {
    /// Bytes of device memory that were touched, loads and stores apart: sectors of the launch.
    pub fn distinct_bytes(&self) -> u64 {
        32 * (self.load.distinct + self.store.distinct)
    }

    /// Bytes of device memory that requests moved: sectors of each request.
    pub fn moved_bytes(&self) -> u64 {
        32 * (self.load.sectors + self.store.sectors)
    }

    /// Passes through shared memory's banks, and those without conflicts.
    pub fn wavefronts(&self) -> (u64, u64) {
        let (l, s) = (&self.shared_load, &self.shared_store);
        (l.wavefronts + s.wavefronts, l.ideal + s.ideal)
    }
}

/// A quotient; 1 where there is nothing.
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

/// One object: the shape, the counters, the model's clocks.
pub fn json(shape: &Shape, c: &Counters, arch: u32) -> String {
    let mut o = String::from("{");
    let mut field = |name: &str, value: String| {
        let comma = if o.len() > 1 { "," } else { "" };
        let _ = write!(o, "{comma}\"{name}\":{value}");
    };
    field("kernel", format!("\"{}\"", shape.kernel.escape_default()));
    field("grid", format!("{:?}", shape.grid));
    field("block", format!("{:?}", shape.block));
    field("shared_bytes", shape.shared.to_string());
    field("registers", shape.registers.map_or("null".into(), |r| r.to_string()));
    field("resident_blocks", shape.resident.to_string());
    let classes = |n: &[u64; CLASSES]| {
        let parts: Vec<String> = CLASS_NAMES
            .iter()
            .zip(n)
            .map(|(name, n)| format!("\"{name}\":{n}"))
            .collect();
        format!("{{{}}}", parts.join(","))
    };
    field("launches", c.launches.to_string());
    field("blocks", c.blocks.to_string());
    field("warp_instructions", classes(&c.warp_instructions));
    field("thread_instructions", classes(&c.thread_instructions));
    field("fp32_flops", c.fp32_flops.to_string());
    field("tensor_flops", c.tensor_flops.to_string());
    field("wgmma_flops", c.wgmma_flops.to_string());
    for (name, t) in [("load", &c.load), ("store", &c.store)] {
        field(
            name,
            format!(
                "{{\"requests\":{},\"useful_bytes\":{},\"sectors\":{},\"distinct\":{}}}",
                t.requests, t.useful_bytes, t.sectors, t.distinct
            ),
        );
    }
    field("copy_bytes", c.copy_bytes.to_string());
    for (name, b) in [("shared_load", &c.shared_load), ("shared_store", &c.shared_store)] {
        field(
            name,
            format!(
                "{{\"requests\":{},\"wavefronts\":{},\"ideal\":{}}}",
                b.requests, b.wavefronts, b.ideal
            ),
        );
    }
    for (name, n) in [
        ("atomics", c.atomics),
        ("atomic_serial", c.atomic_serial),
        ("local", c.local),
        ("barriers", c.barriers),
        ("divergent", c.divergent),
    ] {
        field(name, n.to_string());
    }
    let b = bound(c, Rates::of(arch));
    let clocks: Vec<String> = UNITS
        .iter()
        .zip(b.clocks)
        .map(|(name, n)| format!("\"{name}\":{n:.1}"))
        .collect();
    field("clocks", format!("{{{}}}", clocks.join(",")));
    field("bound", format!("\"{}\"", b.limit().0));
    field("tensor_share", format!("{:.4}", b.tensor_share()));
    o.push('}');
    o
}
