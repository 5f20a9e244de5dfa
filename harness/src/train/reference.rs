//! The reference: a frozen model, or one that follows the policy (TR-DPO, Gorbatovski et al. 2024, arXiv 2404.09656).
use std::path::Path;

use anyhow::Result;
use kernel::batch::Batch;
use kernel::mat::Use;
use kernel::params::{Spec, ValueHead};
use kernel::real::Real;
use kernel::transformer::{Accs, Keep, Model, Workspace};
use model_qwen2::folder::Folder;
use model_qwen2::tokenizer::{HfTokenizer, Tokenize};

use super::state::{Restored, read_accs, write_accs};
use crate::assets::Assets;
use crate::checkpoint::Writer;
use crate::config::{Config, Trainer};
use crate::device::Device;

/// A moving reference within a checkpoint.
const FILE: &str = "reference.safetensors";

/// The folder of a model beside the policy, that `key` names, which must have the policy's vocabulary.
pub fn other_model<K: Trainer>(config: &Config<K>, key: &str, path: &Path, assets: &Assets) -> Result<Folder> {
    let folder = Folder::open(path)?;
    let [ours, theirs] = [&assets.folder, &folder].map(|f| f.config.kernel.vocab);
    if ours != theirs {
        let expected = format!("a model with the policy's vocabulary of {ours} tokens");
        let found = format!("{}, which has {theirs}", path.display());
        return Err(config.invalid(key, expected, found).into());
    }
    if path.join("tokenizer.json").exists() {
        let tokenizer = HfTokenizer::load(path)?;
        let token = |t: &HfTokenizer, id| t.id_to_token(id);
        let other = (0..ours as u32).find(|&id| token(&assets.tokenizer, id) != token(&tokenizer, id));
        if let Some(id) = other {
            let show = |t| token(t, id).map_or("none".into(), |t| format!("{t:?}"));
            let expected = format!(
                "a model with the policy's vocabulary, token {id} being {}",
                show(&assets.tokenizer)
            );
            let found = format!("{}, where it is {}", path.display(), show(&tokenizer));
            return Err(config.invalid(key, expected, found).into());
        }
    }
    Ok(folder)
}

/// How a reference moves: every so many optimizer steps, reference = alpha policy + (1 - alpha) reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moves {
    /// The policy's share.
    pub alpha: f64,
    /// Optimizer steps between two moves.
    pub every: u64,
}

/// A reference model.
pub struct Reference<B: Device> {
    model: Model<B>,
    ws: Workspace<B>,
    /// In the precision that the policy's masters have, where it moves.
    masters: Option<(Accs<B>, Moves)>,
}

impl<B: Device> Reference<B> {
    /// The model in `folder`, or where it moves and a run goes on, the checkpoint's. Errors: files, memory.
    pub fn open(
        b: &B,
        folder: &Folder,
        context: usize,
        moves: Option<Moves>,
        restored: Option<&Restored>,
    ) -> Result<Self> {
        let kernel = folder.config.kernel.clone();
        let mut model = Model::load(b, kernel, ValueHead::None, context, Use::Inference, |spec, out| {
            anyhow::Ok(folder.fill(spec, out)?)
        })?;
        let ws = Workspace::new(b, &model, Keep::Nothing, 1, 1)?;
        let Some(moves) = moves else {
            return Ok(Self {
                model,
                ws,
                masters: None,
            });
        };
        let one = |s: &Spec| b.acc(s.shape.0, s.shape.1);
        let mut masters = model.specs.try_map(one, one)?;
        match restored.map(|r| r.path.join(FILE)) {
            Some(file) => read_accs(b, &file, &model.specs, &mut masters)?,
            None => {
                for (spec, acc) in model.specs.iter().zip(masters.iter_mut()) {
                    let mut host = vec![B::Real::ZERO; acc.len()];
                    folder.fill(spec, &mut host)?;
                    b.upload(acc, &host)?;
                }
            }
        }
        model.prepare(b, &masters);
        Ok(Self {
            model,
            ws,
            masters: Some((masters, moves)),
        })
    }

    /// Log-probs of a batch's predictions.
    pub fn score(&mut self, b: &B, batch: &Batch, temperature: f64) -> Result<Vec<B::Real>> {
        self.model.score(b, &mut self.ws, batch, temperature)?;
        Ok(self.ws.scores.logp.clone())
    }

    /// After optimizer step number `step`, from 1: moves, where it is due. A policy without masters has none that moves.
    pub fn follow(&mut self, b: &B, policy: Option<&Accs<B>>, step: u64) {
        let due = |moves: &Moves| step.is_multiple_of(moves.every);
        let (Some(policy), Some((masters, moves))) = (policy, self.masters.as_mut().filter(|m| due(&m.1))) else {
            return;
        };
        // A value head of the policy comes last and has no counterpart here.
        for (reference, policy) in masters.iter_mut().zip(policy.iter()) {
            b.scale(reference, 1.0 - moves.alpha);
            b.axpy(reference, moves.alpha, policy);
        }
        self.model.prepare(b, masters);
    }

    /// What a run that goes on must find again.
    pub fn save(&self, b: &B, writer: &Writer) -> Result<()> {
        match &self.masters {
            Some((masters, _)) => write_accs(b, &writer.path().join(FILE), &self.model.specs, masters),
            None => Ok(()),
        }
    }
}
