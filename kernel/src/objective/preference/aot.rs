//! Alignment by optimal transport (Melnyk et al. 2024, arXiv 2406.05882): values are compared with those of their rank.
//!
//! Ranks are over the whole optimizer step, so they are found before any micro-batch is differentiated; with them, each
//! pair's loss is its own.
use alloc::vec::Vec;

/// Log-probs of a pair's completions, chosen first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Under the policy.
    pub policy: [f64; 2],
    /// Under the reference.
    pub reference: [f64; 2],
}

/// What a pair is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Matched {
    /// aot: the reference's log-prob difference of the rank that the policy's difference has.
    pub reference: f64,
    /// aot_unpaired: the log-ratio of the rejected completion of the chosen one's rank.
    pub rejected: f64,
    /// aot_unpaired: the log-ratio of the chosen completion of the rejected one's rank.
    pub chosen: f64,
}

/// One for each pair of the step, in their order. Equal values keep the order of pairs.
pub fn match_up(pairs: &[Sums]) -> Vec<Matched> {
    let by = |f: &dyn Fn(&Sums) -> f64| {
        let mut values: Vec<(f64, usize)> = pairs.iter().map(f).zip(0..).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values
    };
    let ratio = |s: &Sums, k: usize| s.policy[k] - s.reference[k];
    let policy = by(&|s| s.policy[0] - s.policy[1]);
    let reference = by(&|s| s.reference[0] - s.reference[1]);
    let chosen = by(&|s| ratio(s, 0));
    let rejected = by(&|s| ratio(s, 1));
    let mut matched = Vec::new();
    matched.resize(pairs.len(), Matched::default());
    for k in 0..pairs.len() {
        matched[policy[k].1].reference = reference[k].0;
        matched[chosen[k].1].rejected = rejected[k].0;
        matched[rejected[k].1].chosen = chosen[k].0;
    }
    matched
}
