//! Scalar functions with their derivatives, safe at both ends.
use crate::real::Real;

/// A number with its derivative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Slope {
    pub v: f64,
    pub d: f64,
}

impl Slope {
    pub fn scale(self, a: f64) -> Self {
        Self {
            v: a * self.v,
            d: a * self.d,
        }
    }

    /// The smaller of the two; where they are equal the derivative is the mean, as in torch.minimum.
    pub fn min(self, other: Self) -> Self {
        if self.v < other.v {
            self
        } else if other.v < self.v {
            other
        } else {
            Self {
                v: 0.5 * (self.v + other.v),
                d: 0.5 * (self.d + other.d),
            }
        }
    }

    /// The derivative is kept at the bounds, as in torch.clamp.
    pub fn clamp(self, low: f64, high: f64) -> Self {
        if self.v < low {
            Self { v: low, d: 0.0 }
        } else if self.v > high {
            Self { v: high, d: 0.0 }
        } else {
            self
        }
    }
}

/// e^300: the product of two such numbers is still finite in f64.
const LARGEST: f64 = 300.0;

/// e^x, constant from x = 300 on.
pub(super) fn exp(x: f64) -> f64 {
    libm::exp(if x > LARGEST { LARGEST } else { x })
}

/// The same with its derivative.
pub(super) fn exp_slope(x: f64) -> Slope {
    let v = exp(x);
    Slope {
        v,
        d: if x > LARGEST { 0.0 } else { v },
    }
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

/// log sigmoid(x).
pub(super) fn log_sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        -libm::log1p(libm::exp(-x))
    } else {
        x - libm::log1p(libm::exp(x))
    }
}

/// The ratio w = e^ell with its derivative by ell.
pub(super) fn ratio(ell: f64) -> Slope {
    exp_slope(ell)
}

/// min(w A, clamp(w, 1 - low, 1 + high) A): what PPO maximises (Schulman et al. 2017, eq. 7).
pub(super) fn clipped(w: Slope, advantage: f64, low: f64, high: f64) -> Slope {
    w.scale(advantage).min(w.clamp(1.0 - low, 1.0 + high).scale(advantage))
}

/// Whether the token counts.
pub(super) fn counts<R: Real>(mask: R) -> bool {
    mask != R::ZERO
}

/// logp - old at token t; 0 where `old` is not given.
pub(super) fn log_ratio<R: Real>(logp: &[R], old: Option<&[R]>, t: usize) -> f64 {
    old.map_or(0.0, |old| logp[t].to_f64() - old[t].to_f64())
}

/// Mean and unbiased variance of the numbers; the variance of fewer than two is 0.
pub(super) fn moments(xs: impl Iterator<Item = f64> + Clone) -> (usize, f64, f64) {
    let n = xs.clone().count();
    let mean = xs.clone().sum::<f64>() / n.max(1) as f64;
    let square: f64 = xs.map(|x| (x - mean) * (x - mean)).sum();
    (n, mean, if n > 1 { square / (n - 1) as f64 } else { 0.0 })
}

#[cfg(test)]
mod tests;
