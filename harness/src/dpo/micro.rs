//! Scoring pairs, a micro-batch at a time: losses, gradients, metrics.
use std::ops::Range;

use anyhow::{Result, bail};
use kernel::batch::Batch;
use kernel::objective::preference::{Matched, Outcome, Preference, Side, Sums, Weighting, Whole, match_up};
use kernel::optim::Learner;
use kernel::real::Real;
use kernel::transformer::{Cotangent, Scores};

use super::data::Pair;
use super::reference::{Reference, Set};
use crate::device::Device;
use crate::train::Meter;

/// Pairs in one batch, each prompt once.
pub struct Micro<'a> {
    /// Their numbers.
    pub members: &'a [usize],
    /// Their tokens.
    pub batch: Batch,
    /// The predictions of each one's answers.
    pub ranges: Vec<[Range<usize>; 2]>,
}

impl<'a> Micro<'a> {
    /// The pairs `members` of `pairs`.
    pub fn new(vocab: usize, pairs: &[Pair], members: &'a [usize]) -> Result<Self> {
        let mut batch = Batch::new(vocab);
        let ranges = members.iter().map(|&i| pairs[i].pack(&mut batch));
        let ranges = ranges.collect::<Result<_, _>>()?;
        Ok(Self { members, batch, ranges })
    }
}

/// Whether gradients are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// They are added up in the learner.
    Add,
    /// Only numbers.
    None,
}

/// What some pairs came to.
#[derive(Default)]
pub struct Totals {
    /// The loss: a mean over all of them.
    pub loss: f64,
    /// Tokens, as TRL counts them.
    pub tokens: u64,
    sums: Vec<(&'static str, f64, f64)>,
}

impl Totals {
    /// Adds everything to `meter` under TRL's names; the loss counts once.
    pub fn add_to(&self, meter: &mut Meter, prefix: &str) {
        meter.add(&format!("{prefix}loss"), self.loss, 1.0);
        for (name, sum, weight) in &self.sums {
            meter.add(&format!("{prefix}{name}"), *sum, *weight);
        }
    }

    /// The mean of `name`.
    pub fn mean(&self, name: &str) -> f64 {
        let some = self.sums.iter().filter(|s| s.0 == name);
        let (sum, weight) = some.fold((0.0, 0.0), |(a, b), s| (a + s.1, b + s.2));
        sum / weight
    }

    fn add(&mut self, name: &'static str, sum: f64, weight: f64) {
        match self.sums.iter_mut().find(|s| s.0 == name) {
            Some(entry) => {
                entry.1 += sum;
                entry.2 += weight;
            }
            None => self.sums.push((name, sum, weight)),
        }
    }

    fn add_pair(&mut self, outcome: &Outcome) {
        self.loss += outcome.loss;
        let [chosen, rejected] = outcome.rewards;
        self.add("rewards/chosen", chosen, 1.0);
        self.add("rewards/rejected", rejected, 1.0);
        self.add("rewards/accuracies", f64::from(u8::from(chosen > rejected)), 1.0);
        self.add("rewards/margins", chosen - rejected, 1.0);
        self.add("logps/chosen", outcome.logps[0], 1.0);
        self.add("logps/rejected", outcome.logps[1], 1.0);
    }

    /// Entropy over both answers, accuracy over the chosen one.
    fn add_scores<R: Real>(&mut self, scores: &Scores<R>, [chosen, rejected]: &[Range<usize>; 2]) {
        let both = chosen.start..rejected.end;
        let entropy = scores.entropy[both.clone()].iter().map(|h| h.to_f64()).sum();
        self.add("entropy", entropy, both.len() as f64);
        let right = chosen.clone().filter(|&t| scores.logp[t] >= scores.best[t]).count();
        self.add("mean_token_accuracy", right as f64, chosen.len() as f64);
    }
}

/// What is scored with what.
pub struct Scoring<'a, B: Device> {
    /// The device.
    pub b: &'a B,
    /// The policy.
    pub learner: &'a mut Learner<B>,
    /// The reference.
    pub reference: &'a mut Reference<B>,
    /// The objective.
    pub preference: &'a Preference,
    /// All pairs.
    pub pairs: &'a [Pair],
    /// Which they are.
    pub set: Set,
}

impl<B: Device> Scoring<'_, B> {
    /// The pairs of `micro_batches` as one whole: the loss is divided by the number of all of them. Errors: a loss that is
    /// not finite; the device's.
    pub fn run(&mut self, micro_batches: &[Vec<usize>], gradients: Gradients) -> Result<Totals> {
        let vocab = self.learner.model.config.vocab;
        let members = || micro_batches.iter().flatten();
        let whole = Whole {
            pairs: members().count() as f64,
            chosen_tokens: members().map(|&i| self.pairs[i].chosen_tokens() as f64).sum(),
        };
        let mut matched = match self.preference.sorts() {
            true => self.ranks(vocab, micro_batches)?,
            false => vec![Matched::default(); members().count()],
        }
        .into_iter();
        let mut totals = Totals::default();
        for members in micro_batches {
            let micro = Micro::new(vocab, self.pairs, members)?;
            let reference = self.reference.logps(self.b, &micro, self.set)?;
            let scores = self.learner.score(self.b, &micro.batch, 1.0)?.clone();
            let log_sum_sq = match self.preference.weighting {
                Weighting::Wpo => self.learner.log_sum_sq(self.b)?,
                Weighting::None => Vec::new(),
            };
            let mut dlogp = vec![B::Real::ZERO; scores.logp.len()];
            let ones = vec![B::Real::ONE; scores.logp.len()];
            for (ranges, matched) in micro.ranges.iter().zip(&mut matched) {
                let [chosen, rejected] = ranges.clone().map(|r| Side {
                    logp: &scores.logp[r.clone()],
                    reference: &reference[r.clone()],
                    mask: &ones[r.clone()],
                    log_sum_sq: log_sum_sq.get(r).unwrap_or_default(),
                });
                let both = &mut dlogp[ranges[0].start..ranges[1].end];
                let (d_chosen, d_rejected) = both.split_at_mut(ranges[0].len());
                let d = [d_chosen, d_rejected];
                let outcome = self.preference.loss(d, &chosen, &rejected, matched, whole);
                if !outcome.loss.is_finite() {
                    bail!(
                        "the loss is {}: nothing was written over; try a lower learning_rate, a lower beta, more \
                         warmup_steps, or f32",
                        outcome.loss
                    );
                }
                totals.add_pair(&outcome);
                totals.add_scores(&scores, ranges);
            }
            totals.tokens += members.iter().map(|&i| self.pairs[i].tokens() as u64).sum::<u64>();
            if gradients == Gradients::Add {
                let cotangent = Cotangent {
                    dlogp: &dlogp,
                    dentropy: &[],
                    dvalue: &[],
                };
                self.learner.backward(self.b, cotangent)?;
            }
        }
        Ok(totals)
    }

    /// For the losses that compare each pair with those of its rank: a pass of its own over all of them.
    fn ranks(&mut self, vocab: usize, micro_batches: &[Vec<usize>]) -> Result<Vec<Matched>> {
        let mut sums: Vec<Sums> = Vec::new();
        for members in micro_batches {
            let micro = Micro::new(vocab, self.pairs, members)?;
            let reference = self.reference.logps(self.b, &micro, self.set)?;
            let logp = &self.learner.score(self.b, &micro.batch, 1.0)?.logp;
            let ones = vec![B::Real::ONE; logp.len()];
            for ranges in &micro.ranges {
                let [chosen, rejected] = ranges.clone().map(|r| Side {
                    logp: &logp[r.clone()],
                    reference: &reference[r.clone()],
                    mask: &ones[r],
                    log_sum_sq: &[],
                });
                sums.push(self.preference.sums(&chosen, &rejected));
            }
        }
        Ok(match_up(&sums))
    }
}
