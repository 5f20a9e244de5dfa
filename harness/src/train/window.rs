//! Running sums between two lines of the log.
use serde::{Deserialize, Serialize};

/// Sums since the last line of the log; part of a checkpoint, so that a resumed log goes on as if nothing had happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Optimizer steps.
    pub steps: u64,
    /// Sum of their losses.
    pub loss: f64,
    /// Trained tokens.
    pub tokens: f64,
    /// Sum of their entropies.
    pub entropy: f64,
    /// How many of them the model would have chosen itself.
    pub right: f64,
}

impl Window {
    /// (loss, entropy, mean_token_accuracy): the loss a mean over steps, the others over trained tokens.
    pub fn means(&self) -> [(&'static str, f64); 3] {
        [
            ("loss", self.loss / self.steps as f64),
            ("entropy", self.entropy / self.tokens),
            ("mean_token_accuracy", self.right / self.tokens),
        ]
    }
}
