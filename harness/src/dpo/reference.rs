//! The reference: a frozen model, one that follows the policy, or log-probs that were computed once.
use anyhow::Result;
use kernel::batch::Batch;
use kernel::real::Real;
use kernel::transformer::Accs;
use model_qwen2::folder::Folder;

use super::cache;
use super::data::{Pair, Pairs};
use super::micro::Micro;
use crate::assets::Assets;
use crate::checkpoint::Writer;
use crate::config::{Dpo, DpoConfig};
use crate::device::{Device, Place};
use crate::train::{self, Moves, Restored, Session, dtype, other_model};

/// Which pairs are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Those trained on.
    Train,
    /// Those held out.
    HeldOut,
}

/// Where the reference's log-probs come from.
pub enum Reference<B: Device> {
    /// A model in memory.
    Model(Box<train::Reference<B>>),
    /// Numbers, [`Set::Train`] and [`Set::HeldOut`]: for each pair, for each prediction of both answers.
    Known([Vec<Vec<f32>>; 2]),
}

/// The folder of the reference, which must have the policy's vocabulary. `None`: the policy's own start.
pub fn open_folder(config: &DpoConfig, assets: &Assets) -> Result<Option<Folder>> {
    let Some(path) = &config.own.ref_model else {
        return Ok(None);
    };
    let folder = other_model(config, "ref_model", path, assets)?;
    let shape = |f: &Folder| {
        let mut shape = f.config.kernel.clone();
        shape.max_positions = 0;
        shape
    };
    if config.own.sync_ref_model && shape(&folder) != shape(&assets.folder) {
        let found = format!("{}, which has another config.json", path.display());
        return Err(config
            .invalid("ref_model", "a model of the policy's shape, for sync_ref_model", found)
            .into());
    }
    Ok(Some(folder))
}

impl<B: Device> Reference<B> {
    /// The reference that the configuration asks for. `folder` is [`open_folder`]'s; `restored` is where a run goes on.
    pub fn open(
        s: &mut Session<'_, B, Dpo>,
        place: &Place,
        folder: Option<&Folder>,
        restored: Option<&Restored>,
        (train, held_out): (&Pairs, Option<&Pairs>),
    ) -> Result<Self> {
        let context = s.learner.model.context();
        let own = &s.config.own;
        if !own.precompute_ref_log_probs {
            let moves = own.sync_ref_model.then_some(Moves {
                alpha: own.ref_model_mixup_alpha,
                every: own.ref_model_sync_steps,
            });
            let folder = folder.unwrap_or(&s.assets.folder);
            let model = train::Reference::open(s.b, folder, context, moves, restored)?;
            return Ok(Self::Model(Box::new(model)));
        }
        let all = [train.pairs.as_slice(), held_out.map_or(&[], |h| &h.pairs)];
        let key = cache::Key {
            model: cache::checksum::<B>(folder.unwrap_or(&s.assets.folder))?,
            data: [train.checksum(), held_out.map_or(String::new(), Pairs::checksum)].concat(),
            precision: format!("{} {}", dtype(&s.config.shared).name(), place.arithmetic),
        };
        let path = s.output().join(cache::FILE);
        match cache::read(&path, &key, all) {
            Ok(Some(known)) => {
                s.log.info("the reference's log-probs are those computed before");
                return Ok(Self::Known(known));
            }
            Ok(None) => {}
            Err(why) => s.log.warn(&format!("{why}: computed again")),
        }
        s.log.info("computing the reference's log-probs");
        let shared = &s.config.shared;
        let sizes = [shared.per_device_train_batch_size, shared.per_device_eval_batch_size];
        let sizes = sizes.map(|size| own.precompute_ref_batch_size.unwrap_or(size));
        let known = match (folder, restored) {
            // The policy has not moved yet: it is the reference.
            (None, None) => {
                let (b, learner) = (s.b, &mut s.learner);
                compute(s.assets.folder.config.kernel.vocab, all, sizes, |batch| {
                    Ok(learner.score(b, batch, 1.0)?.logp.clone())
                })?
            }
            _ => {
                let (b, folder) = (s.b, folder.unwrap_or(&s.assets.folder));
                let mut model = train::Reference::open(b, folder, context, None, None)?;
                compute(s.assets.folder.config.kernel.vocab, all, sizes, |batch| {
                    model.score(b, batch, 1.0)
                })?
            }
        };
        cache::write(&path, &key, &known)?;
        Ok(Self::Known(known))
    }

    /// The log-probs of a micro-batch's predictions, in their order.
    pub fn logps(&mut self, b: &B, micro: &Micro<'_>, set: Set) -> Result<Vec<B::Real>> {
        match self {
            Self::Model(model) => model.score(b, &micro.batch, 1.0),
            Self::Known(known) => {
                let known = &known[set as usize];
                let all = micro.members.iter().flat_map(|&i| &known[i]);
                Ok(all.map(|&logp| B::Real::from_f64(logp.into())).collect())
            }
        }
    }

    /// After optimizer step `step`: TR-DPO's move, where it is due.
    pub fn follow(&mut self, b: &B, policy: Option<&Accs<B>>, step: u64) {
        if let Self::Model(model) = self {
            model.follow(b, policy, step);
        }
    }

    /// What a run that goes on must find again: the reference, where it moves.
    pub fn save(&self, b: &B, writer: &Writer) -> Result<()> {
        match self {
            Self::Model(model) => model.save(b, writer),
            Self::Known(_) => Ok(()),
        }
    }
}

/// For both sets, for each pair, the log-probs of both answers.
fn compute<R: Real>(
    vocab: usize,
    sets: [&[Pair]; 2],
    sizes: [usize; 2],
    mut score: impl FnMut(&Batch) -> Result<Vec<R>>,
) -> Result<[Vec<Vec<f32>>; 2]> {
    let mut known = [Vec::new(), Vec::new()];
    for ((out, pairs), size) in known.iter_mut().zip(sets).zip(sizes) {
        let all: Vec<usize> = (0..pairs.len()).collect();
        for members in all.chunks(size) {
            let micro = Micro::new(vocab, pairs, members)?;
            let logp = score(&micro.batch)?;
            let both = micro.ranges.iter().map(|[c, r]| c.start..r.end);
            out.extend(both.map(|range| logp[range].iter().map(|x| x.to_f64() as f32).collect()));
        }
    }
    Ok(known)
}
