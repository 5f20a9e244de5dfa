//! Running means between two lines of the log.
use serde::{Deserialize, Serialize};

/// Weighted sums since the last line of the log, in the order of their first appearance; part of a checkpoint, so that a
/// resumed log goes on as if nothing had happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meter {
    sums: Vec<(String, f64, f64)>,
}

impl Meter {
    /// Adds `sum` over `weight` units (tokens, pairs, steps) to the mean of `name`.
    pub fn add(&mut self, name: &str, sum: f64, weight: f64) {
        match self.sums.iter_mut().find(|s| s.0 == name) {
            Some(entry) => {
                entry.1 += sum;
                entry.2 += weight;
            }
            None => self.sums.push((name.into(), sum, weight)),
        }
    }

    /// The means; a name whose weight is 0 has none.
    pub fn means(&self) -> Vec<(String, f64)> {
        let some = self.sums.iter().filter(|s| s.2 != 0.0);
        some.map(|(name, sum, weight)| (name.clone(), sum / weight)).collect()
    }

    /// The mean of `name`, where there is one.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let entry = self.sums.iter().find(|s| s.0 == name && s.2 != 0.0)?;
        Some(entry.1 / entry.2)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sums.clear();
    }
}
