//! Which examples an optimizer step sees: a pure function of the step's number, so that a run resumes from that alone.
use std::cell::RefCell;

use crate::config::Shared;
use crate::data::permutation;

/// The order of a run's data. As transformers' Trainer: micro-batches of `batch` examples, `accumulation` of them to an
/// optimizer step, the last of an epoch with what is left.
#[derive(Debug)]
pub struct Plan {
    examples: usize,
    batch: usize,
    accumulation: usize,
    shuffle: Option<u64>,
    steps: u64,
    epoch_order: RefCell<(u64, Vec<u32>)>,
}

impl Plan {
    /// A plan over `examples` (at least one) for `epochs` passes, or for `max_steps` where that is given. `shuffle` is the
    /// seed of the order, none for the order of the files.
    pub fn new(
        examples: usize,
        (batch, accumulation): (usize, usize),
        shuffle: Option<u64>,
        epochs: f64,
        max_steps: Option<u64>,
    ) -> Self {
        assert!(examples > 0 && batch > 0 && accumulation > 0, "plan: no examples");
        let mut plan = Self {
            examples,
            batch,
            accumulation,
            shuffle,
            steps: 0,
            epoch_order: RefCell::new((u64::MAX, Vec::new())),
        };
        plan.steps = max_steps.unwrap_or_else(|| (epochs * plan.steps_per_epoch() as f64).ceil() as u64);
        plan
    }

    /// The plan of a configuration over so many examples.
    pub fn of_config(examples: usize, shared: &Shared) -> Self {
        Self::new(
            examples,
            (shared.per_device_train_batch_size, shared.gradient_accumulation_steps),
            shared.shuffle.then(|| shared.data_seed()),
            shared.num_train_epochs,
            u64::try_from(shared.max_steps).ok().filter(|&n| n > 0),
        )
    }

    /// Optimizer steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Optimizer steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        self.examples.div_ceil(self.batch).div_ceil(self.accumulation) as u64
    }

    /// Passes over the data after so many steps.
    pub fn epoch(&self, steps: u64) -> f64 {
        steps as f64 / self.steps_per_epoch() as f64
    }

    /// The micro-batches of the step number `step`, from 0.
    pub fn micro_batches(&self, step: u64) -> Vec<Vec<usize>> {
        let (epoch, at) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let mut cached = self.epoch_order.borrow_mut();
        if cached.0 != epoch {
            let order = match self.shuffle {
                Some(seed) => permutation(seed, epoch, self.examples),
                None => (0..self.examples as u32).collect(),
            };
            *cached = (epoch, order);
        }
        let size = self.batch * self.accumulation;
        let start = at as usize * size;
        let of_step = &cached.1[start..self.examples.min(start + size)];
        of_step
            .chunks(self.batch)
            .map(|chunk| chunk.iter().map(|&i| i as usize).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests;
