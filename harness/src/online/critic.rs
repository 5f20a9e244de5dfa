//! The critic: a value head on the policy's trunk, or a model of its own with such a head.
use anyhow::Result;
use kernel::batch::Batch;
use kernel::optim::{Hyper, Learner};
use kernel::params::ValueHead;
use kernel::transformer::{Cotangent, Keep};
use model_qwen2::folder::Folder;

use crate::checkpoint::Writer;
use crate::train::{Device, Restored, read_accs, write_accs};

/// Masters and moments of a critic within a checkpoint.
const FILES: [&str; 3] = [
    "critic.safetensors",
    "critic_exp_avg.safetensors",
    "critic_exp_avg_sq.safetensors",
];

/// A critic of its own. One on the policy's trunk needs nothing but the policy's learner.
pub struct Critic<B: Device> {
    learner: Learner<B>,
}

impl<B: Device> Critic<B> {
    /// The model in `folder` with its value head, or one of zeros; where a run goes on, the checkpoint's. `steps` are the
    /// updates it has had.
    pub fn open(
        b: &B,
        folder: &Folder,
        context: usize,
        keep: Keep,
        restored: Option<&Restored>,
        steps: u64,
    ) -> Result<Self> {
        let head = match folder.value_head {
            ValueHead::None => ValueHead::Weight,
            head => head,
        };
        let kernel = folder.config.kernel.clone();
        let mut learner = Learner::load(b, kernel, head, context, keep, |spec, out| {
            if spec.name.starts_with("v_head.") && folder.value_head == ValueHead::None {
                return anyhow::Ok(());
            }
            anyhow::Ok(folder.fill(spec, out)?)
        })?;
        if let Some(restored) = restored {
            let specs = learner.specs().clone();
            let [first, second] = &mut learner.moments;
            for (file, accs) in FILES.iter().zip([&mut learner.masters, first, second]) {
                read_accs(b, &restored.path.join(file), &specs, accs)?;
            }
            learner.model.prepare(b, &learner.masters);
            learner.steps = steps;
        }
        Ok(Self { learner })
    }

    /// What a run that goes on must find again.
    pub fn save(&self, b: &B, writer: &Writer) -> Result<()> {
        let learner = &self.learner;
        let accs = [&learner.masters, &learner.moments[0], &learner.moments[1]];
        for (file, accs) in FILES.iter().zip(accs) {
            write_accs(b, &writer.path().join(file), learner.specs(), accs)?;
        }
        Ok(())
    }

    /// The learner, to be saved at the end.
    pub fn learner(&self) -> &Learner<B> {
        &self.learner
    }

    /// Values of a batch's predictions.
    pub fn score(&mut self, b: &B, batch: &Batch) -> Result<&[B::Real]> {
        Ok(&self.learner.score(b, batch, 1.0)?.value)
    }

    /// Forgets the last step's gradients.
    pub fn zero_grads(&mut self, b: &B) {
        self.learner.zero_grads(b);
    }

    /// Adds the gradient of what was scored last.
    pub fn backward(&mut self, b: &B, dvalue: &[B::Real]) -> Result<()> {
        let cotangent = Cotangent {
            dlogp: &[],
            dentropy: &[],
            dvalue,
        };
        Ok(self.learner.backward(b, cotangent)?)
    }

    /// An error where a gradient is not finite: before anything is updated.
    pub fn check(&self, b: &B) -> Result<()> {
        self.learner.grad_norm(b)?;
        Ok(())
    }

    /// One AdamW step.
    pub fn update(&mut self, b: &B, hyper: &Hyper) -> Result<()> {
        self.learner.update(b, hyper)?;
        Ok(())
    }
}
