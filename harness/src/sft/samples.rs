//! From samples to examples: tokenised, cut, packed, checked.
use anyhow::{Result, bail};
use model_qwen2::Error;
use model_qwen2::chat::Inputs;
use model_qwen2::sample::{self, Note, Tokenized, Trained};

use crate::assets::Assets;
use crate::config::{PackingStrategy, Sft, TruncationMode};
use crate::data::{self, Dataset, Sample, Turns};

/// One unit of a batch: a sample, or several packed together, which do not see each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Token ids and, for each, whether it is trained.
    pub pieces: Vec<(Vec<u32>, Vec<u8>)>,
}

impl Example {
    /// Tokens, trained or not.
    pub fn tokens(&self) -> usize {
        self.pieces.iter().map(|(ids, _)| ids.len()).sum()
    }

    /// Tokens that are predicted and trained: the first of a piece has nothing before it.
    pub fn trained(&self) -> usize {
        let count = |mask: &[u8]| mask.iter().skip(1).filter(|&&m| m == 1).count();
        self.pieces.iter().map(|(_, mask)| count(mask)).sum()
    }
}

/// Examples, and what was said on the way.
pub struct Examples {
    /// At least one, each with something to train.
    pub examples: Vec<Example>,
    /// One line for each thing that the user should know.
    pub warnings: Vec<String>,
}

impl Examples {
    /// Tokens of the longest piece.
    pub fn context(&self) -> usize {
        let pieces = self.examples.iter().flat_map(|e| &e.pieces);
        pieces.map(|(ids, _)| ids.len()).max().unwrap_or(0)
    }

    /// CRC-32 of all ids and masks, in order.
    pub fn checksum(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for (ids, mask) in self.examples.iter().flat_map(|e| &e.pieces) {
            hasher.update(&(ids.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(ids));
            hasher.update(mask);
        }
        format!("{:08x}", hasher.finalize())
    }
}

/// Tokenises a dataset as `config` says. Errors: a sample that cannot be tokenised; data of which nothing would be trained.
pub fn examples(assets: &Assets, dataset: &Dataset, config: &Sft) -> Result<Examples> {
    let mut warnings = Vec::new();
    let mut notes = Notes::default();
    let mut samples = Vec::with_capacity(dataset.items.len());
    for i in 0..dataset.items.len() {
        let mut t = tokenize(assets, dataset, i, config).map_err(|e| {
            let place = dataset.items[i].place;
            e.context(format!("{}: {place}", dataset.file(i).display()))
        })?;
        notes.take(t.note.take());
        samples.push(t);
    }
    notes.warn(&mut warnings);
    let before = samples.len();
    let mut examples = cut_and_pack(samples, config, &mut warnings);
    examples.retain(|e| e.trained() > 0);
    let dropped = before.saturating_sub(examples.len());
    if examples.is_empty() {
        let limit = config.max_length.map(|n| format!(" within max_length = {n}"));
        let expected = format!("at least one sample with a trained token{}", limit.unwrap_or_default());
        let found = format!("none of {before} (do the prompts alone fill it? does the mask fit the data?)");
        return Err(Error::invalid(dataset.file(0), "mask", expected, found).into());
    }
    if dropped > 0 && !config.packing {
        warnings.push(format!(
            "{dropped} of {before} samples have no trained token (the prompt alone may fill max_length) and were dropped"
        ));
    }
    Ok(Examples { examples, warnings })
}

#[derive(Default)]
struct Notes {
    no_eos: usize,
    no_prefix: usize,
    tail: String,
}

impl Notes {
    fn take(&mut self, note: Option<Note>) {
        match note {
            Some(Note::NoEos) => self.no_eos += 1,
            Some(Note::PromptIsNoPrefix { tail }) => {
                self.no_prefix += 1;
                self.tail = tail;
            }
            None => {}
        }
    }

    fn warn(self, warnings: &mut Vec<String>) {
        if self.no_eos > 0 {
            warnings.push(format!("{} samples: {}", self.no_eos, Note::NoEos));
        }
        if self.no_prefix > 0 {
            let note = Note::PromptIsNoPrefix { tail: self.tail };
            warnings.push(format!("{} samples: {note}", self.no_prefix));
        }
    }
}

fn tokenize(assets: &Assets, dataset: &Dataset, i: usize, config: &Sft) -> Result<Tokenized> {
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
    let (tokenizer, template) = (&assets.tokenizer, &assets.template);
    let completion_only = config.completion_only_loss.unwrap_or(true);
    let of_pair = match (completion_only, config.assistant_only_loss) {
        (true, false) => Trained::Completion,
        (true, true) => Trained::CompletionAndAssistant,
        (false, true) => Trained::Assistant,
        (false, false) => Trained::All,
    };
    Ok(match &dataset.items[i].sample {
        Sample::Text(text) => sample::text(tokenizer, text)?,
        Sample::Messages(messages) => {
            let trained = if config.assistant_only_loss {
                Trained::Assistant
            } else {
                Trained::All
            };
            sample::messages(tokenizer, template, messages, inputs, trained)?
        }
        Sample::PromptCompletion { prompt, completion } => match (prompt, completion) {
            (Turns::Text(p), Turns::Text(c)) => sample::prompt_completion(tokenizer, p, c, of_pair)?,
            (Turns::Messages(p), Turns::Messages(c)) => {
                sample::chat_completion(tokenizer, template, (p, c), inputs, of_pair)?
            }
            _ => bail!("prompt and completion are not of the same kind (both texts or both lists of messages)"),
        },
        Sample::PromptOnly { .. } => bail!("a prompt without a completion: there is nothing to learn from it"),
        Sample::Preference { .. } => {
            bail!(
                "a preference pair (chosen, rejected): SFT learns from one answer, map the one you want to \"completion\""
            )
        }
    })
}

fn cut_and_pack(samples: Vec<Tokenized>, config: &Sft, warnings: &mut Vec<String>) -> Vec<Example> {
    let lengths: Vec<usize> = samples.iter().map(|s| s.ids.len()).collect();
    let piece = |sample: usize, range: std::ops::Range<usize>| {
        let s = &samples[sample];
        (s.ids[range.clone()].to_vec(), s.mask[range].to_vec())
    };
    let Some(max_length) = config.max_length else {
        let whole = samples.iter().enumerate().map(|(i, s)| vec![piece(i, 0..s.ids.len())]);
        return whole.map(|pieces| Example { pieces }).collect();
    };
    if !config.packing {
        let mode = match config.truncation_mode {
            TruncationMode::KeepStart => data::TruncationMode::KeepStart,
        };
        let (kept, cut) = data::truncate(&lengths, max_length, mode);
        warnings.extend(cut.warning(max_length));
        let ranges = kept.into_iter().enumerate();
        return ranges
            .map(|(i, range)| Example {
                pieces: vec![piece(i, range)],
            })
            .collect();
    }
    let strategy = match config.packing_strategy {
        PackingStrategy::Bfd => data::Strategy::Bfd,
        PackingStrategy::BfdSplit => data::Strategy::BfdSplit,
        PackingStrategy::Wrapped => data::Strategy::Wrapped,
    };
    let (bins, cut) = data::pack(&lengths, max_length, strategy);
    warnings.extend(cut.warning(max_length));
    bins.into_iter()
        .map(|bin| {
            let pieces = bin.into_iter().map(|p| piece(p.sample, p.tokens));
            Example {
                pieces: match strategy {
                    // One run of tokens: a row sees whatever stands before it in its block.
                    data::Strategy::Wrapped => vec![pieces.fold(Default::default(), join)],
                    data::Strategy::Bfd | data::Strategy::BfdSplit => pieces.collect(),
                },
            }
        })
        .collect()
}

fn join(mut all: (Vec<u32>, Vec<u8>), next: (Vec<u32>, Vec<u8>)) -> (Vec<u32>, Vec<u8>) {
    all.0.extend(next.0);
    all.1.extend(next.1);
    all
}
