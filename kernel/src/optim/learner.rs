//! A model with what training adds to it: gradients and the optimizer's state.
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::state::{Kept, State, Storage};
use crate::backend::{AdamW, Decode, Memory, Ops, Tangent, Vector};
use crate::batch::Batch;
use crate::config::Config;
use crate::mat::{Mat, Use};
use crate::params::{Kind, Params, Spec, ValueHead};
use crate::real::Real;
use crate::rounding::Dither;
use crate::transformer::{Accs, Cotangent, Keep, Model, Scores, Weights, Workspace};

/// Which parameters decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// All: as torch.optim.AdamW over all parameters.
    All,
    /// Matrices only, not norms and biases: as transformers' Trainer.
    Matrices,
}

/// What one optimizer step is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// AdamW's decays of the moments.
    pub betas: (f64, f64),
    /// AdamW's epsilon.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: Decay,
    /// The gradient's global norm is clipped to this; infinite for no clipping.
    pub max_grad_norm: f64,
}

/// Why a step was not taken; parameters and moments are as before.
#[derive(Clone, Debug, PartialEq)]
pub enum StepError<E> {
    /// A gradient is infinite or not a number.
    NonFinite {
        /// The first such parameter.
        tensor: String,
    },
    /// The device's own error.
    Backend(E),
}

impl<E: fmt::Display> fmt::Display for StepError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonFinite { tensor } => write!(
                f,
                "the gradient of {tensor} is not finite: nothing was updated; try a lower learning rate, more warm-up, or f32"
            ),
            Self::Backend(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for StepError<E> {}

impl<E> From<E> for StepError<E> {
    fn from(e: E) -> Self {
        Self::Backend(e)
    }
}

/// A model in training. One optimizer step is: [`Learner::zero_grads`]; for each micro-batch [`Learner::score`], the
/// objective, [`Learner::backward`]; [`Learner::update`].
pub struct Learner<B: Memory> {
    /// Working weights: those of the masters, or the parameters themselves.
    pub model: Model<B>,
    /// The parameters' values and moments.
    pub state: State<B>,
    /// Their gradients.
    pub grads: Accs<B>,
    /// Optimizer steps taken.
    pub steps: u64,
    ws: Workspace<B>,
}

impl<B: Ops + Vector> Learner<B> {
    /// A learner for a model whose parameters `fill` makes, one at a time, with masters and moments at accumulator precision.
    /// `context` is the longest sequence. Errors: those of `fill`, out of memory.
    pub fn load<E: From<B::Error>>(
        b: &B,
        config: Config,
        value: ValueHead,
        context: usize,
        keep: Keep,
        fill: impl FnMut(&Spec, &mut [B::Real]) -> Result<(), E>,
    ) -> Result<Self, E> {
        Self::load_as(b, config, value, context, keep, Storage::Full, fill)
    }

    /// As [`Learner::load`], with values and moments kept as `storage` says.
    pub fn load_as<E: From<B::Error>>(
        b: &B,
        config: Config,
        value: ValueHead,
        context: usize,
        keep: Keep,
        storage: Storage,
        mut fill: impl FnMut(&Spec, &mut [B::Real]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut model = Model::zeros(b, config, value, context, Use::Training)?;
        let mut state = State::zeros(b, &model.specs, storage)?;
        for i in 0..model.specs.iter().count() {
            let spec = model.specs.at(i);
            let mut host = vec![B::Real::ZERO; spec.shape.0 * spec.shape.1];
            fill(spec, &mut host)?;
            state.write(b, &mut model, Kept::Value, i, &host)?;
        }
        let one = |s: &Spec| b.acc(s.shape.0, s.shape.1);
        let grads = model.specs.try_map(one, one)?;
        let ws = Workspace::new(b, &model, keep, 1, 1)?;
        Ok(Self {
            model,
            state,
            grads,
            steps: 0,
            ws,
        })
    }

    /// The parameters at accumulator precision; none where they are kept narrower.
    pub fn masters(&self) -> Option<&Accs<B>> {
        match &self.state {
            State::Full { masters, .. } => Some(masters),
            State::Narrow { .. } => None,
        }
    }

    /// As [`Learner::masters`]; [`Learner::prepare`] after a change.
    pub fn masters_mut(&mut self) -> Option<&mut Accs<B>> {
        match &mut self.state {
            State::Full { masters, .. } => Some(masters),
            State::Narrow { .. } => None,
        }
    }

    /// Makes the working weights those of the masters.
    pub fn prepare(&mut self, b: &B) {
        if let State::Full { masters, .. } = &self.state {
            self.model.prepare(b, masters);
        }
    }

    /// What is kept of parameter number `i`, row-major, exactly. Errors: the device's.
    pub fn read(&self, b: &B, what: Kept, i: usize) -> Result<Vec<B::Real>, B::Error> {
        self.state.read(b, &self.model, what, i)
    }

    /// Puts `values` where [`Learner::read`] takes them from; a value goes into the working weights too.
    pub fn write(&mut self, b: &B, what: Kept, i: usize, values: &[B::Real]) -> Result<(), B::Error> {
        self.state.write(b, &mut self.model, what, i, values)
    }

    /// Names, kinds and shapes of the parameters.
    pub fn specs(&self) -> &Params<Spec> {
        &self.model.specs
    }

    /// Forgets the last step's gradients.
    pub fn zero_grads(&mut self, b: &B) {
        self.grads.iter_mut().for_each(|g| b.zero(g));
    }

    /// Scores a batch; [`Learner::backward`] may follow.
    pub fn score(&mut self, b: &B, batch: &Batch, temperature: f64) -> Result<&Scores<B::Real>, B::Error> {
        self.model.score(b, &mut self.ws, batch, temperature)?;
        Ok(&self.ws.scores)
    }

    /// Logits of the first n predictions scored last, see [`Model::logits`].
    pub fn logits(&mut self, b: &B, n: usize) -> Result<Vec<B::Real>, B::Error>
    where
        B: Decode,
    {
        self.model.logits(b, &mut self.ws, n)
    }

    /// log sum_v p_v^2 of what was scored last, see [`Model::log_sum_sq`].
    pub fn log_sum_sq(&self, b: &B) -> Result<Vec<B::Real>, B::Error> {
        self.model.log_sum_sq(b, &self.ws)
    }

    /// Adds the gradient of what was scored last.
    pub fn backward(&mut self, b: &B, cotangent: Cotangent<'_, B::Real>) -> Result<(), B::Error> {
        self.model.backward(b, &mut self.ws, cotangent, &mut self.grads)
    }

    /// Adds F v at what was scored last to `out`, see [`Model::fisher`].
    pub fn fisher(&mut self, b: &B, out: &mut Accs<B>, v: &Weights<B>, weight: &[B::Real]) -> Result<(), B::Error>
    where
        B: Tangent,
    {
        self.model.fisher(b, &mut self.ws, out, v, weight)
    }

    /// The normed states of what was scored last, see [`Model::hidden`].
    pub fn hidden(&self, b: &B) -> Result<Mat<B::Buf>, B::Error> {
        self.model.hidden(b, &self.ws)
    }

    /// KL(old || new) of each prediction scored last, see [`Model::kl`].
    pub fn kl(
        &mut self,
        b: &B,
        kl: &mut Vec<B::Real>,
        hidden: &Mat<B::Buf>,
        head: &Mat<B::Weight>,
    ) -> Result<(), B::Error>
    where
        B: Tangent,
    {
        self.model.kl(b, &mut self.ws, kl, hidden, head)
    }

    /// Global L2 norm of the gradients. Errors: the first tensor that is not finite, by name.
    pub fn grad_norm(&self, b: &B) -> Result<f64, StepError<B::Error>> {
        let mut sum = 0.0;
        for (g, spec) in self.grads.iter().zip(self.model.specs.iter()) {
            let square = b.dot(g, g)?;
            if !square.is_finite() {
                return Err(StepError::NonFinite {
                    tensor: spec.name.clone(),
                });
            }
            sum += square;
        }
        Ok(libm::sqrt(sum))
    }

    /// Clips the gradients by min(1, max_grad_norm / (norm + 1e-6)), takes one AdamW step, prepares the working weights.
    /// Returns the norm before clipping. On an error nothing has changed.
    pub fn update(&mut self, b: &B, hyper: &Hyper) -> Result<f64, StepError<B::Error>> {
        let norm = self.grad_norm(b)?;
        self.steps += 1;
        let step = AdamW {
            learning_rate: hyper.learning_rate,
            beta1: hyper.betas.0,
            beta2: hyper.betas.1,
            eps: hyper.eps,
            weight_decay: hyper.weight_decay,
            step: self.steps,
            grad_scale: (hyper.max_grad_norm / (norm + 1e-6)).min(1.0),
        };
        let no_decay = AdamW {
            weight_decay: 0.0,
            ..step
        };
        let of = |spec: &Spec| match hyper.decay == Decay::All || spec.kind == Kind::Matrix {
            true => &step,
            false => &no_decay,
        };
        let grads = self.grads.iter().zip(self.model.specs.iter());
        match &mut self.state {
            State::Full { masters, moments } => {
                let [m, v] = moments;
                let parts = masters.iter_mut().zip(m.iter_mut()).zip(v.iter_mut());
                for (((p, m), v), (g, spec)) in parts.zip(grads) {
                    b.adamw(p, m, v, g, of(spec));
                }
                self.model.prepare(b, masters);
            }
            State::Narrow { moments, seed } => {
                let [m, v] = moments;
                let parts = self
                    .model
                    .weights
                    .parts_mut()
                    .into_iter()
                    .zip(m.iter_mut())
                    .zip(v.iter_mut());
                for (tensor, (((p, m), v), (g, spec))) in (0..).zip(parts.zip(grads)) {
                    b.adamw_narrow(p, m, v, g, of(spec), Dither { seed: *seed, tensor });
                }
            }
        }
        Ok(norm)
    }
}
