//! Tables of the rotary position embedding (Su et al. 2021, eq. 34).
use alloc::vec::Vec;

use crate::config::{Rope, RopeScaling};
use crate::real::Real;

/// Frequencies w_i, i < D/2: theta^(-2i/D), scaled as `rope` says.
pub fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2)
        .map(|i| {
            let w = libm::pow(rope.theta, -2.0 * i as f64 / head_dim as f64);
            match rope.scaling {
                RopeScaling::None => w,
                RopeScaling::Linear { factor } => w / factor,
                RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_positions,
                } => {
                    let turns = original_max_positions * w / core::f64::consts::TAU;
                    if turns < low_freq_factor {
                        w / factor
                    } else if turns > high_freq_factor {
                        w
                    } else {
                        let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * w / factor + smooth * w
                    }
                }
            }
        })
        .collect()
}

/// The table (positions, D) that [`Ops::rope`](crate::backend::Ops::rope) reads: each row D/2 cosines, then D/2 sines of
/// position x frequency. Angles are computed in f64, so that far positions keep their precision.
pub fn table<R: Real>(rope: &Rope, head_dim: usize, positions: usize) -> Vec<R> {
    let w = frequencies(rope, head_dim);
    let mut out = Vec::with_capacity(positions * head_dim);
    for position in 0..positions {
        out.extend(w.iter().map(|w| R::from_f64(libm::cos(position as f64 * w))));
        out.extend(w.iter().map(|w| R::from_f64(libm::sin(position as f64 * w))));
    }
    out
}
