//! Two answers to one prompt, as TRL 1.16's `DPOTrainer` tokenises them.
use super::{Note, with_eos};
use crate::Result;
use crate::chat::{ChatTemplate, GenerationPrompt, Inputs, Message};
use crate::tokenizer::{Decoding, Specials, Tokenize};

/// A tokenised preference pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizedPair {
    /// What both answers begin after; it ends where the tokens of the prompt alone part from those of either whole.
    pub prompt: Vec<u32>,
    /// The better answer.
    pub chosen: Vec<u32>,
    /// The worse one.
    pub rejected: Vec<u32>,
    /// What the user should be told, once.
    pub note: Option<Note>,
}

/// A plain prompt with two answers, each tokenised together with it; the eos token is appended to an answer that does not
/// end with it.
pub fn preference(tokenizer: &dyn Tokenize, prompt: &str, chosen: &str, rejected: &str) -> Result<TokenizedPair> {
    let encode = |text: &str| tokenizer.encode(text, Specials::Add);
    let (chosen, note) = with_eos(tokenizer, chosen);
    let (rejected, _) = with_eos(tokenizer, rejected);
    let answers = [
        encode(&format!("{prompt}{chosen}"))?,
        encode(&format!("{prompt}{rejected}"))?,
    ];
    split(tokenizer, encode(prompt)?, answers, note)
}

/// The same of messages. Answers begin after the prompt rendered with its generation prompt.
pub fn chat_preference(
    tokenizer: &dyn Tokenize,
    template: &ChatTemplate,
    prompt: &[Message],
    [chosen, rejected]: [&[Message]; 2],
    inputs: Inputs<'_>,
) -> Result<TokenizedPair> {
    let encode = |messages: &[Message], generation| {
        let text = template.render(messages, inputs, generation)?;
        tokenizer.encode(&text, Specials::Omit)
    };
    let answers = [
        encode(&[prompt, chosen].concat(), GenerationPrompt::Omit)?,
        encode(&[prompt, rejected].concat(), GenerationPrompt::Omit)?,
    ];
    split(tokenizer, encode(prompt, GenerationPrompt::Add)?, answers, None)
}

/// Cuts both wholes where either parts from the prompt.
fn split(
    tokenizer: &dyn Tokenize,
    mut prompt: Vec<u32>,
    [mut chosen, mut rejected]: [Vec<u32>; 2],
    mut note: Option<Note>,
) -> Result<TokenizedPair> {
    let shared = |whole: &[u32]| prompt.iter().zip(whole).take_while(|(a, b)| a == b).count();
    let at = shared(&chosen).min(shared(&rejected));
    if at < prompt.len() {
        let tail = tokenizer.decode(&prompt[at..], Decoding::KeepSpecials)?;
        note = Some(Note::PromptIsNoPrefix { tail });
    }
    prompt.truncate(at);
    chosen.drain(..at);
    rejected.drain(..at);
    Ok(TokenizedPair {
        prompt,
        chosen,
        rejected,
        note,
    })
}
