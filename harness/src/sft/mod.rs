//! Supervised fine-tuning: minimise the negative log-likelihood of given answers.
//!
//! loss = -sum_t mask_t log p(y_t | y_<t) / sum_t mask_t over the whole optimizer step (`nll`), or with each term weighted
//! by its own probability (`dft`, arXiv 2508.05629). Deviations from TRL's `SFTTrainer`: no padding (sequences are packed
//! into one run of tokens, which changes no number); `mean_token_accuracy` and `entropy` are means over all trained tokens
//! since the last line of the log, not means of micro-batch means; a held-out loss is a mean over tokens, not batches.

mod data;
mod samples;

use anyhow::{Result, bail};
use kernel::batch::Batch;
use kernel::objective::sft::SftLoss;
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::{Cotangent, Scores};

pub use samples::{Example, Examples, examples};

use crate::assets::Assets;
use crate::checkpoint::Stop;
use crate::config::{LossType, Sft, SftConfig};
use crate::device::{Device, Job, Place};
use crate::train::{Meter, Needs, Plan, Session, Shown, Summary, Task, on_configured};

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, devices, numerics, each by name.
pub fn run(config: &SftConfig, stop: &Stop) -> Result<Summary> {
    on_configured(&config.shared, Run { config, stop })
}

struct Run<'a> {
    config: &'a SftConfig,
    stop: &'a Stop,
}

impl Job for Run<'_> {
    type Output = Summary;

    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Summary> {
        let Self { config, stop } = self;
        let shared = &config.shared;
        let mut assets = Assets::open(&shared.model_name_or_path, shared.chat_template_path.as_deref())?;
        assets.set_tokens(shared.eos_token.as_deref(), shared.pad_token.as_deref())?;
        let (train, held_out) = data::load(config, &assets)?;
        let plan = Plan::of_config(train.examples.len(), shared);
        let mut notes = train.warnings.clone();
        let of_held_out = held_out.iter().flat_map(|h| &h.warnings);
        notes.extend(of_held_out.map(|w| format!("held-out data: {w}")));
        let needs = Needs {
            checksum: train.checksum(),
            context: train.context().max(held_out.as_ref().map_or(0, Examples::context)),
            rows: train.context(),
            steps: plan.steps(),
            steps_per_epoch: plan.steps_per_epoch(),
            value_head: ValueHead::None,
            cache_rows: 0,
            notes,
        };
        let (mut session, _) = Session::open(b, config, place, assets, needs)?;
        session.log.info(&format!("{} examples", train.examples.len()));
        session.run(&mut Supervised { train, held_out, plan }, stop)
    }
}

struct Supervised {
    train: Examples,
    held_out: Option<Examples>,
    plan: Plan,
}

impl<B: Device> Task<B, Sft> for Supervised {
    fn step(&mut self, s: &mut Session<'_, B, Sft>) -> Result<Shown> {
        let micro_batches = self.plan.micro_batches(s.state.step);
        // The one divisor, known before any micro-batch runs.
        let weight: usize = micro_batches
            .iter()
            .flatten()
            .map(|&i| self.train.examples[i].trained())
            .sum();
        let vocab = s.assets.folder.config.kernel.vocab;
        let loss_type = sft_loss(s.config);
        s.learner.zero_grads(s.b);
        let (mut loss, mut tokens, mut meter) = (0.0, 0, s.state.meter.clone());
        meter.add("loss", 0.0, 0.0);
        for micro_batch in &micro_batches {
            let examples: Vec<_> = micro_batch.iter().map(|&i| &self.train.examples[i]).collect();
            let batch = pack(vocab, &examples)?;
            tokens += examples.iter().map(|e| e.tokens() as u64).sum::<u64>();
            if batch.predictions() == 0 {
                continue;
            }
            let scores = s.learner.score(s.b, &batch, 1.0)?;
            let mut dlogp = vec![B::Real::ZERO; batch.predictions()];
            let part = share(loss_type, &mut dlogp, scores, weight as f64);
            if !part.is_finite() {
                bail!(
                    "the loss is {part}: nothing was written over; try a lower learning_rate, more warmup_steps, or f32"
                );
            }
            loss += part;
            add_scores(&mut meter, "", scores);
            let cotangent = Cotangent {
                dlogp: &dlogp,
                dentropy: &[],
                dvalue: &[],
            };
            s.learner.backward(s.b, cotangent)?;
        }
        s.update()?;
        meter.add("loss", loss, 1.0);
        s.state.meter = meter;
        s.state.num_tokens += tokens;
        Ok(vec![("loss", loss)])
    }

    /// Mean loss over the held-out tokens.
    fn evaluate(&mut self, s: &mut Session<'_, B, Sft>) -> Result<Vec<(String, f64)>> {
        let Some(held_out) = &self.held_out else {
            return Ok(Vec::new());
        };
        let loss_type = sft_loss(s.config);
        let weight: usize = held_out.examples.iter().map(Example::trained).sum();
        let vocab = s.assets.folder.config.kernel.vocab;
        let mut meter = Meter::default();
        meter.add("eval_loss", 0.0, 1.0);
        for chunk in held_out.examples.chunks(s.config.shared.per_device_eval_batch_size) {
            let batch = pack(vocab, &chunk.iter().collect::<Vec<_>>())?;
            let scores = s.learner.score(s.b, &batch, 1.0)?;
            let mut dlogp = vec![B::Real::ZERO; batch.predictions()];
            meter.add("eval_loss", share(loss_type, &mut dlogp, scores, weight as f64), 0.0);
            add_scores(&mut meter, "eval_", scores);
        }
        Ok(meter.means())
    }
}

fn sft_loss(config: &SftConfig) -> SftLoss {
    match config.own.loss_type {
        LossType::Nll => SftLoss::Nll,
        LossType::Dft => SftLoss::Dft,
    }
}

/// The examples as one run of tokens, each piece a tree of its own.
fn pack(vocab: usize, examples: &[&Example]) -> Result<Batch> {
    let mut batch = Batch::new(vocab);
    for (ids, mask) in examples.iter().flat_map(|e| &e.pieces) {
        batch.sequence(ids, |t| mask[t] == 1)?;
    }
    Ok(batch)
}

/// A micro-batch's share of the loss; every prediction of a packed batch is trained.
fn share<R: Real>(loss: SftLoss, dlogp: &mut [R], scores: &Scores<R>, weight: f64) -> f64 {
    let mask = vec![R::ONE; dlogp.len()];
    loss.loss(dlogp, &scores.logp, &mask, weight)
}

fn add_scores<R: Real>(meter: &mut Meter, prefix: &str, scores: &Scores<R>) {
    let tokens = scores.logp.len() as f64;
    let entropy = scores.entropy.iter().map(|h| h.to_f64()).sum();
    let right = scores.logp.iter().zip(&scores.best).filter(|(l, b)| l >= b).count();
    meter.add(&format!("{prefix}entropy"), entropy, tokens);
    meter.add(&format!("{prefix}mean_token_accuracy"), right as f64, tokens);
}
