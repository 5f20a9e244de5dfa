//! Completions of prompts, drawn by the model in training.
use std::collections::BTreeMap;

use anyhow::{Result, bail};
use kernel::backend::Decode;
use kernel::sample::Sampling;
use kernel::transformer::Model;
use model_qwen2::generate::{Completion, Event, Generator, Record, Request, Settings};
use model_qwen2::tokenizer::{Decoding, HfTokenizer, Tokenize};

use crate::assets::Assets;
use crate::config::Rollout;

/// How completions are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Key of the draws.
    pub seed: u64,
    /// Number of the first prompt among all that are drawn with this seed.
    pub first: u32,
    /// Completions of each prompt.
    pub each: usize,
}

impl Rollout {
    /// How tokens are drawn in training.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty,
        }
    }
}

/// `drawing.each` completions of each prompt, prompt after prompt. Errors: the device's; logits that are not numbers; a
/// cache that is too small for one prompt with a whole completion.
pub fn rollouts<B: Decode>(
    b: &B,
    model: &Model<B>,
    assets: &Assets,
    prompts: &[&[u32]],
    keys: &Rollout,
    drawing: Drawing,
) -> Result<Vec<Vec<Completion>>> {
    let longest = prompts.iter().map(|p| p.len()).max().unwrap_or(0);
    let new = keys
        .max_completion_length
        .min(model.context().saturating_sub(longest))
        .max(1);
    let (batch, each) = (keys.rollout_batch_size, drawing.each);
    let c = &model.config;
    let row_bytes = 2 * c.layers * c.kv_heads * c.head_dim * size_of::<B::Real>();
    // Whole blocks of 32 rows, for a prompt and for a completion.
    let whole = |n: usize| n.next_multiple_of(32) + 32;
    let groups = batch.div_ceil(each).min(prompts.len());
    let useful = groups * whole(longest) + batch.min(each * prompts.len()) * whole(new);
    let least = whole(longest) + whole(new);
    let cache_rows = (keys.rollout_cache_bytes / row_bytes.max(1)).min(useful).max(least);
    let strings = Strings::new(&assets.tokenizer, &keys.stop_strings);
    let stop_when = |tokens: &[u32]| strings.found(tokens);
    let settings = Settings {
        sampling: drawing.sampling,
        seed: drawing.seed,
        stop: assets.stop_tokens(),
        stop_when: (!keys.stop_strings.is_empty()).then_some(&stop_when),
        record: Record::LogProbs,
        batch,
        cache_rows,
    };
    let mut generator = Generator::new(b, model, settings)?;
    for (i, prompt) in prompts.iter().enumerate() {
        generator.submit(Request {
            id: drawing.first + i as u32,
            completions: each as u32,
            prompt: prompt.to_vec(),
            max_new_tokens: keys.max_completion_length,
        });
    }
    let mut done = BTreeMap::new();
    while generator.pending() > 0 {
        for event in generator.step(b, model)? {
            match event {
                Event::Token { .. } => {}
                Event::Done(completion) => {
                    done.insert((completion.id, completion.completion), completion);
                }
                Event::Refused { id, reason } => bail!("prompt {} of the generation: {reason}", id - drawing.first),
            }
        }
    }
    let mut all = done.into_values();
    let groups = prompts.iter().map(|_| all.by_ref().take(each).collect());
    Ok(groups.collect())
}

/// Stop strings over tokens.
struct Strings<'a> {
    tokenizer: &'a HfTokenizer,
    strings: &'a [String],
    /// A token has at least one byte, but for those that are nothing alone: some more than the longest string.
    tail: usize,
}

impl<'a> Strings<'a> {
    fn new(tokenizer: &'a HfTokenizer, strings: &'a [String]) -> Self {
        Self {
            tokenizer,
            strings,
            tail: strings.iter().map(String::len).max().unwrap_or(0) + 8,
        }
    }

    /// Whether the last token completed one of the strings.
    fn found(&self, tokens: &[u32]) -> bool {
        let tail = &tokens[tokens.len().saturating_sub(self.tail)..];
        let text = self.tokenizer.decode(tail, Decoding::SkipSpecials);
        text.is_ok_and(|text| self.strings.iter().any(|s| text.contains(s.as_str())))
    }
}
