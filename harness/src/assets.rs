//! A model folder with its tokenizer and chat template, checked against each other.
use std::path::Path;

use anyhow::Result;
use model_qwen2::chat::ChatTemplate;
use model_qwen2::folder::Folder;
use model_qwen2::tokenizer::{HfTokenizer, Tokenize};

/// Everything a model folder holds.
pub struct Assets {
    /// Configuration and weights.
    pub folder: Folder,
    /// The tokenizer; its ids fit the model.
    pub tokenizer: HfTokenizer,
    /// The tokenizer's chat template, or plain ChatML where it has none.
    pub template: ChatTemplate,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Assets {
    /// Opens `folder`. `template` is a Jinja file, or a folder whose tokenizer has one, to use instead of the model's own.
    /// Errors: a file that is missing or broken; a tokenizer with ids that the model does not have.
    pub fn open(folder: &Path, template: Option<&Path>) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let tokenizer = HfTokenizer::load(folder.path())?;
        tokenizer.fits(folder.config.kernel.vocab)?;
        let mut notes = tokenizer.notes().to_vec();
        let template = match template {
            Some(path) if path.is_dir() => HfTokenizer::load(path)?.chat_template()?,
            Some(path) => {
                let source = std::fs::read_to_string(path).map_err(model_qwen2::Error::io(path, "read"))?;
                Some(ChatTemplate::new(path, &source, tokenizer.named())?)
            }
            None => tokenizer.chat_template()?,
        };
        let template = match template {
            Some(template) => template,
            None => {
                notes.push("the tokenizer has no chat template: plain ChatML is used".into());
                tokenizer.fallback_chat_template()?
            }
        };
        Ok(Self {
            folder,
            tokenizer,
            template,
            notes,
        })
    }

    /// Uses these tokens of the vocabulary in place of the tokenizer's own, and says so in the folders written later.
    /// Errors: a token that the vocabulary does not have.
    pub fn set_tokens(&mut self, eos: Option<&str>, pad: Option<&str>) -> Result<()> {
        let (config, generation) = (&mut self.folder.config, &mut self.folder.generation);
        if let Some(eos) = eos {
            let id = self.tokenizer.set_special("eos_token", eos)?;
            config.eos_token_ids = vec![id];
            generation.iter_mut().for_each(|g| g.eos_token_ids = vec![id]);
        }
        if let Some(pad) = pad {
            let id = self.tokenizer.set_special("pad_token", pad)?;
            config.pad_token_id = Some(id);
            generation.iter_mut().for_each(|g| g.pad_token_id = Some(id));
        }
        Ok(())
    }

    /// Tokens that end an answer: those of the configuration files and the tokenizer's own.
    pub fn stop_tokens(&self) -> Vec<u32> {
        let mut ids = self.folder.eos_token_ids();
        ids.extend(self.tokenizer.eos().map(|t| t.id));
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
