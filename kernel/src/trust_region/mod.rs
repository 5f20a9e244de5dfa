//! One step of trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477, appendix C): the natural gradient by
//! conjugate gradients, scaled to the trust region, then a backtracking line search on the surrogate and the exact KL.
//!
//! Written once over [`Policy`]: a transformer ([`learner_step`]), or a table of probabilities that a test knows all about.
//!
//! Choices: the matrix solved with, F + damping I, is also the one that sets the length of the step, so that its KL is about
//! max_kl at most; a direction without curvature is an error, never divided away; x' A x is x'(g - r), of the solution and
//! its residual, without another product.

mod cg;
mod learner;

use core::fmt;

pub use learner::{LearnerWork, Piece, step as learner_step};

use crate::objective::{SettingError, require};

/// What a step asks of a policy. A vector is a point or a direction in the space of its parameters.
pub trait Policy {
    /// Parameters, directions, gradients.
    type Vector;
    /// What its work fails with.
    type Error;

    /// The gradient of the loss, minus the surrogate, at the parameters that the step starts from.
    fn gradient(&self) -> &Self::Vector;
    /// out = F x at the parameters that the step starts from, without damping.
    fn fisher(&mut self, out: &mut Self::Vector, x: &Self::Vector) -> Result<(), Self::Error>;
    /// The parameters and `other` change places.
    fn exchange(&mut self, other: &mut Self::Vector);
    /// The parameters become old + step x; `old` is where the step starts from.
    fn place(&mut self, old: &Self::Vector, step: f64, x: &Self::Vector);
    /// The surrogate and the mean KL(old || new) of the parameters that were placed last.
    fn evaluate(&mut self) -> Result<Evaluation, Self::Error>;

    /// x = 0.
    fn zero(&self, x: &mut Self::Vector);
    /// sum_i x_i y_i.
    fn dot(&self, x: &Self::Vector, y: &Self::Vector) -> Result<f64, Self::Error>;
    /// y += alpha x.
    fn axpy(&self, y: &mut Self::Vector, alpha: f64, x: &Self::Vector);
    /// x *= alpha.
    fn scale(&self, x: &mut Self::Vector, alpha: f64);
}

/// What a line search judges a policy by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// mean_t w A.
    pub surrogate: f64,
    /// mean_t KL(old || new), nats.
    pub kl: f64,
}

/// Whether a step is tried out before it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineSearch {
    /// The full length times backtrack_coeff^j, the first j that improves the surrogate within max_kl.
    #[default]
    Backtrack,
    /// The full length, whatever it does: the natural policy gradient (Kakade 2001).
    None,
}

/// A step's settings, by their names in objectives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Radius of the trust region: mean KL(old || new), nats.
    pub max_kl: f64,
    /// Added to the diagonal of F.
    pub cg_damping: f64,
    /// Products with F at most.
    pub cg_iters: usize,
    /// Conjugate gradients stop where |residual| <= this |gradient|.
    pub cg_tolerance: f64,
    /// Line search or the full step.
    pub line_search: LineSearch,
    /// A length that is not accepted is multiplied by this.
    pub backtrack_coeff: f64,
    /// Lengths tried at most.
    pub backtrack_iters: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_kl: 0.01,
            cg_damping: 0.1,
            cg_iters: 10,
            cg_tolerance: 1e-10,
            line_search: LineSearch::Backtrack,
            backtrack_coeff: 0.8,
            backtrack_iters: 10,
        }
    }
}

impl Settings {
    /// Errors: a setting out of its range.
    pub fn check(&self) -> Result<(), SettingError> {
        require(self.max_kl > 0.0, "max_kl", "a number above 0")?;
        require(self.cg_damping >= 0.0, "cg_damping", "a number from 0")?;
        require(self.cg_iters > 0, "cg_iters", "a number from 1")?;
        require(self.cg_tolerance >= 0.0, "cg_tolerance", "a number from 0")?;
        let coeff = self.backtrack_coeff > 0.0 && self.backtrack_coeff < 1.0;
        require(coeff, "backtrack_coeff", "a number between 0 and 1")?;
        require(self.backtrack_iters > 0, "backtrack_iters", "a number from 1")
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The parameters have moved.
    Moved,
    /// No length was accepted: the parameters are as before, bit for bit.
    Rejected,
    /// The gradient is zero (all advantages equal): nothing was done.
    NoGradient,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The surrogate before.
    pub surrogate_before: f64,
    /// The surrogate of the parameters that are there now.
    pub surrogate: f64,
    /// Their mean KL(old || new), nats.
    pub kl_old_new: f64,
    /// Products with F that were taken.
    pub cg_iters: usize,
    /// |residual| / |gradient| at their end.
    pub cg_residual: f64,
    /// What the direction was multiplied by; 0 where nothing moved.
    pub step_size: f64,
    /// Lengths tried.
    pub line_search_steps: usize,
}

/// Why there is no step; the parameters are as before, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub enum Error<E> {
    /// The gradient holds a number that is not finite.
    Gradient,
    /// p' (F + damping I) p is not positive, which it is for every p: F is wrong, or its numbers are out of range.
    Curvature {
        /// Products with F taken before, or cg_iters where it is that of the solution.
        iteration: usize,
        /// p' (F + damping I) p.
        value: f64,
    },
    /// The parameters are kept at compute precision.
    Narrow,
    /// The policy's own error.
    Policy(E),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gradient => write!(
                f,
                "the gradient of the surrogate is not finite: nothing was updated; look at the rewards and advantages"
            ),
            Self::Curvature { iteration, value } => write!(
                f,
                "conjugate gradients, iteration {iteration}: p'(F + cg_damping I)p is {value:e}, expected a positive \
                 number: nothing was updated; try a larger cg_damping or fewer cg_iters"
            ),
            Self::Narrow => write!(
                f,
                "a step within a trust region needs masters at accumulator precision, found parameters at compute precision"
            ),
            Self::Policy(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

impl<E> From<E> for Error<E> {
    fn from(e: E) -> Self {
        Self::Policy(e)
    }
}

/// Vectors that a step works in, of the parameters' shape, whatever they hold.
pub struct Work<V> {
    /// The solution: the direction of the step.
    pub x: V,
    /// The residual; later the parameters before the step.
    pub r: V,
    /// The search direction.
    pub p: V,
    /// The matrix times it.
    pub ap: V,
}

/// One step from the present parameters, where the surrogate is `surrogate` and [`Policy::gradient`] is the gradient.
/// Errors: no step could be made; the parameters are as before, as they are where the outcome is not `Moved`.
pub fn step<P: Policy>(
    policy: &mut P,
    surrogate: f64,
    settings: &Settings,
    work: &mut Work<P::Vector>,
) -> Result<Report, Error<P::Error>> {
    let mut report = Report {
        outcome: Outcome::NoGradient,
        surrogate_before: surrogate,
        surrogate,
        kl_old_new: 0.0,
        cg_iters: 0,
        cg_residual: 0.0,
        step_size: 0.0,
        line_search_steps: 0,
    };
    let Some(solved) = cg::solve(policy, settings, work)? else {
        return Ok(report);
    };
    report.outcome = Outcome::Rejected;
    report.cg_iters = solved.iters;
    report.cg_residual = solved.residual;
    let full = libm::sqrt(2.0 * settings.max_kl / solved.curvature);
    // `r` has the parameters of before from here on: to go back is to exchange them, which changes no bit.
    policy.exchange(&mut work.r);
    let found = search(policy, full, settings, work, &mut report);
    if !matches!(found, Ok(true)) {
        policy.exchange(&mut work.r);
    }
    found?;
    Ok(report)
}

/// Tries lengths from `full` on until one is accepted; whether one was.
fn search<P: Policy>(
    policy: &mut P,
    full: f64,
    settings: &Settings,
    work: &Work<P::Vector>,
    report: &mut Report,
) -> Result<bool, P::Error> {
    let tries = match settings.line_search {
        LineSearch::Backtrack => settings.backtrack_iters,
        LineSearch::None => 1,
    };
    for j in 0..tries {
        let length = full * libm::pow(settings.backtrack_coeff, j as f64);
        policy.place(&work.r, length, &work.x);
        let new = policy.evaluate()?;
        report.line_search_steps = j + 1;
        let accepted = match settings.line_search {
            LineSearch::Backtrack => new.surrogate > report.surrogate_before && new.kl <= settings.max_kl,
            // Whatever it does, but not to numbers that are none.
            LineSearch::None => new.surrogate.is_finite() && new.kl.is_finite(),
        };
        if accepted {
            report.outcome = Outcome::Moved;
            report.surrogate = new.surrogate;
            report.kl_old_new = new.kl;
            report.step_size = length;
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
