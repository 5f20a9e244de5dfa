//! What `[dataset]` and `[eval_dataset]` may say.
use super::row::Row;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// A dataset: where it is and how its rows become samples. In TOML a section, or just a path or a list of paths:
///
/// ```toml
/// dataset = "faq.jsonl"
///
/// [dataset]
/// path = "pairs"
/// split = "train[:1000]"
/// columns = { completion = "answer" }
/// prompt_template = "Answer in about {num} words: {query}"
/// conversational = true
/// functions = { num = "round_to(word_count(answer), 10)" }
///
/// [[dataset.join]]
/// column = "query-id"
/// table = "queries.parquet"
/// key = "_id"
/// take = { text = "query" }
/// ```
///
/// The order is: read, slice, join, functions, templates, columns, and last `test_size`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct DatasetConfig {
    /// A file, a folder with splits, or a list of them; relative to the working directory. Files end in `.jsonl`, `.ndjson`,
    /// `.json`, `.parquet`, `.csv`, `.tsv` or `.txt`.
    pub path: Paths,
    /// The split and the part of it, as Hugging Face writes it: `train`, `train[:1000]`, `train[10%:20%]`, `train+test[-100:]`;
    /// `[:100]` is a part of the default split. Default: `train` to train on, `test` or `validation` in `[eval_dataset]`, the
    /// only split where there is one. A file, or a list of them, is the split `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The split held out for evaluation during training, in the same syntax. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_split: Option<String>,
    /// Holds out a part of the samples instead: a fraction below 1, rounded up, or a number of samples.
    #[serde(default, alias = "test_split_size", skip_serializing_if = "Option::is_none")]
    pub test_size: Option<TestSize>,
    /// The seed of `test_size`. Default 42.
    #[serde(default = "default_seed")]
    pub test_seed: u64,
    /// The type of the samples. Default: by the columns that are there, in the order of [`DatasetType`].
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<DatasetType>,
    /// Which column plays which role, e.g. `{ prompt = "query", completion = "answer" }`. A role that is not named is played by
    /// the column of its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<Role, String>,
    /// Tables to join by id, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<Join>,
    /// New columns from functions of columns, e.g. `num = "word_count(query)"`. Functions: [`super::FUNCTIONS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, String>,
    /// The prompt, with `{column}` and `{function(column)}`; `{{` and `}}` are braces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// The completion, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_template: Option<String>,
    /// Makes messages of a plain prompt (user) and completion (assistant), so that the chat template is used. Default false.
    #[serde(default)]
    pub conversational: bool,
    /// A system message to begin conversations with; one that is there stays. Taken as it is, not as a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Variables for the chat template, e.g. `{ enable_thinking = false }`. A row's own column `chat_template_kwargs` wins.
    #[serde(default, skip_serializing_if = "Row::is_empty")]
    pub chat_template_kwargs: Row,
    /// Columns to keep beside each sample. Default: all that play no role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_through: Option<Vec<String>>,
    /// What to do with a sample that has nothing to learn: an empty text, completion or list of messages. Default `error`.
    #[serde(default)]
    pub empty: Empty,
}

fn default_seed() -> u64 {
    42
}

impl DatasetConfig {
    /// The dataset at `path`, everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::from(Paths(vec![path.into()]))
    }

    /// Whether this section says what to hold out for evaluation.
    pub fn holds_out(&self) -> bool {
        self.test_size.is_some() || self.test_split.is_some()
    }
}

impl From<Paths> for DatasetConfig {
    fn from(path: Paths) -> Self {
        Self {
            path,
            test_seed: default_seed(),
            ..Self::default()
        }
    }
}

/// One path or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paths(pub Vec<PathBuf>);

/// A table to join: for each row, the columns `take` of the row of `table` whose `key` equals `column`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The column of ids in the rows.
    pub column: String,
    /// A file or a folder of files (all its splits).
    pub table: PathBuf,
    /// The column of ids in `table`. Default `_id`.
    #[serde(default = "default_key")]
    pub key: String,
    /// Which columns of `table` to add, and under which name: `{ text = "query" }`.
    pub take: BTreeMap<String, String>,
}

fn default_key() -> String {
    "_id".to_owned()
}

/// The types of samples, TRL's, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetType {
    /// `chosen` and `rejected`, with a `prompt` or with the prompt at the start of both.
    Preference,
    /// `prompt` and `completion`, both texts or both lists of messages.
    PromptCompletion,
    /// `messages`, or `conversations` with from/value: whole dialogues.
    #[serde(alias = "conversations", alias = "conversational")]
    Messages,
    /// `text`.
    #[serde(alias = "text")]
    LanguageModeling,
    /// `prompt` alone.
    PromptOnly,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The text of a language-modelling sample.
    Text,
    /// The prompt.
    Prompt,
    /// The completion.
    Completion,
    /// The preferred completion.
    Chosen,
    /// The other one.
    Rejected,
    /// A list of messages; by default the column `messages` or else `conversations`.
    #[serde(alias = "conversations")]
    Messages,
    /// The tools that the chat template lists: a list, or JSON in a string.
    Tools,
}

/// How much to hold out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TestSize {
    /// So many samples.
    Count(usize),
    /// This part of the samples, above 0 and below 1.
    Fraction(f64),
}

/// What to do with a sample that has nothing to learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Stop and name it.
    #[default]
    Error,
    /// Leave it out and count it.
    Drop,
}

/// Which rows of a section to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those to train on: `split`, less what `test_size` holds out.
    Train,
    /// Those held out from training: by `test_size`, by `test_split`, or a folder's test or validation split.
    HeldOut,
    /// All of a section that is for evaluation itself: `split`, by default test, validation or the only one there is.
    Eval,
}

/// `path` as seen from the configuration's folder.
pub(super) fn resolve(base: &Path, path: &Path) -> PathBuf {
    base.join(path)
}

impl Serialize for DatasetConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for DatasetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;
        impl<'de> Visitor<'de> for Section {
            type Value = DatasetConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path, a list of paths or a dataset section")
            }

            fn visit_str<E>(self, path: &str) -> Result<Self::Value, E> {
                Ok(DatasetConfig::new(path))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, paths: A) -> Result<Self::Value, A::Error> {
                Paths::deserialize(SeqAccessDeserializer::new(paths)).map(DatasetConfig::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                DatasetConfig::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Section)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Paths;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E>(self, path: &str) -> Result<Self::Value, E> {
                Ok(Paths(vec![path.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut paths: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(path) = paths.next_element()? {
                    all.push(path);
                }
                Ok(Paths(all))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}
