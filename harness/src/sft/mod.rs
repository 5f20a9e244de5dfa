//! Supervised fine-tuning: minimise the negative log-likelihood of given answers.
//!
//! loss = -sum_t mask_t log p(y_t | y_<t) / sum_t mask_t over the whole optimizer step (`nll`), or with each term weighted
//! by its own probability (`dft`, arXiv 2508.05629). Deviations from TRL's `SFTTrainer`: no padding (sequences are packed
//! into one run of tokens, which changes no number); `mean_token_accuracy` and `entropy` are means over all trained tokens
//! since the last line of the log, not means of micro-batch means; a held-out loss is a mean over tokens, not batches.

mod data;
mod resume;
mod samples;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cpu_backend::{Cpu, Settings};
use half::bf16;
use kernel::backend::{Decode, Vector};
use kernel::batch::Batch;
use kernel::objective::sft::SftLoss;
use kernel::optim::{Decay, Hyper, Learner, Schedule, Shape};
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep, Scores};
use model_qwen2::tensors::Element;
use serde::Serialize;

pub use samples::{Example, Examples, examples};

use crate::assets::Assets;
use crate::checkpoint::{Begin, Best, OutputDir, Stop, prune};
use crate::config::{Dtype as ConfigDtype, LossType, ReportTo, Resume, Scheduler, SftConfig, Shared, Strategy};
use crate::dtype::Dtype;
use crate::eval::{Answering, ask};
use crate::log::{Logger, Start};
use crate::memory::peak_memory;
use crate::train::{Plan, TrainerState, Window, read_state, save_checkpoint, save_model};

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Where everything is.
    pub output_dir: PathBuf,
    /// Optimizer steps done, of how many.
    pub steps: u64,
    /// Steps that the configuration asks for.
    pub total_steps: u64,
    /// Mean loss of the last logged window.
    pub loss: Option<f64>,
    /// The last held-out loss.
    pub eval_loss: Option<f64>,
    /// Tokens seen since the run began, over resumes.
    pub num_tokens: u64,
    /// Of this process's training steps.
    pub seconds: f64,
    /// Of this process's training steps, trained or not.
    pub tokens_per_second: f64,
    /// Largest resident set of this process, bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// Whether a signal ended the run before its last step.
    pub stopped: bool,
}

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, devices, numerics, each by name.
pub fn run(config: &SftConfig, stop: &Stop) -> Result<Summary> {
    let mut settings = Settings::detect()?;
    if let Some(threads) = config.shared.threads {
        settings.threads = threads;
    }
    match dtype(&config.shared) {
        Dtype::Bf16 => train(&Cpu::<bf16>::new(settings), config, settings, stop),
        Dtype::F32 | Dtype::F64 => train(&Cpu::<f32>::new(settings), config, settings, stop),
    }
}

fn dtype(shared: &Shared) -> Dtype {
    match shared.precision() {
        Ok(ConfigDtype::Bf16) => Dtype::Bf16,
        _ => Dtype::F32,
    }
}

struct Run<'a, B: Decode + Vector> {
    b: &'a B,
    config: &'a SftConfig,
    assets: Assets,
    learner: Learner<B>,
    train: Examples,
    held_out: Option<Examples>,
    plan: Plan,
    schedule: Schedule,
    log: Logger,
    state: TrainerState,
    output: OutputDir,
    eval_loss: Option<f64>,
    loss: Option<f64>,
}

fn train<B: Decode + Vector>(b: &B, config: &SftConfig, settings: Settings, stop: &Stop) -> Result<Summary>
where
    B::Real: Element,
{
    let mut run = Run::open(b, config, settings)?;
    let begin = Instant::now();
    let tokens = run.state.num_tokens;
    let stopped = run.steps(stop)?;
    let seconds = begin.elapsed().as_secs_f64();
    if stopped {
        let at = run.state.step;
        run.log
            .info(&format!("stopped by a signal after step {at}; go on with --resume"));
    } else {
        run.finish()?;
    }
    let summary = Summary {
        output_dir: config.shared.output_dir.clone(),
        steps: run.state.step,
        total_steps: run.plan.steps(),
        loss: run.loss,
        eval_loss: run.eval_loss,
        num_tokens: run.state.num_tokens,
        seconds,
        tokens_per_second: (run.state.num_tokens - tokens) as f64 / seconds.max(1e-9),
        peak_memory: peak_memory(),
        stopped,
    };
    run.log.finish();
    Ok(summary)
}

impl<'a, B: Decode + Vector> Run<'a, B>
where
    B::Real: Element,
{
    fn open(b: &'a B, config: &'a SftConfig, settings: Settings) -> Result<Self> {
        let shared = &config.shared;
        let begin = match (&config.switches.resume, config.switches.overwrite_output_dir) {
            (Resume::No, false) => Begin::Fresh,
            (Resume::No, true) => Begin::Overwrite,
            _ => Begin::Resume,
        };
        let mut assets = Assets::open(&shared.model_name_or_path, shared.chat_template_path.as_deref())?;
        assets.set_tokens(shared.eos_token.as_deref(), shared.pad_token.as_deref())?;
        let (train, held_out) = data::load(config, &assets)?;
        let output = OutputDir::open(&shared.output_dir, begin)?;
        let mut notes = assets.notes.clone();
        let restored = resume::restore_point(config, &mut notes)?;

        let context = train.context().max(held_out.as_ref().map_or(0, Examples::context));
        let max_positions = assets.folder.config.kernel.max_positions;
        if context > max_positions {
            notes.push(format!(
                "the longest sample has {context} tokens, the model was made for {max_positions}"
            ));
        }
        let plan = Plan::new(
            train.examples.len(),
            (shared.per_device_train_batch_size, shared.gradient_accumulation_steps),
            shared.shuffle.then(|| shared.data_seed()),
            shared.num_train_epochs,
            u64::try_from(shared.max_steps).ok().filter(|&n| n > 0),
        );
        let state = match &restored {
            Some(r) => resume::state(config, settings, &r.state, &train, &mut notes)?,
            None => TrainerState {
                step: 0,
                num_tokens: 0,
                window: Window::default(),
                best: None,
                data: train.checksum(),
                isa: settings.isa.name().into(),
                config: config.to_toml(),
            },
        };
        let start = restored.as_ref().map_or(Start::Fresh, |r| Start::After(r.state.step));
        let tensorboard = (shared.report_to == ReportTo::TensorBoard).then(|| shared.tensorboard_dir());
        let mut log = Logger::open(&shared.output_dir, tensorboard.as_deref(), plan.steps(), start)?;
        notes.extend(train.warnings.iter().cloned());
        notes.extend(
            held_out
                .iter()
                .flat_map(|h| h.warnings.iter().map(|w| format!("held-out data: {w}"))),
        );
        notes.iter().for_each(|note| log.warn(note));

        let keep = match shared.gradient_checkpointing {
            true => Keep::Inputs,
            false => Keep::Everything,
        };
        let source = restored.as_ref().map_or(&assets.folder, |r| &r.folder);
        let config_kernel = assets.folder.config.kernel.clone();
        let mut learner = Learner::load(b, config_kernel, ValueHead::None, context, keep, |spec, out| {
            anyhow::Ok(source.fill(spec, out)?)
        })?;
        if let Some(r) = &restored {
            r.restore(b, &mut learner)?;
        }
        log.info(&format!(
            "{} examples, {} optimizer steps, {} parameters, {} on {} thread(s) ({})",
            train.examples.len(),
            plan.steps(),
            learner.specs().count(),
            dtype(shared).name(),
            settings.threads,
            settings.isa.name(),
        ));
        let schedule = Schedule {
            shape: match shared.lr_scheduler_type {
                Scheduler::Linear => Shape::Linear,
                Scheduler::Cosine => Shape::Cosine,
                Scheduler::Constant | Scheduler::ConstantWithWarmup => Shape::Constant,
            },
            warmup: shared.warmup(plan.steps()),
            total: plan.steps(),
        };
        let saved = toml::to_string(&config.to_toml()).context("the configuration as TOML")?;
        let path = shared.output_dir.join("config.toml");
        model_qwen2::tensors::write_atomic(&path, |out| {
            use std::io::Write;
            out.write_all(saved.as_bytes())
                .map_err(model_qwen2::Error::io(&path, "write"))
        })?;
        Ok(Self {
            b,
            config,
            assets,
            learner,
            train,
            held_out,
            plan,
            schedule,
            log,
            state,
            output,
            eval_loss: None,
            loss: None,
        })
    }

    /// All steps that are left. True where a signal ended them early.
    fn steps(&mut self, stop: &Stop) -> Result<bool> {
        let shared = &self.config.shared;
        let total = self.plan.steps();
        let log_every = shared.logging_steps.of(total).max(1);
        let eval_every = shared.eval_interval(total).max(1);
        let save_every = shared.save_steps.of(total).max(1);
        let per_epoch = self.plan.steps_per_epoch();
        let due = |strategy, step: u64, every: u64| match strategy {
            Strategy::No => false,
            Strategy::Steps => step.is_multiple_of(every),
            Strategy::Epoch => step.is_multiple_of(per_epoch) || step == total,
        };
        while self.state.step < total {
            let before = self.state.num_tokens;
            let (loss, norm, rate) = self.step()?;
            let step = self.state.step;
            self.log.progress(step, loss, self.state.num_tokens - before);
            if step.is_multiple_of(log_every) || (shared.logging_first_step && step == 1) || step == total {
                self.log_window(norm, rate)?;
            }
            if due(shared.eval_strategy, step, eval_every) {
                self.evaluate()?;
            }
            let stopping = stop.requested() && step < total;
            // As transformers: the last step is saved too.
            let last = step == total && shared.save_strategy != Strategy::No;
            if stopping || last || due(shared.save_strategy, step, save_every) {
                self.save()?;
            }
            if stopping {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One optimizer step: its loss, gradient norm and learning rate.
    fn step(&mut self) -> Result<(f64, f64, f64)> {
        let shared = &self.config.shared;
        let number = self.state.step + 1;
        let micro_batches = self.plan.micro_batches(self.state.step);
        let examples = |batch: &[usize]| -> Vec<&Example> { batch.iter().map(|&i| &self.train.examples[i]).collect() };
        // The one divisor, known before any micro-batch runs.
        let weight: usize = micro_batches
            .iter()
            .flatten()
            .map(|&i| self.train.examples[i].trained())
            .sum();
        let vocab = self.assets.folder.config.kernel.vocab;
        let loss_type = sft_loss(self.config);
        self.learner.zero_grads(self.b);
        let mut loss = 0.0;
        let mut window = self.state.window;
        for micro_batch in &micro_batches {
            let examples = examples(micro_batch);
            let batch = pack(vocab, &examples)?;
            self.state.num_tokens += examples.iter().map(|e| e.tokens() as u64).sum::<u64>();
            if batch.predictions() == 0 {
                continue;
            }
            let scores = self.learner.score(self.b, &batch, 1.0)?;
            let mut dlogp = vec![B::Real::ZERO; batch.predictions()];
            let part = share(loss_type, &mut dlogp, scores, weight as f64);
            if !part.is_finite() {
                bail!(
                    "step {number}: the loss is {part}: nothing was written over; try a lower learning_rate, more \
                     warmup_steps, or f32"
                );
            }
            loss += part;
            add_scores(&mut window, scores);
            let cotangent = Cotangent {
                dlogp: &dlogp,
                dentropy: &[],
                dvalue: &[],
            };
            self.learner.backward(self.b, cotangent)?;
        }
        let rate = shared.learning_rate * self.schedule.factor(self.state.step);
        let hyper = Hyper {
            learning_rate: rate,
            betas: (shared.adam_beta1, shared.adam_beta2),
            eps: shared.adam_epsilon,
            weight_decay: shared.weight_decay,
            decay: Decay::Matrices,
            max_grad_norm: if shared.max_grad_norm > 0.0 {
                shared.max_grad_norm
            } else {
                f64::INFINITY
            },
        };
        let norm = self
            .learner
            .update(self.b, &hyper)
            .with_context(|| format!("step {number}"))?;
        window.steps += 1;
        window.loss += loss;
        self.state.window = window;
        self.state.step = number;
        Ok((loss, norm, rate))
    }

    fn log_window(&mut self, norm: f64, rate: f64) -> Result<()> {
        let [loss, entropy, accuracy] = self.state.window.means();
        self.loss = Some(loss.1);
        let values = [
            loss,
            ("grad_norm", norm),
            ("learning_rate", rate),
            entropy,
            ("num_tokens", self.state.num_tokens as f64),
            accuracy,
            ("epoch", self.plan.epoch(self.state.step)),
        ];
        self.state.window = Window::default();
        Ok(self.log.log(self.state.step, &values)?)
    }

    /// Mean loss over the held-out tokens.
    fn evaluate(&mut self) -> Result<()> {
        let Some(held_out) = &self.held_out else { return Ok(()) };
        let loss_type = sft_loss(self.config);
        let weight: usize = held_out.examples.iter().map(Example::trained).sum();
        let vocab = self.assets.folder.config.kernel.vocab;
        let mut window = Window {
            steps: 1,
            ..Window::default()
        };
        for chunk in held_out.examples.chunks(self.config.shared.per_device_eval_batch_size) {
            let batch = pack(vocab, &chunk.iter().collect::<Vec<_>>())?;
            let scores = self.learner.score(self.b, &batch, 1.0)?;
            let mut dlogp = vec![B::Real::ZERO; batch.predictions()];
            window.loss += share(loss_type, &mut dlogp, scores, weight as f64);
            add_scores(&mut window, scores);
        }
        let [loss, entropy, accuracy] = window.means();
        self.eval_loss = Some(loss.1);
        let values = [
            ("eval_loss", loss.1),
            ("eval_entropy", entropy.1),
            ("eval_mean_token_accuracy", accuracy.1),
            ("epoch", self.plan.epoch(self.state.step)),
        ];
        self.log.log(self.state.step, &values)?;
        let (metric, direction) = self.config.shared.best_metric();
        let best = self.state.best.get_or_insert_with(|| Best::new(&metric, direction));
        match values.iter().find(|v| v.0 == metric) {
            Some(&(_, value)) => best.update(self.state.step, value),
            None => {
                let known = values.map(|v| v.0).join(", ");
                let found = metric.as_str();
                return Err(self
                    .config
                    .invalid("metric_for_best_model", format!("one of {known}"), found)
                    .into());
            }
        };
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        // A checkpoint must never be ahead of its log.
        self.log.sync()?;
        let saved = save_checkpoint(self.b, self.output.path(), &self.assets, &self.learner, &self.state)
            .with_context(|| {
                format!(
                    "the checkpoint of step {} was not saved; earlier ones are whole",
                    self.state.step
                )
            })?;
        let best = self.state.best.as_ref().and_then(Best::step);
        let keep: Vec<u64> = best.into_iter().chain([saved.step]).collect();
        prune(self.output.path(), self.config.shared.save_total_limit, &keep)?;
        Ok(())
    }

    /// The trained model, best or last, into the output folder.
    fn finish(&mut self) -> Result<()> {
        let best = self.state.best.as_ref().and_then(|best| best.best);
        if let (true, Some((step, value))) = (self.config.shared.load_best_model_at_end, best) {
            let path = self.output.path().join(format!("checkpoint-{step}"));
            let restored = read_state(&path)?;
            for (spec, acc) in self.learner.model.specs.iter().zip(self.learner.masters.iter_mut()) {
                let mut host = vec![B::Real::ZERO; acc.len()];
                restored.folder.fill(spec, &mut host)?;
                self.b.upload(acc, &host)?;
            }
            self.learner.model.prepare(self.b, &self.learner.masters);
            let (metric, _) = self.config.shared.best_metric();
            self.log
                .info(&format!("the model is that of step {step}, {metric} {value:.4}"));
        }
        let stored = dtype(&self.config.shared).stored();
        save_model(self.b, self.output.path(), &self.assets, &self.learner, stored)?;
        self.answer_questions()
    }

    /// Asks `questions` and writes the answers beside the model.
    fn answer_questions(&mut self) -> Result<()> {
        let questions = &self.config.shared.questions;
        if questions.is_empty() {
            return Ok(());
        }
        let answers = ask(
            self.b,
            &self.learner.model,
            &self.assets,
            questions,
            &Answering::default(),
        )?;
        let path = self.output.path().join("answers.jsonl");
        let mut text = String::new();
        for (question, answer) in questions.iter().zip(&answers) {
            self.log.info(&format!("Q: {question}\nA: {answer}"));
            text += &serde_json::json!({ "question": question, "answer": answer }).to_string();
            text.push('\n');
        }
        Ok(std::fs::write(&path, text).map_err(model_qwen2::Error::io(&path, "write"))?)
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

fn add_scores<R: Real>(window: &mut Window, scores: &Scores<R>) {
    window.tokens += scores.logp.len() as f64;
    window.entropy += scores.entropy.iter().map(|h| h.to_f64()).sum::<f64>();
    window.right += scores.logp.iter().zip(&scores.best).filter(|(l, b)| l >= b).count() as f64;
}
