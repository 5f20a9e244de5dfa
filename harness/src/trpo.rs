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
use kernel::objective::ppo::{Gae, Ppo as Objective};
use kernel::objective::trpo::surrogate_loss;
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::trust_region::{LearnerWork, Outcome, Piece, Report, Settings as Region, learner_step};

use crate::checkpoint::{Stop, Writer};
use crate::config::{AdvantageKind, CriticKind, Trpo, TrpoConfig};
use crate::data::permutation;
use crate::device::{Device, Job, Place};
use crate::online::{
    Critic, CriticSource, Experience, Opened, Packed, Scene, Shuffle, compare_groups, estimate, narrow, of_values, pack,
};
use crate::train::{Meter, Session, Shown, Summary, Task, on_configured};

/// Runs `config` to its end, or to a signal. Errors: configuration, files, data, rewards, devices, numerics, each by name.
pub fn run(config: &TrpoConfig, stop: &Stop) -> Result<Summary> {
    on_configured(&config.shared, Run { config, stop })
}

struct Run<'a> {
    config: &'a TrpoConfig,
    stop: &'a Stop,
}

impl Job for Run<'_> {
    type Output = Summary;

    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Summary> {
        let Self { config, stop } = self;
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
        let source = match own.advantage {
            AdvantageKind::Group => None,
            AdvantageKind::Critic => {
                let folder = own.value_model.as_deref();
                Some(CriticSource::open(config, own.critic, folder, &assets)?)
            }
        };
        let (mut session, restored) = Session::open(b, config, place, assets, needs)?;
        scene.begin(&mut session)?;
        let critic = source.map(|source| Critic::open(&session, &source, restored.as_ref()));
        let mut task = TrustRegion {
            work: LearnerWork::new(b, &session.learner)?,
            scene,
            critic: critic.transpose()?,
            region: config.region(),
            gae: config.gae(),
        };
        session.run(&mut task, stop)
    }
}

struct TrustRegion<B: Device> {
    scene: Scene,
    /// None where advantages come from groups.
    critic: Option<Critic<B>>,
    region: Region,
    gae: Gae,
    work: LearnerWork<B>,
}

impl<B: Device> Task<B, Trpo> for TrustRegion<B> {
    fn step(&mut self, s: &mut Session<'_, B, Trpo>) -> Result<Shown> {
        let mut meter = s.state.meter.clone();
        let at = self
            .scene
            .division
            .at(s.state.step, s.config.shared.seed, Shuffle::Once);
        let (mut experiences, texts) = self.scene.generate(s, None, at.generation, &mut meter)?;
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
            Some(critic) => critic.save(s.b, writer),
            None => Ok(()),
        }
    }

    fn finish(&mut self, s: &mut Session<'_, B, Trpo>) -> Result<()> {
        match &self.critic {
            Some(critic) => critic.finish(s),
            None => Ok(()),
        }
    }
}

impl<B: Device> TrustRegion<B> {
    /// Gives completions advantages, and with a critic values and returns.
    fn judge(&mut self, s: &mut Session<'_, B, Trpo>, experiences: &mut [Experience], meter: &mut Meter) -> Result<()> {
        let Some(critic) = &mut self.critic else {
            compare_groups(experiences, self.scene.division.group, s.config.own.own.scale_rewards);
            return Ok(());
        };
        critic.judge(s, &self.scene.prompts, experiences)?;
        let rewards = experiences.iter_mut().map(|e| {
            // A completion that nothing scored has nothing to teach.
            e.trained &= e.reward.is_some();
            let mut rewards = vec![0.0; e.tokens.len()];
            if let (Some(last), Some(reward)) = (rewards.last_mut(), e.reward) {
                *last = reward;
            }
            rewards
        });
        let rewards: Vec<Vec<f64>> = rewards.collect();
        estimate(&self.gae, experiences, &rewards, meter);
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
        let report = report.map_err(|e| anyhow::anyhow!("{e}"))?;
        if report.outcome == Outcome::Moved {
            s.changed();
        }
        // Without a line search nothing else bounds it.
        let advice = "a smaller max_kl, a larger cg_damping, or npg = false";
        self.scene.check_kl("of the step", report.kl_old_new, advice)?;
        Ok(report)
    }

    /// Fits the critic to the returns.
    fn fit(&mut self, s: &mut Session<'_, B, Trpo>, experiences: &[Experience], meter: &mut Meter) -> Result<()> {
        let Some(critic) = &mut self.critic else {
            return Ok(());
        };
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
            critic.learner(&mut s.learner).zero_grads(s.b);
            for chunk in all.chunks(s.config.shared.per_device_train_batch_size) {
                let Packed { batch, ranges } = pack(vocab, &self.scene.prompts, experiences, chunk)?;
                let learner = critic.learner(&mut s.learner);
                let values = &learner.score(s.b, &batch, 1.0)?.value;
                let mut dvalue = vec![B::Real::ZERO; batch.predictions()];
                for (&i, range) in chunk.iter().zip(ranges) {
                    let returns = narrow::<B::Real>(&experiences[i].returns);
                    let mask = experiences[i].mask();
                    let (d, value) = (&mut dvalue[range.clone()], &values[range]);
                    loss += objective.value(d, value, None, &returns, &mask, tokens).loss;
                }
                learner.backward(s.b, of_values(&dvalue))?;
            }
            if !loss.is_finite() {
                bail!("the critic's loss is {loss}: try a lower critic_learning_rate");
            }
            if epoch == 0 {
                meter.add("loss/value", loss, 1.0);
            }
            match critic {
                Critic::Model(_) => critic.update(s, &hyper)?,
                Critic::Head => {
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
                    s.changed();
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
