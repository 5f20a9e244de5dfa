//! Answers to prompts, by the row: greedy or sampled, many at a time, in order, resumable.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use kernel::backend::Decode;
use kernel::sample::Sampling;
use kernel::transformer::Model;
use model_qwen2::Error;
use model_qwen2::chat::{ChatTemplate, GenerationPrompt, Inputs};
use model_qwen2::generate::{Completion, Event, Finish, Generator, Record, Request, Settings};
use model_qwen2::tokenizer::{Decoding, Specials, Tokenize};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::assets::Assets;
use crate::checkpoint::Stop;
use crate::data::{Dataset, Item, Turns};
use crate::lines::go_on;
use crate::online::text;
use crate::reward::{Rewards, Sample, Scored};

mod scores;

pub use scores::{Difference, Mean, Scores};

/// How answers are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answering {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Key of the draws.
    pub seed: u64,
    /// Tokens in an answer, at most.
    pub max_new_tokens: usize,
    /// Answers made side by side, at most.
    pub batch: usize,
    /// Bytes of KV cache, at most; room for one whole answer there always is.
    pub cache_bytes: usize,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            sampling: Sampling::GREEDY,
            seed: 0,
            max_new_tokens: 256,
            batch: 8,
            cache_bytes: 1 << 30,
        }
    }
}

/// An answer, or why there is none.
pub type Answer = Result<Answered, String>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its text, without the special tokens that end it.
    pub text: String,
    /// Its tokens, with those.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// The answers to `prompts` (token ids, or why there are none), handed to `take` in their order, each as soon as all
/// before it are there. `take` says whether to go on. Draws are keyed by a prompt's number, the first being `first`: an
/// evaluation that goes on draws what it would have drawn. Errors: the device's, and `take`'s.
pub fn answer<B: Decode>(
    b: &B,
    model: &Model<B>,
    assets: &Assets,
    prompts: &[Result<Vec<u32>, String>],
    first: usize,
    how: &Answering,
    mut take: impl FnMut(usize, Answer) -> Result<Go>,
) -> Result<()> {
    let longest = prompts.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let one = longest + how.max_new_tokens.min(model.context().saturating_sub(longest));
    let row_bytes = cache_row_bytes(model) * size_of::<B::Real>();
    let rows = (how.cache_bytes / row_bytes.max(1))
        .min(one * how.batch.min(prompts.len()))
        .max(one);
    let settings = Settings {
        sampling: how.sampling,
        seed: how.seed,
        stop: assets.stop_tokens(),
        stop_when: None,
        record: Record::Nothing,
        batch: how.batch,
        // A sequence takes whole blocks.
        cache_rows: rows + 32 * how.batch,
    };
    let mut generator = Generator::new(b, model, settings)?;
    let mut ready: BTreeMap<usize, Answer> = BTreeMap::new();
    for (i, prompt) in prompts.iter().enumerate() {
        match prompt {
            Ok(ids) => generator.submit(Request {
                id: (first + i) as u32,
                completions: 1,
                prompt: ids.clone(),
                max_new_tokens: how.max_new_tokens,
            }),
            Err(reason) => {
                ready.insert(i, Err(reason.clone()));
            }
        }
    }
    let mut next = 0;
    loop {
        while let Some(answer) = ready.remove(&next) {
            if take(next, answer)? == Go::Stop {
                return Ok(());
            }
            next += 1;
        }
        if generator.pending() == 0 {
            return Ok(());
        }
        for event in generator.step(b, model)? {
            match event {
                Event::Token { .. } => {}
                Event::Done(Completion { id, tokens, finish, .. }) => {
                    let text = assets.tokenizer.decode(&tokens, Decoding::SkipSpecials);
                    let answered = text.map(|text| Answered { text, tokens, finish });
                    ready.insert(id as usize - first, answered.map_err(|e| e.to_string()));
                }
                Event::Refused { id, reason } => {
                    ready.insert(id as usize - first, Err(reason));
                }
            }
        }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// With the next answer.
    On,
    /// No: leave the rest.
    Stop,
}

/// Numbers that one position takes in the KV cache.
fn cache_row_bytes<B: Decode>(model: &Model<B>) -> usize {
    2 * model.config.layers * model.config.kv_heads * model.config.head_dim
}

/// Answers to plain questions.
pub fn ask<B: Decode>(
    b: &B,
    model: &Model<B>,
    assets: &Assets,
    questions: &[String],
    how: &Answering,
) -> Result<Vec<String>> {
    let prompts: Vec<_> = questions
        .iter()
        .map(|q| prompt_ids(assets, &user_message(q), Map::new()).map_err(|e| e.to_string()))
        .collect();
    let mut answers = Vec::new();
    answer(b, model, assets, &prompts, 0, how, |_, a| {
        answers.push(a.map_or_else(|e| format!("error: {e}"), |a| a.text));
        Ok(Go::On)
    })?;
    Ok(answers)
}

/// A question as a conversation of one message.
pub fn user_message(question: &str) -> Turns {
    let mut message = Map::new();
    message.insert("role".into(), "user".into());
    message.insert("content".into(), question.into());
    Turns::Messages(vec![message])
}

/// The tokens of a prompt: plain text as it is, messages through the chat template up to the assistant's turn.
pub fn prompt_ids(assets: &Assets, prompt: &Turns, variables: Map<String, Value>) -> Result<Vec<u32>, Error> {
    match prompt {
        Turns::Text(text) => assets.tokenizer.encode(text, Specials::Add),
        Turns::Messages(_) => {
            let text = prompt_text(&assets.template, prompt, variables)?;
            assets.tokenizer.encode(&text, Specials::Omit)
        }
    }
}

fn prompt_text(template: &ChatTemplate, prompt: &Turns, variables: Map<String, Value>) -> Result<String, Error> {
    match prompt {
        Turns::Text(text) => Ok(text.clone()),
        Turns::Messages(messages) => {
            let tools = match variables.get("tools") {
                Some(Value::Array(tools)) => Some(tools.as_slice()),
                _ => None,
            };
            let inputs = Inputs {
                tools,
                documents: None,
                variables: Some(&variables),
            };
            template.render(messages, inputs, GenerationPrompt::Add)
        }
    }
}

/// What an evaluation came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Rows in the file.
    pub rows: usize,
    /// Of them, those that were there before.
    pub resumed: usize,
    /// Rows written now that hold an error.
    pub errors: usize,
    /// Tokens generated now.
    pub tokens: usize,
    /// Time of this process for them.
    pub seconds: f64,
    /// Whether a signal ended it early.
    pub stopped: bool,
    /// Means of the rewards over all rows in the file, where there are rewards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Scores>,
    /// What the reward functions had to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// [`Evaluation::run`] without rewards.
#[allow(clippy::too_many_arguments)]
pub fn evaluate<B: Decode>(
    b: &B,
    model: &Model<B>,
    assets: &Assets,
    dataset: &Dataset,
    how: &Answering,
    output: &Path,
    stop: &Stop,
    progress: impl FnMut(usize, &Summary),
) -> Result<Summary> {
    let evaluation = Evaluation {
        dataset,
        how,
        output,
        rewards: None,
        stop,
    };
    evaluation.run(b, model, assets, progress)
}

/// What to ask, and what to do with the answers.
pub struct Evaluation<'a> {
    /// The prompts.
    pub dataset: &'a Dataset,
    /// How they are answered.
    pub how: &'a Answering,
    /// JSON lines to write.
    pub output: &'a Path,
    /// What scores each answer by itself.
    pub rewards: Option<&'a mut Rewards>,
    /// Ends it early, between two rows.
    pub stop: &'a Stop,
}

impl Evaluation<'_> {
    /// Writes one JSON line for each prompt into the output, in order, each flushed: `index`, the pass-through columns,
    /// `prompt`, the data's own answer as `reference`, `answer`, `tokens`, `finish`, and with rewards `rewards` by name and
    /// `reward`, their weighted sum; or `error` in place of the answer. A file that is there is gone on with: whole lines are
    /// kept, a cut one is written again. Errors: a file of other data or other rewards; the rewards'; the system's.
    pub fn run<B: Decode>(
        self,
        b: &B,
        model: &Model<B>,
        assets: &Assets,
        mut progress: impl FnMut(usize, &Summary),
    ) -> Result<Summary> {
        let Self {
            dataset,
            how,
            output,
            mut rewards,
            stop,
        } = self;
        let mut rows = Vec::new();
        let mut prompts = Vec::new();
        for (i, item) in dataset.items.iter().enumerate() {
            let variables = dataset.variables(i);
            let row = |prompt| row_of(item, prompt, rewards.is_some());
            let (mut row, ids) = match item.sample.prompt() {
                Some(prompt) => {
                    let ids = prompt_ids(assets, &prompt, variables.clone()).map_err(|e| e.to_string());
                    (row(prompt_value(&prompt)), ids)
                }
                None => (row(Value::Null), Err("this row has no prompt to answer".to_string())),
            };
            if let Some(reference) = reference(item) {
                row.insert("reference".into(), reference);
            }
            rows.push(row);
            prompts.push(ids);
        }
        let mut scores = rewards.as_deref().map(Scores::new);
        let (mut file, done) = open_output(output, &rows, |line, row| {
            let (Some(scores), Some(rewards)) = (&mut scores, rewards.as_deref()) else {
                return Ok(());
            };
            if row.contains_key("error") {
                scores.skip();
                return Ok(());
            }
            scores.read(row, rewards).ok_or_else(|| {
                let expected = format!("those of {} with these weights", rewards.names().join(", "));
                let found = row.get("rewards").map_or("none".into(), Value::to_string);
                Error::invalid(output, format!("{line}, rewards"), expected, found)
            })
        })?;
        let mut summary = Summary {
            rows: done,
            resumed: done,
            ..Summary::default()
        };
        let begin = Instant::now();
        answer(b, model, assets, &prompts[done..], done, how, |i, answer| {
            let mut row = rows[done + i].clone();
            match answer {
                Ok(a) => {
                    summary.tokens += a.tokens.len();
                    row.insert("answer".into(), a.text.as_str().into());
                    row.insert("tokens".into(), a.tokens.len().into());
                    let finish = match a.finish {
                        Finish::Stop => "stop",
                        Finish::Length => "length",
                    };
                    row.insert("finish".into(), finish.into());
                    if let (Some(rewards), Some(scores)) = (rewards.as_deref_mut(), &mut scores) {
                        let scored = score(rewards, &dataset.items[done + i], &a)?;
                        let (by_name, total) = scores.add(&scored);
                        row.insert("rewards".into(), by_name);
                        row.insert("reward".into(), total);
                        summary.notes.extend(scored.notes);
                    }
                }
                Err(reason) => {
                    summary.errors += 1;
                    row.insert("error".into(), reason.into());
                    if let Some(scores) = &mut scores {
                        scores.skip();
                    }
                }
            }
            let line = Value::Object(row).to_string() + "\n";
            file.write_all(line.as_bytes()).map_err(Error::io(output, "write"))?;
            file.flush().map_err(Error::io(output, "write"))?;
            summary.rows += 1;
            summary.seconds = begin.elapsed().as_secs_f64();
            progress(dataset.items.len(), &summary);
            summary.stopped = stop.requested() && summary.rows < rows.len();
            Ok(if summary.stopped { Go::Stop } else { Go::On })
        })?;
        file.sync_all().map_err(Error::io(output, "sync"))?;
        summary.rewards = scores;
        Ok(summary)
    }
}

/// The rewards of one answer.
fn score(rewards: &mut Rewards, item: &Item, answered: &Answered) -> Result<Scored> {
    let turns = item.sample.prompt().unwrap_or(Turns::Text(String::new()));
    let prompt = text(&turns);
    let messages: Option<Vec<Value>> = match turns {
        Turns::Text(_) => None,
        Turns::Messages(messages) => Some(messages.into_iter().map(Value::Object).collect()),
    };
    rewards.score(&[Sample {
        prompt: &prompt,
        messages: messages.as_deref(),
        completion: &answered.text,
        completion_ids: &answered.tokens,
        finished: answered.finish,
        columns: &item.row,
    }])
}

fn row_of(item: &Item, prompt: Value, scored: bool) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("index".into(), item.index.into());
    for (name, value) in &item.columns {
        // What this program writes wins: a column of the same name keeps its value under another.
        let own = OWN.contains(&name.as_str()) || scored && REWARDS.contains(&name.as_str());
        let name = match own {
            true => format!("data.{name}"),
            false => name.clone(),
        };
        row.insert(name, value.clone());
    }
    row.insert("prompt".into(), prompt);
    row
}

const REWARDS: [&str; 2] = ["rewards", "reward"];
const OWN: [&str; 7] = ["index", "prompt", "reference", "answer", "tokens", "finish", "error"];

/// A text as it is, a conversation of one user message as its content, another as its messages.
fn prompt_value(prompt: &Turns) -> Value {
    match prompt {
        Turns::Text(text) => text.as_str().into(),
        Turns::Messages(messages) => match messages.as_slice() {
            [only] if only.get("role") == Some(&json!("user")) => only.get("content").cloned().unwrap_or_default(),
            all => json!(all),
        },
    }
}

/// The answer that the data holds.
fn reference(item: &Item) -> Option<Value> {
    use crate::data::Sample;
    let last = |messages: &[Map<String, Value>]| {
        let last = messages.last().filter(|m| m.get("role") == Some(&json!("assistant")));
        last.and_then(|m| m.get("content").cloned())
    };
    match &item.sample {
        Sample::PromptCompletion {
            completion: Turns::Text(text),
            ..
        } => Some(text.as_str().into()),
        Sample::PromptCompletion {
            completion: Turns::Messages(messages),
            ..
        } => last(messages),
        Sample::Messages(messages) => last(messages),
        Sample::Text(_) | Sample::PromptOnly { .. } | Sample::Preference { .. } => None,
    }
}

/// Opens the output for going on: after its last whole line, which must be that of the row before the next. `take` sees each
/// line by its name.
fn open_output(
    path: &Path,
    rows: &[Map<String, Value>],
    mut take: impl FnMut(&str, &Map<String, Value>) -> Result<(), Error>,
) -> Result<(File, usize)> {
    go_on(path, "a row of an evaluation", |lines| {
        for (done, found) in lines.iter().enumerate() {
            let at = format!("line {}", done + 1);
            let Some(row) = rows.get(done) else {
                let found = "more rows than that";
                return Err(Error::invalid(
                    path,
                    at.as_str(),
                    format!("the {} rows of this data", rows.len()),
                    found,
                ));
            };
            for key in ["index", "prompt"] {
                if found.get(key) != row.get(key) {
                    let show = |v: Option<&Value>| v.map_or("nothing".into(), Value::to_string);
                    return Err(Error::invalid(
                        path,
                        format!("{at}, {key}"),
                        format!("{}, to go on with an evaluation of this data", show(row.get(key))),
                        show(found.get(key)),
                    ));
                }
            }
            take(&at, found)?;
        }
        Ok(lines.len())
    })
}
