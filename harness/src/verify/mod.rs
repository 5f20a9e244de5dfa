//! `proximal verify`: a case on disk, made by any framework, against what this code computes.
//!
//! The folder's format is described in docs/verify.md. The whole file is one optimizer step: every divisor is global over it.
mod case;
mod compare;
mod run;
mod sequence;
mod settings;
mod share;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

pub use case::Case;
pub use compare::{Row, Tolerance};
pub use sequence::Sequence;
pub use settings::Objective;

use crate::device::{Device, Job, Place, Target};
use crate::dtype::Dtype;

/// How to run and judge a case.
#[derive(Clone, Debug)]
pub struct Options {
    /// Compute precision.
    pub dtype: Dtype,
    /// Relative L2 error allowed on every tensor, in place of the defaults.
    pub rtol: Option<f64>,
    /// Largest absolute error allowed on an element, where the relative one is exceeded.
    pub atol: Option<f64>,
    /// Sequences in one micro-batch, pairs of them for dpo; all of them where unset.
    pub micro_batch: Option<usize>,
}

/// What was found for one case.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The case's folder.
    pub case: PathBuf,
    /// Compute precision.
    pub dtype: &'static str,
    /// One row for each tensor of expected.safetensors.
    pub rows: Vec<Row>,
    /// Whether all rows are.
    pub ok: bool,
}

/// Runs the case in `folder`. Errors: the case cannot be read.
pub fn verify(folder: &Path, options: &Options, target: Target) -> Result<Report> {
    let case = Case::open(folder)?;
    let rows = target.run(options.dtype, Comparison { case: &case, options })?;
    Ok(Report {
        case: folder.to_owned(),
        dtype: options.dtype.name(),
        ok: rows.iter().all(|r| r.ok),
        rows,
    })
}

/// The case against its options, on a device.
struct Comparison<'a> {
    case: &'a Case,
    options: &'a Options,
}

impl Job for Comparison<'_> {
    type Output = Vec<Row>;

    fn run<B: Device>(self, b: &B, _: &Place) -> Result<Vec<Row>> {
        run::run(b, self.case, self.options)
    }
}

#[cfg(test)]
mod tests;
