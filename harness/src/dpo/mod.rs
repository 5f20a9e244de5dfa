//! Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) and its family.
//!
//! With c and r the log-ratios policy / reference of the chosen and the rejected answer, summed over their tokens, the loss
//! is -log sigmoid(beta (c - r)), a mean over the pairs of the optimizer step; the other members are in
//! [`kernel::objective::preference`]. The reference is the frozen start, another model, a model that follows the policy
//! (TR-DPO, arXiv 2404.09656), or log-probs computed once.
//!
//! Deviations from TRL's `DPOTrainer`: the prompt is computed once for both answers; no padding (neither changes a number);
//! the aot losses rank the whole optimizer step (and all held-out pairs), not each micro-batch, and `sft` divides by the
//! tokens of the step; `label_smoothing` counts for `sigmoid` (cDPO); `entropy` and `mean_token_accuracy` are means over
//! tokens and the rest over pairs since the last line of the log, not means of micro-batch means; `logits/*` are not logged,
//! since the head never has the logits in memory.

mod cache;
mod data;
mod micro;
mod reference;

use anyhow::Result;
use kernel::objective::preference::Preference;
use kernel::params::ValueHead;

pub use data::{Pair, Pairs, pairs};

use crate::assets::Assets;
use crate::checkpoint::{Stop, Writer};
use crate::config::{Dpo, DpoConfig};
use crate::device::{Device, Job, Place};
use crate::train::{Meter, Needs, Plan, Session, Shown, Summary, Task, on_configured};
use micro::{Gradients, Scoring};
use reference::{Reference, Set, open_folder};

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, devices, numerics, each by name.
pub fn run(config: &DpoConfig, stop: &Stop) -> Result<Summary> {
    on_configured(&config.shared, Run { config, stop })
}

struct Run<'a> {
    config: &'a DpoConfig,
    stop: &'a Stop,
}

impl Job for Run<'_> {
    type Output = Summary;

    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Summary> {
        let Self { config, stop } = self;
        let shared = &config.shared;
        let mut assets = Assets::open(&shared.model_name_or_path, shared.chat_template_path.as_deref())?;
        assets.set_tokens(shared.eos_token.as_deref(), shared.pad_token.as_deref())?;
        let folder = open_folder(config, &assets)?;
        let (train, held_out) = data::load(config, &assets)?;
        let plan = Plan::of_config(train.pairs.len(), shared);
        let mut notes = train.warnings.clone();
        let of_held_out = held_out.iter().flat_map(|h| &h.warnings);
        notes.extend(of_held_out.map(|w| format!("held-out data: {w}")));
        let needs = Needs {
            checksum: train.checksum(),
            context: train.context().max(held_out.as_ref().map_or(0, Pairs::context)),
            rows: train.rows(),
            steps: plan.steps(),
            steps_per_epoch: plan.steps_per_epoch(),
            value_head: ValueHead::None,
            cache_rows: 0,
            notes,
        };
        let (mut session, restored) = Session::open(b, config, place, assets, needs)?;
        session.log.info(&format!("{} pairs", train.pairs.len()));
        let both = (&train, held_out.as_ref());
        let reference = Reference::open(&mut session, place, folder.as_ref(), restored.as_ref(), both)?;
        let mut task = Preferences {
            train,
            held_out,
            plan,
            reference,
            preference: config.own.preference(),
        };
        session.run(&mut task, stop)
    }
}

struct Preferences<B: Device> {
    train: Pairs,
    held_out: Option<Pairs>,
    plan: Plan,
    reference: Reference<B>,
    preference: Preference,
}

impl<B: Device> Task<B, Dpo> for Preferences<B> {
    fn step(&mut self, s: &mut Session<'_, B, Dpo>) -> Result<Shown> {
        let micro_batches = self.plan.micro_batches(s.state.step);
        s.learner.zero_grads(s.b);
        let mut scoring = Scoring {
            b: s.b,
            learner: &mut s.learner,
            reference: &mut self.reference,
            preference: &self.preference,
            pairs: &self.train.pairs,
            set: Set::Train,
        };
        let totals = scoring.run(&micro_batches, Gradients::Add)?;
        s.update()?;
        self.reference.follow(s.b, s.learner.masters(), s.state.step + 1);
        totals.add_to(&mut s.state.meter, "");
        s.state.num_tokens += totals.tokens;
        Ok(vec![
            ("loss", totals.loss),
            ("margin", totals.mean("rewards/margins")),
            ("accuracy", totals.mean("rewards/accuracies")),
        ])
    }

    fn evaluate(&mut self, s: &mut Session<'_, B, Dpo>) -> Result<Vec<(String, f64)>> {
        let Some(held_out) = &self.held_out else {
            return Ok(Vec::new());
        };
        let all: Vec<usize> = (0..held_out.pairs.len()).collect();
        let batches = all.chunks(s.config.shared.per_device_eval_batch_size);
        let batches: Vec<_> = batches.map(<[usize]>::to_vec).collect();
        let mut scoring = Scoring {
            b: s.b,
            learner: &mut s.learner,
            reference: &mut self.reference,
            preference: &self.preference,
            pairs: &held_out.pairs,
            set: Set::HeldOut,
        };
        let totals = scoring.run(&batches, Gradients::None)?;
        let mut meter = Meter::default();
        totals.add_to(&mut meter, "eval_");
        Ok(meter.means())
    }

    fn save(&self, s: &Session<'_, B, Dpo>, writer: &mut Writer) -> Result<()> {
        self.reference.save(s.b, writer)
    }
}
