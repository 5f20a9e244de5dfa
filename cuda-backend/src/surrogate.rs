//! The online objectives on the device: `kernel::objective`'s group family, leave-one-out, and PPO's policy and value terms, each with its
//! gradient and its statistics, from per-token numbers that are there already.
//!
//! All arithmetic is f64, and the sums have one order each. The surrogate of TRPO is PPO's policy term with an infinite `cliprange`.
use kernel::mat::{Mat, check_shape};
use kernel::objective::group::{Correction, GroupLoss, GroupPolicy, KlCorrection, Level, Outcome, Whole};
use kernel::objective::ppo::{PolicyOutcome, Ppo, ValueOutcome};
use kernel::objective::rloo::{self, Rloo};

use crate::buffer::{Buffer, Index};
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::error::Error;

const GROUP: Source = source!("group");
const PPO: Source = source!("ppo");
/// Tokens of a block of PPO's terms.
const BLOCK: usize = 1024;

type Acc = Mat<Buffer<f32>>;

/// Which tokens count, a byte each.
pub struct Mask {
    bytes: Buffer<u8>,
    len: usize,
}

/// Per-token numbers of packed completions, each (N, 1).
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// Of the policy.
    pub logp: &'a Acc,
    /// Which count. What the others hold at the rest is never read.
    pub mask: &'a Mask,
    /// Of the policy at rollout; the detached `logp` where not given.
    pub old: Option<&'a Acc>,
    /// Completion i has the tokens `starts[i] .. starts[i + 1]`: one number more than completions.
    pub starts: &'a Index,
}

/// What the group policy reads beside [`Tokens`], each (N, 1).
#[derive(Clone, Copy)]
pub struct GroupTokens<'a> {
    /// The same number throughout a completion, or one for each token.
    pub advantage: &'a Acc,
    /// Of the predictions; needed where `entropy_coef` or `top_entropy_quantile` asks for it.
    pub entropy: Option<&'a Acc>,
    /// Of the reference; needed where beta is not 0.
    pub reference: Option<&'a Acc>,
    /// Of the sampler; no correction where not given.
    pub sampler: Option<&'a Acc>,
}

impl<T: Element> Cuda<T> {
    /// Which tokens count. Errors: out of memory.
    pub fn mask(&self, kept: &[bool]) -> Result<Mask, Error> {
        let bytes: Vec<u8> = kept.iter().map(|&k| u8::from(k)).collect();
        Ok(Mask {
            bytes: Buffer::copied(self, &bytes)?,
            len: kept.len(),
        })
    }

    /// [`GroupPolicy::loss`] of every completion; `dlogp`, and `dentropy` where it is given, (N, 1), are replaced. Errors: the device's.
    /// Panics where shapes differ, or a number that the policy needs is not given.
    #[track_caller]
    pub fn group_loss(
        &self,
        dlogp: &mut Acc,
        dentropy: Option<&mut Acc>,
        policy: &GroupPolicy,
        x: Tokens<'_>,
        own: GroupTokens<'_>,
        whole: Whole,
    ) -> Result<Vec<Outcome>, Error> {
        let completions = check("group", dlogp, x);
        let entropy = dentropy.as_deref().map(|e| ("dentropy", e));
        let given = [
            ("entropy", own.entropy),
            ("reference", own.reference),
            ("sampler", own.sampler),
        ];
        let given = given.into_iter().filter_map(|(what, x)| Some((what, x?)));
        for (what, y) in given.chain(entropy).chain([("advantage", own.advantage)]) {
            check_shape("group", what, y.shape(), x.logp.shape());
        }
        assert!(
            policy.beta == 0.0 || own.reference.is_some(),
            "group: beta is {} and there is no reference",
            policy.beta
        );
        let by_entropy = policy.entropy_coef != 0.0 || whole.entropy_threshold != f64::NEG_INFINITY;
        assert!(!by_entropy || own.entropy.is_some(), "group: there is no entropy");
        assert!(
            policy.entropy_coef == 0.0 || dentropy.is_some(),
            "group: there is no room for the entropies' cotangents"
        );
        let settings = Buffer::copied(self, &settings(policy, &whole))?;
        let outcomes = self.outcomes(completions, 6, |outcomes| {
            self.kernel(&GROUP, "group_loss")
                .grid([completions, 1, 1])
                .block(256)
                .arg(dlogp)
                .arg(dentropy.as_deref())
                .arg(outcomes)
                .arg(&settings)
                .arg(x.starts.address())
                .arg(x.logp)
                .arg(own.advantage)
                .arg(&x.mask.bytes)
                .arg(own.entropy)
                .arg(x.old)
                .arg(own.reference)
                .arg(own.sampler)
                .launch();
        })?;
        let share = |tokens: f64| match policy.level {
            Level::Token => 1.0 / whole.tokens,
            Level::Sequence => 1.0 / (tokens.max(1.0) * whole.completions),
        };
        let outcome = |o: &[f64]| Outcome {
            loss: o[0],
            kl: o[1],
            low: o[2] * share(o[4]),
            high: o[3] * share(o[4]),
            own: (o[4] > 0.0).then(|| [o[2] / o[4], o[3] / o[4]]),
            phi: o[5] / whole.completions,
        };
        Ok(outcomes.chunks_exact(6).map(outcome).collect())
    }

    /// [`Rloo::loss`] of every completion, `advantage` (completions, 1); `dlogp` is replaced. Errors: the device's. Panics where shapes
    /// differ.
    #[track_caller]
    pub fn rloo_loss(
        &self,
        dlogp: &mut Acc,
        rloo: &Rloo,
        x: Tokens<'_>,
        advantage: &Acc,
        completions: f64,
    ) -> Result<Vec<rloo::Outcome>, Error> {
        let count = check("rloo", dlogp, x);
        check_shape("rloo", "advantage", advantage.shape(), (count, 1));
        let outcomes = self.outcomes(count, 3, |outcomes| {
            self.kernel(&GROUP, "rloo_loss")
                .grid([count, 1, 1])
                .block(256)
                .arg(dlogp)
                .arg(outcomes)
                .arg(x.starts.address())
                .arg(x.logp)
                .arg(advantage)
                .arg(&x.mask.bytes)
                .arg(x.old)
                .arg(rloo.epsilon)
                .arg(rloo.epsilon_high)
                .arg(completions)
                .launch();
        })?;
        let outcome = |o: &[f64]| rloo::Outcome {
            loss: o[0],
            low: o[1],
            high: o[2],
        };
        Ok(outcomes.chunks_exact(3).map(outcome).collect())
    }

    /// [`Ppo::policy`]; `dlogp`, all (N, 1), is replaced. Errors: the device's. Panics where shapes differ.
    #[allow(clippy::too_many_arguments)]
    #[track_caller]
    pub fn ppo_policy(
        &self,
        dlogp: &mut Acc,
        ppo: &Ppo,
        logp: &Acc,
        old: Option<&Acc>,
        advantage: &Acc,
        mask: &Mask,
        tokens: f64,
    ) -> Result<PolicyOutcome, Error> {
        let n = check_column("ppo policy", mask, [Some(&*dlogp), Some(logp), old, Some(advantage)]);
        let outcomes = self.outcomes(n.div_ceil(BLOCK), 4, |outcomes| {
            self.kernel(&PPO, "ppo_policy")
                .grid([n.div_ceil(BLOCK), 1, 1])
                .block(256)
                .arg(dlogp)
                .arg(outcomes)
                .arg(logp)
                .arg(old)
                .arg(advantage)
                .arg(&mask.bytes)
                .size(n)
                .arg(ppo.cliprange)
                .arg(tokens)
                .launch();
        })?;
        let [loss, approx_kl, clipped, ratio] = total(&outcomes);
        Ok(PolicyOutcome {
            loss,
            approx_kl,
            clipped,
            ratio,
        })
    }

    /// [`Ppo::value`]; `dvalue`, all (N, 1), is replaced. Errors: the device's. Panics where shapes differ.
    #[allow(clippy::too_many_arguments)]
    #[track_caller]
    pub fn ppo_value(
        &self,
        dvalue: &mut Acc,
        ppo: &Ppo,
        value: &Acc,
        old: Option<&Acc>,
        returns: &Acc,
        mask: &Mask,
        tokens: f64,
    ) -> Result<ValueOutcome, Error> {
        let n = check_column("ppo value", mask, [Some(&*dvalue), Some(value), old, Some(returns)]);
        let outcomes = self.outcomes(n.div_ceil(BLOCK), 4, |outcomes| {
            self.kernel(&PPO, "ppo_value")
                .grid([n.div_ceil(BLOCK), 1, 1])
                .block(256)
                .arg(dvalue)
                .arg(outcomes)
                .arg(value)
                .arg(old)
                .arg(returns)
                .arg(&mask.bytes)
                .size(n)
                .arg(ppo.cliprange_value)
                .arg(ppo.vf_coef)
                .arg(tokens)
                .launch();
        })?;
        let [loss, clipped, ..] = total(&outcomes);
        Ok(ValueOutcome { loss, clipped })
    }

    /// (rows, cols) numbers of f64 that `work` has a kernel write.
    fn outcomes(&self, rows: usize, cols: usize, work: impl FnOnce(&Buffer<f64>)) -> Result<Vec<f64>, Error> {
        let outcomes = Buffer::zeroed(self, rows * cols)?;
        work(&outcomes);
        let mut host = vec![0.0; rows * cols];
        outcomes.read(self, &mut host)?;
        Ok(host)
    }
}

/// The sums of all blocks, in their order.
fn total(outcomes: &[f64]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    for block in outcomes.chunks_exact(4) {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// The settings in the order of the kernel's `Settings`.
fn settings(p: &GroupPolicy, whole: &Whole) -> [f64; 17] {
    let (loss, first, second) = match p.loss {
        GroupLoss::Grpo => (0.0, 0.0, 0.0),
        GroupLoss::Bnpo => (1.0, 0.0, 0.0),
        GroupLoss::DrGrpo { max_completion_length } => (2.0, max_completion_length, 0.0),
        GroupLoss::Dapo => (3.0, 0.0, 0.0),
        GroupLoss::Luspo => (4.0, 0.0, 0.0),
        GroupLoss::Cispo => (5.0, 0.0, 0.0),
        GroupLoss::Sapo { positive, negative } => (6.0, positive, negative),
        GroupLoss::Vespo => (7.0, 0.0, 0.0),
    };
    let (correction, cap) = match p.correction {
        Correction::None => (0.0, 1.0),
        Correction::TokenTruncate { cap } => (1.0, cap),
        Correction::SequenceMask { cap } => (2.0, cap),
        Correction::TokenMask { .. } | Correction::SequenceTruncate { .. } => {
            panic!("group: the device corrects by token_truncate and sequence_mask alone")
        }
    };
    let flag = |yes: bool| f64::from(u8::from(yes));
    [
        loss,
        first,
        second,
        p.beta,
        p.epsilon,
        p.epsilon_high,
        p.delta.unwrap_or(f64::INFINITY),
        p.off_policy_mask_threshold.unwrap_or(f64::INFINITY),
        p.entropy_coef,
        flag(p.level == Level::Sequence),
        flag(p.kl_correction == KlCorrection::Ratio),
        correction,
        cap,
        whole.completions,
        whole.tokens,
        whole.entropy_threshold,
        whole.entropy_tokens,
    ]
}

/// Columns of one length; returns it.
#[track_caller]
fn check_column(op: &str, mask: &Mask, columns: [Option<&Acc>; 4]) -> usize {
    for x in columns.into_iter().flatten() {
        check_shape(op, "a column", x.shape(), (mask.len, 1));
    }
    mask.len
}

/// Shapes of packed completions; returns how many there are.
#[track_caller]
fn check(op: &str, dlogp: &Acc, x: Tokens<'_>) -> usize {
    let n = check_column(op, x.mask, [Some(dlogp), Some(x.logp), x.old, None]);
    let starts = x.starts.values();
    let rising = starts.windows(2).all(|s| s[0] <= s[1]);
    let whole = starts.first() == Some(&0) && starts.last() == Some(&(n as u32));
    assert!(rising && whole, "{op}: completions do not cut the {n} tokens in order");
    starts.len() - 1
}
