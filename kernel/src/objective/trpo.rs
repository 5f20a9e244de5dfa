//! The surrogate of trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477, eq. 14).
use super::scalar::{counts, log_ratio, ratio};
use crate::real::Real;

/// The share of the loss -(sum_t mask w A) / tokens, which is minus the surrogate; `dlogp` is replaced. All slices have
/// one number for each token.
pub fn surrogate_loss<R: Real>(
    dlogp: &mut [R],
    logp: &[R],
    old: Option<&[R]>,
    advantage: &[R],
    mask: &[R],
    tokens: f64,
) -> f64 {
    assert!(
        [dlogp.len(), advantage.len(), mask.len()] == [logp.len(); 3],
        "trpo: one cotangent, advantage and mask number for each log-prob"
    );
    let mut loss = 0.0;
    dlogp.fill(R::ZERO);
    for t in (0..logp.len()).filter(|&t| counts(mask[t])) {
        let gain = ratio(log_ratio(logp, old, t)).scale(advantage[t].to_f64() / tokens);
        loss -= gain.v;
        dlogp[t] = R::from_f64(-gain.d);
    }
    loss
}

#[cfg(test)]
mod tests;
