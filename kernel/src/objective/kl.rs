//! Estimators of KL(pi || ref) from one sampled token (Schulman, "Approximating KL divergence", 2020). With
//! r = ref / pi: k1 = -log r, k2 = log^2 r / 2, k3 = r - 1 - log r.
use super::scalar::{exp, exp_slope};

/// Which estimator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimator {
    /// logp - ref: unbiased, may be negative.
    #[default]
    K1,
    /// (ref - logp)^2 / 2: biased, never negative.
    K2,
    /// exp(ref - logp) - 1 - (ref - logp): unbiased and never negative.
    K3,
}

impl Estimator {
    /// The estimate, nats.
    pub fn estimate(self, logp: f64, reference: f64) -> f64 {
        let x = reference - logp;
        match self {
            Self::K1 => -x,
            Self::K2 => 0.5 * x * x,
            Self::K3 => exp(x) - 1.0 - x,
        }
    }

    /// d estimate / d logp.
    pub fn derivative(self, logp: f64, reference: f64) -> f64 {
        let x = reference - logp;
        match self {
            Self::K1 => 1.0,
            Self::K2 => -x,
            Self::K3 => 1.0 - exp_slope(x).d,
        }
    }
}

#[cfg(test)]
mod tests;
