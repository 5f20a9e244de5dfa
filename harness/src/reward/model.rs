//! `model`: a reward model, a Hugging Face folder of a sequence classifier of one label. The reward is the score of the last
//! token that is not padding, as in transformers.
//!
//! As in TRL, the model reads prompt and completion through its own tokenizer and, where the prompt is conversational,
//! through its own chat template, the completion as the assistant's message; plain texts are put together as they are. No
//! token is added.
use std::path::PathBuf;

use anyhow::{Context, Result};
use cpu_backend::{Cpu, Settings};
use kernel::batch::Batch;
use kernel::mat::Use;
use kernel::params::ValueHead;
use kernel::transformer::{Keep, Model, Workspace};
use model_qwen2::Error;
use model_qwen2::chat::{ChatTemplate, GenerationPrompt, Inputs, Message};
use model_qwen2::folder::Folder;
use model_qwen2::tokenizer::{HfTokenizer, Specials, Tokenize};
use serde::Deserialize;
use serde_json::Value;

use super::{Reward, Sample, Setup};

/// The keys of `model`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorer {
    /// The model's folder, relative to the working directory.
    pub path: PathBuf,
    /// Tokens that it reads at once, unless one text alone is longer. Default 4096.
    #[serde(default = "batch_tokens")]
    pub batch_tokens: usize,
}

fn batch_tokens() -> usize {
    4096
}

impl Scorer {
    /// The model at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            batch_tokens: batch_tokens(),
        }
    }

    /// The folder's name.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(super) fn open(&self, name: String, setup: &Setup) -> Result<RewardModel> {
        let folder = Folder::open_classifier(&self.path)?;
        let tokenizer = HfTokenizer::load(&self.path)?;
        tokenizer.fits(folder.config.kernel.vocab)?;
        let mut settings = Settings::detect()?;
        settings.threads = setup.threads.unwrap_or(settings.threads);
        let device = Cpu::new(settings);
        let config = folder.config.kernel.clone();
        let context = config.max_positions;
        let model = Model::load(
            &device,
            config,
            ValueHead::Weight,
            context,
            Use::Inference,
            |spec, out| anyhow::Ok(folder.fill(spec, out)?),
        )?;
        Ok(RewardModel {
            name,
            path: self.path.clone(),
            template: tokenizer.chat_template()?,
            pad: tokenizer.pad().map(|token| token.id),
            tokenizer,
            workspace: Workspace::new(&device, &model, Keep::Nothing, 0, 0)?,
            model,
            device,
            batch_tokens: self.batch_tokens,
        })
    }
}

/// The reward that the model gives.
pub(super) struct RewardModel {
    name: String,
    path: PathBuf,
    tokenizer: HfTokenizer,
    template: Option<ChatTemplate>,
    pad: Option<u32>,
    device: Cpu<f32>,
    model: Model<Cpu<f32>>,
    workspace: Workspace<Cpu<f32>>,
    batch_tokens: usize,
}

impl RewardModel {
    /// What the model reads of a sample, up to the token whose score counts.
    fn tokens(&self, sample: &Sample<'_>) -> Result<Vec<u32>> {
        let text = match sample.messages {
            None => format!("{}{}", sample.prompt, sample.completion),
            Some(messages) => {
                let template = self.template.as_ref().ok_or_else(|| {
                    let expected = "a chat template, since the prompts are conversational";
                    Error::invalid(&self.path, "chat_template", expected, "none")
                })?;
                let message = |value: &Value| value.as_object().cloned().unwrap_or_default();
                let mut all: Vec<Message> = messages.iter().map(message).collect();
                let said = [("role", "assistant"), ("content", sample.completion)];
                all.push(said.map(|(k, v)| (k.to_owned(), v.into())).into_iter().collect());
                template.render(&all, Inputs::default(), GenerationPrompt::Omit)?
            }
        };
        let mut ids = self.tokenizer.encode(&text, Specials::Omit)?;
        // transformers looks for the last token that is not padding, in the text too; of a text of padding it takes the first.
        let last = ids.iter().rposition(|id| Some(*id) != self.pad).unwrap_or(0);
        ids.truncate(last + 1);
        let context = self.model.context();
        if ids.is_empty() || ids.len() > context {
            let expected = format!("a text of 1 to {context} tokens");
            return Err(Error::invalid(&self.path, "max_position_embeddings", expected, ids.len().to_string()).into());
        }
        Ok(ids)
    }

    /// Scores of texts that are read together.
    fn read(&mut self, texts: &[Vec<u32>]) -> Result<Vec<Option<f64>>> {
        let mut batch = Batch::new(self.model.config.vocab);
        for ids in texts {
            let text = batch.segment(None, ids)?;
            // The value is that of the row which would predict what comes next; what that is does not matter.
            batch.completion(Some(text), &[0])?;
        }
        self.model.score(&self.device, &mut self.workspace, &batch, 1.0)?;
        let values = self.workspace.scores.value.iter();
        Ok(values.map(|value| Some(f64::from(*value))).collect())
    }
}

impl Reward for RewardModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, samples: &[Sample<'_>]) -> Result<Vec<Option<f64>>> {
        let texts: Result<Vec<_>> = samples
            .iter()
            .enumerate()
            .map(|(i, sample)| {
                let tokens = self.tokens(sample);
                tokens.with_context(|| format!("reward {}: sample {i} of {}", self.name, samples.len()))
            })
            .collect();
        let texts = texts?;
        let mut values = Vec::new();
        let mut rest = texts.as_slice();
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest.iter().take_while(|text| {
                tokens += text.len();
                tokens <= self.batch_tokens
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            values.extend(self.read(now)?);
            rest = later;
        }
        Ok(values)
    }
}
