//! Learning-rate schedules, as transformers defines them.

/// The shape of a schedule after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Falls to 0 at the last step in a straight line.
    #[default]
    Linear,
    /// Half a cosine, to 0 at the last step.
    Cosine,
    /// Stays.
    Constant,
}

/// Warm-up and shape. Steps are optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// After the warm-up.
    pub shape: Shape,
    /// Steps of linear rise from 0.
    pub warmup: u64,
    /// Steps of the whole run.
    pub total: u64,
}

impl Schedule {
    /// The factor on the peak learning rate for the optimizer step number `step`, from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup.max(1) as f64;
        }
        let rest = self.total.saturating_sub(self.warmup).max(1) as f64;
        let done = (step - self.warmup) as f64;
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => (self.total.saturating_sub(step) as f64 / rest).max(0.0),
            Shape::Cosine => (0.5 * (1.0 + libm::cos(core::f64::consts::PI * done / rest))).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests;
