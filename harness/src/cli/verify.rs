//! `proximal verify`.
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;
use proximal::device::Target;
use proximal::dtype::Dtype;
use proximal::verify::{Options, Report, Row, verify};

use super::DeviceArg;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DtypeArg {
    F64,
    F32,
    Bf16,
}

#[derive(clap::Args)]
pub struct Args {
    /// Folders, each with case.json, model/ and expected.safetensors
    #[arg(required = true, value_name = "CASE")]
    cases: Vec<PathBuf>,
    /// Device to compute on
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceArg,
    /// Compute precision [default: f64 on the CPU, f32 on a GPU, which has no f64 here]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Relative L2 error allowed on every tensor [default: f64 1e-9, 1e-5 for an f32 reference; f32 1e-4; bf16 by tensor]
    #[arg(long, value_name = "R")]
    rtol: Option<f64>,
    /// Absolute error allowed on every element, where the relative one is exceeded
    #[arg(long, value_name = "A")]
    atol: Option<f64>,
    /// Run the case in pieces of so many sequences (dpo: pairs); the same tolerances hold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    micro_batch: Option<u32>,
    /// Write the rows as JSON to this file ("-" for standard output)
    #[arg(long, value_name = "OUT", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let dtype = match (args.dtype, args.device) {
        (Some(DtypeArg::F64), _) | (None, DeviceArg::Cpu) => Dtype::F64,
        (Some(DtypeArg::F32), _) | (None, DeviceArg::Cuda) => Dtype::F32,
        (Some(DtypeArg::Bf16), _) => Dtype::Bf16,
    };
    let options = Options {
        dtype,
        rtol: args.rtol,
        atol: args.atol,
        micro_batch: args.micro_batch.map(|n| n as usize),
    };
    let target = Target::new(args.device.into(), None)?;
    let to_stdout = args.json.as_ref().is_some_and(|p| p.as_os_str() == "-");
    let mut reports = Vec::new();
    for case in &args.cases {
        let report = verify(case, &options, target)?;
        if !to_stdout {
            print(&report);
        }
        reports.push(report);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&reports)?;
        if to_stdout {
            println!("{text}");
        } else {
            std::fs::write(path, text + "\n").with_context(|| format!("{}: cannot write", path.display()))?;
        }
    }
    let ok = reports.iter().all(|r| r.ok);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &Report) {
    println!("{}  ({})", report.case.display(), report.dtype);
    let width = report.rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    for row in &report.rows {
        println!("  {}", line(row, width));
    }
    let failed = report.rows.iter().filter(|r| !r.ok).count();
    println!("  {} tensors, {failed} out of tolerance", report.rows.len());
}

fn line(row: &Row, width: usize) -> String {
    let verdict = if row.ok { "ok" } else { "FAIL" };
    let shape = format!("{:?}", row.shape);
    let numbers = match (&row.note, row.error, &row.worst) {
        (None, Some(error), Some(w)) => format!(
            "norm {:<10.4e} error {error:<9.2e} worst {:?}: expected {:e}, found {:e}",
            row.norm, w.index, w.expected, w.found
        ),
        (None, Some(error), None) => format!("norm {:<10.4e} error {error:<9.2e}", row.norm),
        (note, ..) => note.clone().unwrap_or_default(),
    };
    format!("{verdict:4} {:width$} {shape:12} {numbers}", row.name)
}
