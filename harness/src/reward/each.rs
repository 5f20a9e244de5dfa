//! A reward that looks at one sample at a time.
use anyhow::Result;

use super::{Reward, Sample};

/// A function of one sample, with a name and the columns that it reads.
pub(super) struct Each<F> {
    name: String,
    columns: Vec<String>,
    score: F,
}

impl<F: Fn(&Sample<'_>) -> Option<f64>> Each<F> {
    pub fn new(name: String, columns: &[&String], score: F) -> Self {
        Self {
            name,
            columns: columns.iter().map(|&column| column.clone()).collect(),
            score,
        }
    }
}

impl<F: Fn(&Sample<'_>) -> Option<f64>> Reward for Each<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    fn score(&mut self, samples: &[Sample<'_>]) -> Result<Vec<Option<f64>>> {
        Ok(samples.iter().map(&self.score).collect())
    }
}
