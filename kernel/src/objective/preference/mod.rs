//! Preference optimisation: DPO (Rafailov et al. 2023, arXiv 2305.18290) and its family, as TRL 1.16 computes them.
//!
//! Per pair, summed over completion tokens: c = logp+ - ref+, r = logp- - ref-, and d = s(c) - s(r) with the score s of the
//! f-divergence. Deviations from TRL: `sigmoid` takes label smoothing (cDPO), exponents stop at 300, and `sft` divides by
//! the chosen tokens of the optimizer step.

mod aot;
mod loss;
mod score;

use alloc::vec::Vec;

pub use aot::{Matched, Sums, match_up};
pub use loss::PairLoss;
pub use score::Divergence;

use super::scalar::counts;
use super::{SettingError, require};
use crate::real::Real;
use loss::Point;

/// Whether pairs are weighted by how likely the policy finds them (WPO, Zhou et al. 2024, arXiv 2406.11827, eq. 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighting {
    /// All pairs alike.
    #[default]
    None,
    /// Each loss times exp(mean_t(logp - log sum_v p_v^2)) of both completions, detached.
    Wpo,
}

/// A preference objective: sum over terms of weight x loss, mean over pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// Losses with their weights.
    pub terms: Vec<(PairLoss, f64)>,
    /// Strength of the KL to the reference.
    pub beta: f64,
    /// Probability that a label is wrong.
    pub label_smoothing: f64,
    /// Where the score of a log-ratio comes from.
    pub divergence: Divergence,
    /// LD-DPO (Liu et al. 2024, arXiv 2409.06411): tokens past the length of the shorter completion count this much.
    pub ld_alpha: Option<f64>,
    /// WPO.
    pub weighting: Weighting,
    /// DiscoPOP's temperature.
    pub discopop_tau: f64,
}

impl Default for Preference {
    /// TRL's defaults.
    fn default() -> Self {
        Self {
            terms: alloc::vec![(PairLoss::Sigmoid, 1.0)],
            beta: 0.1,
            label_smoothing: 0.0,
            divergence: Divergence::ReverseKl,
            ld_alpha: None,
            weighting: Weighting::None,
            discopop_tau: 0.05,
        }
    }
}

/// One completion of a pair; all slices have one number for each token.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a, R> {
    /// Of the policy.
    pub logp: &'a [R],
    /// Of the reference.
    pub reference: &'a [R],
    /// 0 or 1.
    pub mask: &'a [R],
    /// log sum_v p_v^2 of the prediction, for [`Weighting::Wpo`]; may be empty otherwise.
    pub log_sum_sq: &'a [R],
}

/// Divisors of the optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whole {
    /// Pairs.
    pub pairs: f64,
    /// Masked tokens of the chosen completions, for [`PairLoss::Sft`].
    pub chosen_tokens: f64,
}

/// What one pair gives. Chosen first, rejected second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The pair's share of the step's loss.
    pub loss: f64,
    /// beta c and beta r.
    pub rewards: [f64; 2],
    /// Log-probs of the completions, with LD-DPO's weights.
    pub logps: [f64; 2],
}

impl Preference {
    /// Errors: a setting out of range, or two that exclude each other.
    pub fn check(&self) -> Result<(), SettingError> {
        let has = |loss| self.terms.iter().any(|t| t.0 == loss);
        let e = self.label_smoothing;
        require(!self.terms.is_empty(), "loss_type", "at least one loss")?;
        require(self.beta > 0.0 && self.beta.is_finite(), "beta", "a positive number")?;
        require((0.0..=1.0).contains(&e), "label_smoothing", "a number from 0 to 1")?;
        require(
            !has(PairLoss::ExoPair) || (e > 0.0 && e < 1.0),
            "label_smoothing",
            "a number between 0 and 1 for exo_pair",
        )?;
        require(
            !has(PairLoss::Robust) || e < 0.5,
            "label_smoothing",
            "a number below 0.5 for robust",
        )?;
        require(self.discopop_tau > 0.0, "discopop_tau", "a positive number")?;
        require(
            self.ld_alpha.is_none_or(|a| (0.0..=1.0).contains(&a)),
            "ld_alpha",
            "a number from 0 to 1",
        )?;
        require(
            self.divergence == Divergence::ReverseKl || self.terms.iter().all(|t| t.0.takes_divergence()),
            "f_divergence_type",
            "reverse_kl with a loss that reads the completions one by one: log Z cancels only in their difference",
        )?;
        let sorted = [PairLoss::Aot, PairLoss::AotUnpaired, PairLoss::Sft]
            .map(has)
            .contains(&true);
        require(
            self.weighting == Weighting::None || !sorted,
            "use_weighting",
            "false with aot, aot_unpaired and sft, which are not means over pairs",
        )
    }

    /// Whether [`Preference::loss`] needs what [`match_up`] finds in the whole step.
    pub fn sorts(&self) -> bool {
        self.terms
            .iter()
            .any(|t| matches!(t.0, PairLoss::Aot | PairLoss::AotUnpaired))
    }

    /// Log-probs of a pair under policy and reference, with LD-DPO's weights.
    pub fn sums<R: Real>(&self, chosen: &Side<'_, R>, rejected: &Side<'_, R>) -> Sums {
        let len = [length(chosen), length(rejected)];
        let mut sums = Sums::default();
        for (k, side) in [chosen, rejected].into_iter().enumerate() {
            self.tokens(side.mask, len, |t, factor| {
                sums.policy[k] += factor * side.logp[t].to_f64();
                sums.reference[k] += factor * side.reference[t].to_f64();
            });
        }
        sums
    }

    /// The pair's share of the step's loss; the cotangents of the log-probs are replaced. `matched` is what [`match_up`]
    /// gave for the pair, and is read by the aot losses only.
    pub fn loss<R: Real>(
        &self,
        [d_chosen, d_rejected]: [&mut [R]; 2],
        chosen: &Side<'_, R>,
        rejected: &Side<'_, R>,
        matched: Matched,
        whole: Whole,
    ) -> Outcome {
        assert_eq!(
            d_chosen.len(),
            chosen.logp.len(),
            "preference: one cotangent for each log-prob"
        );
        assert_eq!(
            d_rejected.len(),
            rejected.logp.len(),
            "preference: one cotangent for each log-prob"
        );
        let len = [length(chosen), length(rejected)];
        let sums = self.sums(chosen, rejected);
        let point = Point { sums, len, matched };
        let (mut loss, mut d, mut d_sft) = (0.0, [0.0; 2], 0.0);
        for &(kind, weight) in &self.terms {
            if kind == PairLoss::Sft {
                d_sft -= weight / whole.chosen_tokens;
                continue;
            }
            let [l, dc, dr] = kind.value(self, &point);
            loss += weight * l;
            d[0] += weight * dc;
            d[1] += weight * dr;
        }
        let scale = match self.weighting {
            Weighting::None => 1.0,
            Weighting::Wpo => likelihood(chosen) * likelihood(rejected),
        } / whole.pairs;
        loss *= scale;
        for (k, (side, out)) in [(chosen, d_chosen), (rejected, d_rejected)].into_iter().enumerate() {
            out.fill(R::ZERO);
            self.tokens(side.mask, len, |t, factor| {
                let mut slope = factor * scale * d[k];
                if k == 0 && d_sft != 0.0 {
                    slope += d_sft;
                    loss += d_sft * side.logp[t].to_f64();
                }
                out[t] = R::from_f64(slope);
            });
        }
        Outcome {
            loss,
            rewards: [0, 1].map(|k| self.beta * (sums.policy[k] - sums.reference[k])),
            logps: sums.policy,
        }
    }

    /// Calls `f` with each masked token and LD-DPO's factor on it.
    fn tokens<R: Real>(&self, mask: &[R], len: [f64; 2], mut f: impl FnMut(usize, f64)) {
        let shared = len[0].min(len[1]);
        let mut seen = 0.0;
        for (t, _) in mask.iter().enumerate().filter(|(_, m)| counts(**m)) {
            seen += 1.0;
            f(t, self.ld_alpha.filter(|_| seen > shared).unwrap_or(1.0));
        }
    }
}

/// Masked tokens.
fn length<R: Real>(side: &Side<'_, R>) -> f64 {
    assert_eq!(
        side.mask.len(),
        side.logp.len(),
        "preference: one mask number for each log-prob"
    );
    assert_eq!(
        side.reference.len(),
        side.logp.len(),
        "preference: one reference log-prob for each log-prob"
    );
    side.mask.iter().filter(|m| counts(**m)).count() as f64
}

/// exp(mean_t(logp - log sum p^2)).
fn likelihood<R: Real>(side: &Side<'_, R>) -> f64 {
    assert_eq!(
        side.log_sum_sq.len(),
        side.logp.len(),
        "preference: one log sum p^2 for each log-prob"
    );
    let masked = (0..side.logp.len()).filter(|&t| counts(side.mask[t]));
    let sum: f64 = masked
        .map(|t| side.logp[t].to_f64() - side.log_sum_sq[t].to_f64())
        .sum();
    super::scalar::exp(sum / length(side).max(1.0))
}

#[cfg(test)]
mod tests;
