//! The critic: a value head on the policy's trunk, or a model of its own with such a head.
use std::path::Path;

use anyhow::Result;
use kernel::optim::{Hyper, Kept, Learner, Storage};
use kernel::params::{Spec, ValueHead};
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep};
use model_qwen2::Error;
use model_qwen2::folder::Folder;

use super::experience::{Experience, Packed, pack};
use super::prompts::Prompt;
use crate::assets::Assets;
use crate::checkpoint::Writer;
use crate::config::{Config, CriticKind, Trainer};
use crate::device::Device;
use crate::train::{Heads, Restored, Session, dtype, other_model, read_kept, save_model, storage, write_kept};

/// Masters and moments of a critic within a checkpoint.
const FILES: [&str; 3] = [
    "critic.safetensors",
    "critic_exp_avg.safetensors",
    "critic_exp_avg_sq.safetensors",
];

/// Where values come from.
pub enum Critic<B: Device> {
    /// A head on the policy's trunk: a part of the policy's learner.
    Head,
    /// A model of its own.
    Model(Box<Learner<B>>),
}

/// What a critic begins with, looked at before anything is made.
pub enum CriticSource {
    /// The policy's trunk.
    Head,
    /// The policy's folder once more.
    Policy,
    /// A folder.
    Folder(Box<Folder>),
}

impl CriticSource {
    /// What `critic` and `value_model` say. Errors: a folder that is no model, or one of another vocabulary.
    pub fn open<K: Trainer>(
        config: &Config<K>,
        kind: CriticKind,
        value_model: Option<&Path>,
        assets: &Assets,
    ) -> Result<Self> {
        match (kind, value_model) {
            (CriticKind::Head, _) => Ok(Self::Head),
            (CriticKind::Model, None) => Ok(Self::Policy),
            (CriticKind::Model, Some(path)) => {
                let folder = other_model(config, "value_model", path, assets)?;
                Ok(Self::Folder(Box::new(folder)))
            }
        }
    }
}

impl<B: Device> Critic<B> {
    /// The model of `source` with its value head, or one of zeros; where a run goes on, the checkpoint's.
    pub fn open<K: Trainer>(s: &Session<'_, B, K>, source: &CriticSource, restored: Option<&Restored>) -> Result<Self> {
        let folder = match source {
            CriticSource::Head => return Ok(Self::Head),
            CriticSource::Policy => &s.assets.folder,
            CriticSource::Folder(folder) => folder,
        };
        let head = match folder.value_head {
            ValueHead::None => ValueHead::Weight,
            head => head,
        };
        let keep = match s.config.shared.gradient_checkpointing {
            true => Keep::Inputs,
            false => Keep::Everything,
        };
        let (b, kernel, context) = (s.b, folder.config.kernel.clone(), s.learner.model.context());
        let fill = |spec: &Spec, out: &mut [B::Real]| {
            if spec.name.starts_with("v_head.") && folder.value_head == ValueHead::None {
                return anyhow::Ok(());
            }
            anyhow::Ok(folder.fill(spec, out)?)
        };
        let storage = match storage(&s.config.shared) {
            Storage::Full => Storage::Full,
            // Other bits than the policy's.
            Storage::Narrow { seed } => Storage::Narrow { seed: !seed },
        };
        let mut learner = Learner::load_as(b, kernel, head, context, keep, storage, fill)?;
        if let Some(restored) = restored {
            for (file, what) in FILES.iter().zip(Kept::ALL) {
                read_kept(b, &restored.path.join(file), &mut learner, what)?;
            }
            learner.steps = s.state.critic_updates;
        }
        Ok(Self::Model(Box::new(learner)))
    }

    /// What a run that goes on must find again.
    pub fn save(&self, b: &B, writer: &Writer) -> Result<()> {
        let Self::Model(learner) = self else { return Ok(()) };
        for (file, what) in FILES.iter().zip(Kept::ALL) {
            write_kept(b, &writer.path().join(file), learner, what)?;
        }
        Ok(())
    }

    /// At the end: a model of its own is a model folder too, `critic` in the output folder.
    pub fn finish<K: Trainer>(&self, s: &Session<'_, B, K>) -> Result<()> {
        let Self::Model(learner) = self else { return Ok(()) };
        let folder = s.output().join("critic");
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        save_model(
            s.b,
            &folder,
            &s.assets,
            learner,
            dtype(&s.config.shared).stored(),
            Heads::All,
        )
    }

    /// Fills in the values of completions.
    pub fn judge<K: Trainer>(
        &mut self,
        s: &mut Session<'_, B, K>,
        prompts: &[Prompt],
        experiences: &mut [Experience],
    ) -> Result<()> {
        let vocab = s.assets.folder.config.kernel.vocab;
        let all: Vec<usize> = (0..experiences.len()).collect();
        for chunk in all.chunks(s.config.shared.per_device_train_batch_size) {
            let Packed { batch, ranges } = pack(vocab, prompts, experiences, chunk)?;
            let values = &self.learner(&mut s.learner).score(s.b, &batch, 1.0)?.value;
            for (&i, range) in chunk.iter().zip(ranges) {
                experiences[i].values = values[range].iter().map(|x| x.to_f64()).collect();
            }
        }
        Ok(())
    }

    /// The learner that has the value head; `policy` is the policy's.
    pub fn learner<'a>(&'a mut self, policy: &'a mut Learner<B>) -> &'a mut Learner<B> {
        match self {
            Self::Head => policy,
            Self::Model(learner) => learner,
        }
    }

    /// The critic's own model, where it has one.
    pub fn own(&mut self) -> Option<&mut Learner<B>> {
        match self {
            Self::Head => None,
            Self::Model(learner) => Some(learner),
        }
    }

    /// One AdamW step of a model of its own; nothing where there is none.
    pub fn update<K: Trainer>(&mut self, s: &mut Session<'_, B, K>, hyper: &Hyper) -> Result<()> {
        let Some(learner) = self.own() else { return Ok(()) };
        learner.update(s.b, hyper)?;
        s.state.critic_updates = learner.steps;
        s.changed();
        Ok(())
    }
}

/// The cotangent of values alone.
pub fn of_values<R: Real>(dvalue: &[R]) -> Cotangent<'_, R> {
    Cotangent {
        dlogp: &[],
        dentropy: &[],
        dvalue,
    }
}
