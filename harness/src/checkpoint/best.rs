//! Which checkpoint is the best so far.
use crate::config::Direction;
use serde::{Deserialize, Serialize};

/// The best evaluation. It is part of a checkpoint's state, so that a resumed run goes on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The metric: `eval_loss`.
    pub metric: String,
    /// Which way it is better.
    pub direction: Direction,
    /// Step and value of the best evaluation; none before the first.
    pub best: Option<(u64, f64)>,
}

impl Best {
    /// Nothing seen yet.
    pub fn new(metric: impl Into<String>, direction: Direction) -> Self {
        Self {
            metric: metric.into(),
            direction,
            best: None,
        }
    }

    /// Takes in an evaluation; true when it is better than all before. Equal is not better and NaN never is, as in
    /// transformers.
    pub fn update(&mut self, step: u64, value: f64) -> bool {
        let better = match (self.best, self.direction) {
            (None, _) => !value.is_nan(),
            (Some((_, best)), Direction::Greater) => value > best,
            (Some((_, best)), Direction::Less) => value < best,
        };
        if better {
            self.best = Some((step, value));
        }
        better
    }

    /// The step of the best evaluation.
    pub fn step(&self) -> Option<u64> {
        self.best.map(|(step, _)| step)
    }
}
