//! Preference pairs: tokenised, cut, checked.
use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use kernel::batch::{Batch, BatchError};
use model_qwen2::Error;
use model_qwen2::chat::Inputs;
use model_qwen2::sample::{self, Note, TokenizedPair};

use crate::assets::Assets;
use crate::config::{Dpo, DpoConfig};
use crate::data::{Dataset, Sample, Turns, load as load_rows};
use crate::train::load_data;

/// A prompt and its two answers, as token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What both follow; may be empty.
    pub prompt: Vec<u32>,
    /// The better one.
    pub chosen: Vec<u32>,
    /// The worse one.
    pub rejected: Vec<u32>,
}

impl Pair {
    /// Tokens as TRL counts them: the prompt with each answer.
    pub fn tokens(&self) -> usize {
        2 * self.prompt.len() + self.chosen.len() + self.rejected.len()
    }

    /// Tokens of the chosen answer that are predicted: the first of a sequence has nothing before it.
    pub fn chosen_tokens(&self) -> usize {
        self.chosen.len() - usize::from(self.prompt.is_empty())
    }

    /// Adds the pair to a batch, the prompt once. Returns the numbers of both answers' predictions, one after the other.
    pub fn pack(&self, batch: &mut Batch) -> Result<[Range<usize>; 2], BatchError> {
        let parent = match self.prompt.as_slice() {
            [] => None,
            prompt => Some(batch.segment(None, prompt)?),
        };
        Ok([
            batch.completion(parent, &self.chosen)?,
            batch.completion(parent, &self.rejected)?,
        ])
    }
}

/// Pairs, and what was said on the way.
pub struct Pairs {
    /// At least one.
    pub pairs: Vec<Pair>,
    /// One line for each thing that the user should know.
    pub warnings: Vec<String>,
}

impl Pairs {
    /// Tokens of the longest prompt with an answer.
    pub fn context(&self) -> usize {
        let longest = |p: &Pair| p.prompt.len() + p.chosen.len().max(p.rejected.len());
        self.pairs.iter().map(longest).max().unwrap_or(0)
    }

    /// Rows of the longest pair in a batch: both answers after one prompt.
    pub fn rows(&self) -> usize {
        let rows = |p: &Pair| p.prompt.len() + p.chosen.len() + p.rejected.len();
        self.pairs.iter().map(rows).max().unwrap_or(0)
    }

    /// CRC-32 of all ids, in order.
    pub fn checksum(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for ids in self.pairs.iter().flat_map(|p| [&p.prompt, &p.chosen, &p.rejected]) {
            hasher.update(&(ids.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(ids));
        }
        format!("{:08x}", hasher.finalize())
    }
}

/// Training and held-out pairs.
pub fn load(config: &DpoConfig, assets: &Assets) -> Result<(Pairs, Option<Pairs>)> {
    load_data(config, |section, split| {
        let (dataset, report) = load_rows(section, Path::new(""), split)?;
        let mut found = pairs(assets, &dataset, &config.own)?;
        let mut warnings = report.warnings();
        warnings.append(&mut found.warnings);
        Ok(Pairs { warnings, ..found })
    })
}

/// Tokenises a dataset as TRL 1.16's `DPOTrainer`: an answer is cut where it passes `max_length`, a pair whose prompt alone
/// fills it is dropped. Errors: a row that is no pair; data of which nothing would be left.
pub fn pairs(assets: &Assets, dataset: &Dataset, config: &Dpo) -> Result<Pairs> {
    let mut counts = Counts::default();
    let mut pairs = Vec::with_capacity(dataset.items.len());
    for (i, item) in dataset.items.iter().enumerate() {
        let at = || format!("{}: {}", dataset.file(i).display(), item.place);
        let tokenized = tokenize(assets, dataset, i).map_err(|e| e.context(at()))?;
        counts.take_note(&tokenized);
        pairs.extend(cut(tokenized, config.max_length, &mut counts).map_err(|e| e.context(at()))?);
    }
    if pairs.is_empty() {
        let limit = config.max_length.map(|n| format!(" under max_length = {n} tokens"));
        let expected = format!("at least one pair with a prompt{}", limit.unwrap_or_default());
        let found = format!(
            "{} pairs with longer prompts, the shortest of {} tokens",
            dataset.items.len(),
            counts.shortest
        );
        return Err(Error::invalid(dataset.file(0), "prompt", expected, found).into());
    }
    Ok(Pairs {
        pairs,
        warnings: counts.warnings(dataset.items.len(), config.max_length),
    })
}

fn tokenize(assets: &Assets, dataset: &Dataset, i: usize) -> Result<TokenizedPair> {
    let variables = dataset.variables(i);
    let tools = match variables.get("tools") {
        Some(serde_json::Value::Array(tools)) => Some(tools.as_slice()),
        _ => None,
    };
    let inputs = Inputs {
        tools,
        documents: None,
        variables: Some(&variables),
    };
    let Sample::Preference {
        prompt,
        chosen,
        rejected,
    } = &dataset.items[i].sample
    else {
        bail!(
            "expected a preference pair (columns chosen and rejected, and prompt unless both begin with it), found another type of row"
        )
    };
    Ok(match (prompt, chosen, rejected) {
        (Turns::Text(p), Turns::Text(c), Turns::Text(r)) => sample::preference(&assets.tokenizer, p, c, r)?,
        (Turns::Messages(p), Turns::Messages(c), Turns::Messages(r)) => {
            sample::chat_preference(&assets.tokenizer, &assets.template, p, [c, r], inputs)?
        }
        _ => bail!(
            "expected prompt, chosen and rejected of one kind (all texts or all lists of messages), found both kinds"
        ),
    })
}

/// What happened to the pairs.
#[derive(Default)]
struct Counts {
    no_eos: usize,
    no_prefix: usize,
    tail: String,
    dropped: usize,
    shortest: usize,
    cut: usize,
    equal: usize,
}

/// The pair within `max_length`; `None` where the prompt alone fills it.
fn cut(pair: TokenizedPair, max_length: Option<usize>, counts: &mut Counts) -> Result<Option<Pair>> {
    let TokenizedPair {
        prompt,
        mut chosen,
        mut rejected,
        ..
    } = pair;
    let room = max_length.unwrap_or(usize::MAX).saturating_sub(prompt.len());
    if room == 0 {
        counts.dropped += 1;
        counts.shortest = match counts.shortest {
            0 => prompt.len(),
            n => n.min(prompt.len()),
        };
        return Ok(None);
    }
    counts.cut += usize::from(chosen.len() > room || rejected.len() > room);
    chosen.truncate(room);
    rejected.truncate(room);
    let unasked = usize::from(prompt.is_empty());
    for (name, answer) in [("chosen", &chosen), ("rejected", &rejected)] {
        if answer.len() <= unasked {
            bail!(
                "{name}: expected an answer with a token to predict, found {} tokens after a prompt of {}",
                answer.len(),
                prompt.len()
            );
        }
    }
    counts.equal += usize::from(chosen == rejected);
    Ok(Some(Pair {
        prompt,
        chosen,
        rejected,
    }))
}

impl Counts {
    fn take_note(&mut self, pair: &TokenizedPair) {
        match &pair.note {
            Some(Note::NoEos) => self.no_eos += 1,
            Some(Note::PromptIsNoPrefix { tail }) => {
                self.no_prefix += 1;
                self.tail = tail.clone();
            }
            None => {}
        }
    }

    fn warnings(self, of: usize, max_length: Option<usize>) -> Vec<String> {
        let limit = max_length.map_or(String::new(), |n| format!(" (max_length = {n})"));
        let lines = [
            (self.no_eos, Note::NoEos.to_string()),
            (self.no_prefix, Note::PromptIsNoPrefix { tail: self.tail }.to_string()),
            (self.dropped, format!("the prompt alone is too long{limit}: left out")),
            (self.cut, format!("an answer was cut{limit}")),
            (
                self.equal,
                "chosen and rejected are the same: the pair says nothing and only weakens the others".into(),
            ),
        ];
        let some = lines.into_iter().filter(|(n, _)| *n > 0);
        some.map(|(n, what)| format!("{n} of {of} pairs: {what}")).collect()
    }
}
