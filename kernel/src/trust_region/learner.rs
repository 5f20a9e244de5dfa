//! A transformer in training, as a trust region sees it.
use alloc::vec::Vec;

use super::{Error, Evaluation, Policy, Report, Settings, Work};
use crate::backend::{Memory, Ops, Tangent, Vector};
use crate::batch::Batch;
use crate::mat::Mat;
use crate::optim::Learner;
use crate::params::Spec;
use crate::real::Real;
use crate::transformer::{Accs, Cotangent, Scores, Weights};

/// One micro-batch of a step.
pub struct Piece<R> {
    /// Its tokens and predictions.
    pub batch: Batch,
    /// Each prediction's share in the mean KL: mask / sum of the mask over the whole step.
    pub weight: Vec<R>,
    /// Each prediction's share in the Fisher matrix: the same, or of a subset (`fisher_fraction`). Empty: the piece has none.
    pub fisher: Vec<R>,
}

/// What steps on a transformer work in: four vectors of the size of the gradient, and one direction as products read it.
pub struct LearnerWork<B: Memory> {
    /// The vectors.
    pub work: Work<Accs<B>>,
    /// A direction; later the head of the policy before.
    direction: Weights<B>,
}

impl<B: Ops + Vector> LearnerWork<B> {
    /// For this learner. Errors: out of memory.
    pub fn new(b: &B, learner: &Learner<B>) -> Result<Self, B::Error> {
        let zeros = || {
            let one = |s: &Spec| b.acc(s.shape.0, s.shape.1);
            learner.specs().try_map(one, one)
        };
        Ok(Self {
            work: Work {
                x: zeros()?,
                r: zeros()?,
                p: zeros()?,
                ap: zeros()?,
            },
            direction: learner.model.direction(b)?,
        })
    }
}

/// One step of a learner on `pieces`. `loss` is told a piece's number, its scores and the cotangents of its log-probs, which
/// it replaces (zeros to begin with), and returns the piece's share of the loss, minus the surrogate. The gradient is in
/// `learner.grads` afterwards; the moments are not touched. Errors: see [`super::step`].
#[allow(clippy::too_many_arguments)]
pub fn step<B, L>(
    b: &B,
    learner: &mut Learner<B>,
    work: &mut LearnerWork<B>,
    pieces: &[Piece<B::Real>],
    temperature: f64,
    loss: L,
    settings: &Settings,
) -> Result<Report, Error<B::Error>>
where
    B: Tangent + Vector,
    L: FnMut(usize, &Scores<B::Real>, &mut [B::Real]) -> f64,
{
    if learner.masters().is_none() {
        return Err(Error::Narrow);
    }
    let LearnerWork { work, direction } = work;
    let (mut policy, surrogate) = LearnerPolicy::new(b, learner, direction, pieces, temperature, loss)?;
    super::step(&mut policy, surrogate, settings, work)
}

/// A learner at the start of a step.
struct LearnerPolicy<'a, B: Tangent, L> {
    b: &'a B,
    learner: &'a mut Learner<B>,
    direction: &'a mut Weights<B>,
    pieces: &'a [Piece<B::Real>],
    temperature: f64,
    loss: L,
    /// Of each piece, the normed states before the step.
    hidden: Vec<Mat<B::Buf>>,
    /// Which piece was scored last, where it was scored before the step.
    scored: Option<usize>,
    dlogp: Vec<B::Real>,
    kl: Vec<B::Real>,
}

impl<'a, B, L> LearnerPolicy<'a, B, L>
where
    B: Tangent + Vector,
    L: FnMut(usize, &Scores<B::Real>, &mut [B::Real]) -> f64,
{
    /// The policy and its surrogate: scores every piece, and `learner.grads` become the gradient. Errors: the device's.
    fn new(
        b: &'a B,
        learner: &'a mut Learner<B>,
        direction: &'a mut Weights<B>,
        pieces: &'a [Piece<B::Real>],
        temperature: f64,
        loss: L,
    ) -> Result<(Self, f64), B::Error> {
        let mut policy = Self {
            b,
            learner,
            direction,
            pieces,
            temperature,
            loss,
            hidden: Vec::new(),
            scored: None,
            dlogp: Vec::new(),
            kl: Vec::new(),
        };
        policy.learner.zero_grads(b);
        let mut loss = 0.0;
        for i in 0..pieces.len() {
            loss += policy.share(i)?;
            let cotangent = Cotangent {
                dlogp: &policy.dlogp,
                dentropy: &[],
                dvalue: &[],
            };
            policy.learner.backward(b, cotangent)?;
            policy.hidden.push(policy.learner.hidden(b)?);
            policy.scored = Some(i);
        }
        Ok((policy, -loss))
    }

    /// Scores a piece; its share of the loss.
    fn share(&mut self, i: usize) -> Result<f64, B::Error> {
        let scores = self.learner.score(self.b, &self.pieces[i].batch, self.temperature)?;
        self.dlogp.clear();
        self.dlogp.resize(scores.logp.len(), B::Real::ZERO);
        Ok((self.loss)(i, scores, &mut self.dlogp))
    }
}

impl<B, L> Policy for LearnerPolicy<'_, B, L>
where
    B: Tangent + Vector,
    L: FnMut(usize, &Scores<B::Real>, &mut [B::Real]) -> f64,
{
    type Vector = Accs<B>;
    type Error = B::Error;

    fn gradient(&self) -> &Accs<B> {
        &self.learner.grads
    }

    fn fisher(&mut self, out: &mut Accs<B>, x: &Accs<B>) -> Result<(), B::Error> {
        let b = self.b;
        self.zero(out);
        let v = &mut *self.direction;
        self.learner.model.prepare_direction(b, v, x);
        for (i, piece) in self.pieces.iter().enumerate().filter(|(_, p)| !p.fisher.is_empty()) {
            // One piece alone is still there from the last product.
            if self.scored != Some(i) {
                self.learner.score(b, &piece.batch, self.temperature)?;
                self.scored = Some(i);
            }
            self.learner.fisher(b, out, v, &piece.fisher)?;
        }
        Ok(())
    }

    fn exchange(&mut self, other: &mut Accs<B>) {
        if let Some(masters) = self.learner.masters_mut() {
            core::mem::swap(masters, other);
        }
        self.learner.prepare(self.b);
        self.scored = None;
    }

    fn place(&mut self, old: &Accs<B>, step: f64, x: &Accs<B>) {
        let masters = self.learner.masters_mut();
        let points = masters.into_iter().flat_map(|m| m.iter_mut());
        for ((new, old), x) in points.zip(old.iter()).zip(x.iter()) {
            self.b.zero(new);
            self.b.axpy(new, 1.0, old);
            self.b.axpy(new, step, x);
        }
        self.learner.prepare(self.b);
        // The last product with F has been taken: the direction's head serves as the old policy's.
        let v = &mut *self.direction;
        match (&mut v.head, &old.head) {
            (Some(v), Some(old)) => self.b.prepare(v, old),
            _ => self.b.prepare(&mut v.embed, &old.embed),
        }
    }

    fn evaluate(&mut self) -> Result<Evaluation, B::Error> {
        let mut evaluation = Evaluation {
            surrogate: 0.0,
            kl: 0.0,
        };
        for (i, piece) in self.pieces.iter().enumerate() {
            evaluation.surrogate -= self.share(i)?;
            let v = &*self.direction;
            let head = v.head.as_ref().unwrap_or(&v.embed);
            self.learner.kl(self.b, &mut self.kl, &self.hidden[i], head)?;
            let shares = piece.weight.iter().zip(&self.kl);
            // A prediction that does not count may hold anything.
            evaluation.kl += shares
                .filter(|(w, _)| **w != B::Real::ZERO)
                .map(|(w, kl)| w.to_f64() * kl.to_f64())
                .sum::<f64>();
        }
        Ok(evaluation)
    }

    fn zero(&self, x: &mut Accs<B>) {
        x.iter_mut().for_each(|x| self.b.zero(x));
    }

    fn dot(&self, x: &Accs<B>, y: &Accs<B>) -> Result<f64, B::Error> {
        x.iter().zip(y.iter()).map(|(x, y)| self.b.dot(x, y)).sum()
    }

    fn axpy(&self, y: &mut Accs<B>, alpha: f64, x: &Accs<B>) {
        y.iter_mut().zip(x.iter()).for_each(|(y, x)| self.b.axpy(y, alpha, x));
    }

    fn scale(&self, x: &mut Accs<B>, alpha: f64) {
        x.iter_mut().for_each(|x| self.b.scale(x, alpha));
    }
}
