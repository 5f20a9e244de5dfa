//! What a trainer of the demo is judged by.
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cpu_backend::{Cpu, Settings};
use kernel::batch::Batch;
use kernel::mat::Use;
use kernel::objective::kl::Estimator;
use kernel::params::ValueHead;
use kernel::transformer::{Keep, Model, Workspace};
use model_qwen2::Error;
use model_qwen2::generate::Completion;
use model_qwen2::tokenizer::{Decoding, Tokenize};
use serde_json::Value;

use super::problems::TRUTH;
use crate::assets::Assets;
use crate::checkpoint::Stop;
use crate::config::Rollout;
use crate::data::{self, DatasetConfig, Split};
use crate::eval::{Answering, evaluate};
use crate::online::{Drawing, Prompt, Prompts, rollouts};

/// Share of the problems in `test` that the model answers exactly, greedily; the answers go to `output`.
pub fn accuracy(model: &Path, test: &Path, output: &Path) -> Result<f64> {
    let assets = Assets::open(model, None)?;
    let (dataset, _) = data::load(&DatasetConfig::new(test), Path::new(""), Split::Eval)?;
    let b = Cpu::<f32>::new(Settings::detect()?);
    let kernel = assets.folder.config.kernel.clone();
    let context = kernel.max_positions;
    let model = Model::load(&b, kernel, ValueHead::None, context, Use::Inference, |spec, out| {
        anyhow::Ok(assets.folder.fill(spec, out)?)
    })?;
    let how = Answering {
        max_new_tokens: 8,
        batch: 64,
        ..Answering::default()
    };
    if output.exists() {
        fs::remove_file(output).map_err(Error::io(output, "remove"))?;
    }
    evaluate(&b, &model, &assets, &dataset, &how, output, &Stop::default(), |_, _| {})?;
    let text = fs::read_to_string(output).map_err(Error::io(output, "read"))?;
    let rows: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| output.display().to_string())?;
    let right = rows
        .iter()
        .filter(|r| r.get("answer").is_some_and(|a| r.get("reference") == Some(a)))
        .count();
    Ok(right as f64 / rows.len().max(1) as f64)
}

/// A model of the demo, ready to be asked.
pub struct Loaded {
    b: Cpu<f32>,
    /// Folder and tokenizer.
    pub assets: Assets,
    model: Model<Cpu<f32>>,
}

impl Loaded {
    /// Loads the model in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let assets = Assets::open(folder, None)?;
        let b = Cpu::<f32>::new(Settings::detect()?);
        let kernel = assets.folder.config.kernel.clone();
        let context = kernel.max_positions;
        let model = Model::load(&b, kernel, ValueHead::None, context, Use::Inference, |spec, out| {
            anyhow::Ok(assets.folder.fill(spec, out)?)
        })?;
        Ok(Self { b, assets, model })
    }

    /// The prompts of a file.
    pub fn prompts(&self, path: &Path) -> Result<Vec<Prompt>> {
        let (dataset, _) = data::load(&DatasetConfig::new(path), Path::new(""), Split::Train)?;
        Ok(Prompts::of(&self.assets, &dataset)?.prompts)
    }

    /// Answers to each prompt, drawn at temperature 1, prompt after prompt.
    pub fn answers(&self, prompts: &[Prompt], each: usize, seed: u64) -> Result<Vec<Completion>> {
        let keys = Rollout {
            max_completion_length: 8,
            rollout_batch_size: 256,
            ..Rollout::default()
        };
        let drawing = Drawing {
            sampling: keys.sampling(),
            seed,
            first: 0,
            each,
        };
        let ids: Vec<&[u32]> = prompts.iter().map(|p| p.ids.as_slice()).collect();
        let groups = rollouts(&self.b, &self.model, &self.assets, &ids, &keys, drawing)?;
        Ok(groups.into_iter().flatten().collect())
    }
}

/// Mean reward of the model's own answers to `test`, eight to each problem: what reinforcement learning raises.
pub fn reward(model: &Path, test: &Path, seed: u64) -> Result<f64> {
    const EACH: usize = 8;
    let model = Loaded::open(model)?;
    let prompts = model.prompts(test)?;
    let mut right = 0;
    let answers = model.answers(&prompts, EACH, seed)?;
    for (prompt, answers) in prompts.iter().zip(answers.chunks(EACH)) {
        for answer in answers {
            let text = model.assets.tokenizer.decode(&answer.tokens, Decoding::SkipSpecials)?;
            right += usize::from(prompt.columns.get(TRUTH).is_some_and(|truth| *truth == text));
        }
    }
    Ok(right as f64 / answers.len().max(1) as f64)
}

/// KL(trained || start) of a token of the trained model's own answers to `test`, estimated by k3.
pub fn kl(trained: &Path, start: &Path, test: &Path, seed: u64) -> Result<f64> {
    let (trained, start) = (Loaded::open(trained)?, Loaded::open(start)?);
    let prompts = trained.prompts(test)?;
    let answers = trained.answers(&prompts, 1, seed)?;
    let mut batch = Batch::new(start.model.config.vocab);
    for (prompt, answer) in prompts.iter().zip(&answers) {
        let root = batch.segment(None, &prompt.ids)?;
        batch.completion(Some(root), &answer.tokens)?;
    }
    let mut ws = Workspace::new(&start.b, &start.model, Keep::Nothing, 1, 1)?;
    start.model.score(&start.b, &mut ws, &batch, 1.0)?;
    let logps = answers.iter().flat_map(|a| &a.logps);
    let sum: f64 = logps
        .zip(&ws.scores.logp)
        .map(|(&logp, &reference)| Estimator::K3.estimate(logp, reference.into()))
        .sum();
    Ok(sum / ws.scores.logp.len() as f64)
}
