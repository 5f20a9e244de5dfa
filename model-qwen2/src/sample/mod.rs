//! Texts and conversations as training samples: ids, and the mask of the tokens that are trained.
//!
//! As TRL 1.16's `SFTTrainer` tokenises them, with one difference, which `objectives.md` decides: of an assistant turn,
//! what the template writes before the content is not trained. TRL trains what the `{% generation %}` block of *its own*
//! training template holds, for Qwen2.5 also the line end after `assistant`. A template that has the block is followed
//! exactly, so a folder with TRL's training template gives TRL's mask.
mod pair;
mod spans;
#[cfg(test)]
mod tests;

pub use pair::{TokenizedPair, chat_preference, preference};

use crate::chat::{ChatTemplate, GenerationPrompt, Inputs, Message};
use crate::tokenizer::{Decoding, Encoded, Specials, Tokenize};
use crate::{Error, Result};

/// A tokenised sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// Token ids, N.
    pub ids: Vec<u32>,
    /// 1 where the token is trained (is a target of the loss), else 0; N.
    pub mask: Vec<u8>,
    /// What the user should be told, once.
    pub note: Option<Note>,
}

/// Something that is not wrong but rarely meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The tokens of the prompt alone do not begin the tokens of prompt and completion: a token reaches over the border,
    /// or the template renders the prompt otherwise. The completion begins where they part; `tail` is what is left of
    /// the prompt.
    PromptIsNoPrefix {
        /// The text of the prompt's tokens that are not in the sample.
        tail: String,
    },
    /// The tokenizer names no eos token, so none was appended: the model does not learn to stop.
    NoEos,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PromptIsNoPrefix { tail } => write!(
                f,
                "the tokenised prompt is not a prefix of the tokenised prompt and completion; training starts where they \
                 part, without this end of the prompt: {tail:?}"
            ),
            Self::NoEos => f.write_str("the tokenizer has no eos token, so none ends the sample"),
        }
    }
}

/// Which tokens of a conversation are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// All of them.
    All,
    /// `completion_only_loss`: those after the prompt. All of them where there is no prompt.
    Completion,
    /// `assistant_only_loss`: what the assistant says.
    Assistant,
    /// Both: what the assistant says after the prompt.
    CompletionAndAssistant,
}

/// Plain text, all of it trained; the eos token is appended where the text does not end with it.
pub fn text(tokenizer: &dyn Tokenize, text: &str) -> Result<Tokenized> {
    let (text, note) = with_eos(tokenizer, text);
    let ids = tokenizer.encode(&text, Specials::Add)?;
    Ok(Tokenized {
        mask: vec![1; ids.len()],
        ids,
        note,
    })
}

/// A plain prompt and its completion, tokenised together; the eos token is appended where the completion does not end
/// with it.
pub fn prompt_completion(
    tokenizer: &dyn Tokenize,
    prompt: &str,
    completion: &str,
    trained: Trained,
) -> Result<Tokenized> {
    let (completion, note) = with_eos(tokenizer, completion);
    let prompt_ids = tokenizer.encode(prompt, Specials::Add)?;
    let ids = tokenizer.encode(&format!("{prompt}{completion}"), Specials::Add)?;
    let mut sample = Tokenized {
        mask: vec![1; ids.len()],
        ids,
        note,
    };
    mask_prompt(tokenizer, &prompt_ids, &mut sample, trained)?;
    Ok(sample)
}

/// A conversation. Fails when only the assistant is trained and says nothing, or when its turns cannot be found.
pub fn messages(
    tokenizer: &dyn Tokenize,
    template: &ChatTemplate,
    messages: &[Message],
    inputs: Inputs<'_>,
    trained: Trained,
) -> Result<Tokenized> {
    let assistant = matches!(trained, Trained::Assistant | Trained::CompletionAndAssistant);
    if !assistant {
        let text = template.render(messages, inputs, GenerationPrompt::Omit)?;
        let ids = tokenizer.encode(&text, Specials::Omit)?;
        return Ok(Tokenized {
            mask: vec![1; ids.len()],
            ids,
            note: None,
        });
    }
    let rendered = spans::assistant(template, messages, inputs)?;
    let Encoded { ids, spans: tokens } = tokenizer.encode_spans(&rendered.text, Specials::Omit)?;
    let mut mask = vec![0; ids.len()];
    for span in &rendered.generated {
        mask[spans::tokens(&rendered.text, &tokens, span)].fill(1);
    }
    if !mask.contains(&1) {
        return Err(Error::invalid(
            template.origin(),
            "assistant_only_loss",
            "at least one token said by the assistant",
            "a conversation without any",
        ));
    }
    Ok(Tokenized { ids, mask, note: None })
}

/// A prompt and a completion that are both messages, tokenised as one conversation. The completion begins after the
/// prompt rendered with its generation prompt.
pub fn chat_completion(
    tokenizer: &dyn Tokenize,
    template: &ChatTemplate,
    (prompt, completion): (&[Message], &[Message]),
    inputs: Inputs<'_>,
    trained: Trained,
) -> Result<Tokenized> {
    let prompt_text = template.render(prompt, inputs, GenerationPrompt::Add)?;
    let prompt_ids = tokenizer.encode(&prompt_text, Specials::Omit)?;
    let mut sample = messages(tokenizer, template, &[prompt, completion].concat(), inputs, trained)?;
    mask_prompt(tokenizer, &prompt_ids, &mut sample, trained)?;
    Ok(sample)
}

fn with_eos(tokenizer: &dyn Tokenize, text: &str) -> (String, Option<Note>) {
    match tokenizer.eos() {
        Some(eos) if text.ends_with(&eos.text) => (text.to_owned(), None),
        Some(eos) => (format!("{text}{}", eos.text), None),
        None => (text.to_owned(), Some(Note::NoEos)),
    }
}

/// Masks the tokens that the sample shares with its prompt, where only the completion is trained.
fn mask_prompt(tokenizer: &dyn Tokenize, prompt: &[u32], sample: &mut Tokenized, trained: Trained) -> Result<()> {
    let shared = prompt.iter().zip(&sample.ids).take_while(|(a, b)| a == b).count();
    if shared < prompt.len() {
        let tail = tokenizer.decode(&prompt[shared..], Decoding::KeepSpecials)?;
        sample.note = Some(Note::PromptIsNoPrefix { tail });
    }
    if matches!(trained, Trained::Completion | Trained::CompletionAndAssistant) {
        sample.mask[..shared].fill(0);
    }
    Ok(())
}
