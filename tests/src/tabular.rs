//! A Markov decision process of which everything is known, and a softmax policy for it: one number for each state and
//! action. Returns, advantages and visits are solutions of linear systems, so what is only true in expectation of a sampled
//! policy can be asked of this one exactly.
use std::convert::Infallible;

use kernel::objective::trpo::surrogate_loss;
use kernel::trust_region::{Evaluation, Policy, Work};

use crate::host::Rng;

/// States, actions, and what happens.
pub struct Mdp {
    /// S.
    pub states: usize,
    /// A.
    pub actions: usize,
    /// `next[s A + a][s']`: probability of s' after a in s.
    pub next: Vec<Vec<f64>>,
    /// reward[s A + a].
    pub reward: Vec<f64>,
    /// Probability of each state at the start.
    pub start: Vec<f64>,
    /// Discount.
    pub gamma: f64,
}

/// What a policy is worth.
pub struct Exact {
    /// Expected discounted return from the start.
    pub value: f64,
    /// Q - V, of s A + a.
    pub advantage: Vec<f64>,
    /// (1 - gamma) sum_t gamma^t p(s_t = s), which sums to 1.
    pub visits: Vec<f64>,
}

/// Numbers that sum to 1, none of them 0.
fn simplex(n: usize, rng: &mut Rng) -> Vec<f64> {
    let x: Vec<f64> = (0..n).map(|_| (1.5 * rng.normal()).exp()).collect();
    let sum: f64 = x.iter().sum();
    x.iter().map(|x| x / sum).collect()
}

impl Mdp {
    /// A random one.
    pub fn draw(states: usize, actions: usize, gamma: f64, rng: &mut Rng) -> Self {
        Self {
            states,
            actions,
            next: (0..states * actions).map(|_| simplex(states, rng)).collect(),
            reward: (0..states * actions).map(|_| rng.normal()).collect(),
            start: simplex(states, rng),
            gamma,
        }
    }

    /// What the policy `pi` (probabilities, s A + a) is worth.
    pub fn exact(&self, pi: &[f64]) -> Exact {
        let (n, m, gamma) = (self.states, self.actions, self.gamma);
        let step = |s: usize, t: usize| (0..m).map(|a| pi[s * m + a] * self.next[s * m + a][t]).sum::<f64>();
        let unit = |s: usize, t: usize| if s == t { 1.0 } else { 0.0 };
        let reward = |s: usize| (0..m).map(|a| pi[s * m + a] * self.reward[s * m + a]).sum::<f64>();
        // V = r + gamma P V, and d = (1 - gamma) start + gamma P' d.
        let forward = (0..n).map(|s| (0..n).map(|t| unit(s, t) - gamma * step(s, t)).collect());
        let v = solve(forward.collect(), (0..n).map(reward).collect());
        let backward = (0..n).map(|s| (0..n).map(|t| unit(s, t) - gamma * step(t, s)).collect());
        let visits = solve(
            backward.collect(),
            self.start.iter().map(|p| (1.0 - gamma) * p).collect(),
        );
        let advantage = |i: usize| self.reward[i] + gamma * dot(&self.next[i], &v) - v[i / m];
        Exact {
            value: dot(&self.start, &v),
            advantage: (0..n * m).map(advantage).collect(),
            visits,
        }
    }

    /// The return of the best policy there is, by value iteration.
    pub fn best(&self) -> f64 {
        let mut v = vec![0.0; self.states];
        for _ in 0..(40.0 / (1.0 - self.gamma)) as usize {
            let q = |s: usize, a: usize| {
                let i = s * self.actions + a;
                self.reward[i] + self.gamma * dot(&self.next[i], &v)
            };
            let best = |s: usize| (0..self.actions).map(|a| q(s, a)).fold(f64::NEG_INFINITY, f64::max);
            v = (0..self.states).map(best).collect();
        }
        dot(&self.start, &v)
    }
}

/// sum_i x_i y_i.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The solution of a x = b, by elimination with pivots.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        let pivot = (i..n)
            .max_by(|&j, &k| a[j][i].abs().total_cmp(&a[k][i].abs()))
            .unwrap_or(i);
        a.swap(i, pivot);
        b.swap(i, pivot);
        let (pivot, right) = (a[i].clone(), b[i]);
        for (j, row) in a.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            b[j] -= factor * right;
        }
    }
    (0..n).map(|i| b[i] / a[i][i]).collect()
}

/// Softmax of each row of `actions` logits.
pub fn softmax(logits: &[f64], actions: usize) -> Vec<f64> {
    log_softmax(logits, actions).iter().map(|x| x.exp()).collect()
}

/// Its logarithm.
pub fn log_softmax(logits: &[f64], actions: usize) -> Vec<f64> {
    let of = |row: &[f64]| {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = max + row.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
        row.iter().map(move |z| z - lse).collect::<Vec<_>>()
    };
    logits.chunks(actions).flat_map(of).collect()
}

/// A softmax policy, as a trust region sees it, with exact advantages of the policy that it was at [`Table::new`].
pub struct Table<'a> {
    mdp: &'a Mdp,
    /// s A + a.
    pub logits: Vec<f64>,
    /// What the old policy is worth.
    pub old: Exact,
    old_logp: Vec<f64>,
    gradient: Vec<f64>,
}

impl<'a> Table<'a> {
    /// At these logits; its surrogate is 0, as the expectation of its own advantages.
    pub fn new(mdp: &'a Mdp, logits: Vec<f64>) -> Self {
        let mut table = Self {
            old: mdp.exact(&softmax(&logits, mdp.actions)),
            old_logp: log_softmax(&logits, mdp.actions),
            mdp,
            logits,
            gradient: Vec::new(),
        };
        table.gradient = table.loss().1;
        table
    }

    /// Minus the surrogate, sum_s d_old(s) sum_a pi_old(a | s) w A_old(s, a), and its gradient. Every state and action is a
    /// token, weighted by how often it comes.
    pub fn loss(&self) -> (f64, Vec<f64>) {
        let m = self.mdp.actions;
        let logp = log_softmax(&self.logits, m);
        let weight = |i: usize| self.old.visits[i / m] * self.old_logp[i].exp();
        let advantage: Vec<f64> = (0..logp.len()).map(|i| weight(i) * self.old.advantage[i]).collect();
        let (mut dlogp, mask) = (vec![0.0; logp.len()], vec![1.0; logp.len()]);
        let loss = surrogate_loss(&mut dlogp, &logp, Some(&self.old_logp), &advantage, &mask, 1.0);
        let gradient = dlogp.chunks(m).zip(logp.chunks(m)).flat_map(|(d, logp)| {
            let sum: f64 = d.iter().sum();
            d.iter()
                .zip(logp)
                .map(move |(d, logp)| d - logp.exp() * sum)
                .collect::<Vec<_>>()
        });
        (loss, gradient.collect())
    }

    /// The old policy's probabilities.
    pub fn old_policy(&self) -> Vec<f64> {
        self.old_logp.iter().map(|l| l.exp()).collect()
    }

    /// Work for a step.
    pub fn work(&self) -> Work<Vec<f64>> {
        let zeros = || vec![0.0; self.logits.len()];
        Work {
            x: zeros(),
            r: zeros(),
            p: zeros(),
            ap: zeros(),
        }
    }
}

impl Policy for Table<'_> {
    type Vector = Vec<f64>;
    type Error = Infallible;

    fn gradient(&self) -> &Vec<f64> {
        &self.gradient
    }

    /// sum_s d_old(s) (diag pi - pi pi') x, at the old policy.
    fn fisher(&mut self, out: &mut Vec<f64>, x: &Vec<f64>) -> Result<(), Infallible> {
        let m = self.mdp.actions;
        let pi = self.old_policy();
        let of = |s: usize| {
            let (pi, x, d) = (&pi[s * m..][..m], &x[s * m..][..m], self.old.visits[s]);
            let mean = dot(pi, x);
            pi.iter()
                .zip(x)
                .map(move |(p, x)| d * p * (x - mean))
                .collect::<Vec<_>>()
        };
        *out = (0..self.mdp.states).flat_map(of).collect();
        Ok(())
    }

    fn exchange(&mut self, other: &mut Vec<f64>) {
        std::mem::swap(&mut self.logits, other);
    }

    fn place(&mut self, old: &Vec<f64>, step: f64, x: &Vec<f64>) {
        self.logits = old.iter().zip(x).map(|(o, x)| o + step * x).collect();
    }

    fn evaluate(&mut self) -> Result<Evaluation, Infallible> {
        let m = self.mdp.actions;
        let logp = log_softmax(&self.logits, m);
        let term = |i: usize| self.old.visits[i / m] * self.old_logp[i].exp() * (self.old_logp[i] - logp[i]);
        Ok(Evaluation {
            surrogate: -self.loss().0,
            kl: (0..logp.len()).map(term).sum(),
        })
    }

    fn zero(&self, x: &mut Vec<f64>) {
        x.fill(0.0);
    }

    fn dot(&self, x: &Vec<f64>, y: &Vec<f64>) -> Result<f64, Infallible> {
        Ok(dot(x, y))
    }

    fn axpy(&self, y: &mut Vec<f64>, alpha: f64, x: &Vec<f64>) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
    }

    fn scale(&self, x: &mut Vec<f64>, alpha: f64) {
        x.iter_mut().for_each(|x| *x *= alpha);
    }
}
