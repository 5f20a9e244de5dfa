//! The score of a log-ratio: f'(pi / ref) for an f-divergence (Wang et al. 2023, arXiv 2309.16240). With TRL's constants,
//! which cancel in the difference of two scores but not where each is divided by its own length.
use crate::objective::scalar::{Slope, exp, exp_slope, log_sigmoid, sigmoid};

/// The divergence that the reference is held by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Divergence {
    /// s(u) = u.
    #[default]
    ReverseKl,
    /// s(u) = 1 - exp(-u).
    ForwardKl,
    /// s(u) = log 2 + log sigmoid(u).
    JsDivergence,
    /// s(u) = (exp(min((a - 1) u, 80)) - 1) / (a - 1); u where a is 1.
    AlphaDivergence(f64),
}

impl Divergence {
    /// s(u) with its derivative.
    pub(super) fn score(self, u: f64) -> Slope {
        match self {
            Self::ReverseKl => Slope { v: u, d: 1.0 },
            Self::ForwardKl => {
                let e = exp_slope(-u);
                Slope { v: 1.0 - e.v, d: e.d }
            }
            Self::JsDivergence => Slope {
                v: core::f64::consts::LN_2 + log_sigmoid(u),
                d: sigmoid(-u),
            },
            Self::AlphaDivergence(a) if libm::fabs(a - 1.0) < 1e-6 => Slope { v: u, d: 1.0 },
            Self::AlphaDivergence(a) => {
                let x = Slope { v: u, d: 1.0 }.scale(a - 1.0).clamp(f64::NEG_INFINITY, 80.0);
                let e = exp(x.v);
                Slope { v: e - 1.0, d: e * x.d }.scale(1.0 / (a - 1.0))
            }
        }
    }
}
