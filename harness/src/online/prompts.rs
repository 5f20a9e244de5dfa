//! The prompts of a run: tokens, what rewards see of them, and their order over the generations.
use anyhow::Result;
use model_qwen2::Error;
use serde_json::{Map, Value};

use crate::assets::Assets;
use crate::data::{Dataset, Turns};
use crate::eval::prompt_ids;

/// A prompt.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its tokens, up to where the answer begins.
    pub ids: Vec<u32>,
    /// Its text: the last user message's content where it is conversational.
    pub text: String,
    /// Its messages where it is conversational.
    pub messages: Option<Vec<Value>>,
    /// Every column of its row.
    pub columns: Map<String, Value>,
}

/// All prompts of a dataset.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// At least one.
    pub prompts: Vec<Prompt>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Prompts {
    /// Tokenises the prompts of `dataset`. Errors: a row without a prompt, or with one that leaves no room for an answer.
    pub fn of(assets: &Assets, dataset: &Dataset) -> Result<Self> {
        let room = assets.folder.config.kernel.max_positions;
        let mut prompts = Vec::with_capacity(dataset.items.len());
        for (i, item) in dataset.items.iter().enumerate() {
            let invalid = |expected: String, found: String| {
                Error::invalid(dataset.file(i), format!("{}: prompt", item.place), expected, found)
            };
            let Some(turns) = item.sample.prompt() else {
                return Err(invalid("a prompt to answer".into(), "none".into()).into());
            };
            let ids = prompt_ids(assets, &turns, dataset.variables(i))?;
            if ids.is_empty() || ids.len() >= room {
                let expected = format!(
                    "1 to {} tokens, so that the context of {room} has room for an answer",
                    room - 1
                );
                return Err(invalid(expected, format!("{} tokens", ids.len())).into());
            }
            prompts.push(Prompt {
                ids,
                text: text(&turns),
                messages: match turns {
                    Turns::Text(_) => None,
                    Turns::Messages(messages) => Some(messages.into_iter().map(Value::Object).collect()),
                },
                columns: item.row.clone(),
            });
        }
        Ok(Self {
            prompts,
            warnings: Vec::new(),
        })
    }

    /// Tokens of the longest.
    pub fn longest(&self) -> usize {
        self.prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0)
    }

    /// The columns that every row has.
    pub fn columns(&self) -> Vec<&str> {
        let everywhere = |name: &str| self.prompts.iter().all(|p| p.columns.contains_key(name));
        let first = self.prompts.iter().take(1);
        let names = first.flat_map(|p| p.columns.keys().map(String::as_str));
        names.filter(|name| everywhere(name)).collect()
    }

    /// CRC-32 of all tokens and columns, in order.
    pub fn checksum(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for prompt in &self.prompts {
            hasher.update(&(prompt.ids.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(&prompt.ids));
            hasher.update(Value::Object(prompt.columns.clone()).to_string().as_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }
}

/// The content of the last user message, or the whole text.
pub(crate) fn text(turns: &Turns) -> String {
    match turns {
        Turns::Text(text) => text.clone(),
        Turns::Messages(messages) => {
            let user = |m: &&Map<String, Value>| m.get("role").is_some_and(|r| r == "user");
            let content = messages.iter().rev().find(user).and_then(|m| m.get("content"));
            content.and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    }
}
