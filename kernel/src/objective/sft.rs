//! Supervised fine-tuning losses.
use crate::real::Real;

/// Which loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SftLoss {
    /// -sum_t mask_t logp_t / weight
    #[default]
    Nll,
    /// -sum_t mask_t sg(exp(logp_t)) logp_t / weight: dynamic fine-tuning (Wu et al. 2025, arXiv 2508.05629, eq. 9).
    Dft,
}

impl SftLoss {
    /// The micro-batch's share of the step's loss; `dlogp` is replaced by d loss / d logp. All slices have one number for
    /// each token; `mask` is 0 or 1; `weight` is the sum of the mask over the whole optimizer step.
    pub fn loss<R: Real>(self, dlogp: &mut [R], logp: &[R], mask: &[R], weight: f64) -> f64 {
        assert_eq!(dlogp.len(), logp.len(), "sft: one cotangent for each log-prob");
        assert_eq!(mask.len(), logp.len(), "sft: one mask number for each log-prob");
        let mut loss = 0.0;
        for ((d, &l), &m) in dlogp.iter_mut().zip(logp).zip(mask) {
            let p = match self {
                Self::Nll => 1.0,
                Self::Dft => libm::exp(l.to_f64()),
            };
            // A masked token may hold anything, -inf too: 0 x inf must not reach the sum.
            let factor = if m == R::ZERO { 0.0 } else { -m.to_f64() * p / weight };
            *d = R::from_f64(factor);
            if factor != 0.0 {
                loss += factor * l.to_f64();
            }
        }
        loss
    }
}

#[cfg(test)]
mod tests;
