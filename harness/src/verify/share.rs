//! A case's objective on one micro-batch, with the numbers of the whole file that it needs.
use std::collections::BTreeMap;
use std::ops::Range;

use kernel::objective::group::{
    self, GroupLoss, GroupPolicy, Level, Scale, entropy_threshold, group_advantages, reward_std,
};
use kernel::objective::preference::{self, Matched, Preference, Side, Sums, Weighting, match_up};
use kernel::objective::rloo::{leave_one_out, normalize, shaped_reward};
use kernel::objective::{ppo, trpo};
use kernel::real::Real;
use kernel::transformer::Scores;
use model_qwen2::Result;

use super::case::Case;
use super::sequence::{Advantage, Sequence, pairs};
use super::settings::{Normalize, Objective, ScaleRewards};

/// Means over the file, by TRL's names.
pub type Metrics = BTreeMap<&'static str, f64>;

/// Log-probs and entropies of every sequence of the file.
pub struct Scored<R> {
    /// Of each sequence, of each prediction.
    pub logp: Vec<Vec<R>>,
    /// The same.
    pub entropy: Vec<Vec<R>>,
}

/// One micro-batch: what was scored and what is asked for.
pub struct Micro<'a, R> {
    /// Its sequences, with their predictions in the batch.
    pub members: &'a [(usize, Range<usize>)],
    /// Of the batch.
    pub scores: &'a Scores<R>,
    /// log sum_v p_v^2 of each prediction, where [`Step::weighs`].
    pub log_sum_sq: &'a [R],
    /// Cotangents of log-probs, entropies, values; zeros to begin with.
    pub d: [&'a mut [R]; 3],
}

/// What does not depend on the micro-batch.
pub struct Step<'a, R> {
    case: &'a Case,
    columns: Vec<Columns<R>>,
    pairs: Vec<[usize; 2]>,
    matched: Vec<Matched>,
    chosen_tokens: f64,
    whole: group::Whole,
}

/// The given numbers of one sequence.
struct Columns<R> {
    mask: Vec<R>,
    old: Option<Vec<R>>,
    reference: Option<Vec<R>>,
    sampler: Option<Vec<R>>,
    old_values: Option<Vec<R>>,
    returns: Option<Vec<R>>,
    advantage: Vec<R>,
}

impl<'a, R: Real> Step<'a, R> {
    /// Whether the file must be scored once before its first micro-batch: sorted losses, entropy quantiles, and rewards
    /// that hold the policy's own log-probs depend on all of it.
    pub fn looks_ahead(case: &Case) -> bool {
        match &case.objective {
            Objective::Dpo(p) => p.sorts(),
            Objective::Grpo(p, _) => p.top_entropy_quantile < 1.0,
            Objective::Rloo { beta, .. } => *beta != 0.0 && case.sequences.iter().any(|s| s.old_logps.is_none()),
            _ => false,
        }
    }

    /// Of a case; `scored` where [`Step::looks_ahead`].
    pub fn new(case: &'a Case, scored: Option<&Scored<R>>) -> Result<Self> {
        let mut columns: Vec<Columns<R>> = case.sequences.iter().map(Columns::new).collect();
        for (c, a) in columns.iter_mut().zip(advantages(case, scored)) {
            if c.advantage.is_empty() {
                c.advantage = vec![R::from_f64(a); c.mask.len()];
            }
        }
        let pairs = match case.objective {
            Objective::Dpo(_) => pairs(&case.path.join("case.json"), &case.sequences)?,
            _ => Vec::new(),
        };
        let (mut threshold, mut entropy_tokens) = (f64::NEG_INFINITY, case.weight());
        if let (Objective::Grpo(p, _), Some(scored)) = (&case.objective, scored) {
            let masked = scored
                .entropy
                .iter()
                .flatten()
                .zip(columns.iter().flat_map(|c| &c.mask));
            let mut entropies: Vec<f64> = masked
                .filter(|(_, m)| **m != R::ZERO)
                .map(|(h, _)| h.to_f64())
                .collect();
            threshold = entropy_threshold(&mut entropies, p.top_entropy_quantile);
            entropy_tokens = entropies.iter().filter(|h| **h >= threshold).count() as f64;
        }
        let mut step = Self {
            case,
            chosen_tokens: pairs
                .iter()
                .map(|p| case.sequences[p[0]].weights().iter().sum::<f64>())
                .sum(),
            matched: vec![Matched::default(); pairs.len()],
            whole: group::Whole {
                completions: case.sequences.len() as f64,
                tokens: case.weight().max(1.0),
                entropy_threshold: threshold,
                entropy_tokens: entropy_tokens.max(1.0),
            },
            columns,
            pairs,
        };
        if let (Objective::Dpo(p), Some(scored)) = (&case.objective, scored) {
            let side = |i: usize| step.side(i, &scored.logp[i], &[]);
            let sums: Vec<Sums> = step.pairs.iter().map(|&[c, r]| p.sums(&side(c), &side(r))).collect();
            step.matched = match_up(&sums);
        }
        Ok(step)
    }

    /// What must be in one micro-batch together, with the file's first sequence first.
    pub fn units(&self) -> Vec<Vec<usize>> {
        if self.pairs.is_empty() {
            return (0..self.columns.len()).map(|i| vec![i]).collect();
        }
        let sorted = |p: &[usize; 2]| vec![p[0].min(p[1]), p[0].max(p[1])];
        self.pairs.iter().map(sorted).collect()
    }

    /// Whether micro-batches need log sum p^2.
    pub fn weighs(&self) -> bool {
        matches!(&self.case.objective, Objective::Dpo(p) if p.weighting == Weighting::Wpo)
    }

    /// Whether mean_token_accuracy counts sequence i: TRL's DPO counts chosen completions only.
    pub fn rates(&self, i: usize) -> bool {
        self.pairs.is_empty() || self.pairs.iter().any(|p| p[0] == i)
    }

    fn side<'b>(&'b self, i: usize, logp: &'b [R], log_sum_sq: &'b [R]) -> Side<'b, R> {
        let c = &self.columns[i];
        Side {
            logp,
            reference: c.reference.as_deref().unwrap_or_default(),
            mask: &c.mask,
            log_sum_sq,
        }
    }

    /// The micro-batch's share of the loss. Adds its shares to `metrics`.
    pub fn share(&self, micro: &mut Micro<'_, R>, metrics: &mut Metrics) -> f64 {
        match &self.case.objective {
            Objective::Logprobs | Objective::Fisher => 0.0,
            Objective::Dpo(p) => self.dpo(p, micro, metrics),
            _ => micro
                .members
                .iter()
                .map(|(i, range)| self.one(*i, range.clone(), micro.scores, &mut micro.d, metrics))
                .sum(),
        }
    }

    fn dpo(&self, p: &Preference, micro: &mut Micro<'_, R>, metrics: &mut Metrics) -> f64 {
        let whole = preference::Whole {
            pairs: self.pairs.len() as f64,
            chosen_tokens: self.chosen_tokens.max(1.0),
        };
        let mut loss = 0.0;
        let range = |i: usize| micro.members.iter().find(|m| m.0 == i).map(|m| m.1.clone());
        for (pair, matched) in self.pairs.iter().zip(&self.matched) {
            let [Some(chosen), Some(rejected)] = pair.map(range) else {
                continue;
            };
            let side = |i: usize, r: &Range<usize>| {
                let sums = micro.log_sum_sq.get(r.clone()).unwrap_or_default();
                self.side(i, &micro.scores.logp[r.clone()], sums)
            };
            let mut d = [&chosen, &rejected].map(|r| vec![R::ZERO; r.len()]);
            let [dc, dr] = &mut d;
            let out = p.loss(
                [dc, dr],
                &side(pair[0], &chosen),
                &side(pair[1], &rejected),
                *matched,
                whole,
            );
            micro.d[0][chosen].copy_from_slice(&d[0]);
            micro.d[0][rejected].copy_from_slice(&d[1]);
            loss += out.loss;
            let [c, r] = out.rewards;
            for (name, x) in [
                ("rewards/chosen", c),
                ("rewards/rejected", r),
                ("rewards/margins", c - r),
                ("rewards/accuracies", (c > r) as u8 as f64),
                ("logps/chosen", out.logps[0]),
                ("logps/rejected", out.logps[1]),
            ] {
                *metrics.entry(name).or_default() += x / whole.pairs;
            }
        }
        loss
    }

    fn one(
        &self,
        i: usize,
        range: Range<usize>,
        scores: &Scores<R>,
        [dlogp, dentropy, dvalue]: &mut [&mut [R]; 3],
        metrics: &mut Metrics,
    ) -> f64 {
        let c = &self.columns[i];
        let (logp, entropy) = (&scores.logp[range.clone()], &scores.entropy[range.clone()]);
        let (dlogp, dentropy) = (&mut dlogp[range.clone()], &mut dentropy[range.clone()]);
        let (old, tokens) = (c.old.as_deref(), self.whole.tokens);
        let mut add = |name: &'static str, x: f64| *metrics.entry(name).or_default() += x;
        match &self.case.objective {
            Objective::Logprobs | Objective::Fisher | Objective::Dpo(_) => 0.0,
            Objective::Sft(kind) => kind.loss(dlogp, logp, &c.mask, tokens),
            Objective::Grpo(p, _) => {
                let completion = group::Completion {
                    logp,
                    mask: &c.mask,
                    advantage: &c.advantage,
                    entropy,
                    old,
                    reference: c.reference.as_deref(),
                    sampler: c.sampler.as_deref(),
                };
                let out = p.loss(dlogp, dentropy, &completion, self.whole);
                group_metrics(p, &out, metrics);
                out.loss
            }
            Objective::Rloo { loss, .. } => {
                let advantage = c.advantage.first().map_or(0.0, |a| a.to_f64());
                let out = loss.loss(dlogp, logp, old, &c.mask, advantage, self.whole.completions);
                add("clip_ratio/low_mean", out.low);
                add("clip_ratio/high_mean", out.high);
                add("clip_ratio/region_mean", out.low + out.high);
                extremes(metrics, [out.low, out.high].map(|x| x * self.whole.completions));
                out.loss
            }
            Objective::Ppo(p) => {
                let out = p.policy(dlogp, logp, old, &c.advantage, &c.mask, tokens);
                let entropy = p.entropy(dentropy, entropy, &c.mask, tokens);
                add("loss/policy", out.loss);
                add("policy/approxkl", out.approx_kl);
                add("policy/clipfrac", out.clipped);
                add("policy/entropy", entropy);
                add("val/ratio", out.ratio);
                let mut loss = out.loss - p.ent_coef * entropy;
                if let Some(returns) = &c.returns {
                    let (values, old) = (&scores.value[range.clone()], c.old_values.as_deref());
                    let out: ppo::ValueOutcome = p.value(&mut dvalue[range], values, old, returns, &c.mask, tokens);
                    add("loss/value", out.loss);
                    add("val/clipfrac", out.clipped);
                    loss += p.vf_coef * out.loss;
                }
                loss
            }
            Objective::Trpo => {
                let loss = trpo::surrogate_loss(dlogp, logp, old, &c.advantage, &c.mask, tokens);
                add("surrogate", -loss);
                loss
            }
        }
    }
}

fn group_metrics(p: &GroupPolicy, out: &group::Outcome, metrics: &mut Metrics) {
    let mut add = |name: &'static str, x: f64| *metrics.entry(name).or_default() += x;
    if p.beta != 0.0 {
        add("kl", out.kl);
    }
    match p.loss {
        GroupLoss::Sapo { .. } => {}
        GroupLoss::Vespo => add("vespo/phi_seq_mean", out.phi),
        GroupLoss::Cispo => add("cispo_clip_ratio", out.high),
        _ => {
            add("clip_ratio/low_mean", out.low);
            add("clip_ratio/high_mean", out.high);
            add("clip_ratio/region_mean", out.low + out.high);
            // At sequence level an empty completion has a ratio, 1, and so a part that is clipped, none.
            let none = (p.level == Level::Sequence).then_some([0.0; 2]);
            if let Some(own) = out.own.or(none) {
                extremes(metrics, own);
            }
        }
    }
}

/// The least and the most clipped completion.
fn extremes(metrics: &mut Metrics, [low, high]: [f64; 2]) {
    let least = metrics.entry("clip_ratio/low_min").or_insert(low);
    *least = least.min(low);
    let most = metrics.entry("clip_ratio/high_max").or_insert(high);
    *most = most.max(high);
}

impl<R: Real> Columns<R> {
    fn new(s: &Sequence) -> Self {
        let column = |xs: &Option<Vec<f64>>| xs.as_deref().map(reals);
        Self {
            mask: reals(&s.weights()),
            old: column(&s.old_logps),
            reference: column(&s.ref_logps),
            sampler: column(&s.sampler_logps),
            old_values: column(&s.old_values),
            returns: column(&s.returns),
            advantage: match &s.advantage {
                Some(Advantage::Each(each)) => reals(each),
                Some(Advantage::One(a)) => vec![R::from_f64(*a); s.predictions()],
                None => Vec::new(),
            },
        }
    }
}

fn reals<R: Real>(xs: &[f64]) -> Vec<R> {
    xs.iter().map(|&x| R::from_f64(x)).collect()
}

/// One for each sequence, from the rewards of its group; 0 where the objective has none.
fn advantages<R: Real>(case: &Case, scored: Option<&Scored<R>>) -> Vec<f64> {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (i, s) in case.sequences.iter().enumerate() {
        groups.entry(s.group.unwrap_or_default()).or_default().push(i);
    }
    let n = case.sequences.len();
    let rewards: Vec<Option<f64>> = case.sequences.iter().map(|s| s.reward).collect();
    let of = |members: &[usize], all: &[Option<f64>]| -> Vec<Option<f64>> { members.iter().map(|&i| all[i]).collect() };
    let (scale, rloo) = match &case.objective {
        Objective::Grpo(_, ScaleRewards::Group) | Objective::Trpo => (Scale::Group, None),
        Objective::Grpo(_, ScaleRewards::None) => (Scale::None, None),
        Objective::Grpo(_, ScaleRewards::Batch) => (
            Scale::Batch {
                std: reward_std(&rewards),
            },
            None,
        ),
        Objective::Rloo { beta, normalize, .. } => (Scale::None, Some((*beta, *normalize))),
        _ => return vec![0.0; n],
    };
    let Some((beta, how)) = rloo else {
        let mut out = vec![0.0; n];
        for members in groups.values() {
            let mut a = vec![0.0; members.len()];
            group_advantages(&mut a, &of(members, &rewards), scale);
            members.iter().zip(a).for_each(|(&i, a)| out[i] = a);
        }
        return out;
    };
    let shaped: Vec<Option<f64>> = case
        .sequences
        .iter()
        .enumerate()
        .map(|(i, s)| shaped(i, s, beta, scored))
        .collect();
    let mut out = vec![None; n];
    for members in groups.values() {
        let mut a = vec![None; members.len()];
        leave_one_out(&mut a, &of(members, &shaped));
        members.iter().zip(a).for_each(|(&i, a)| out[i] = a);
    }
    if how == Normalize::Yes {
        normalize(&mut out);
    }
    out.into_iter().map(Option::unwrap_or_default).collect()
}

/// RLOO's reward of sequence i.
fn shaped<R: Real>(i: usize, s: &Sequence, beta: f64, scored: Option<&Scored<R>>) -> Option<f64> {
    let own: Vec<f64> = scored.map_or(Vec::new(), |all| all.logp[i].iter().map(|x| x.to_f64()).collect());
    let old = s.old_logps.as_ref().unwrap_or(&own);
    let reference = s.ref_logps.as_deref().unwrap_or_default();
    s.reward.map(|r| {
        shaped_reward(
            r,
            None,
            if reference.is_empty() { 0.0 } else { beta },
            old,
            reference,
            &s.weights(),
        )
    })
}
