//! GRPO: group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300), its family, and RLOO (Ahmadian et al.
//! 2024, arXiv 2402.14740).
//!
//! For each prompt G completions are drawn and rewarded. A completion's advantage is its reward against its group's; the
//! losses are in [`kernel::objective::group`] and [`kernel::objective::rloo`]. Deviations from TRL's trainers: divisors are
//! those of the optimizer step, never of a micro-batch; the log-probs of the old policy are those recorded when the tokens
//! were drawn, which are training's bit for bit, so there is no second forward pass for them and no correction, unless they
//! are drawn from integers (`rollout_dtype`); a prompt is computed once for the completions of a micro-batch; completions are
//! shuffled among the optimizer steps of a generation only where there are several.
use anyhow::{Result, bail};
use kernel::objective::group::{Completion, Correction, GroupLoss, GroupPolicy, Whole, entropy_threshold};
use kernel::objective::kl::Estimator;
use kernel::objective::rloo::{self, Rloo as Clipped, leave_one_out, shaped_reward};
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::Cotangent;

use crate::checkpoint::{Stop, Writer};
use crate::config::{Config, Division, GrpoConfig, Keys, Online, RlooConfig, ScaleRewards, Trainer};
use crate::device::{Device, Job, Place};
use crate::online::{
    Buffer, Experience, LESS_KL, Opened, Packed, Sampler, Scene, Shuffle, add_difference, compare_groups, narrow, pack,
};
use crate::plan;
use crate::train::{Meter, Moves, Reference, Session, Shown, Summary, Task, on_configured};

/// Runs GRPO to its end, or to a signal. Errors: configuration, files, data, rewards, devices, numerics, each by name.
pub fn run_grpo(config: &GrpoConfig, stop: &Stop) -> Result<Summary> {
    let own = &config.own.own;
    let rule = Rule::Group {
        policy: config.objective(),
        scale: own.scale_rewards,
    };
    let moves = own.sync_ref_model.then_some(Moves {
        alpha: own.ref_model_mixup_alpha,
        every: own.ref_model_sync_steps,
    });
    start(config, config.plan()?, rule, own.beta, moves, stop)
}

/// Runs RLOO likewise.
pub fn run_rloo(config: &RlooConfig, stop: &Stop) -> Result<Summary> {
    let own = &config.own.own;
    let rule = Rule::LeaveOneOut {
        clip: Clipped {
            epsilon: own.epsilon,
            epsilon_high: own.epsilon_high.unwrap_or(own.epsilon),
        },
        beta: own.beta,
        reward_clip: own.reward_clip_range.as_deref().map(|r| (r[0], r[1])),
        normalize: own.normalize_advantages,
    };
    let moves = own.sync_ref_model.then_some(Moves {
        alpha: own.ref_model_mixup_alpha,
        every: own.ref_model_sync_steps,
    });
    start(config, config.plan()?, rule, own.beta, moves, stop)
}

/// How a generation becomes a loss.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Group {
        policy: GroupPolicy,
        scale: ScaleRewards,
    },
    LeaveOneOut {
        clip: Clipped,
        beta: f64,
        reward_clip: Option<(f64, f64)>,
        normalize: bool,
    },
}

fn start<K: Keys>(
    config: &Config<Online<K>>,
    division: Division,
    rule: Rule,
    beta: f64,
    moves: Option<Moves>,
    stop: &Stop,
) -> Result<Summary>
where
    Online<K>: Trainer,
{
    let run = Run {
        config,
        division,
        rule,
        beta,
        moves,
        stop,
    };
    on_configured(&config.shared, run)
}

struct Run<'a, K> {
    config: &'a Config<Online<K>>,
    division: Division,
    rule: Rule,
    beta: f64,
    moves: Option<Moves>,
    stop: &'a Stop,
}

impl<K: Keys> Job for Run<'_, K>
where
    Online<K>: Trainer,
{
    type Output = Summary;

    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Summary> {
        let Opened {
            assets,
            mut scene,
            needs,
        } = Scene::open(self.config, self.division, ValueHead::None)?;
        let (mut session, restored) = Session::open(b, self.config, place, assets, needs)?;
        scene.begin(&mut session)?;
        let reference = match self.beta > 0.0 {
            true => {
                let context = session.learner.model.context();
                let (folder, restored) = (&session.assets.folder, restored.as_ref());
                Some(Reference::open(b, folder, context, self.moves, restored)?)
            }
            false => None,
        };
        let sampler = match self.config.own.beside().sampler {
            plan::Sampler::Policy => None,
            plan::Sampler::Int8 => {
                let config = session.assets.folder.config.kernel.clone();
                Some(Sampler::new(b, config, session.learner.model.context())?)
            }
        };
        let mut task = Grouped {
            buffer: scene.buffer(&mut session, restored.as_ref())?,
            scene,
            rule: self.rule,
            reference,
            sampler,
            temperature: self.config.own.rollout.temperature,
        };
        session.run(&mut task, self.stop)
    }
}

struct Grouped<B: Device> {
    scene: Scene,
    rule: Rule,
    reference: Option<Reference<B>>,
    sampler: Option<Sampler<B>>,
    temperature: f64,
    buffer: Option<Buffer>,
}

impl<B: Device, K: Keys> Task<B, Online<K>> for Grouped<B>
where
    Online<K>: Trainer,
{
    fn step(&mut self, s: &mut Session<'_, B, Online<K>>) -> Result<Shown> {
        let mut meter = s.state.meter.clone();
        let at = self
            .scene
            .division
            .at(s.state.step, s.config.shared.seed, Shuffle::Once);
        let (buffer, found) = match self.buffer.take().filter(|b| b.generation == at.generation) {
            Some(buffer) => (buffer, true),
            None => (self.generate(s, at.generation, &mut meter)?, false),
        };
        let outcome = self.train(s, &buffer.experiences, &at.members, &mut meter);
        // A step that fails leaves what it found: its own generation is drawn again by the run that goes on.
        let keep = outcome.as_ref().map_or(found, |_| !at.last);
        self.buffer = keep.then_some(buffer);
        let (loss, kl) = outcome?;
        s.state.meter = meter;
        if let Some(reference) = &mut self.reference {
            reference.follow(s.b, s.learner.masters(), s.state.step + 1);
        }
        let reward = s.state.meter.mean("reward").unwrap_or(f64::NAN);
        Ok(vec![("loss", loss), ("reward", reward), ("kl", kl)])
    }

    fn evaluate(&mut self, s: &mut Session<'_, B, Online<K>>) -> Result<Vec<(String, f64)>> {
        self.scene.evaluate(s)
    }

    fn save(&self, s: &Session<'_, B, Online<K>>, writer: &mut Writer) -> Result<()> {
        self.scene.sync()?;
        if let Some(buffer) = &self.buffer {
            buffer.save(writer)?;
        }
        match &self.reference {
            Some(reference) => reference.save(s.b, writer),
            None => Ok(()),
        }
    }
}

impl<B: Device> Grouped<B> {
    /// Draws a generation and gives it advantages.
    fn generate<K: Keys>(
        &mut self,
        s: &mut Session<'_, B, Online<K>>,
        generation: u64,
        meter: &mut Meter,
    ) -> Result<Buffer>
    where
        Online<K>: Trainer,
    {
        let sampler = self.sampler.as_mut().map(|m| m.follow(s.b, &s.learner)).transpose()?;
        let (mut experiences, texts) = self.scene.generate(s, sampler, generation, meter)?;
        if sampler.is_some() {
            self.scene.score_policy(s, &mut experiences)?;
            add_difference(meter, &experiences, self.rule.correction());
        }
        if let Some(reference) = &mut self.reference {
            let vocab = s.assets.folder.config.kernel.vocab;
            let micro = s.config.shared.per_device_train_batch_size;
            self.scene
                .score_reference(s.b, vocab, reference, &mut experiences, micro)?;
        }
        self.rule.advantages(&mut experiences, self.scene.division.group, meter);
        self.scene.log_completions(s, &experiences, &texts)?;
        Ok(Buffer {
            generation,
            experiences,
            ended: false,
        })
    }

    /// One optimizer step on the completions `members`: its loss, and the mean KL of a token to the reference, or to the
    /// policy that drew them where there is none.
    fn train<K: Keys>(
        &mut self,
        s: &mut Session<'_, B, Online<K>>,
        experiences: &[Experience],
        members: &[usize],
        meter: &mut Meter,
    ) -> Result<(f64, f64)>
    where
        Online<K>: Trainer,
    {
        let vocab = s.assets.folder.config.kernel.vocab;
        let micro = s.config.shared.per_device_train_batch_size;
        let tokens: usize = members.iter().map(|&i| experiences[i].trained_tokens()).sum();
        let tokens = (tokens as f64).max(1.0);
        let mut whole = Whole {
            completions: members.len() as f64,
            tokens,
            entropy_threshold: f64::NEG_INFINITY,
            entropy_tokens: tokens,
        };
        if let Rule::Group { policy, .. } = self.rule
            && policy.top_entropy_quantile < 1.0
        {
            let mut entropies = Vec::new();
            for chunk in members.chunks(micro) {
                let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
                let scores = s.learner.score(s.b, &batch, self.temperature)?;
                let trained = chunk.iter().zip(ranges).filter(|(i, _)| experiences[**i].trained);
                entropies.extend(trained.flat_map(|(_, r)| scores.entropy[r].iter().map(|h| h.to_f64())));
            }
            whole.entropy_threshold = entropy_threshold(&mut entropies, policy.top_entropy_quantile);
            let kept = entropies.iter().filter(|&&h| h >= whole.entropy_threshold).count();
            whole.entropy_tokens = (kept as f64).max(1.0);
        }
        s.learner.zero_grads(s.b);
        let mut sums = Sums::default();
        for chunk in members.chunks(micro) {
            let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
            let scores = s.learner.score(s.b, &batch, self.temperature)?;
            let mut dlogp = vec![B::Real::ZERO; batch.predictions()];
            let mut dentropy = vec![B::Real::ZERO; self.rule.entropy_terms(batch.predictions())];
            for (&i, range) in chunk.iter().zip(ranges) {
                let (logp, entropy) = (&scores.logp[range.clone()], &scores.entropy[range.clone()]);
                let d = if dentropy.is_empty() { 0..0 } else { range.clone() };
                let d = [&mut dlogp[range], &mut dentropy[d]];
                self.rule.add(d, logp, entropy, &experiences[i], whole, &mut sums);
            }
            if !sums.loss.is_finite() {
                bail!(
                    "the loss is {}: nothing was written over; try a lower learning_rate, a smaller max_grad_norm, or f32",
                    sums.loss
                );
            }
            let cotangent = Cotangent {
                dlogp: &dlogp,
                dentropy: &dentropy,
                dvalue: &[],
            };
            s.learner.backward(s.b, cotangent)?;
        }
        let (kl, to) = match self.reference {
            Some(_) => (sums.reference_kl / tokens, "to the reference"),
            None => (sums.old_kl / tokens, "to the policy that drew the completions"),
        };
        self.scene.check_kl(to, kl, LESS_KL)?;
        s.update()?;
        sums.add_to(meter, &self.rule, self.reference.is_some(), tokens);
        Ok((sums.loss, kl))
    }
}

/// Sums over an optimizer step.
#[derive(Default)]
struct Sums {
    loss: f64,
    /// Mean over tokens, with the loss's correction: what TRL logs.
    kl: f64,
    reference_kl: f64,
    old_kl: f64,
    entropy: f64,
    low: f64,
    high: f64,
    own: Vec<[f64; 2]>,
    phi: f64,
}

impl Sums {
    /// Under TRL's names.
    fn add_to(&self, meter: &mut Meter, rule: &Rule, reference: bool, tokens: f64) {
        meter.add("loss", self.loss, 1.0);
        meter.add("entropy", self.entropy / tokens, 1.0);
        // RLOO's is of the rollouts, see [`Rule::advantages`].
        if reference && matches!(rule, Rule::Group { .. }) {
            meter.add("kl", self.kl, 1.0);
        }
        meter.add("policy/approxkl", self.old_kl / tokens, 1.0);
        let least = |k: usize, pick: fn(f64, f64) -> f64| self.own.iter().map(|o| o[k]).reduce(pick).unwrap_or(0.0);
        let loss = match rule {
            Rule::Group { policy, .. } => Some(policy.loss),
            Rule::LeaveOneOut { .. } => None,
        };
        match loss {
            Some(GroupLoss::Cispo) => meter.add("cispo_clip_ratio", self.high, 1.0),
            Some(GroupLoss::Vespo) => meter.add("vespo/phi_seq_mean", self.phi, 1.0),
            Some(GroupLoss::Sapo { .. }) => {}
            _ => {
                meter.add("clip_ratio/low_mean", self.low, 1.0);
                meter.add("clip_ratio/low_min", least(0, f64::min), 1.0);
                meter.add("clip_ratio/high_mean", self.high, 1.0);
                meter.add("clip_ratio/high_max", least(1, f64::max), 1.0);
                meter.add("clip_ratio/region_mean", self.low + self.high, 1.0);
            }
        }
    }
}

impl Rule {
    fn correction(&self) -> Correction {
        match self {
            Self::Group { policy, .. } => policy.correction,
            Self::LeaveOneOut { .. } => Correction::None,
        }
    }

    /// Fills in the advantages of whole groups.
    fn advantages(&self, experiences: &mut [Experience], group: usize, meter: &mut Meter) {
        let (beta, reward_clip, normalize) = match *self {
            Self::Group { scale, .. } => return compare_groups(experiences, group, scale),
            Self::LeaveOneOut {
                beta,
                reward_clip,
                normalize,
                ..
            } => (beta, reward_clip, normalize),
        };
        let shaped = |e: &Experience| {
            let mask = e.mask::<f64>();
            e.reward
                .map(|r| shaped_reward(r, reward_clip, beta, &e.old, &e.reference, &mask))
        };
        let rewards: Vec<Option<f64>> = experiences.iter().map(shaped).collect();
        let mut values = vec![None; rewards.len()];
        for (out, rewards) in values.chunks_mut(group).zip(rewards.chunks(group)) {
            leave_one_out(out, rewards);
        }
        if normalize {
            rloo::normalize(&mut values);
        }
        for (e, a) in experiences.iter_mut().zip(values) {
            e.advantages = vec![a.unwrap_or(0.0); e.tokens.len()];
        }
        // As TRL: of the policy that drew the completions, and the plain difference.
        let trained = experiences.iter().filter(|e| e.trained && !e.reference.is_empty());
        let (mut kl, mut tokens) = (0.0, 0.0);
        for e in trained {
            kl += e.old.iter().zip(&e.reference).map(|(l, r)| l - r).sum::<f64>();
            tokens += e.tokens.len() as f64;
        }
        if tokens > 0.0 {
            meter.add("kl", kl / tokens, 1.0);
        }
    }

    /// Cotangents of entropies that are needed, of `predictions`.
    fn entropy_terms(&self, predictions: usize) -> usize {
        match self {
            Self::Group { policy, .. } if policy.entropy_coef != 0.0 => predictions,
            _ => 0,
        }
    }

    /// One completion's share: cotangents by logp and entropy are replaced, sums grow.
    fn add<R: Real>(
        &self,
        [dlogp, dentropy]: [&mut [R]; 2],
        logp: &[R],
        entropy: &[R],
        e: &Experience,
        whole: Whole,
        sums: &mut Sums,
    ) {
        let (mask, old) = (e.mask::<R>(), narrow::<R>(&e.old));
        let given = |xs: &[f64]| (!xs.is_empty()).then(|| narrow::<R>(xs));
        let (reference, sampler) = (given(&e.reference), given(&e.sampler));
        match self {
            Self::Group { policy, .. } => {
                let advantage = narrow::<R>(&e.advantages);
                let completion = Completion {
                    logp,
                    mask: &mask,
                    advantage: &advantage,
                    entropy,
                    old: Some(&old),
                    reference: reference.as_deref(),
                    sampler: sampler.as_deref(),
                };
                let out = policy.loss(dlogp, dentropy, &completion, whole);
                sums.loss += out.loss;
                sums.low += out.low;
                sums.high += out.high;
                sums.kl += out.kl;
                sums.own.extend(out.own);
                sums.phi += out.phi;
            }
            Self::LeaveOneOut { clip, .. } => {
                let advantage = e.advantages.first().copied().unwrap_or(0.0);
                let out = clip.loss(dlogp, logp, Some(&old), &mask, advantage, whole.completions);
                sums.loss += out.loss;
                sums.low += out.low;
                sums.high += out.high;
                sums.own.push([out.low, out.high].map(|part| part * whole.completions));
            }
        }
        if !e.trained {
            return;
        }
        for (t, logp) in logp.iter().enumerate() {
            let logp = logp.to_f64();
            sums.entropy += entropy[t].to_f64();
            sums.old_kl += Estimator::K2.estimate(logp, e.old[t]);
            if let Some(reference) = e.reference.get(t) {
                sums.reference_kl += Estimator::K3.estimate(logp, *reference);
            }
        }
    }
}
