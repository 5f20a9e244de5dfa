//! From logits to a token.
use alloc::vec::Vec;

use crate::random::{philox, uniform};
use crate::real::Real;

/// How tokens are drawn; the filters are applied in transformers' order: repetition penalty, temperature, top-k, top-p,
/// min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Only the k most likely tokens (and those tied with the last of them); 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities sum to this; 1 for all.
    pub top_p: f64,
    /// Only tokens at least this times as likely as the most likely one; 0 for all.
    pub min_p: f64,
    /// Logits of tokens already there are divided by this where positive, multiplied where negative; 1 for none (Keskar et
    /// al. 2019).
    pub repetition_penalty: f64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };
}

/// What a draw is keyed by: the same key draws the same token, whatever else is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey {
    /// Of the run.
    pub seed: u64,
    /// Number of the prompt.
    pub prompt: u32,
    /// Number of the completion of that prompt.
    pub completion: u32,
    /// Position of the token in the sequence.
    pub position: u32,
}

/// What a token is drawn from and for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw<'a> {
    /// The row of the logits.
    pub row: usize,
    /// The tokens so far, for the repetition penalty; may be empty where there is none.
    pub context: &'a [u32],
    /// The draw's key.
    pub key: DrawKey,
}

/// Draws tokens; keeps its scratch memory.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    candidates: Vec<(f64, u32)>,
}

impl Sampler {
    /// The next token for `logits` (V) after `context` (the tokens so far, for the repetition penalty). Ties go to the lower
    /// id. Returns none where no logit is a number above -infinity, or one is infinite and the draw is not greedy.
    pub fn draw<R: Real>(&mut self, logits: &[R], context: &[u32], how: &Sampling, key: DrawKey) -> Option<u32> {
        let c = &mut self.candidates;
        c.clear();
        c.extend(logits.iter().enumerate().map(|(i, z)| (z.to_f64(), i as u32)));
        if how.repetition_penalty != 1.0 {
            penalise(c, context, how.repetition_penalty);
        }
        c.retain(|(z, _)| *z > f64::NEG_INFINITY);
        if how.temperature == 0.0 {
            // The first of equals: max_by would give the last.
            return c
                .iter()
                .copied()
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
                .map(|x| x.1);
        }
        // Beside an infinite logit no other has a probability, and it is no number.
        let best = c.iter().map(|x| x.0).reduce(f64::max).filter(|z| z.is_finite())?;
        let needs_order = how.top_k > 0 || how.top_p < 1.0;
        if needs_order {
            c.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        if how.top_k > 0 && how.top_k < c.len() {
            let least = c[how.top_k - 1].0;
            c.retain(|x| x.0 >= least);
        }
        // From here on a candidate carries exp(z - best), not z.
        for x in c.iter_mut() {
            x.0 = libm::exp((x.0 - best) / how.temperature);
        }
        if how.top_p < 1.0 {
            let goal = how.top_p * c.iter().map(|x| x.0).sum::<f64>();
            let mut sum = 0.0;
            let keep = c.iter().position(|x| {
                sum += x.0;
                sum >= goal
            });
            c.truncate(keep.map_or(c.len(), |i| i + 1));
        }
        // The most likely token carries 1.
        c.retain(|x| x.0 >= how.min_p);
        let total: f64 = c.iter().map(|x| x.0).sum();
        let at = total * uniform(philox(key.seed, [key.prompt, key.completion, key.position, 0]));
        let mut sum = 0.0;
        for x in c.iter() {
            sum += x.0;
            if at < sum {
                return Some(x.1);
            }
        }
        c.last().map(|x| x.1)
    }
}

fn penalise(c: &mut [(f64, u32)], context: &[u32], penalty: f64) {
    let mut seen: Vec<u32> = context.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(x) = c.get_mut(id as usize) {
            x.0 = if x.0 < 0.0 { x.0 * penalty } else { x.0 / penalty };
        }
    }
}

#[cfg(test)]
mod tests;
