//! One run of a trainer: what is the same for all of them. The output folder, the log, resuming, the loop over optimizer
//! steps with its evaluations and checkpoints, the trained model at the end. What a trainer does in a step is its [`Task`].
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use kernel::optim::{Decay, Hyper, Kept, Learner, Schedule, Shape};
use kernel::params::{Spec, ValueHead};
use kernel::real::Real;
use kernel::transformer::Keep;
use serde::Serialize;

use super::device::{dtype, master_dtype, storage};
use super::resume::{begin_state, restore_point};
use super::state::{Heads, LastUpdate, Restored, TrainerState, read_state, save_checkpoint, save_model, write_config};
use crate::assets::Assets;
use crate::checkpoint::{Begin, Best, OutputDir, Stop, Writer, prune};
use crate::config::{Config, ReportTo, Resume, Scheduler, Strategy, Trainer};
use crate::device::{Device, Place};
use crate::eval::{Answering, ask};
use crate::log::{Logger, Start};
use crate::memory::peak_memory;
use crate::plan::{MemoryPlan, Sizes};

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
    /// The last line of the log about training.
    pub metrics: Vec<(String, f64)>,
}

/// What a trainer knows before its session begins.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Of the tokenised data: other data is another run.
    pub checksum: String,
    /// Tokens of the longest sequence that will be scored or generated.
    pub context: usize,
    /// Rows of one example in a micro-batch, at most.
    pub rows: usize,
    /// Optimizer steps in all.
    pub steps: u64,
    /// Optimizer steps in one pass over the data.
    pub steps_per_epoch: u64,
    /// Whether the model gets a value head. One that the model's folder lacks begins at zero.
    pub value_head: ValueHead,
    /// Positions that the KV cache of a rollout has at most; 0 where nothing is generated in training.
    pub cache_rows: usize,
    /// What the user should know of the data.
    pub notes: Vec<String>,
}

/// What a step says for the progress bar; what is logged goes through [`TrainerState::meter`].
pub type Shown = Vec<(&'static str, f64)>;

/// A trainer's own part of a run.
pub trait Task<B: Device, K: Trainer> {
    /// One optimizer step: gradients, then [`Session::update`]. On an error the session's state is put back to what it was
    /// before the step, and a checkpoint is saved unless something of the model has changed ([`Session::changed`]).
    fn step(&mut self, s: &mut Session<'_, B, K>) -> Result<Shown>;
    /// Metrics on held-out data, their names beginning with `eval_`; empty where there is none.
    fn evaluate(&mut self, s: &mut Session<'_, B, K>) -> Result<Vec<(String, f64)>>;
    /// Writes what the task itself must find again into a checkpoint.
    fn save(&self, _s: &Session<'_, B, K>, _writer: &mut Writer) -> Result<()> {
        Ok(())
    }
    /// After the trained model was saved.
    fn finish(&mut self, _s: &mut Session<'_, B, K>) -> Result<()> {
        Ok(())
    }
}

/// A run.
pub struct Session<'a, B: Device, K: Trainer> {
    /// The device.
    pub b: &'a B,
    /// The configuration.
    pub config: &'a Config<K>,
    /// The model's folder, tokenizer and template.
    pub assets: Assets,
    /// The model in training.
    pub learner: Learner<B>,
    /// The log.
    pub log: Logger,
    /// What a checkpoint keeps beside the learner.
    pub state: TrainerState,
    needs: Needs,
    schedule: Schedule,
    output: OutputDir,
    saved: Option<u64>,
    eval_loss: Option<f64>,
    last: Vec<(String, f64)>,
    /// Whether parameters were changed in the step that is being made.
    changed: bool,
}

impl<'a, B: Device, K: Trainer> Session<'a, B, K> {
    /// Opens the output folder and the model; with it the checkpoint that the run goes on from, where there is one.
    /// Errors: configuration, files, data, each by name.
    pub fn open(
        b: &'a B,
        config: &'a Config<K>,
        place: &Place,
        assets: Assets,
        needs: Needs,
    ) -> Result<(Self, Option<Restored>)> {
        let shared = &config.shared;
        let begin = match (&config.switches.resume, config.switches.overwrite_output_dir) {
            (Resume::No, false) => Begin::Fresh,
            (Resume::No, true) => Begin::Overwrite,
            _ => Begin::Resume,
        };
        let output = OutputDir::open(&shared.output_dir, begin)?;
        let mut notes = assets.notes.clone();
        let restored = restore_point(config, &mut notes)?;
        let saved = restored.as_ref().map(|r| &r.state);
        let state = begin_state(config, place, saved, &needs.checksum, &mut notes)?;
        let max_positions = assets.folder.config.kernel.max_positions;
        if needs.context > max_positions {
            notes.push(format!(
                "the longest sample has {} tokens, the model was made for {max_positions}",
                needs.context
            ));
        }
        let start = restored.as_ref().map_or(Start::Fresh, |r| Start::After(r.state.step));
        let tensorboard = (shared.report_to == ReportTo::TensorBoard).then(|| shared.tensorboard_dir());
        let mut log = Logger::open(&shared.output_dir, tensorboard.as_deref(), needs.steps, start)?;
        notes.extend(needs.notes.iter().cloned());
        notes.iter().for_each(|note| log.warn(note));

        let keep = match shared.gradient_checkpointing {
            true => Keep::Inputs,
            false => Keep::Everything,
        };
        let source = restored.as_ref().map_or(&assets.folder, |r| &r.folder);
        let kernel = assets.folder.config.kernel.clone();
        let head = needs.value_head;
        // Before anything is allocated: where it does not fit, this line says why.
        log.info(&memory(config, &assets.folder.config.kernel, &needs, keep));
        let fill = |spec: &Spec, out: &mut [B::Real]| {
            if spec.name.starts_with("v_head.") && source.value_head == ValueHead::None {
                return anyhow::Ok(());
            }
            anyhow::Ok(source.fill(spec, out)?)
        };
        let mut learner = Learner::load_as(b, kernel, head, needs.context, keep, storage(shared), fill)?;
        if let Some(r) = &restored {
            r.restore(b, &mut learner)?;
        }
        let schedule = Schedule {
            shape: match shared.lr_scheduler_type {
                Scheduler::Linear => Shape::Linear,
                Scheduler::Cosine => Shape::Cosine,
                Scheduler::Constant | Scheduler::ConstantWithWarmup => Shape::Constant,
            },
            warmup: shared.warmup(needs.steps),
            total: needs.steps,
        };
        log.info(&format!(
            "{} optimizer steps, {} parameters, {} on {}",
            needs.steps,
            learner.specs().count(),
            dtype(shared).name(),
            place.words,
        ));
        write_config(config)?;
        let session = Self {
            b,
            config,
            assets,
            learner,
            log,
            saved: restored.as_ref().map(|r| r.state.step),
            state,
            needs,
            schedule,
            output,
            eval_loss: None,
            last: Vec::new(),
            changed: false,
        };
        Ok((session, restored))
    }

    /// All steps that are left, then the trained model.
    pub fn run(mut self, task: &mut impl Task<B, K>, stop: &Stop) -> Result<Summary> {
        let begin = Instant::now();
        let tokens = self.state.num_tokens;
        let stopped = self.steps(task, stop)?;
        let seconds = begin.elapsed().as_secs_f64();
        if stopped {
            let at = self.state.step;
            self.log
                .info(&format!("stopped by a signal after step {at}; go on with --resume"));
        } else {
            self.finish(task)?;
        }
        let summary = Summary {
            output_dir: self.config.shared.output_dir.clone(),
            steps: self.state.step,
            total_steps: self.needs.steps,
            loss: self.last.iter().find(|v| v.0 == "loss").map(|v| v.1),
            eval_loss: self.eval_loss,
            num_tokens: self.state.num_tokens,
            seconds,
            tokens_per_second: (self.state.num_tokens - tokens) as f64 / seconds.max(1e-9),
            peak_memory: peak_memory(),
            stopped,
            metrics: self.last,
        };
        self.log.finish();
        Ok(summary)
    }

    /// True where a signal ended them early.
    fn steps(&mut self, task: &mut impl Task<B, K>, stop: &Stop) -> Result<bool> {
        let shared = &self.config.shared;
        let total = self.needs.steps;
        let log_every = shared.logging_steps.of(total).max(1);
        if self.state.step == 0 && shared.eval_on_start {
            self.evaluate(task)?;
        }
        // The run stopped in this evaluation.
        if self.state.owes_evaluation && self.settle(task, stop)? {
            return Ok(true);
        }
        while self.state.step < total {
            let before = self.state.clone();
            self.changed = false;
            let mut shown = match task.step(self) {
                Ok(shown) => shown,
                Err(error) => {
                    self.state = before;
                    let error = error.context(format!("step {}", self.state.step + 1));
                    return Err(self.keep_what_there_is(task, error));
                }
            };
            shown.retain(|(_, value)| value.is_finite());
            self.changed = false;
            self.state.step += 1;
            let step = self.state.step;
            self.log
                .progress(step, &shown, self.state.num_tokens - before.num_tokens);
            if step.is_multiple_of(log_every) || (shared.logging_first_step && step == 1) || step == total {
                self.log_window()?;
            }
            if self.settle(task, stop)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After a step: its evaluation and its checkpoint, where they are due. True where a signal ends the run.
    fn settle(&mut self, task: &mut impl Task<B, K>, stop: &Stop) -> Result<bool> {
        let shared = &self.config.shared;
        let (step, total) = (self.state.step, self.needs.steps);
        let per_epoch = self.needs.steps_per_epoch.max(1);
        let due = |strategy, every: u64| match strategy {
            Strategy::No => false,
            // The last step always: it is the model that the run ends with.
            Strategy::Steps => step.is_multiple_of(every.max(1)) || step == total,
            Strategy::Epoch => step.is_multiple_of(per_epoch) || step == total,
        };
        let owed = std::mem::take(&mut self.state.owes_evaluation);
        if (owed || due(shared.eval_strategy, shared.eval_interval(total)))
            && let Err(error) = self.evaluate(task)
        {
            self.state.owes_evaluation = true;
            let error = error.context(format!("evaluation after step {step}"));
            return Err(self.keep_what_there_is(task, error));
        }
        let stopping = stop.requested() && step < total;
        if owed || stopping || due(shared.save_strategy, shared.save_steps.of(total)) {
            self.save(task)?;
        }
        Ok(stopping)
    }

    /// What was trained before a failure is saved, so that only its cause need be mended.
    fn keep_what_there_is(&mut self, task: &impl Task<B, K>, error: anyhow::Error) -> anyhow::Error {
        let step = self.state.step;
        if step == 0 || self.config.shared.save_strategy == Strategy::No {
            return error;
        }
        if self.changed {
            return error.context(
                "stopped; the step had begun to change the model, go on from an earlier checkpoint with --resume",
            );
        }
        let saved = match self.saved == Some(step) {
            true => Ok(()),
            false => self.save(task),
        };
        match saved {
            Ok(()) => error.context(format!(
                "stopped; checkpoint-{step} is kept, go on from it with --resume"
            )),
            Err(unsaved) => error.context(format!("{unsaved:#}")),
        }
    }

    /// One AdamW step on the gradients there are, at the schedule's learning rate. Returns their norm before clipping.
    pub fn update(&mut self) -> Result<f64> {
        let hyper = self.hyper(self.config.shared.learning_rate);
        let norm = self.learner.update(self.b, &hyper)?;
        self.changed();
        self.state.last_update = Some(LastUpdate {
            grad_norm: norm,
            learning_rate: Some(hyper.learning_rate),
        });
        self.state.updates = self.learner.steps;
        Ok(norm)
    }

    /// Says the norm of a gradient that was not followed by [`Session::update`].
    pub fn set_gradient(&mut self, norm: f64) {
        self.state.last_update = Some(LastUpdate {
            grad_norm: norm,
            learning_rate: None,
        });
    }

    /// Says that a parameter has changed otherwise than by [`Session::update`]: should the step fail later on, what there
    /// is now is no model to go on from.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// AdamW's constants in this step, for a peak learning rate.
    pub fn hyper(&self, learning_rate: f64) -> Hyper {
        let shared = &self.config.shared;
        Hyper {
            learning_rate: learning_rate * self.schedule.factor(self.state.step),
            betas: (shared.adam_beta1, shared.adam_beta2),
            eps: shared.adam_epsilon,
            weight_decay: shared.weight_decay,
            decay: Decay::Matrices,
            max_grad_norm: if shared.max_grad_norm > 0.0 {
                shared.max_grad_norm
            } else {
                f64::INFINITY
            },
        }
    }

    /// Optimizer steps in all.
    pub fn total_steps(&self) -> u64 {
        self.needs.steps
    }

    /// Passes over the data so far.
    pub fn epoch(&self) -> f64 {
        self.state.step as f64 / self.needs.steps_per_epoch.max(1) as f64
    }

    /// The output folder.
    pub fn output(&self) -> &Path {
        self.output.path()
    }

    fn log_window(&mut self) -> Result<()> {
        let mut values = self.state.meter.means();
        let at = values.iter().position(|v| v.0 == "loss").map_or(0, |i| i + 1);
        if let Some(last) = &self.state.last_update {
            values.insert(at, ("grad_norm".into(), last.grad_norm));
            if let Some(rate) = last.learning_rate {
                values.insert(at + 1, ("learning_rate".into(), rate));
            }
        }
        values.push(("num_tokens".into(), self.state.num_tokens as f64));
        values.push(("epoch".into(), self.epoch()));
        self.state.meter.clear();
        self.log_values(&values)?;
        self.last = values;
        Ok(())
    }

    fn log_values(&mut self, values: &[(String, f64)]) -> Result<()> {
        let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        Ok(self.log.log(self.state.step, &values)?)
    }

    fn evaluate(&mut self, task: &mut impl Task<B, K>) -> Result<()> {
        let mut values = task.evaluate(self)?;
        if values.is_empty() {
            return Ok(());
        }
        values.push(("epoch".into(), self.epoch()));
        self.log_values(&values)?;
        self.eval_loss = values
            .iter()
            .find(|v| v.0 == "eval_loss")
            .map(|v| v.1)
            .or(self.eval_loss);
        let (metric, direction) = self.config.shared.best_metric();
        let found = values.iter().find(|v| v.0 == metric);
        match (found, self.config.shared.load_best_model_at_end) {
            // The model before the first step has no checkpoint.
            (Some(_), _) if self.state.step == 0 => Ok(()),
            (Some(&(_, value)), _) => {
                let best = self.state.best.get_or_insert_with(|| Best::new(&metric, direction));
                best.update(self.state.step, value);
                Ok(())
            }
            // The default metric is no reason to stop a trainer that has no such number.
            (None, false) if self.config.shared.metric_for_best_model.is_none() => Ok(()),
            (None, _) => {
                let known = values.iter().map(|v| v.0.as_str()).collect::<Vec<_>>().join(", ");
                let expected = format!("one of {known}");
                Err(self.config.invalid("metric_for_best_model", expected, metric).into())
            }
        }
    }

    fn save(&mut self, task: &impl Task<B, K>) -> Result<()> {
        // A checkpoint must never be ahead of its log.
        self.log.sync()?;
        let step = self.state.step;
        let saved = save_checkpoint(
            self.b,
            self.output.path(),
            &self.assets,
            &self.learner,
            &self.state,
            |writer| task.save(self, writer),
        )
        .with_context(|| format!("the checkpoint of step {step} was not saved; earlier ones are whole"))?;
        self.saved = Some(saved.step);
        let best = self.state.best.as_ref().and_then(Best::step);
        let keep: Vec<u64> = best.into_iter().chain([saved.step]).collect();
        prune(self.output.path(), self.config.shared.save_total_limit, &keep)?;
        Ok(())
    }

    /// The trained model, best or last, into the output folder.
    fn finish(&mut self, task: &mut impl Task<B, K>) -> Result<()> {
        let best = self.state.best.as_ref().and_then(|best| best.best);
        if let (true, Some((step, value))) = (self.config.shared.load_best_model_at_end, best) {
            let path = self.output.path().join(format!("checkpoint-{step}"));
            let restored = read_state(&path)?;
            for i in 0..self.learner.specs().iter().count() {
                let spec = self.learner.specs().at(i);
                let mut host = vec![B::Real::ZERO; spec.shape.0 * spec.shape.1];
                restored.folder.fill(spec, &mut host)?;
                self.learner.write(self.b, Kept::Value, i, &host)?;
            }
            let (metric, _) = self.config.shared.best_metric();
            self.log
                .info(&format!("the model is that of step {step}, {metric} {value:.4}"));
        }
        let stored = dtype(&self.config.shared).stored();
        save_model(
            self.b,
            self.output.path(),
            &self.assets,
            &self.learner,
            stored,
            Heads::Language,
        )?;
        self.answer_questions()?;
        task.finish(self)
    }

    /// Asks `questions` and writes the answers beside the model.
    fn answer_questions(&mut self) -> Result<()> {
        let questions = &self.config.shared.questions;
        if questions.is_empty() {
            return Ok(());
        }
        let how = Answering::default();
        let answers = ask(self.b, &self.learner.model, &self.assets, questions, &how)?;
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

/// What the run holds on its device, in words.
fn memory<K: Trainer>(config: &Config<K>, model: &kernel::config::Config, needs: &Needs, keep: Keep) -> String {
    let shared = &config.shared;
    let sizes = Sizes {
        dtype: dtype(shared),
        masters: master_dtype(shared),
        keep,
        rows: shared.per_device_train_batch_size * needs.rows,
        context: needs.context,
        cache_rows: needs.cache_rows,
        beside: config.own.beside(),
    };
    let plan = MemoryPlan::new(model, K::METHOD, &sizes);
    let size = |bytes: u64| match bytes as f64 / (1u64 << 20) as f64 {
        mib if mib < 1024.0 => format!("{mib:.1} MiB"),
        mib => format!("{:.2} GiB", mib / 1024.0),
    };
    let parts: Vec<_> = plan
        .parts
        .iter()
        .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
        .collect();
    format!("memory by shapes {}: {}", size(plan.total()), parts.join(", "))
}
