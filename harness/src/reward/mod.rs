//! Rewards: functions that give each completion a number, their weighted sum, and what their configuration says.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | [`RewardConfig`]: what `reward_funcs` may say |
//! | `rewards` | [`Rewards`]: the functions with their weights, and their sum |
//! | `number`, `answer` | numbers as people and models write them; the answer within a text |
//! | `accuracy` | `boxed`, `exact`, `numeric`, `accuracy`, `reasoning_accuracy`, `cosine_scaled` |
//! | `format` | `think_format`, `regex` |
//! | `length` | `length`, `soft_overlong_punishment`, `repetition_penalty` |
//! | `model` | a reward model: a sequence-classification folder |
//! | `command` | a process of the user's, asked in JSON lines |

mod accuracy;
mod answer;
mod command;
mod config;
mod each;
mod format;
mod length;
mod model;
mod number;
mod rewards;

use anyhow::Result;
use model_qwen2::generate::Finish;
use serde_json::{Map, Value};

pub use config::{BadKey, KINDS, Kind, RewardConfig};
pub(crate) use rewards::first;
pub use rewards::{Rewards, Scored, Setup};

/// One completion as a reward sees it.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Text of the prompt: the content of the last user message where it is conversational, the raw text elsewhere.
    pub prompt: &'a str,
    /// The prompt's messages where it is conversational.
    pub messages: Option<&'a [Value]>,
    /// Text of the completion, without special tokens.
    pub completion: &'a str,
    /// Its tokens, with the one that ended it.
    pub completion_ids: &'a [u32],
    /// Why it ended: a stop token, or cut at the longest length.
    pub finished: Finish,
    /// Every column of the dataset's row.
    pub columns: &'a Map<String, Value>,
}

/// A reward function.
pub trait Reward {
    /// What metrics and tables call it.
    fn name(&self) -> &str;

    /// The columns that it reads.
    fn columns(&self) -> Vec<&str> {
        Vec::new()
    }

    /// One number for each sample; `None` leaves the sample out. Errors: what cannot be scored at all.
    fn score(&mut self, samples: &[Sample<'_>]) -> Result<Vec<Option<f64>>>;

    /// What the user should know of the scoring since the last call.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}
