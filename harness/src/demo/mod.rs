//! The whole system in miniature: a tiny model and its tokenizer made from nothing, taught to add two numbers by each of
//! the trainers, asked before and after, saved as folders. Every step goes through the code that real models go through.
//!
//! SFT begins with random weights. The others begin with a model that SFT has half taught, and never see an answer but
//! their own: DPO is told which of two is better, the others are rewarded for the right one.

mod measure;
mod problems;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use model_qwen2::Error;
use model_qwen2::tokenizer::{Decoding, Tokenize};
use serde::Serialize;
use serde_json::{Value, json};

use crate::checkpoint::Stop;
use crate::config::{
    AdvantageKind, Config, DpoConfig, GrpoConfig, Keys, Online, PpoConfig, PreferenceLoss, SftConfig, Shared, Steps,
    Strategy, Trainer, TrpoConfig,
};
use crate::train::Summary;
use crate::{dpo, grpo, ppo, sft, trpo};
use measure::{Loaded, accuracy, kl, reward};
use problems::{TRUTH, make_data, make_model};

/// What a trainer is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of sums whose likeliest answer is right.
    Accuracy,
    /// Mean reward of drawn answers, 1 where right: what reinforcement learning raises.
    Reward,
}

/// A trainer's metric before and after, for one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which trainer.
    pub trainer: &'static str,
    /// What is measured on held-out sums.
    pub metric: Metric,
    /// Seed of the weights, the data and its order.
    pub seed: u64,
    /// The metric before.
    pub before: f64,
    /// And after.
    pub after: f64,
    /// KL(after || before) of a token, nats.
    pub kl: f64,
    /// Training and evaluation.
    pub seconds: f64,
    /// The trained model's folder.
    pub model: PathBuf,
}

/// Passes over the data that teach the model half.
const HALF: f64 = 9.0;

/// Runs all five trainers in `folder`, which gets the models, the data and the answers; `done` is told of each. Errors: the
/// folder's, and whatever the trainers' would be.
pub fn run(folder: &Path, seed: u64, stop: &Stop, mut done: impl FnMut(&Outcome)) -> Result<Vec<Outcome>> {
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let base = folder.join("base");
    make_model(&base, seed)?;
    let problems = make_data(folder, seed)?;
    let (train, test) = (problems.train.as_path(), problems.test.as_path());
    let half = folder.join("half");
    let mut outcomes = Vec::new();
    for trainer in ["sft", "dpo", "grpo", "ppo", "trpo"] {
        let begin = Instant::now();
        let output = folder.join(trainer);
        let start = if trainer == "sft" { &base } else { &half };
        if trainer == "dpo" {
            finished(sft::run(&sft_config(&base, &half, train, seed, HALF)?, stop)?)?;
        }
        let metric = match trainer {
            "sft" | "dpo" => Metric::Accuracy,
            _ => Metric::Reward,
        };
        let measure = |model: &Path, when: &str| match metric {
            Metric::Accuracy => accuracy(model, test, &folder.join(format!("{trainer}-{when}.jsonl"))),
            Metric::Reward => reward(model, test, seed),
        };
        let before = measure(start, "before")?;
        finished(match trainer {
            "sft" => sft::run(&sft_config(&base, &output, train, seed, 30.0)?, stop)?,
            "dpo" => {
                let pairs = folder.join("pairs.jsonl");
                make_pairs(start, train, &pairs, seed)?;
                dpo::run(&dpo_config(start, &output, &pairs, seed)?, stop)?
            }
            "grpo" => grpo::run_grpo(&grpo_config(start, &output, train, seed)?, stop)?,
            "ppo" => ppo::run(&ppo_config(start, &output, train, seed)?, stop)?,
            _ => trpo::run(&trpo_config(start, &output, train, seed)?, stop)?,
        })?;
        let outcome = Outcome {
            trainer,
            metric,
            seed,
            before,
            after: measure(&output, "after")?,
            kl: kl(&output, start, test, seed)?,
            seconds: begin.elapsed().as_secs_f64(),
            model: output,
        };
        done(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn finished(summary: Summary) -> Result<()> {
    let folder = summary.output_dir.display();
    ensure!(!summary.stopped, "stopped by a signal; {folder} is not finished");
    Ok(())
}

/// What all configurations of the demo share.
fn shared(model: &Path, output: &Path, data: &Path, seed: u64, rest: Shared) -> Shared {
    let mut dataset = toml::Table::new();
    dataset.insert("path".into(), data.display().to_string().into());
    Shared {
        model_name_or_path: model.into(),
        output_dir: output.into(),
        dataset: Some(dataset.into()),
        gradient_checkpointing: false,
        save_strategy: Strategy::No,
        seed,
        ..rest
    }
}

fn sft_config(base: &Path, output: &Path, train: &Path, seed: u64, epochs: f64) -> Result<SftConfig> {
    let rest = Shared {
        learning_rate: 3e-3,
        per_device_train_batch_size: 64,
        num_train_epochs: epochs,
        warmup_ratio: Some(0.05),
        logging_steps: Steps::Count(100),
        ..Shared::default()
    };
    checked(Config::new(shared(base, output, train, seed, rest)))
}

fn dpo_config(start: &Path, output: &Path, pairs: &Path, seed: u64) -> Result<DpoConfig> {
    let rest = Shared {
        learning_rate: 5e-4,
        per_device_train_batch_size: 64,
        num_train_epochs: 6.0,
        logging_steps: Steps::Count(50),
        ..Shared::default()
    };
    let mut config = DpoConfig::new(shared(start, output, pairs, seed, rest));
    // With the likelihood of the better answer, which DPO alone lets fall.
    config.own.loss_type = vec![PreferenceLoss::Sigmoid, PreferenceLoss::Sft];
    checked(config)
}

/// A configuration of a trainer that is rewarded for the exact sum.
fn rewarded<K: Keys>(shared: Shared) -> Config<Online<K>>
where
    Online<K>: Trainer,
{
    let mut config = Config::<Online<K>>::new(shared);
    let rollout = &mut config.own.rollout;
    let mut exact = toml::Table::new();
    exact.insert("type".into(), "exact".into());
    exact.insert("column".into(), TRUTH.into());
    rollout.reward_funcs = Some(exact.into());
    rollout.max_completion_length = 8;
    rollout.rollout_batch_size = 256;
    rollout.num_completions_to_print = Some(0);
    config
}

fn grpo_config(start: &Path, output: &Path, train: &Path, seed: u64) -> Result<GrpoConfig> {
    let rest = Shared {
        learning_rate: 1e-3,
        per_device_train_batch_size: 256,
        max_steps: 400,
        logging_steps: Steps::Count(50),
        ..Shared::default()
    };
    checked(rewarded(shared(start, output, train, seed, rest)))
}

fn ppo_config(start: &Path, output: &Path, train: &Path, seed: u64) -> Result<PpoConfig> {
    let rest = Shared {
        learning_rate: 5e-4,
        per_device_train_batch_size: 64,
        max_steps: 1000,
        logging_steps: Steps::Count(125),
        ..Shared::default()
    };
    let mut config: PpoConfig = rewarded(shared(start, output, train, seed, rest));
    config.own.own.num_generations = 4;
    config.own.own.num_mini_batches = 4;
    config.own.own.num_ppo_epochs = 2;
    checked(config)
}

fn trpo_config(start: &Path, output: &Path, train: &Path, seed: u64) -> Result<TrpoConfig> {
    let rest = Shared {
        per_device_train_batch_size: 512,
        max_steps: 60,
        logging_steps: Steps::Count(10),
        ..Shared::default()
    };
    let mut config: TrpoConfig = rewarded(shared(start, output, train, seed, rest));
    let own = &mut config.own.own;
    own.advantage = AdvantageKind::Critic;
    own.num_generations = 4;
    own.max_kl = 0.02;
    own.fisher_fraction = 0.25;
    checked(config)
}

fn checked<K: Trainer>(config: Config<K>) -> Result<Config<K>> {
    config.validate()?;
    Ok(config)
}

/// Writes pairs of the right answer and the model's own, where that is another: what `proximal pairs` does with a command
/// of the user's.
fn make_pairs(model: &Path, train: &Path, output: &Path, seed: u64) -> Result<()> {
    let model = Loaded::open(model)?;
    let prompts = model.prompts(train)?;
    let mut lines = String::new();
    for (prompt, answer) in prompts.iter().zip(model.answers(&prompts, 1, seed)?) {
        let rejected = model.assets.tokenizer.decode(&answer.tokens, Decoding::SkipSpecials)?;
        let Some(chosen) = prompt.columns.get(TRUTH).and_then(Value::as_str) else {
            continue;
        };
        if chosen == rejected || rejected.is_empty() {
            continue;
        }
        let say = |text: &str| json!([{ "role": "assistant", "content": text }]);
        let row = json!({ "prompt": prompt.messages, "chosen": say(chosen), "rejected": say(&rejected) });
        lines += &format!("{row}\n");
    }
    Ok(fs::write(output, lines).map_err(Error::io(output, "write"))?)
}
