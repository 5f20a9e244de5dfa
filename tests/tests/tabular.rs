//! The theorems that TRPO stands on and the step itself, exactly: a tabular softmax policy in decision processes of which
//! everything is known. What holds of every policy is asked of drawn ones.
#![allow(clippy::unwrap_used)]

use kernel::objective::trpo::surrogate_loss;
use kernel::trust_region::{LineSearch, Outcome, Policy, Report, Settings, step};
use quickcheck::quickcheck;
use tests::host::Rng;
use tests::tabular::{Mdp, Table, dot, log_softmax, softmax};

/// A process and logits for it, by number.
fn draw(seed: u64) -> (Mdp, Vec<f64>, Rng) {
    let mut rng = Rng::new(&format!("tabular {seed}"));
    let (states, actions) = (2 + rng.below(6), 2 + rng.below(4));
    let gamma = [0.5, 0.9, 0.99][rng.below(3)];
    let mdp = Mdp::draw(states, actions, gamma, &mut rng);
    let logits = (0..states * actions).map(|_| rng.normal()).collect();
    (mdp, logits, rng)
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
}

/// Kakade and Langford 2002, lemma 6.1: return(new) = return(old) + sum_s d_new(s) sum_a new(a | s) A_old(s, a) / (1 - gamma).
#[test]
fn the_performance_difference_is_the_expected_advantage() {
    fn holds(seed: u64) -> bool {
        let (mdp, logits, mut rng) = draw(seed);
        let m = mdp.actions;
        let other: Vec<f64> = logits.iter().map(|z| z + 2.0 * rng.normal()).collect();
        let (old, new) = (mdp.exact(&softmax(&logits, m)), softmax(&other, m));
        let exact = mdp.exact(&new);
        let gain = |s: usize| exact.visits[s] * dot(&new[s * m..][..m], &old.advantage[s * m..][..m]);
        let gain: f64 = (0..mdp.states).map(gain).sum();
        let own: f64 = (0..mdp.states)
            .map(|s| dot(&softmax(&logits, m)[s * m..][..m], &old.advantage[s * m..][..m]))
            .sum();
        near(exact.value, old.value + gain / (1.0 - mdp.gamma), 1e-9)
            && near(exact.visits.iter().sum(), 1.0, 1e-10)
            && own.abs() < 1e-9
    }
    quickcheck(holds as fn(u64) -> bool);
}

/// Sutton et al. 2000: the surrogate's gradient at the old policy is that of the return, by differences of the return.
#[test]
fn the_gradient_of_the_surrogate_is_that_of_the_return() {
    fn holds(seed: u64) -> bool {
        let (mdp, logits, _) = draw(seed);
        let (loss, gradient) = Table::new(&mdp, logits.clone()).loss();
        let h = 1e-5;
        loss.abs() < 1e-12
            && (0..logits.len()).all(|i| {
                let at = |x: f64| {
                    let mut moved = logits.clone();
                    moved[i] += x;
                    mdp.exact(&softmax(&moved, mdp.actions)).value
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                near(-gradient[i] / (1.0 - mdp.gamma), slope, 1e-6)
            })
    }
    quickcheck(holds as fn(u64) -> bool);
}

/// Every trajectory of four steps, written out: its probability under a policy, its return, and its log-prob.
fn trajectories(mdp: &Mdp, logits: &[f64]) -> Vec<(f64, f64, f64)> {
    let logp = log_softmax(logits, mdp.actions);
    let mut all: Vec<_> = mdp.start.iter().enumerate().map(|(s, &p)| (s, p, 0.0, 0.0)).collect();
    for _ in 0..4 {
        let go = |&(s, p, r, l): &(usize, f64, f64, f64)| {
            let (mdp, logp) = (mdp, &logp);
            let after = (0..mdp.actions).flat_map(move |a| {
                let i = s * mdp.actions + a;
                let next = mdp.next[i].iter().enumerate();
                next.map(move |(t, q)| (t, p * logp[i].exp() * q, r + mdp.reward[i], l + logp[i]))
            });
            after.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(go).collect();
    }
    all.into_iter().map(|(_, p, r, l)| (p, r, l)).collect()
}

/// Over all trajectories of the old policy the weighted return is the new policy's, and the weights' mean is 1.
#[test]
fn importance_sampling_is_unbiased() {
    for seed in 0..20 {
        let mut rng = Rng::new(&format!("trajectories {seed}"));
        let mdp = Mdp::draw(2 + seed % 2, 2, 0.9, &mut rng);
        let n = mdp.states * mdp.actions;
        let old: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let new: Vec<f64> = old.iter().map(|z| z + rng.normal()).collect();
        let [under_old, under_new] = [&old, &new].map(|z| trajectories(&mdp, z));
        let column = |f: fn(&(f64, f64, f64)) -> f64| under_old.iter().map(f).collect::<Vec<f64>>();
        let logp: Vec<f64> = under_new.iter().map(|t| t.2).collect();
        // A trajectory is a token: its advantage is its return times how often the old policy comes by it.
        let weighted = |advantage: Vec<f64>| {
            let (mut d, mask) = (vec![0.0; logp.len()], vec![1.0; logp.len()]);
            -surrogate_loss(&mut d, &logp, Some(&column(|t| t.2)), &advantage, &mask, 1.0)
        };
        let expected: f64 = under_new.iter().map(|t| t.0 * t.1).sum();
        let unweighted: f64 = under_old.iter().map(|t| t.0 * t.1).sum();
        assert!(near(weighted(column(|t| t.0 * t.1)), expected, 1e-12), "{seed}");
        assert!(near(weighted(column(|t| t.0)), 1.0, 1e-12), "{seed}");
        assert!(
            (unweighted - expected).abs() > 1e-3,
            "{seed}: the policies do not differ"
        );
    }
}

/// v' F v is the second difference of the KL.
#[test]
fn the_table_s_fisher_matrix_is_the_curvature_of_its_kl() {
    fn holds(seed: u64) -> bool {
        let (mdp, logits, mut rng) = draw(seed);
        let mut table = Table::new(&mdp, logits.clone());
        let v: Vec<f64> = logits.iter().map(|_| rng.normal()).collect();
        let mut fv = Vec::new();
        table.fisher(&mut fv, &v).unwrap();
        let h = 1e-3;
        let mut kl = |h: f64| {
            table.place(&logits, h, &v);
            table.evaluate().unwrap().kl
        };
        near((kl(h) + kl(-h)) / (h * h), dot(&v, &fv), 1e-5)
    }
    quickcheck(holds as fn(u64) -> bool);
}

/// Steps from the logits on; after each, `each` is told the report and both policies' tables.
fn train(
    mdp: &Mdp,
    mut logits: Vec<f64>,
    settings: &Settings,
    steps: usize,
    mut each: impl FnMut(&Report, &Table, &Table),
) {
    for _ in 0..steps {
        let mut table = Table::new(mdp, logits.clone());
        let mut work = table.work();
        let report = step(&mut table, 0.0, settings, &mut work).unwrap();
        logits = table.logits.clone();
        each(&report, &table, &Table::new(mdp, logits.clone()));
    }
}

/// With exact advantages no step makes the policy worse, and each gains at least what the theorem promises (Achiam et al.
/// 2017, corollary 1): with e = max_s |E_new A_old|, (surrogate - 2 gamma e E_d[TV] / (1 - gamma)) / (1 - gamma).
#[test]
fn every_step_improves_the_return_and_by_what_the_theorem_says() {
    let mut moved = 0;
    for seed in 0..60 {
        let (mdp, logits, _) = draw(seed);
        let (m, gamma) = (mdp.actions, mdp.gamma);
        let settings = Settings {
            max_kl: 1e-3,
            cg_damping: 1e-4,
            cg_iters: 20,
            ..Settings::default()
        };
        train(&mdp, logits, &settings, 30, |report, table, new| {
            let value = (table.old.value, new.old.value);
            if report.outcome != Outcome::Moved {
                assert_eq!(value.0, value.1);
                return;
            }
            moved += 1;
            assert!(value.1 > value.0, "{seed}: {value:?} {report:?}");
            assert!(report.kl_old_new <= settings.max_kl && report.surrogate > 0.0);
            let (mut e, mut distance) = (0.0f64, 0.0);
            let pi = softmax(&new.logits, m);
            for s in 0..mdp.states {
                let row = s * m..(s + 1) * m;
                e = e.max(dot(&pi[row.clone()], &table.old.advantage[row.clone()]).abs());
                distance += table.old.visits[s] * 0.5 * {
                    let before = table.old_policy();
                    row.map(|i| (pi[i] - before[i]).abs()).sum::<f64>()
                };
            }
            // Pinsker's inequality, which is what the KL is there for.
            assert!(distance <= (report.kl_old_new / 2.0).sqrt());
            let promised = (report.surrogate - 2.0 * gamma * e * distance / (1.0 - gamma)) / (1.0 - gamma);
            assert!(value.1 - value.0 >= promised - 1e-12, "{seed}: {value:?} {promised}");
        });
    }
    assert!(moved > 1500, "{moved} steps");
}

/// Steps of a size that people use get near the best policy there is.
#[test]
fn training_reaches_the_best_policy() {
    for seed in 0..20 {
        let (mdp, logits, _) = draw(seed);
        let (best, first) = (mdp.best(), mdp.exact(&softmax(&logits, mdp.actions)).value);
        let settings = Settings {
            max_kl: 0.02,
            cg_damping: 1e-3,
            ..Settings::default()
        };
        let mut last = first;
        train(&mdp, logits, &settings, 150, |_, _, new| last = new.old.value);
        assert!(last <= best + 1e-9, "{seed}: {last} is above the best, {best}");
        assert!(
            best - last < 0.05 * (best - first),
            "{seed}: {first} to {last}, best {best}"
        );
    }
}

/// With little damping a full step has the KL that was asked for, to third order; damping makes it smaller.
#[test]
fn the_natural_gradient_step_has_the_kl_of_the_region() {
    for seed in 0..20 {
        let (mdp, logits, _) = draw(seed);
        let kl = |cg_damping: f64| {
            let settings = Settings {
                max_kl: 1e-6,
                cg_damping,
                cg_iters: 50,
                line_search: LineSearch::None,
                ..Settings::default()
            };
            let mut kl = 0.0;
            train(&mdp, logits.clone(), &settings, 1, |report, _, _| {
                kl = report.kl_old_new
            });
            kl
        };
        assert!((kl(1e-8) / 1e-6 - 1.0).abs() < 0.02, "{seed}: {}", kl(1e-8));
        assert!(kl(0.1) < kl(1e-8), "{seed}");
    }
}
