//! The online objectives on the device against `kernel::objective`: every loss of the group family with every level, correction and mask, leave-one-out,
//! PPO's terms; extreme ratios, empty completions, and tokens that do not count and hold anything. Needs a driver, as `cuda.rs` does.
use cuda_backend::{Buffer, Cuda, GroupTokens, Tokens};
use kernel::backend::Memory;
use kernel::mat::Mat;
use kernel::objective::group::{self, Completion, Correction, GroupLoss, GroupPolicy, KlCorrection, Level, Whole};
use kernel::objective::ppo::Ppo;
use kernel::objective::rloo::Rloo;
use tests::devices::cuda;
use tests::host::Rng;

type Acc = Mat<Buffer<f32>>;

/// Packed completions.
struct Data {
    starts: Vec<u32>,
    logp: Vec<f32>,
    old: Vec<f32>,
    reference: Vec<f32>,
    sampler: Vec<f32>,
    entropy: Vec<f32>,
    advantage: Vec<f32>,
    mask: Vec<f32>,
}

impl Data {
    /// Lengths from none to beyond a block.
    fn new(rng: &mut Rng) -> Self {
        Self::of(rng, &[5, 1, 0, 300, 12, 33, 7, 260, 3, 40, 1, 17])
    }

    /// Of these lengths; one completion in eight has no token that counts, one in four has ratios of e^+-80 and
    /// probabilities of 0, one in three has one advantage throughout.
    fn of(rng: &mut Rng, lengths: &[usize]) -> Self {
        let mut d = Self {
            starts: vec![0],
            logp: Vec::new(),
            old: Vec::new(),
            reference: Vec::new(),
            sampler: Vec::new(),
            entropy: Vec::new(),
            advantage: Vec::new(),
            mask: Vec::new(),
        };
        for (i, &len) in lengths.iter().enumerate() {
            let (empty, extreme, same) = (i % 8 == 6, i % 4 == 1, i % 3 == 0);
            let throughout = rng.normal() as f32;
            for _ in 0..len {
                let kept = !empty && rng.below(4) != 0;
                let logp = -6.0 * rng.uniform();
                let far = |rng: &mut Rng| match (extreme, rng.below(6)) {
                    (true, 0) => logp + 80.0,
                    (true, 1) => logp - 80.0,
                    (_, 2) => logp,
                    _ => logp + rng.uniform() - 0.5,
                };
                let mut numbers = [
                    logp as f32,
                    far(rng) as f32,
                    far(rng) as f32,
                    (logp + 0.4 * rng.uniform() - 0.2) as f32,
                    (3.0 * rng.uniform()) as f32,
                    if same { throughout } else { rng.normal() as f32 },
                ];
                if !kept {
                    let odd = [f32::NEG_INFINITY, f32::NAN, f32::INFINITY, 0.0][rng.below(4)];
                    numbers[..5].fill(odd);
                }
                let [logp, old, reference, sampler, entropy, advantage] = numbers;
                d.logp.push(logp);
                d.old.push(old);
                d.reference.push(reference);
                d.sampler.push(sampler);
                d.entropy.push(entropy);
                d.advantage.push(advantage);
                d.mask.push(f32::from(u8::from(kept)));
            }
            d.starts.push(d.logp.len() as u32);
        }
        d
    }

    fn kept(&self) -> Vec<bool> {
        self.mask.iter().map(|&m| m != 0.0).collect()
    }

    fn tokens(&self) -> f64 {
        self.mask.iter().map(|&m| f64::from(m)).sum()
    }
}

fn acc(b: &Cuda<f32>, x: &[f32]) -> Acc {
    let mut acc = b.acc(x.len(), 1).expect("room");
    b.upload(&mut acc, x).expect("no fault on the device");
    acc
}

fn host(b: &Cuda<f32>, x: &Acc) -> Vec<f32> {
    let mut host = vec![0.0; x.len()];
    b.download(&mut host, x).expect("no fault on the device");
    host
}

/// The same but for the last bits of an exponential: f64 throughout, rounded once to f32 (6e-8).
fn same(what: &str, got: &[f32], expected: &[f32]) {
    for (t, (&got, &x)) in got.iter().zip(expected).enumerate() {
        let close = got == x || (got - x).abs() <= 1.3e-7 * x.abs() || (got.is_nan() && x.is_nan());
        assert!(close, "{what}: {got:e} at {t}, expected {x:e}");
    }
}

fn near(what: &str, got: &[f64], expected: &[f64]) {
    for (i, (&got, &x)) in got.iter().zip(expected).enumerate() {
        // Sums of up to 300 numbers that may cancel: some e^80.
        let scale = expected.iter().fold(x.abs().max(1e-12), |m, x| m.max(1e-3 * x.abs()));
        let close = got == x || (got - x).abs() <= 1e-9 * scale || (got.is_nan() && x.is_nan());
        assert!(close, "{what}: statistic {i} is {got:e}, expected {x:e}");
    }
}

fn losses() -> Vec<GroupLoss> {
    vec![
        GroupLoss::Grpo,
        GroupLoss::Bnpo,
        GroupLoss::DrGrpo {
            max_completion_length: 256.0,
        },
        GroupLoss::Dapo,
        GroupLoss::Luspo,
        GroupLoss::Cispo,
        GroupLoss::Sapo {
            positive: 1.0,
            negative: 1.05,
        },
        GroupLoss::Vespo,
    ]
}

/// Every loss with each level, and around them every other setting.
fn policies() -> Vec<GroupPolicy> {
    let mut policies = Vec::new();
    for loss in losses() {
        for level in [Level::Token, Level::Sequence] {
            let epsilon_high = if loss == GroupLoss::Cispo { 5.0 } else { 0.28 };
            let plain = GroupPolicy {
                loss,
                level,
                epsilon_high,
                ..GroupPolicy::default()
            };
            let full = GroupPolicy {
                beta: 0.04,
                delta: Some(1.5),
                off_policy_mask_threshold: Some(0.1),
                entropy_coef: 0.01,
                correction: Correction::TokenTruncate { cap: 1.05 },
                ..plain
            };
            let whole_completions = Correction::SequenceMask { cap: 2.0 };
            policies.extend([plain, full]);
            policies.push(GroupPolicy {
                kl_correction: KlCorrection::None,
                top_entropy_quantile: 0.5,
                correction: if loss == GroupLoss::Vespo {
                    Correction::None
                } else {
                    whole_completions
                },
                ..full
            });
        }
    }
    policies
}

#[test]
fn group_losses_are_the_kernels() {
    let Some(b) = cuda::<f32>() else { return };
    let mut rng = Rng::new("group");
    for (i, policy) in policies().into_iter().enumerate() {
        policy.check().expect("a sound policy");
        let d = match i {
            // GRPO with the ratio of the completion, of more tokens than a thread keeps masks of.
            3 => Data::of(&mut rng, &[17000, 5]),
            _ => Data::new(&mut rng),
        };
        let [logp, old, reference, sampler, entropy, advantage] =
            [&d.logp, &d.old, &d.reference, &d.sampler, &d.entropy, &d.advantage].map(|x| acc(&b, x));
        // Now and then without the policy at rollout, and without the sampler.
        let (with_old, with_sampler) = (i % 5 != 4, i % 4 != 3);
        let whole = Whole {
            completions: 12.0,
            tokens: d.tokens(),
            entropy_threshold: if policy.top_entropy_quantile < 1.0 {
                1.5
            } else {
                f64::NEG_INFINITY
            },
            entropy_tokens: 0.5 * d.tokens(),
        };
        let n = d.logp.len();
        let (mut dlogp, mut dentropy) = (acc(&b, &vec![f32::NAN; n]), acc(&b, &vec![f32::NAN; n]));
        let mask = b.mask(&d.kept()).expect("room");
        let starts = b.index(&d.starts).expect("room");
        let x = Tokens {
            logp: &logp,
            mask: &mask,
            old: with_old.then_some(&old),
            starts: &starts,
        };
        let own = GroupTokens {
            advantage: &advantage,
            entropy: Some(&entropy),
            reference: Some(&reference),
            sampler: with_sampler.then_some(&sampler),
        };
        let outcomes = b
            .group_loss(&mut dlogp, Some(&mut dentropy), &policy, x, own, whole)
            .expect("no fault on the device");
        let (dlogp, dentropy) = (host(&b, &dlogp), host(&b, &dentropy));
        let (mut expected, mut expected_entropy) = (vec![f32::NAN; n], vec![f32::NAN; n]);
        for (at, got) in d.starts.windows(2).zip(&outcomes) {
            let r = at[0] as usize..at[1] as usize;
            let c = Completion {
                logp: &d.logp[r.clone()],
                mask: &d.mask[r.clone()],
                advantage: &d.advantage[r.clone()],
                entropy: &d.entropy[r.clone()],
                old: with_old.then_some(&d.old[r.clone()]),
                reference: Some(&d.reference[r.clone()]),
                sampler: with_sampler.then_some(&d.sampler[r.clone()]),
            };
            let (dl, de) = (&mut expected[r.clone()], &mut expected_entropy[r]);
            let want = policy.loss(dl, de, &c, whole);
            let numbers = |o: &group::Outcome| {
                let [low, high] = o.own.unwrap_or([-1.0; 2]);
                [o.loss, o.kl, o.low, o.high, o.phi, low, high]
            };
            near(&format!("{policy:?}"), &numbers(got), &numbers(&want));
        }
        same(&format!("dlogp of {policy:?}"), &dlogp, &expected);
        same(&format!("dentropy of {policy:?}"), &dentropy, &expected_entropy);
    }
}

#[test]
fn leave_one_out_is_the_kernels() {
    let Some(b) = cuda::<f32>() else { return };
    let mut rng = Rng::new("rloo");
    for round in 0..6 {
        let d = match round {
            0 => Data::of(&mut rng, &[17000, 5]),
            _ => Data::new(&mut rng),
        };
        let rloo = Rloo {
            epsilon: 0.2,
            epsilon_high: 0.3,
        };
        let advantages: Vec<f32> = (1..d.starts.len()).map(|_| rng.normal() as f32).collect();
        let [logp, old, advantage] = [&d.logp, &d.old, &advantages].map(|x| acc(&b, x));
        let mask = b.mask(&d.kept()).expect("room");
        let starts = b.index(&d.starts).expect("room");
        let x = Tokens {
            logp: &logp,
            mask: &mask,
            old: (round != 5).then_some(&old),
            starts: &starts,
        };
        let mut dlogp = acc(&b, &vec![f32::NAN; d.logp.len()]);
        let outcomes = b
            .rloo_loss(&mut dlogp, &rloo, x, &advantage, 12.0)
            .expect("no fault on the device");
        let mut expected = vec![f32::NAN; d.logp.len()];
        for ((at, got), &a) in d.starts.windows(2).zip(&outcomes).zip(&advantages) {
            let r = at[0] as usize..at[1] as usize;
            let old = (round != 5).then_some(&d.old[r.clone()]);
            let (logp, mask) = (&d.logp[r.clone()], &d.mask[r.clone()]);
            let want = rloo.loss(&mut expected[r], logp, old, mask, f64::from(a), 12.0);
            near(
                "rloo",
                &[got.loss, got.low, got.high],
                &[want.loss, want.low, want.high],
            );
        }
        same("rloo", &host(&b, &dlogp), &expected);
    }
}

#[test]
fn ppo_terms_are_the_kernels() {
    let Some(b) = cuda::<f32>() else { return };
    let mut rng = Rng::new("ppo");
    for round in 0..6 {
        let mut d = Data::new(&mut rng);
        if round == 1 {
            // Beyond a block.
            for _ in 0..3 {
                let more = Data::new(&mut rng);
                for (x, y) in [
                    (&mut d.logp, more.logp),
                    (&mut d.old, more.old),
                    (&mut d.advantage, more.advantage),
                    (&mut d.mask, more.mask),
                ] {
                    x.extend(y);
                }
            }
        }
        let ppo = Ppo {
            // Infinite: the surrogate of TRPO.
            cliprange: if round == 2 { f64::INFINITY } else { 0.2 },
            cliprange_value: 0.3,
            vf_coef: 0.1,
            ent_coef: 0.0,
        };
        let [logp, old, advantage] = [&d.logp, &d.old, &d.advantage].map(|x| acc(&b, x));
        let (with_old, tokens) = (round != 5, d.tokens());
        let mask = b.mask(&d.kept()).expect("room");
        let mut dx = acc(&b, &vec![f32::NAN; d.logp.len()]);
        let got = b
            .ppo_policy(
                &mut dx,
                &ppo,
                &logp,
                with_old.then_some(&old),
                &advantage,
                &mask,
                tokens,
            )
            .expect("no fault on the device");
        let mut expected = vec![f32::NAN; d.logp.len()];
        let host_old = with_old.then_some(&d.old[..]);
        let want = ppo.policy(&mut expected, &d.logp, host_old, &d.advantage, &d.mask, tokens);
        near(
            "policy",
            &[got.loss, got.approx_kl, got.clipped, got.ratio],
            &[want.loss, want.approx_kl, want.clipped, want.ratio],
        );
        same("policy", &host(&b, &dx), &expected);
        // The same columns serve as values.
        let got = b
            .ppo_value(
                &mut dx,
                &ppo,
                &logp,
                with_old.then_some(&old),
                &advantage,
                &mask,
                tokens,
            )
            .expect("no fault on the device");
        let want = ppo.value(&mut expected, &d.logp, host_old, &d.advantage, &d.mask, tokens);
        near("value", &[got.loss, got.clipped], &[want.loss, want.clipped]);
        same("value", &host(&b, &dx), &expected);
    }
}
