//! `Decode::sample`: tokens from logits where they lie, rows shared out among the threads. The same draws as `kernel::sample`'s, with
//! weights in f32: a token differs only where a number falls between two roundings of a sum of weights, and tokens whose weights are one number
//! in f32 are tied for top-k.
use kernel::random::{philox, uniform};
use kernel::sample::{Draw, Sampling};

use super::Engine;
use super::out::Out;
use super::pool::Scratch;
use super::simd::{exp, kernels};

/// Weights whose sum is kept, to find the drawn one by.
const BLOCK: usize = 256;

/// A token with its weight e^((z - best) / temperature).
type Candidate = (f32, u32);

/// A token for each of the draws, from logits (n, vocab).
pub(super) fn sample(engine: &Engine, z: &[f32], vocab: usize, draws: &[Draw<'_>], how: &Sampling) -> Vec<Option<u32>> {
    let mut tokens = vec![None; draws.len()];
    let out = Out::new(&mut tokens);
    engine.team().run(draws.len(), &|i, scratch| {
        let token = draw(
            engine.level,
            &z[draws[i].row * vocab..][..vocab],
            draws[i],
            how,
            scratch,
        );
        // SAFETY: each item has one number.
        unsafe { out.put(i, token) };
    });
    tokens
}

kernels! {
    fn draw(s, z: &[f32], draw: Draw<'_>, how: &Sampling, scratch: &mut Scratch) -> Option<u32> {
        let Scratch { a, b, .. } = scratch;
        let row = a.get::<f32>(z.len().next_multiple_of(S::LANES));
        row[..z.len()].copy_from_slice(z);
        row[z.len()..].fill(f32::NEG_INFINITY);
        if how.repetition_penalty != 1.0 {
            let penalty = how.repetition_penalty.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
            penalise(&mut row[..z.len()], draw.context, penalty as f32);
        }
        let lowest = s.splat(f32::NEG_INFINITY);
        let mut most = lowest;
        for x in row.chunks_exact_mut(S::LANES) {
            // What is not a number is not drawn.
            let v = s.max(s.load(x), lowest);
            s.store(x, v);
            most = s.max(most, v);
        }
        let best = s.largest(most);
        if how.temperature == 0.0 {
            return row[..z.len()].iter().position(|&z| z == best && best > f32::NEG_INFINITY).map(|i| i as u32);
        }
        // Beside an infinite logit no other has a probability, and it is no number.
        if !best.is_finite() {
            return None;
        }
        // Neither 0 nor infinite at any temperature: best less itself is 0, and what is not drawn stays at -infinity.
        let inverse = (1.0 / how.temperature).clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32;
        let (best, inverse) = (s.splat(best), s.splat(inverse));
        let sums = b.get::<f64>(row.len().div_ceil(BLOCK));
        for (sum, block) in sums.iter_mut().zip(row.chunks_mut(BLOCK)) {
            let mut total = s.splat(0.0);
            for x in block.chunks_exact_mut(S::LANES) {
                let w = exp(s, s.mul(s.sub(s.load(x), best), inverse));
                total = s.add(total, w);
                s.store(x, w);
            }
            *sum = f64::from(s.sum(total));
        }
        let u = uniform(philox(draw.key.seed, [draw.key.prompt, draw.key.completion, draw.key.position, 0]));
        if how.top_k > 0 || how.top_p < 1.0 {
            return pick(&ordered(row, sums, how), u);
        }
        if how.min_p > 0.0 {
            return pick(&above(row, how.min_p as f32), u);
        }
        let mut at = u * sums.iter().sum::<f64>();
        let mut chosen = sums.len() - 1;
        for (i, &sum) in sums.iter().enumerate() {
            if at < sum {
                chosen = i;
                break;
            }
            at -= sum;
        }
        let mut last = None;
        for (i, &w) in row.iter().enumerate().skip(chosen * BLOCK).take(BLOCK).filter(|x| *x.1 > 0.0) {
            last = Some(i as u32);
            at -= f64::from(w);
            if at < 0.0 {
                break;
            }
        }
        // Roundings may leave a rest behind the last weight.
        last.or_else(|| row.iter().rposition(|&w| w > 0.0).map(|i| i as u32))
    }
}

/// Those of weight `least` at least, and more than 0, in the order of ids.
fn above(row: &[f32], least: f32) -> Vec<Candidate> {
    let all = row.iter().zip(0..).map(|(&w, i)| (w, i));
    all.filter(|&(w, _)| w >= least && w > 0.0).collect()
}

/// The candidates that top-k, top-p and min-p leave, the most likely first. Few are sorted: none that is less likely than the last of them.
fn ordered(row: &[f32], sums: &[f64], how: &Sampling) -> Vec<Candidate> {
    let weight = |c: &[Candidate]| c.iter().map(|x| f64::from(x.0)).sum::<f64>();
    let total: f64 = sums.iter().sum();
    let enough = |c: &[Candidate]| match how.top_k {
        0 => weight(c) >= how.top_p * total,
        k => c.len() >= k,
    };
    let steps = [1e-2, 1e-4, 1e-8, 0.0];
    let mut c = steps
        .iter()
        .map(|&least| above(row, least))
        .find(|c| enough(c))
        .unwrap_or_else(|| above(row, 0.0));
    c.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut goal = how.top_p * total;
    if how.top_k > 0 {
        if how.top_k < c.len() {
            let least = c[how.top_k - 1].0;
            c.retain(|x| x.0 >= least);
        }
        goal = how.top_p * weight(&c);
    }
    if how.top_p < 1.0 {
        let mut sum = 0.0;
        let keep = c.iter().position(|x| {
            sum += f64::from(x.0);
            sum >= goal
        });
        c.truncate(keep.map_or(c.len(), |i| i + 1));
    }
    // The most likely token carries 1.
    c.retain(|x| f64::from(x.0) >= how.min_p);
    c
}

/// The one in which u of all weight falls.
fn pick(c: &[Candidate], u: f64) -> Option<u32> {
    let mut at = u * c.iter().map(|x| f64::from(x.0)).sum::<f64>();
    let found = c.iter().find(|x| {
        at -= f64::from(x.0);
        at < 0.0
    });
    found.or(c.last()).map(|x| x.1)
}

fn penalise(row: &mut [f32], context: &[u32], penalty: f32) {
    let mut seen = context.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(z) = row.get_mut(id as usize) {
            *z = if *z < 0.0 { *z * penalty } else { *z / penalty };
        }
    }
}

#[cfg(test)]
mod tests;
