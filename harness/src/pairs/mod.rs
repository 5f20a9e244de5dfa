//! Preference pairs from a model's own answers: each prompt is answered, the answer is rewritten, and the two make a pair.
//!
//! By default the rewritten answer is the chosen one, as teaching a model another name for itself needs.
mod rules;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use kernel::backend::Decode;
use kernel::transformer::Model;
use model_qwen2::Error;
use model_qwen2::generate::Finish;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use rules::{Rewriting, Rule};

use crate::assets::Assets;
use crate::checkpoint::Stop;
use crate::data::{Dataset, Item, Message, Sample, Turns};
use crate::eval::{Answering, Go, answer, prompt_ids};
use crate::lines::go_on;

/// Which side of a pair the rewritten answer is; the model's own is the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rewritten {
    /// It is the better one.
    #[default]
    Chosen,
    /// It is the worse one.
    Rejected,
}

/// What of a dialogue is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// The last human turn alone, after the system message where there is one.
    #[default]
    Leave,
    /// All turns up to the last human one.
    Keep,
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Prompts of the data.
    pub prompts: usize,
    /// Pairs in the file.
    pub pairs: usize,
    /// Of them, those that were there before.
    pub resumed: usize,
    /// Prompts of this run whose answer the rewriting left as it was: such a pair has no gradient.
    pub equal: usize,
    /// Prompts of this run without an answer, or with an empty one.
    pub unanswered: usize,
    /// Why the first of them has none.
    pub reason: Option<String>,
    /// Pairs of this run that the command left out.
    pub left_out: usize,
    /// Answers of this run that ended at the limit of tokens.
    pub cut: usize,
    /// Tokens generated now.
    pub tokens: usize,
    /// Time of this process for them.
    pub seconds: f64,
    /// Whether a signal ended it early.
    pub stopped: bool,
}

/// How pairs are made.
pub struct Making<'a> {
    /// How answers are drawn.
    pub answering: Answering,
    /// What is done to them.
    pub rewriting: &'a mut Rewriting,
    /// Where the rewritten one goes.
    pub rewritten: Rewritten,
    /// What of a dialogue is asked.
    pub history: History,
}

/// Writes one JSON line for each prompt of `dataset` whose answer the rewriting changes, in order, each flushed: `index`,
/// the pass-through columns, `prompt`, `chosen`, `rejected`, which `proximal dpo` reads. A file that is there is gone on
/// with after its last whole line. Errors: a file of other data; the rewriter's; the system's.
#[allow(clippy::too_many_arguments)]
pub fn make<B: Decode>(
    b: &B,
    model: &Model<B>,
    assets: &Assets,
    dataset: &Dataset,
    how: Making<'_>,
    output: &Path,
    stop: &Stop,
    mut progress: impl FnMut(usize, &Summary),
) -> Result<Summary> {
    let mut prompts = Vec::new();
    let mut ids = Vec::new();
    for (i, item) in dataset.items.iter().enumerate() {
        let prompt = asked(&item.sample, how.history);
        ids.push(match &prompt {
            Some(prompt) => prompt_ids(assets, prompt, dataset.variables(i)).map_err(|e| e.to_string()),
            None => Err("this row has no prompt to answer".into()),
        });
        prompts.push(prompt);
    }
    let (mut file, done, pairs) = open_output(output, dataset, &prompts)?;
    let mut summary = Summary {
        prompts: prompts.len(),
        pairs,
        resumed: pairs,
        ..Summary::default()
    };
    let begin = Instant::now();
    answer(b, model, assets, &ids[done..], done, &how.answering, |i, answer| {
        let at = done + i;
        let answered = match (answer, &prompts[at]) {
            (Ok(answered), Some(prompt)) if !answered.text.trim().is_empty() => Ok((answered, prompt)),
            (Ok(_), _) => Err("the answer is empty".to_owned()),
            (Err(reason), _) => Err(reason),
        };
        match answered {
            Err(reason) => {
                summary.unanswered += 1;
                summary.reason.get_or_insert(reason);
            }
            Ok((answered, prompt)) => {
                summary.tokens += answered.tokens.len();
                summary.cut += usize::from(answered.finish == Finish::Length);
                match how.rewriting.rewrite(&prompt_value(prompt), &answered.text)? {
                    None => summary.left_out += 1,
                    Some(text) if text == answered.text || text.trim().is_empty() => summary.equal += 1,
                    Some(text) => {
                        let row = row(&dataset.items[at], prompt, &answered.text, &text, how.rewritten);
                        let line = Value::Object(row).to_string() + "\n";
                        file.write_all(line.as_bytes()).map_err(Error::io(output, "write"))?;
                        file.flush().map_err(Error::io(output, "write"))?;
                        summary.pairs += 1;
                    }
                }
            }
        }
        summary.seconds = begin.elapsed().as_secs_f64();
        progress(at + 1, &summary);
        summary.stopped = stop.requested() && at + 1 < prompts.len();
        Ok(if summary.stopped { Go::Stop } else { Go::On })
    })?;
    file.sync_all().map_err(Error::io(output, "sync"))?;
    Ok(summary)
}

/// What is asked of a row. `None`: plain text, or a dialogue without a human turn.
fn asked(sample: &Sample, history: History) -> Option<Turns> {
    let Sample::Messages(messages) = sample else {
        return sample.prompt();
    };
    let role = |m: &Message, name: &str| m.get("role").and_then(Value::as_str) == Some(name);
    let last = messages.iter().rposition(|m| role(m, "user"))?;
    let kept = match history {
        History::Keep => messages[..=last].to_vec(),
        History::Leave => {
            let system = messages.first().filter(|m| role(m, "system") || role(m, "developer"));
            system.into_iter().chain([&messages[last]]).cloned().collect()
        }
    };
    Some(Turns::Messages(kept))
}

fn prompt_value(prompt: &Turns) -> Value {
    match prompt {
        Turns::Text(text) => text.as_str().into(),
        Turns::Messages(messages) => json!(messages),
    }
}

const OWN: [&str; 4] = ["index", "prompt", "chosen", "rejected"];

fn row(item: &Item, prompt: &Turns, own: &str, rewritten: &str, side: Rewritten) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("index".into(), item.index.into());
    // The chat template's variables come back as the columns that they were.
    let mut variables = item.variables.clone();
    if let Some(tools) = variables.remove("tools") {
        row.insert("tools".into(), tools);
    }
    if !variables.is_empty() {
        row.insert("chat_template_kwargs".into(), variables.into());
    }
    for (name, value) in &item.columns {
        let name = match OWN.contains(&name.as_str()) {
            true => format!("data.{name}"),
            false => name.clone(),
        };
        row.insert(name, value.clone());
    }
    let turn = |text: &str| match prompt {
        Turns::Text(_) => text.into(),
        Turns::Messages(_) => json!([{ "role": "assistant", "content": text }]),
    };
    let (chosen, rejected) = match side {
        Rewritten::Chosen => (rewritten, own),
        Rewritten::Rejected => (own, rewritten),
    };
    row.insert("prompt".into(), prompt_value(prompt));
    row.insert("chosen".into(), turn(chosen));
    row.insert("rejected".into(), turn(rejected));
    row
}

/// Opens the output for going on: how many prompts are done with, and how many pairs there are. A prompt that gave no pair
/// leaves no line: those after the last line are asked again.
fn open_output(path: &Path, dataset: &Dataset, prompts: &[Option<Turns>]) -> Result<(File, usize, usize)> {
    let check = |lines: &[Map<String, Value>]| {
        let mut done = 0;
        for (i, line) in lines.iter().enumerate() {
            let at = format!("line {}", i + 1);
            let index = line.get("index").and_then(Value::as_u64);
            let place = (done..dataset.items.len()).find(|&k| Some(dataset.items[k].index as u64) == index);
            let Some(place) = place else {
                let found = line.get("index").map_or("none".into(), Value::to_string);
                let expected = "the number of a later row, to go on with pairs of this data";
                return Err(Error::invalid(path, format!("{at}, index"), expected, found));
            };
            let expected = prompts[place].as_ref().map(prompt_value);
            let parts = ["chosen", "rejected"].map(|part| line.contains_key(part));
            if line.get("prompt") != expected.as_ref() || parts != [true; 2] {
                let show = |v: Option<&Value>| v.map_or("nothing".into(), Value::to_string);
                let expected = format!("{}, to go on with pairs of this data", show(expected.as_ref()));
                let found = show(line.get("prompt"));
                return Err(Error::invalid(path, format!("{at}, prompt"), expected, found));
            }
            done = place + 1;
        }
        Ok((done, lines.len()))
    };
    let (file, (done, pairs)) = go_on(path, "a pair", check)?;
    Ok((file, done, pairs))
}

#[cfg(test)]
mod tests;
