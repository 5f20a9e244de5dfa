//! TRPO: trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477), and the natural policy gradient
//! (Kakade 2001), on tokens.
//!
//! Each generation is one step: maximise mean_t w_t A_t subject to mean_t KL(old || new) <= max_kl, the KL exact over the
//! whole vocabulary at every completion token. The direction solves (F + cg_damping I) x = g by conjugate gradients, with
//! exact products with the Fisher matrix F; the step is shortened until the surrogate improves within the region, else the
//! policy stays as it was, bit for bit. See [`kernel::trust_region`]. Deviations from the paper: a state is a prefix of a
//! completion, every token counts alike (no discounted visitation); F may be made from a part of the completions
//! (`fisher_fraction`, the paper's section 6 too); advantages come from the group (as GRPO) or from a critic by GAE. The
//! critic, a head that leaves the trunk alone or a model of its own, is fitted by AdamW after the step and is not in the
//! region. There is no learning rate for the policy.
use anyhow::{Result, bail};
use cpu_backend::{Cpu, Settings};
use kernel::backend::Tangent;
use kernel::objective::group::{Scale, group_advantages, reward_std};
use kernel::objective::ppo::{Gae, Ppo as Objective, explained_variance, whiten};
use kernel::objective::trpo::surrogate_loss;
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep};
use kernel::trust_region::{LearnerWork, Outcome, Piece, Report, Settings as Region, learner_step};
use model_qwen2::folder::Folder;

use crate::checkpoint::{Stop, Writer};
use crate::config::{AdvantageKind, CriticKind, ScaleRewards, Trpo, TrpoConfig};
use crate::data::permutation;
use crate::online::{Critic, Experience, Opened, Packed, Scene, Shuffle, narrow, pack};
use crate::train::{Device, Heads, Meter, Session, Shown, Summary, Task, dtype, save_model, settings};

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, rewards, devices, numerics, each by name.
pub fn run(config: &TrpoConfig, stop: &Stop) -> Result<Summary> {
    let settings = settings(&config.shared)?;
    run_on(&Cpu::<f32>::new(settings), config, settings, stop)
}

fn run_on<B: Device + Tangent>(b: &B, config: &TrpoConfig, settings: Settings, stop: &Stop) -> Result<Summary> {
    let own = &config.own.own;
    let head = match (own.advantage, own.critic) {
        (AdvantageKind::Critic, CriticKind::Head) => ValueHead::Weight,
        _ => ValueHead::None,
    };
    let Opened {
        assets,
        mut scene,
        needs,
    } = Scene::open(config, config.plan()?, head)?;
    let (mut session, restored) = Session::open(b, config, settings, assets, needs)?;
    scene.begin(&mut session)?;
    let critic = match (own.advantage, own.critic) {
        (AdvantageKind::Group, _) => Values::None,
        (AdvantageKind::Critic, CriticKind::Head) => Values::Head,
        (AdvantageKind::Critic, CriticKind::Model) => {
            let other = own.value_model.as_ref().map(Folder::open).transpose()?;
            let folder = other.as_ref().unwrap_or(&session.assets.folder);
            let (ours, theirs) = (session.assets.folder.config.kernel.vocab, folder.config.kernel.vocab);
            if ours != theirs {
                let expected = format!("a model with the policy's vocabulary of {ours} tokens");
                let found = format!("{}, which has {theirs}", folder.path().display());
                return Err(config.invalid("value_model", expected, found).into());
            }
            let keep = match config.shared.gradient_checkpointing {
                true => Keep::Inputs,
                false => Keep::Everything,
            };
            let context = session.learner.model.context();
            let updates = session.state.updates;
            let critic = Critic::open(b, folder, context, keep, restored.as_ref(), updates)?;
            Values::Model(Box::new(critic))
        }
    };
    let mut task = TrustRegion {
        work: LearnerWork::new(b, &session.learner)?,
        scene,
        critic,
        region: config.region(),
        gae: config.gae(),
    };
    session.run(&mut task, stop)
}

/// Where values come from.
enum Values<B: Device> {
    None,
    Head,
    Model(Box<Critic<B>>),
}

struct TrustRegion<B: Device> {
    scene: Scene,
    critic: Values<B>,
    region: Region,
    gae: Gae,
    work: LearnerWork<B>,
}

impl<B: Device + Tangent> Task<B, Trpo> for TrustRegion<B> {
    fn step(&mut self, s: &mut Session<'_, B, Trpo>) -> Result<Shown> {
        let mut meter = s.state.meter.clone();
        let at = self
            .scene
            .division
            .at(s.state.step, s.config.shared.seed, Shuffle::Once);
        let (mut experiences, texts) = self.scene.generate(s, at.generation, &mut meter)?;
        self.judge(s, &mut experiences, &mut meter)?;
        self.scene.log_completions(s, &experiences, &texts)?;
        let report = self.improve(s, &experiences)?;
        let norm = s.learner.grad_norm(s.b)?;
        self.fit(s, &experiences, &mut meter)?;
        s.set_gradient(norm);
        add_report(&mut meter, &report);
        let tokens: usize = experiences.iter().map(|e| e.tokens.len()).sum();
        let entropy: f64 = experiences.iter().map(|e| e.entropy).sum();
        meter.add("entropy", entropy / tokens.max(1) as f64, 1.0);
        s.state.meter = meter;
        let reward = s.state.meter.mean("reward").unwrap_or(f64::NAN);
        Ok(vec![
            ("surrogate", report.surrogate),
            ("reward", reward),
            ("kl", report.kl_old_new),
        ])
    }

    fn evaluate(&mut self, s: &mut Session<'_, B, Trpo>) -> Result<Vec<(String, f64)>> {
        self.scene.evaluate(s)
    }

    fn save(&self, s: &Session<'_, B, Trpo>, writer: &mut Writer) -> Result<()> {
        self.scene.sync()?;
        match &self.critic {
            Values::Model(critic) => critic.save(s.b, writer),
            Values::None | Values::Head => Ok(()),
        }
    }

    /// A critic of its own is a model folder too.
    fn finish(&mut self, s: &mut Session<'_, B, Trpo>) -> Result<()> {
        let Values::Model(critic) = &self.critic else {
            return Ok(());
        };
        let stored = dtype(&s.config.shared).stored();
        let folder = s.output().join("critic");
        std::fs::create_dir_all(&folder).map_err(model_qwen2::Error::io(&folder, "create"))?;
        save_model(s.b, &folder, &s.assets, critic.learner(), stored, Heads::All)
    }
}

impl<B: Device + Tangent> TrustRegion<B> {
    /// Gives completions advantages, and with a critic values and returns.
    fn judge(&mut self, s: &mut Session<'_, B, Trpo>, experiences: &mut [Experience], meter: &mut Meter) -> Result<()> {
        if matches!(self.critic, Values::None) {
            let rewards: Vec<_> = experiences.iter().map(|e| e.reward).collect();
            let scale = match s.config.own.own.scale_rewards {
                ScaleRewards::Group => Scale::Group,
                ScaleRewards::Batch => Scale::Batch {
                    std: reward_std(&rewards),
                },
                ScaleRewards::None => Scale::None,
            };
            let group = self.scene.division.group;
            for (of_group, rewards) in experiences.chunks_mut(group).zip(rewards.chunks(group)) {
                let mut advantages = vec![0.0; rewards.len()];
                group_advantages(&mut advantages, rewards, scale);
                for (e, a) in of_group.iter_mut().zip(advantages) {
                    e.advantages = vec![a; e.tokens.len()];
                }
            }
            return Ok(());
        }
        let vocab = s.assets.folder.config.kernel.vocab;
        let all: Vec<usize> = (0..experiences.len()).collect();
        for chunk in all.chunks(s.config.shared.per_device_train_batch_size) {
            let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
            let values = match &mut self.critic {
                Values::Model(critic) => critic.score(s.b, &batch)?,
                _ => &s.learner.score(s.b, &batch, 1.0)?.value,
            };
            for (&i, range) in chunk.iter().zip(ranges) {
                experiences[i].values = values[range].iter().map(|x| x.to_f64()).collect();
            }
        }
        let (mut advantages, mut values, mut returns) = (Vec::new(), Vec::new(), Vec::new());
        for e in experiences.iter_mut() {
            // A completion that nothing scored has nothing to teach.
            e.trained &= e.reward.is_some();
            let n = e.tokens.len();
            let mut rewards = vec![0.0; n];
            if let (Some(last), Some(reward)) = (rewards.last_mut(), e.reward) {
                *last = reward;
            }
            (e.advantages, e.returns) = (vec![0.0; n], vec![0.0; n]);
            self.gae
                .advantages(&mut e.advantages, &mut e.returns, &rewards, &e.values);
            advantages.extend_from_slice(&e.advantages);
            values.extend_from_slice(&e.values);
            returns.extend_from_slice(&e.returns);
        }
        let mask: Vec<f64> = experiences.iter().flat_map(Experience::mask::<f64>).collect();
        if let Some(share) = explained_variance(&values, &returns, &mask) {
            meter.add("explained_variance", share, 1.0);
        }
        whiten(&mut advantages, &mask);
        let whitened = &mut advantages.into_iter();
        for e in experiences {
            e.advantages = whitened.take(e.tokens.len()).collect();
        }
        Ok(())
    }

    /// The step itself.
    fn improve(&mut self, s: &mut Session<'_, B, Trpo>, experiences: &[Experience]) -> Result<Report> {
        let vocab = s.assets.folder.config.kernel.vocab;
        let temperature = s.config.own.rollout.temperature;
        let all: Vec<usize> = (0..experiences.len()).collect();
        let order = permutation(s.config.shared.seed ^ 0x6669_7368, s.state.step, experiences.len());
        let part = (s.config.own.own.fisher_fraction * experiences.len() as f64).ceil() as usize;
        let mut in_fisher = vec![false; experiences.len()];
        order[..part].iter().for_each(|&i| in_fisher[i as usize] = true);
        let count = |members: &mut dyn Iterator<Item = usize>| {
            let tokens: usize = members.map(|i| experiences[i].trained_tokens()).sum();
            (tokens as f64).max(1.0)
        };
        let tokens = count(&mut all.iter().copied());
        let fisher_tokens = count(&mut all.iter().copied().filter(|&i| in_fisher[i]));
        let (mut pieces, mut members) = (Vec::new(), Vec::new());
        // Those of the Fisher matrix in micro-batches of their own, and last: the others take no part in its products, and
        // one such micro-batch need not be computed anew.
        let (chosen, others): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&i| in_fisher[i]);
        let micro = s.config.shared.per_device_train_batch_size;
        for chunk in others.chunks(micro).chain(chosen.chunks(micro)) {
            let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
            let mut weight = vec![B::Real::ZERO; batch.predictions()];
            let mut fisher = weight.clone();
            for (&i, range) in chunk.iter().zip(&ranges) {
                if experiences[i].trained {
                    weight[range.clone()].fill(B::Real::from_f64(1.0 / tokens));
                    if in_fisher[i] {
                        fisher[range.clone()].fill(B::Real::from_f64(1.0 / fisher_tokens));
                    }
                }
            }
            if fisher.iter().all(|&w| w == B::Real::ZERO) {
                fisher.clear();
            }
            pieces.push(Piece { batch, weight, fisher });
            members.push((chunk, ranges));
        }
        let loss = |piece: usize, scores: &kernel::transformer::Scores<B::Real>, dlogp: &mut [B::Real]| {
            let (chunk, ranges) = &members[piece];
            let shares = chunk.iter().zip(ranges).map(|(&i, range)| {
                let e = &experiences[i];
                let [old, advantage] = [&e.old, &e.advantages].map(|x| narrow::<B::Real>(x));
                let (d, logp) = (&mut dlogp[range.clone()], &scores.logp[range.clone()]);
                surrogate_loss(d, logp, Some(&old), &advantage, &e.mask(), tokens)
            });
            shares.sum()
        };
        let (work, region) = (&mut self.work, &self.region);
        let report = learner_step(s.b, &mut s.learner, work, &pieces, temperature, loss, region);
        report.map_err(|e| anyhow::anyhow!("{e}"))
    }

    /// Fits the critic to the returns.
    fn fit(&mut self, s: &mut Session<'_, B, Trpo>, experiences: &[Experience], meter: &mut Meter) -> Result<()> {
        if matches!(self.critic, Values::None) {
            return Ok(());
        }
        let objective = Objective {
            vf_coef: 1.0,
            ..Objective::default()
        };
        let vocab = s.assets.folder.config.kernel.vocab;
        let all: Vec<usize> = (0..experiences.len()).collect();
        let tokens: usize = experiences.iter().map(Experience::trained_tokens).sum();
        let tokens = (tokens as f64).max(1.0);
        let mut hyper = s.hyper(s.config.own.own.critic_learning_rate);
        for epoch in 0..s.config.own.own.critic_epochs {
            let mut loss = 0.0;
            s.learner.zero_grads(s.b);
            if let Values::Model(critic) = &mut self.critic {
                critic.zero_grads(s.b);
            }
            for chunk in all.chunks(s.config.shared.per_device_train_batch_size) {
                let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
                let values = match &mut self.critic {
                    Values::Model(critic) => critic.score(s.b, &batch)?,
                    _ => &s.learner.score(s.b, &batch, 1.0)?.value,
                };
                let mut dvalue = vec![B::Real::ZERO; batch.predictions()];
                for (&i, range) in chunk.iter().zip(ranges) {
                    let returns = narrow::<B::Real>(&experiences[i].returns);
                    let mask = experiences[i].mask();
                    let (d, value) = (&mut dvalue[range.clone()], &values[range]);
                    loss += objective.value(d, value, None, &returns, &mask, tokens).loss;
                }
                let cotangent = Cotangent {
                    dlogp: &[],
                    dentropy: &[],
                    dvalue: &dvalue,
                };
                match &mut self.critic {
                    Values::Model(critic) => critic.backward(s.b, &dvalue)?,
                    _ => s.learner.backward(s.b, cotangent)?,
                }
            }
            if !loss.is_finite() {
                bail!("the critic's loss is {loss}: try a lower critic_learning_rate");
            }
            if epoch == 0 {
                meter.add("loss/value", loss, 1.0);
            }
            match &mut self.critic {
                Values::Model(critic) => {
                    critic.update(s.b, &hyper)?;
                    s.state.updates += 1;
                }
                _ => {
                    // Without gradient and decay AdamW leaves the trunk as it is, bit for bit.
                    hyper.weight_decay = 0.0;
                    let b = s.b;
                    for (g, spec) in s.learner.grads.iter_mut().zip(s.learner.model.specs.iter()) {
                        if !spec.name.starts_with("v_head.") {
                            b.zero(g);
                        }
                    }
                    s.learner.update(b, &hyper)?;
                    s.state.updates = s.learner.steps;
                }
            }
        }
        Ok(())
    }
}

fn add_report(meter: &mut Meter, report: &Report) {
    for (name, value) in [
        ("loss", -report.surrogate_before),
        ("surrogate", report.surrogate),
        ("surrogate_improvement", report.surrogate - report.surrogate_before),
        ("kl_old_new", report.kl_old_new),
        ("cg_iters", report.cg_iters as f64),
        ("cg_residual", report.cg_residual),
        ("step_size", report.step_size),
        (
            "line_search/success",
            f64::from(u8::from(report.outcome == Outcome::Moved)),
        ),
        ("line_search/steps", report.line_search_steps as f64),
    ] {
        meter.add(name, value, 1.0);
    }
}
