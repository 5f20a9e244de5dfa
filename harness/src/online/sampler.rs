//! A model of integers that completions are drawn from: not quite the policy, so what it says of them is kept beside what the policy says.
use anyhow::Result;
use kernel::config::Config;
use kernel::mat::Use;
use kernel::objective::group::{Completion, Correction};
use kernel::optim::{Kept, Learner};
use kernel::params::ValueHead;
use kernel::transformer::Model;

use super::experience::Experience;
use crate::device::Device;
use crate::train::Meter;

/// The policy of the last [`Sampler::follow`], its blocks' matrices as integers of eight bits.
pub struct Sampler<B: Device> {
    model: Model<B>,
}

impl<B: Device> Sampler<B> {
    /// Of zeros. Errors: out of memory.
    pub fn new(b: &B, config: Config, context: usize) -> Result<Self> {
        let model = Model::zeros(b, config, ValueHead::None, context, Use::Int8)?;
        Ok(Self { model })
    }

    /// Takes the policy's parameters over: once a generation. Errors: the device's.
    pub fn follow(&mut self, b: &B, policy: &Learner<B>) -> Result<&Model<B>> {
        if let Some(masters) = policy.masters() {
            self.model.prepare(b, masters);
            return Ok(&self.model);
        }
        let shapes: Vec<_> = self.model.specs.iter().map(|spec| spec.shape).collect();
        for (i, (rows, cols)) in shapes.into_iter().enumerate() {
            let mut value = b.acc(rows, cols)?;
            b.upload(&mut value, &policy.read(b, Kept::Value, i)?)?;
            self.model.set(b, i, &value);
        }
        Ok(&self.model)
    }
}

/// How far the sampler is from the policy, under TRL's names: |old - sampler| over all trained tokens, and the weights of `correction`.
pub fn add_difference(meter: &mut Meter, experiences: &[Experience], correction: Correction) {
    let (mut differences, mut weights) = (Spread::default(), Spread::default());
    for e in experiences.iter().filter(|e| e.trained) {
        let pairs = e.old.iter().zip(&e.sampler);
        pairs.for_each(|(old, sampler)| differences.add((old - sampler).abs()));
        let mask = e.mask();
        let completion = Completion {
            logp: &e.old,
            mask: &mask,
            advantage: &[],
            entropy: &[],
            old: None,
            reference: None,
            sampler: Some(&e.sampler),
        };
        correction.weights(&completion, |w| weights.add(w));
    }
    let mut add = |name: &str, value| meter.add(&format!("sampling/{name}"), value, 1.0);
    if differences.count > 0.0 {
        add("sampling_logp_difference/mean", differences.mean());
        add("sampling_logp_difference/max", differences.most);
    }
    if weights.count > 0.0 {
        add("importance_sampling_ratio/min", weights.least);
        add("importance_sampling_ratio/mean", weights.mean());
        add("importance_sampling_ratio/max", weights.most);
    }
}

struct Spread {
    count: f64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }
}

impl Spread {
    fn add(&mut self, x: f64) {
        self.count += 1.0;
        self.sum += x;
        self.least = self.least.min(x);
        self.most = self.most.max(x);
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }
}

#[cfg(test)]
mod tests;
