//! The losses of one pair, with their derivatives by the two log-ratios.
use super::{Matched, Preference, Sums};
use crate::objective::scalar::{Slope, exp_slope, log_sigmoid, sigmoid};

/// Which loss; named as TRL's `loss_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PairLoss {
    /// -(1-e) LS(beta d) - e LS(-beta d): DPO, and cDPO (Mitchell 2023) where e > 0.
    #[default]
    Sigmoid,
    /// relu(1 - beta d) (SLiC, arXiv 2305.10425).
    Hinge,
    /// (s(c)/len+ - s(r)/len- - 1/(2 beta))^2 (arXiv 2310.12036, length-averaged).
    Ipo,
    /// -LS(beta (s(c)/len+ - s(r)/len-)).
    SigmoidNorm,
    /// KL of the policy's preference to the smoothed label (arXiv 2402.00856, eq. 16).
    ExoPair,
    /// -LS(beta c) - LS(-beta c)/2 - LS(-beta r)/2 (arXiv 2402.05369).
    NcaPair,
    /// -LS(beta c) - LS(-beta r) (arXiv 2404.04656, without the shift).
    BcoPair,
    /// [-(1-e) LS(beta d) + e LS(-beta d)] / (1 - 2e) (arXiv 2403.00409).
    Robust,
    /// (c - 1/(2 beta))^2 + (r + 1/(2 beta))^2 (arXiv 2405.00675).
    SppoHard,
    /// Sorted differences of policy and of reference (arXiv 2406.05882).
    Aot,
    /// Sorted log-ratios of chosen and of rejected.
    AotUnpaired,
    /// 1 - sigmoid(beta c) + sigmoid(beta r) (arXiv 2408.06266, eq. 7).
    ApoZero,
    /// sigmoid(beta c) + 1 - sigmoid(beta d) (eq. 8).
    ApoDown,
    /// -LS(x)(1-m) + exp(-x) m with x = beta d, m = sigmoid(x/tau) (arXiv 2406.08414).
    Discopop,
    /// Negative log-likelihood of the chosen completion, mean over tokens.
    Sft,
}

/// What a loss is a function of.
pub(super) struct Point {
    pub sums: Sums,
    pub len: [f64; 2],
    pub matched: Matched,
}

impl PairLoss {
    /// Whether it depends on the scores' difference only, so that any f-divergence will do. As TRL decides it.
    pub fn takes_divergence(self) -> bool {
        !matches!(
            self,
            Self::NcaPair
                | Self::BcoPair
                | Self::SppoHard
                | Self::Aot
                | Self::AotUnpaired
                | Self::ApoZero
                | Self::ApoDown
        )
    }

    /// Loss, d/dc, d/dr. [`PairLoss::Sft`] is not a function of the log-ratios: zero here.
    pub(super) fn value(self, p: &Preference, at: &Point) -> [f64; 3] {
        let (beta, e) = (p.beta, p.label_smoothing);
        let [c, r] = [0, 1].map(|k| at.sums.policy[k] - at.sums.reference[k]);
        let [sc, sr] = [c, r].map(|u| p.divergence.score(u));
        let [nc, nr] = [sc.scale(1.0 / at.len[0].max(1.0)), sr.scale(1.0 / at.len[1].max(1.0))];
        let of_difference = |f: Slope, a: Slope, b: Slope| [f.v, f.d * a.d, -f.d * b.d];
        let x = beta * (sc.v - sr.v);
        let of_d = |f: Slope| of_difference(Slope { v: f.v, d: beta * f.d }, sc, sr);
        match self {
            Self::Sigmoid => of_d(smoothed(x, e)),
            Self::Hinge => of_d(if x < 1.0 {
                Slope { v: 1.0 - x, d: -1.0 }
            } else {
                Slope::default()
            }),
            Self::Ipo => {
                let y = nc.v - nr.v - 0.5 / beta;
                of_difference(Slope { v: y * y, d: 2.0 * y }, nc, nr)
            }
            Self::SigmoidNorm => {
                let f = smoothed(beta * (nc.v - nr.v), 0.0);
                of_difference(Slope { v: f.v, d: beta * f.d }, nc, nr)
            }
            Self::ExoPair => {
                let q = sigmoid(x);
                let (lp, ln) = (libm::log1p(-e), libm::log(e));
                of_d(Slope {
                    v: q * (log_sigmoid(x) - lp) + sigmoid(-x) * (log_sigmoid(-x) - ln),
                    d: q * sigmoid(-x) * (x - lp + ln),
                })
            }
            Self::NcaPair => {
                let (bc, br) = (beta * c, beta * r);
                [
                    -log_sigmoid(bc) - 0.5 * log_sigmoid(-bc) - 0.5 * log_sigmoid(-br),
                    beta * (-sigmoid(-bc) + 0.5 * sigmoid(bc)),
                    beta * 0.5 * sigmoid(br),
                ]
            }
            Self::BcoPair => [
                -log_sigmoid(beta * c) - log_sigmoid(-beta * r),
                -beta * sigmoid(-beta * c),
                beta * sigmoid(beta * r),
            ],
            Self::Robust => of_d(
                Slope {
                    v: -(1.0 - e) * log_sigmoid(x) + e * log_sigmoid(-x),
                    d: -(1.0 - e) * sigmoid(-x) - e * sigmoid(x),
                }
                .scale(1.0 / (1.0 - 2.0 * e)),
            ),
            Self::SppoHard => {
                let (a, b) = (c - 0.5 / beta, r + 0.5 / beta);
                [a * a + b * b, 2.0 * a, 2.0 * b]
            }
            Self::Aot => {
                let f = smoothed(beta * (at.sums.policy[0] - at.sums.policy[1] - at.matched.reference), e);
                [f.v, beta * f.d, -beta * f.d]
            }
            Self::AotUnpaired => {
                // Each completion is compared with the one of its rank. The loss is counted where the chosen one is.
                let f = smoothed(beta * (c - at.matched.rejected), e);
                let g = smoothed(beta * (at.matched.chosen - r), e);
                [f.v, beta * f.d, -beta * g.d]
            }
            Self::ApoZero => {
                let (a, b) = (sigmoid(beta * c), sigmoid(beta * r));
                [1.0 - a + b, -beta * a * (1.0 - a), beta * b * (1.0 - b)]
            }
            Self::ApoDown => {
                let (a, b) = (sigmoid(beta * c), sigmoid(beta * (c - r)));
                let (da, db) = (beta * a * (1.0 - a), beta * b * (1.0 - b));
                [a + 1.0 - b, da - db, db]
            }
            Self::Discopop => {
                let (m, n) = (sigmoid(x / p.discopop_tau), sigmoid(-x / p.discopop_tau));
                // exp(-x) m as one exponential: alone, exp(-x) overflows where m is 0.
                let em = exp_slope(-x + log_sigmoid(x / p.discopop_tau));
                let dm = m * n / p.discopop_tau;
                of_d(Slope {
                    v: -log_sigmoid(x) * n + em.v,
                    d: -sigmoid(-x) * n + log_sigmoid(x) * dm + em.d * (n / p.discopop_tau - 1.0),
                })
            }
            Self::Sft => [0.0; 3],
        }
    }
}

/// -(1-e) LS(x) - e LS(-x), with its derivative by x.
fn smoothed(x: f64, e: f64) -> Slope {
    Slope {
        v: -(1.0 - e) * log_sigmoid(x) - e * log_sigmoid(-x),
        d: -(1.0 - e) * sigmoid(-x) + e * sigmoid(x),
    }
}
