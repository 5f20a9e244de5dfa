//! What the rewards of an evaluation come to, and how two evaluations compare.
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::reward::{Rewards, Scored};

#[cfg(test)]
mod tests;

/// A mean with its interval of 95 %: Wilson's where every number is 0 or 1, that of the normal distribution elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Mean {
    /// Numbers there are.
    pub n: usize,
    /// Their mean; none of no numbers.
    pub mean: Option<f64>,
    /// The interval; none where one number says nothing of the spread.
    pub low: Option<f64>,
    /// Its other end.
    pub high: Option<f64>,
}

/// The quantile of the normal distribution that leaves 2.5 % above it.
const Z: f64 = 1.959_963_984_540_054;

impl Mean {
    /// Of those numbers that are there.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        if values.iter().any(|x| *x != 0.0 && *x != 1.0) {
            return Self::normal(&values);
        }
        let (n, mean) = (values.len() as f64, mean(&values));
        let interval = mean.map(|mean| {
            let scale = 1.0 + Z * Z / n;
            let middle = (mean + Z * Z / (2.0 * n)) / scale;
            let half = Z / scale * (mean * (1.0 - mean) / n + Z * Z / (4.0 * n * n)).sqrt();
            // Wilson's bounds stay within 0 and 1 but for rounding.
            ((middle - half).max(0.0), (middle + half).min(1.0))
        });
        Self::new(values.len(), mean, interval)
    }

    fn normal(values: &[f64]) -> Self {
        let (n, mean) = (values.len() as f64, mean(values));
        let interval = mean.filter(|_| n > 1.0).map(|mean| {
            let square: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
            let half = Z * (square / (n - 1.0) / n).sqrt();
            (mean - half, mean + half)
        });
        Self::new(values.len(), mean, interval)
    }

    fn new(n: usize, mean: Option<f64>, interval: Option<(f64, f64)>) -> Self {
        Self {
            n,
            mean,
            low: interval.map(|i| i.0),
            high: interval.map(|i| i.1),
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl std::fmt::Display for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.mean, self.low, self.high) {
            (None, ..) => write!(f, "none scored"),
            (Some(mean), Some(low), Some(high)) => write!(f, "{mean:.3} ({low:.3} to {high:.3}, n {})", self.n),
            (Some(mean), ..) => write!(f, "{mean:.3} (n {})", self.n),
        }
    }
}

/// The rewards of an evaluation's rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    names: Vec<String>,
    /// For each function one number for each row.
    by_function: Vec<Vec<Option<f64>>>,
    /// For each row the weighted sum.
    total: Vec<Option<f64>>,
}

impl Scores {
    /// No rows yet.
    pub fn new(rewards: &Rewards) -> Self {
        Self {
            names: rewards.names().to_vec(),
            by_function: vec![Vec::new(); rewards.names().len()],
            total: Vec::new(),
        }
    }

    /// Adds a row that has no answer.
    pub fn skip(&mut self) {
        self.by_function.iter_mut().for_each(|f| f.push(None));
        self.total.push(None);
    }

    /// Adds the one sample of `scored`; what its row says: `rewards`, by name, and their sum `reward`.
    pub fn add(&mut self, scored: &Scored) -> (Value, Value) {
        let first = |values: &[Option<f64>]| values.first().copied().flatten();
        let mut by_name = Map::new();
        for ((name, all), one) in self.names.iter().zip(&mut self.by_function).zip(&scored.by_function) {
            all.push(first(one));
            by_name.insert(name.clone(), json!(first(one)));
        }
        let total = first(&scored.total);
        self.total.push(total);
        (by_name.into(), json!(total))
    }

    /// Adds a row that was written before. `None` where it was not scored by these functions with these weights.
    pub fn read(&mut self, row: &Map<String, Value>, rewards: &Rewards) -> Option<()> {
        let Some(Value::Object(by_name)) = row.get("rewards") else {
            return None;
        };
        if !by_name.keys().eq(&self.names) {
            return None;
        }
        let numbers: Vec<Option<f64>> = by_name.values().map(Value::as_f64).collect();
        let total = rewards.total(&numbers);
        if row.get("reward") != Some(&json!(total)) {
            return None;
        }
        for (all, one) in self.by_function.iter_mut().zip(numbers) {
            all.push(one);
        }
        self.total.push(total);
        Some(())
    }

    /// What each function gave on the mean, by name, and last `reward`, the weighted sum.
    pub fn means(&self) -> Vec<(&str, Mean)> {
        let functions = self.names.iter().map(String::as_str).zip(&self.by_function);
        let all = functions.chain([("reward", &self.total)]);
        all.map(|(name, values)| (name, Mean::of(values.iter().copied())))
            .collect()
    }

    /// The differences to `other`, row by row, over the rows that both have scored.
    pub fn against(&self, other: &Self) -> Difference {
        let pairs = self.total.iter().zip(&other.total);
        let differences: Vec<f64> = pairs.filter_map(|(a, b)| Some(a.as_ref()? - b.as_ref()?)).collect();
        Difference {
            mean: Mean::normal(&differences),
            better: differences.iter().filter(|d| **d > 0.0).count(),
            worse: differences.iter().filter(|d| **d < 0.0).count(),
        }
    }
}

impl Serialize for Scores {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.means())
    }
}

/// How the rewards of one model differ from those of another on the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The mean of the differences, of the normal distribution.
    #[serde(flatten)]
    pub mean: Mean,
    /// Rows with a higher reward.
    pub better: usize,
    /// Rows with a lower one.
    pub worse: usize,
}
