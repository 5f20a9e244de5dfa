//! PPO: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on tokens, as Ziegler et al. (2019, arXiv
//! 1909.08593) and Ouyang et al. (2022, arXiv 2203.02155) use it for language models.
//!
//! The score of a completion comes from reward functions or a reward model; the KL to the reference is taken from the
//! reward of each token; advantages are those of GAE, whitened; each generation is trained on in `num_ppo_epochs` times
//! `num_mini_batches` optimizer steps. Losses are in [`kernel::objective::ppo`]. Deviations from TRL's trainer (until TRL
//! 1.0): divisors are those of the optimizer step; old log-probs are those recorded when the tokens were drawn; the learning
//! rate follows optimizer steps, not generations; the value head begins at zero.
use anyhow::{Result, bail};
use kernel::objective::kl::Estimator;
use kernel::objective::ppo::{Ending, Gae, Ppo as Objective, Shaping, whiten};
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::Cotangent;

use crate::checkpoint::{Stop, Writer};
use crate::config::{CriticKind, Ppo, PpoConfig};
use crate::device::{Device, Job, Place};
use crate::online::{
    Buffer, Critic, CriticSource, Experience, LESS_KL, Opened, Packed, Scene, Shuffle, estimate, narrow, of_values,
    pack, spread,
};
use crate::train::{Meter, Reference, Session, Shown, Summary, Task, on_configured};

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, rewards, devices, numerics, each by name.
pub fn run(config: &PpoConfig, stop: &Stop) -> Result<Summary> {
    on_configured(&config.shared, Run { config, stop })
}

struct Run<'a> {
    config: &'a PpoConfig,
    stop: &'a Stop,
}

impl Job for Run<'_> {
    type Output = Summary;

    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Summary> {
        let Self { config, stop } = self;
        let own = &config.own.own;
        let head = match own.critic {
            CriticKind::Head => ValueHead::Weight,
            CriticKind::Model => ValueHead::None,
        };
        let Opened {
            assets,
            mut scene,
            needs,
        } = Scene::open(config, config.plan()?, head)?;
        let source = CriticSource::open(config, own.critic, own.value_model.as_deref(), &assets)?;
        let (mut session, restored) = Session::open(b, config, place, assets, needs)?;
        scene.begin(&mut session)?;
        let critic = Critic::open(&session, &source, restored.as_ref())?;
        let context = session.learner.model.context();
        let reference = match own.kl_coef > 0.0 {
            true => Some(Reference::open(b, &session.assets.folder, context, None, None)?),
            false => None,
        };
        let mut task = Proximal {
            buffer: scene.buffer(&mut session, restored.as_ref())?,
            scene,
            critic,
            reference,
            objective: config.objective(),
            shaping: config.shaping(),
            gae: config.gae(),
        };
        session.run(&mut task, stop)
    }
}

struct Proximal<B: Device> {
    scene: Scene,
    critic: Critic<B>,
    reference: Option<Reference<B>>,
    objective: Objective,
    shaping: Shaping,
    gae: Gae,
    buffer: Option<Buffer>,
}

/// Whether a step was taken.
enum Taken {
    Yes {
        loss: f64,
    },
    /// The generation's approximate KL is above `target_kl`.
    TooFar,
}

impl<B: Device> Task<B, Ppo> for Proximal<B> {
    fn step(&mut self, s: &mut Session<'_, B, Ppo>) -> Result<Shown> {
        let mut meter = s.state.meter.clone();
        let at = self
            .scene
            .division
            .at(s.state.step, s.config.shared.seed, Shuffle::EachIteration);
        let (mut buffer, found) = match self.buffer.take().filter(|b| b.generation == at.generation) {
            Some(buffer) => (buffer, true),
            None => (self.generate(s, at.generation, &mut meter)?, false),
        };
        let outcome = match buffer.ended {
            true => Ok(Taken::TooFar),
            false => self.train(s, &buffer.experiences, &at.members, &mut meter),
        };
        if let Ok(Taken::TooFar) = outcome {
            buffer.ended = true;
        }
        // A step that fails leaves what it found: its own generation is drawn again by the run that goes on.
        let keep = outcome.as_ref().map_or(found, |_| !at.last);
        self.buffer = keep.then_some(buffer);
        let taken = outcome?;
        s.state.meter = meter;
        let mean = |name: &str| s.state.meter.mean(name).unwrap_or(f64::NAN);
        let mut shown = vec![("score", mean("objective/scores")), ("kl", mean("objective/kl"))];
        if let Taken::Yes { loss } = taken {
            shown.insert(0, ("loss", loss));
        }
        Ok(shown)
    }

    fn evaluate(&mut self, s: &mut Session<'_, B, Ppo>) -> Result<Vec<(String, f64)>> {
        self.scene.evaluate(s)
    }

    fn save(&self, s: &Session<'_, B, Ppo>, writer: &mut Writer) -> Result<()> {
        self.scene.sync()?;
        if let Some(buffer) = &self.buffer {
            buffer.save(writer)?;
        }
        self.critic.save(s.b, writer)
    }

    fn finish(&mut self, s: &mut Session<'_, B, Ppo>) -> Result<()> {
        self.critic.finish(s)
    }
}

impl<B: Device> Proximal<B> {
    /// Draws a generation; gives its tokens values, rewards, advantages and returns.
    fn generate(&mut self, s: &mut Session<'_, B, Ppo>, generation: u64, meter: &mut Meter) -> Result<Buffer> {
        let (mut experiences, texts) = self.scene.generate(s, None, generation, meter)?;
        let vocab = s.assets.folder.config.kernel.vocab;
        let micro = s.config.shared.per_device_train_batch_size;
        if let Some(reference) = &mut self.reference {
            self.scene
                .score_reference(s.b, vocab, reference, &mut experiences, micro)?;
        }
        self.critic.judge(s, &self.scene.prompts, &mut experiences)?;
        self.check_reference(&experiences)?;
        self.judge(&mut experiences, s.config.own.own.whiten_rewards, meter);
        self.scene.log_completions(s, &experiences, &texts)?;
        Ok(Buffer {
            generation,
            experiences,
            ended: false,
        })
    }

    /// An error where the policy has gone too far from the reference.
    fn check_reference(&self, experiences: &[Experience]) -> Result<()> {
        let pairs = experiences.iter().flat_map(|e| e.old.iter().zip(&e.reference));
        let (kl, tokens) = pairs.fold((0.0, 0.0), |(kl, n), (l, r)| {
            (kl + Estimator::K3.estimate(*l, *r), n + 1.0)
        });
        match self.reference {
            Some(_) => self
                .scene
                .check_kl("to the reference", kl / f64::max(tokens, 1.0), LESS_KL),
            None => Ok(()),
        }
    }

    /// Rewards of tokens, advantages, returns; what the log says of them.
    fn judge(&self, experiences: &mut [Experience], whiten_rewards: bool, meter: &mut Meter) {
        let mut rewards = Vec::new();
        let (mut kl, mut entropy, mut non_score, mut n) = (0.0, 0.0, 0.0, 0.0);
        for e in experiences.iter_mut() {
            // A completion that nothing scored has nothing to teach.
            e.trained &= e.reward.is_some();
            let mask = e.mask::<f64>();
            let reference = if e.reference.is_empty() { &e.old } else { &e.reference };
            let ending = if e.stopped { Ending::Eos } else { Ending::Truncated };
            let mut of_tokens = vec![0.0; e.tokens.len()];
            let score = e.reward.unwrap_or(0.0);
            let part = self
                .shaping
                .rewards(&mut of_tokens, &e.old, reference, &mask, score, ending);
            rewards.push(of_tokens);
            if e.trained {
                n += 1.0;
                non_score += part;
                let estimates = e.old.iter().zip(reference);
                kl += estimates
                    .map(|(l, r)| self.shaping.estimator.estimate(*l, *r))
                    .sum::<f64>();
                entropy -= e.old.iter().sum::<f64>();
            }
        }
        let scores = spread(experiences.iter().filter_map(|e| e.reward)).0;
        if n > 0.0 {
            meter.add("objective/kl", kl / n, 1.0);
            meter.add("objective/entropy", entropy / n, 1.0);
            meter.add("objective/non_score_reward", non_score / n, 1.0);
        }
        if let Some(scores) = scores {
            meter.add("objective/rlhf_reward", scores + non_score / n.max(1.0), 1.0);
            meter.add("objective/scores", scores, 1.0);
        }
        let ended = experiences.iter().filter(|e| e.stopped).count();
        meter.add("val/num_eos_tokens", ended as f64, 1.0);

        if whiten_rewards {
            let mask: Vec<f64> = experiences.iter().flat_map(Experience::mask::<f64>).collect();
            let mut flat = rewards.concat();
            let kept = flat.iter().zip(&mask).filter(|(_, m)| **m != 0.0).map(|(x, _)| *x);
            let mean = spread(kept).0.unwrap_or(0.0);
            whiten(&mut flat, &mask);
            // As TRL: the mean stays.
            let mut flat = flat.into_iter().zip(&mask).map(|(x, m)| x + mean * m);
            rewards.iter_mut().flatten().zip(&mut flat).for_each(|(r, x)| *r = x);
        }
        estimate(&self.gae, experiences, &rewards, meter);
    }

    /// One optimizer step on the completions `members`.
    fn train(
        &mut self,
        s: &mut Session<'_, B, Ppo>,
        experiences: &[Experience],
        members: &[usize],
        meter: &mut Meter,
    ) -> Result<Taken> {
        let vocab = s.assets.folder.config.kernel.vocab;
        let micro = s.config.shared.per_device_train_batch_size;
        let temperature = s.config.own.rollout.temperature;
        let tokens: usize = members.iter().map(|&i| experiences[i].trained_tokens()).sum();
        let tokens = (tokens as f64).max(1.0);
        s.learner.zero_grads(s.b);
        if let Some(critic) = self.critic.own() {
            critic.zero_grads(s.b);
        }
        let mut sums = Sums::default();
        for chunk in members.chunks(micro) {
            let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
            let scores = s.learner.score(s.b, &batch, temperature)?;
            let values = match self.critic.own() {
                Some(critic) => &critic.score(s.b, &batch, 1.0)?.value,
                None => &scores.value,
            };
            let zeros = || vec![B::Real::ZERO; batch.predictions()];
            let (mut dlogp, mut dentropy, mut dvalue) = (zeros(), zeros(), zeros());
            for (&i, range) in chunk.iter().zip(ranges) {
                let r = || range.clone();
                let d = [&mut dlogp[r()], &mut dentropy[r()], &mut dvalue[r()]];
                let of = [&scores.logp[r()], &scores.entropy[r()], &values[r()]];
                sums.add(&self.objective, d, of, &experiences[i], tokens);
            }
            if !sums.loss(&self.objective).is_finite() {
                bail!(
                    "the loss is {}: nothing was written over; try a lower learning_rate, a smaller max_grad_norm, or f32",
                    sums.loss(&self.objective)
                );
            }
            if self.objective.ent_coef == 0.0 {
                dentropy.clear();
            }
            let own = self.critic.own();
            let cotangent = Cotangent {
                dlogp: &dlogp,
                dentropy: &dentropy,
                dvalue: if own.is_some() { &[] } else { &dvalue },
            };
            s.learner.backward(s.b, cotangent)?;
            if let Some(critic) = own {
                critic.backward(s.b, of_values(&dvalue))?;
            }
        }
        self.scene
            .check_kl("to the policy that drew the completions", sums.approx_kl, LESS_KL)?;
        if s.config.own.own.target_kl.is_some_and(|most| sums.approx_kl > most) {
            return Ok(Taken::TooFar);
        }
        // Before anything is updated.
        if let Some(critic) = self.critic.own() {
            critic.grad_norm(s.b)?;
        }
        let rate = s.config.own.own.critic_learning_rate;
        let hyper = s.hyper(rate.unwrap_or(s.config.shared.learning_rate));
        s.update()?;
        self.critic.update(s, &hyper)?;
        let loss = sums.loss(&self.objective);
        sums.add_to(meter, loss);
        Ok(Taken::Yes { loss })
    }
}

/// Means over the tokens of an optimizer step.
#[derive(Default)]
struct Sums {
    policy: f64,
    value: f64,
    approx_kl: f64,
    clipped: f64,
    value_clipped: f64,
    entropy: f64,
    ratio: f64,
    ratio_square: f64,
}

impl Sums {
    fn loss(&self, objective: &Objective) -> f64 {
        self.policy + objective.vf_coef * self.value - objective.ent_coef * self.entropy
    }

    /// One completion's share; cotangents of logp, entropy and value are replaced.
    fn add<R: Real>(
        &mut self,
        objective: &Objective,
        [dlogp, dentropy, dvalue]: [&mut [R]; 3],
        [logp, entropy, value]: [&[R]; 3],
        e: &Experience,
        tokens: f64,
    ) {
        let mask = e.mask::<R>();
        let [old, advantage, values, returns] = [&e.old, &e.advantages, &e.values, &e.returns].map(|x| narrow::<R>(x));
        let policy = objective.policy(dlogp, logp, Some(&old), &advantage, &mask, tokens);
        let fitted = objective.value(dvalue, value, Some(&values), &returns, &mask, tokens);
        self.entropy += objective.entropy(dentropy, entropy, &mask, tokens);
        self.policy += policy.loss;
        self.value += fitted.loss;
        self.approx_kl += policy.approx_kl;
        self.clipped += policy.clipped;
        self.value_clipped += fitted.clipped;
        self.ratio += policy.ratio;
        if e.trained {
            let ratios = logp.iter().zip(&e.old).map(|(l, o)| (l.to_f64() - o).exp());
            self.ratio_square += ratios.map(|w| w * w).sum::<f64>() / tokens;
        }
    }

    fn add_to(&self, meter: &mut Meter, loss: f64) {
        for (name, value) in [
            ("loss", loss),
            ("policy/approxkl", self.approx_kl),
            ("policy/clipfrac", self.clipped),
            ("policy/entropy", self.entropy),
            ("loss/policy", self.policy),
            ("loss/value", self.value),
            ("val/clipfrac", self.value_clipped),
            ("val/ratio", self.ratio),
            ("val/ratio_var", (self.ratio_square - self.ratio * self.ratio).max(0.0)),
        ] {
            meter.add(name, value, 1.0);
        }
    }
}
