//! One run's prompts, rewards and completions.
use std::path::Path;

use anyhow::{Result, bail};
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::Model;

use super::experience::{Buffer, Experience, pack};
use super::prompts::{Prompt, Prompts};
use super::rollout::{Drawing, rollouts};
use super::score::{CompletionLog, add_metrics, same_rewards, score};
use crate::assets::Assets;
use crate::config::{Config, Division, Keys, Online, Rollout, Trainer};
use crate::data;
use crate::device::Device;
use crate::log::Start;
use crate::reward::{Rewards, Setup};
use crate::train::{Meter, Needs, Reference, Restored, Session, load_data};

/// What a run that learns from its own completions works with.
pub struct Scene {
    /// The prompts trained on.
    pub prompts: Vec<Prompt>,
    /// How completions are divided.
    pub division: Division,
    rollout: Rollout,
    held_out: Option<Vec<Prompt>>,
    rewards: Rewards,
    log: Option<CompletionLog>,
    said_equal: bool,
}

/// A scene before its session.
pub struct Opened {
    /// The model's folder and tokenizer.
    pub assets: Assets,
    /// The scene.
    pub scene: Scene,
    /// What the session needs to know.
    pub needs: Needs,
}

impl Scene {
    /// Reads model folder, data and reward functions. Errors: any of them, by name.
    pub fn open<K: Keys>(config: &Config<Online<K>>, division: Division, value_head: ValueHead) -> Result<Opened>
    where
        Online<K>: Trainer,
    {
        let (shared, rollout) = (&config.shared, &config.own.rollout);
        if shared.load_best_model_at_end && shared.metric_for_best_model.is_none() {
            // The default is the loss, and an evaluation here has none.
            let expected = "a number of the evaluation, such as reward, for load_best_model_at_end";
            return Err(config.invalid("metric_for_best_model", expected, "none").into());
        }
        let mut assets = Assets::open(&shared.model_name_or_path, shared.chat_template_path.as_deref())?;
        assets.set_tokens(shared.eos_token.as_deref(), shared.pad_token.as_deref())?;
        let (train, held_out) = load_data(config, |section, split| {
            let (dataset, report) = data::load(section, Path::new(""), split)?;
            let mut prompts = Prompts::of(&assets, &dataset)?;
            prompts.warnings.extend(report.warnings());
            Ok(prompts)
        })?;
        let (functions, weights) = config.rewards()?;
        let setup = Setup {
            max_completion_length: rollout.max_completion_length,
            threads: shared.threads,
        };
        let rewards = Rewards::open(&functions, weights.as_deref(), &setup)?;
        for prompts in [Some(&train), held_out.as_ref()].into_iter().flatten() {
            rewards
                .check_columns(&prompts.columns())
                .map_err(|e| config.invalid(&e.key, e.expected, e.found))?;
        }
        let count = train.prompts.len();
        if count < division.prompts {
            let expected = format!("at least {} prompts, those of one generation", division.prompts);
            return Err(config.invalid("dataset", expected, format!("{count}")).into());
        }
        let steps_per_epoch = division.generations_per_epoch(count) * division.steps();
        let longest = train.longest().max(held_out.as_ref().map_or(0, Prompts::longest));
        let room = assets.folder.config.kernel.max_positions;
        let mut notes = train.warnings.clone();
        if longest + rollout.max_completion_length > room {
            notes.push(format!(
                "the longest prompt has {longest} tokens: in a context of {room} its completions have fewer than \
                 max_completion_length"
            ));
        }
        if let Some(held_out) = &held_out {
            notes.extend(held_out.warnings.iter().map(|w| format!("held-out data: {w}")));
        }
        let needs = Needs {
            checksum: train.checksum(),
            context: (longest + rollout.max_completion_length).min(room),
            rows: (longest + rollout.max_completion_length).min(room),
            steps: match u64::try_from(shared.max_steps).ok().filter(|&n| n > 0) {
                Some(steps) => steps,
                None => (shared.num_train_epochs * steps_per_epoch as f64).ceil() as u64,
            },
            steps_per_epoch,
            value_head,
            cache_rows: rollout.rollout_batch_size * (longest + rollout.max_completion_length).min(room),
            notes,
        };
        let scene = Self {
            prompts: train.prompts,
            division,
            rollout: rollout.clone(),
            held_out: held_out.map(|h| h.prompts),
            rewards,
            log: None,
            said_equal: false,
        };
        Ok(Opened { assets, scene, needs })
    }

    /// Opens completions.jsonl, once the session has the output folder.
    pub fn begin<B: Device, K: Trainer>(&mut self, s: &mut Session<'_, B, K>) -> Result<()> {
        let start = match s.state.step {
            0 => Start::Fresh,
            step => Start::After(step),
        };
        if self.rollout.log_completions {
            self.log = Some(CompletionLog::open(
                s.output(),
                start,
                self.rollout.num_completions_to_print,
            )?);
        }
        let (prompts, d) = (self.prompts.len(), self.division);
        s.log.info(&format!(
            "{prompts} prompts; a generation: {} prompts, {} completions each, {} optimizer steps",
            d.prompts,
            d.group,
            d.steps()
        ));
        Ok(())
    }

    /// The generation that a run goes on with, where it stopped within one.
    pub fn buffer<B: Device, K: Trainer>(
        &self,
        s: &mut Session<'_, B, K>,
        restored: Option<&Restored>,
    ) -> Result<Option<Buffer>> {
        let mut notes = Vec::new();
        let buffer = Buffer::restore(restored, &self.division, &mut notes)?;
        notes.iter().for_each(|note| s.log.warn(note));
        Ok(buffer)
    }

    /// Completions with rewards for generation number `generation`, group after group, and their texts, drawn from `sampler` or from the policy.
    /// Metrics go to `meter`. Errors: those of the reward functions and of the device; nothing has changed then.
    pub fn generate<B: Device, K: Trainer>(
        &mut self,
        s: &mut Session<'_, B, K>,
        sampler: Option<&Model<B>>,
        generation: u64,
        meter: &mut Meter,
    ) -> Result<(Vec<Experience>, Vec<String>)> {
        let shared = &s.config.shared;
        let seed = shared.shuffle.then(|| shared.data_seed());
        let numbers = self.division.prompts_of(generation, self.prompts.len(), seed);
        let drawing = Drawing {
            sampling: self.rollout.sampling(),
            seed: shared.seed,
            first: (generation as u32).wrapping_mul(numbers.len() as u32),
            each: self.division.group,
        };
        let prompts: Vec<_> = numbers.iter().map(|&i| (i, &self.prompts[i])).collect();
        let (mut experiences, texts) = complete(s, sampler, &mut self.rewards, &self.rollout, &prompts, drawing)?;
        if self.rollout.mask_truncated_completions {
            experiences.iter_mut().for_each(|e| e.trained = e.stopped);
        }
        let lengths = experiences
            .iter()
            .map(|e| self.prompts[e.prompt].ids.len() + e.tokens.len());
        s.state.num_tokens += lengths.sum::<usize>() as u64;
        add_metrics(meter, "", self.rewards.names(), self.division.group, &experiences);
        let group = self.division.group;
        if group > 1 && !self.said_equal && experiences.chunks(group).all(same_rewards) {
            self.said_equal = true;
            s.log.warn(
                "all completions of each prompt have the same reward, so there is nothing to learn from this generation \
                 (said once): are the problems too hard or too easy, or does a reward function always say the same?",
            );
        }
        Ok((experiences, texts))
    }

    /// Writes and prints completions, where the step that begins is one that is logged.
    pub fn log_completions<B: Device, K: Trainer>(
        &mut self,
        s: &mut Session<'_, B, K>,
        experiences: &[Experience],
        texts: &[String],
    ) -> Result<()> {
        let step = s.state.step + 1;
        let every = s.config.shared.logging_steps.of(s.total_steps()).max(1);
        let last = step + self.division.steps() - 1;
        // The generation is in use from `step` to `last`: it is logged where a line of the log falls into that.
        let due = step == 1 || last / every > (step - 1) / every;
        match self.log.as_mut().filter(|_| due) {
            Some(log) => log.write(
                step,
                self.rewards.names(),
                &self.prompts,
                experiences,
                texts,
                &mut s.log,
            ),
            None => Ok(()),
        }
    }

    /// Brings completions.jsonl to the disk.
    pub fn sync(&self) -> Result<()> {
        match &self.log {
            Some(log) => log.sync(),
            None => Ok(()),
        }
    }

    /// Fills in the reference's log-probs.
    pub fn score_reference<B: Device>(
        &self,
        b: &B,
        vocab: usize,
        reference: &mut Reference<B>,
        experiences: &mut [Experience],
        micro: usize,
    ) -> Result<()> {
        let temperature = self.rollout.temperature;
        let members: Vec<usize> = (0..experiences.len()).collect();
        for chunk in members.chunks(micro) {
            let packed = pack(vocab, &self.prompts, experiences, chunk)?;
            let logp = reference.score(b, &packed.batch, temperature)?;
            for (&i, range) in chunk.iter().zip(packed.ranges) {
                experiences[i].reference = logp[range].iter().map(|x| x.to_f64()).collect();
            }
        }
        Ok(())
    }

    /// Fills in the policy's log-probs of completions that another model drew, whose own are kept beside.
    pub fn score_policy<B: Device, K: Trainer>(
        &self,
        s: &mut Session<'_, B, K>,
        experiences: &mut [Experience],
    ) -> Result<()> {
        let vocab = s.assets.folder.config.kernel.vocab;
        let members: Vec<usize> = (0..experiences.len()).collect();
        for chunk in members.chunks(s.config.shared.per_device_train_batch_size) {
            let packed = pack(vocab, &self.prompts, experiences, chunk)?;
            let scores = s.learner.score(s.b, &packed.batch, self.rollout.temperature)?;
            for (&i, range) in chunk.iter().zip(packed.ranges) {
                let policy = scores.logp[range].iter().map(|x| x.to_f64()).collect();
                experiences[i].sampler = std::mem::replace(&mut experiences[i].old, policy);
            }
        }
        Ok(())
    }

    /// Rewards and lengths on the held-out prompts, their names beginning with `eval_`; none where there are no such
    /// prompts. A reward of 0 or 1 is an accuracy.
    pub fn evaluate<B: Device, K: Trainer>(&mut self, s: &mut Session<'_, B, K>) -> Result<Vec<(String, f64)>> {
        let Some(held_out) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rollout = self.rollout.clone();
        let each = rollout.num_generations_eval.unwrap_or(self.division.group);
        let mut sampling = rollout.sampling();
        sampling.temperature = rollout.eval_temperature.unwrap_or(rollout.temperature);
        rollout.rollout_batch_size = s
            .config
            .shared
            .per_device_eval_batch_size
            .max(rollout.rollout_batch_size);
        let drawing = Drawing {
            sampling,
            // Other draws than those of training.
            seed: s.config.shared.seed ^ 0x6576_616c,
            first: 0,
            each,
        };
        let prompts: Vec<_> = held_out.iter().enumerate().collect();
        let (experiences, _) = complete(s, None, &mut self.rewards, &rollout, &prompts, drawing)?;
        let mut meter = Meter::default();
        add_metrics(&mut meter, "eval_", self.rewards.names(), each, &experiences);
        Ok(meter.means())
    }

    /// A KL above `kl_limit` is an error that says what to do.
    pub fn check_kl(&self, what: &str, kl: f64, advice: &str) -> Result<()> {
        if kl.is_nan() || kl > self.rollout.kl_limit {
            bail!(
                "the KL {what} is {kl:.3} a token, above kl_limit = {}: try {advice}, from an earlier checkpoint, or a larger \
                 kl_limit",
                self.rollout.kl_limit
            );
        }
        Ok(())
    }
}

/// What lowers the KL of trainers that follow a gradient.
pub const LESS_KL: &str = "a lower learning_rate, a stronger beta or kl_coef, fewer num_iterations or num_ppo_epochs, or a \
                           lower max_grad_norm";

/// Draws completions, from `sampler` or from the policy, and scores them.
fn complete<B: Device, K: Trainer>(
    s: &mut Session<'_, B, K>,
    sampler: Option<&Model<B>>,
    rewards: &mut Rewards,
    rollout: &Rollout,
    prompts: &[(usize, &Prompt)],
    drawing: Drawing,
) -> Result<(Vec<Experience>, Vec<String>)> {
    let ids: Vec<&[u32]> = prompts.iter().map(|(_, prompt)| prompt.ids.as_slice()).collect();
    let completions = rollouts(
        s.b,
        sampler.unwrap_or(&s.learner.model),
        &s.assets,
        &ids,
        rollout,
        drawing,
    )?;
    score(rewards, &s.assets, prompts, completions, &mut s.log)
}
