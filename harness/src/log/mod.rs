//! What a run says while it runs: metrics.jsonl with TRL's names, TensorBoard event files, and a bar or lines for
//! people.
//!
//! metrics.jsonl has one JSON object a line, `step` first; a number that is not finite is null. On resume the lines
//! after the checkpoint are cut off, so the log of a run that was stopped and resumed equals that of one that was
//! not.
mod display;
mod metrics;
mod tensorboard;
#[cfg(test)]
mod tests;

pub use display::Display;
pub use metrics::Metrics;
pub use tensorboard::{EventFile, tag};

use model_qwen2::Result;
use std::path::Path;

/// Where a run's log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At step 0; an old log is replaced.
    Fresh,
    /// After this step, the checkpoint's; later lines are cut off.
    After(u64),
}

impl Start {
    fn step(self) -> u64 {
        match self {
            Self::Fresh => 0,
            Self::After(step) => step,
        }
    }
}

/// The log of one run.
#[derive(Debug)]
pub struct Logger {
    metrics: Metrics,
    events: Option<EventFile>,
    display: Display,
}

impl Logger {
    /// Opens `output_dir`/metrics.jsonl and, where a folder is given for it, an event file; the bar runs to `total`
    /// steps.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Invalid` when the metrics.jsonl to go on with has a broken line before its last.
    pub fn open(output_dir: &Path, tensorboard: Option<&Path>, total: u64, start: Start) -> Result<Self> {
        Ok(Self {
            metrics: Metrics::open(&output_dir.join("metrics.jsonl"), start)?,
            events: tensorboard.map(|folder| EventFile::create(folder, start)).transpose()?,
            display: Display::stderr(total, start.step()),
        })
    }

    /// Says that `step` is done, with some numbers of it and how many tokens it had: moves the bar, writes nothing.
    pub fn progress(&mut self, step: u64, shown: &[(&str, f64)], tokens: u64) {
        self.display.progress(step, shown, tokens);
    }

    /// Logs metrics by TRL's names; those of an evaluation begin with `eval_`. Each call is one line, flushed.
    ///
    /// # Errors
    /// `Error::Io` when a file cannot be written.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        self.metrics.log(step, values)?;
        if let Some(events) = &mut self.events {
            events.log(step, values)?;
        }
        self.display.log(step, values);
        Ok(())
    }

    /// Brings metrics.jsonl to the disk. Call it before a checkpoint is committed: a checkpoint must never be ahead
    /// of its log.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync()
    }

    /// Tells people something, on a line of its own.
    pub fn info(&mut self, text: &str) {
        self.display.line(text);
    }

    /// Warns people, on a line of its own.
    pub fn warn(&mut self, text: &str) {
        self.display.line(&format!("warning: {text}"));
    }

    /// Ends the bar.
    pub fn finish(mut self) {
        self.display.finish();
    }
}
