//! Text while it is being generated.
use crate::Result;
use crate::tokenizer::{Decoding, Tokenize};

/// Turns ids into text as they come, holding back bytes that are not yet a whole character.
///
/// All that [`push`](Self::push) and [`finish`](Self::finish) give, joined, is what decoding all ids at once gives.
pub struct TextStream<'a> {
    tokenizer: &'a dyn Tokenize,
    decoding: Decoding,
    ids: Vec<u32>,
    /// `ids[..shown]` are written; `text` is what they decode to.
    shown: usize,
    text: String,
}

impl<'a> TextStream<'a> {
    /// A stream with nothing in it.
    pub fn new(tokenizer: &'a dyn Tokenize, decoding: Decoding) -> Self {
        Self {
            tokenizer,
            decoding,
            ids: Vec::new(),
            shown: 0,
            text: String::new(),
        }
    }

    /// Takes the next id; gives the text that is complete with it, often one word, sometimes nothing.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.decoding)?;
        if text.ends_with('\u{FFFD}') || !text.starts_with(&self.text) {
            return Ok(String::new());
        }
        let new = text[self.text.len()..].to_owned();
        if !new.is_empty() {
            // The chunk just written stays as context: decoders treat the first token of a text differently.
            self.ids.drain(..self.shown);
            self.shown = self.ids.len();
            self.text = self.tokenizer.decode(&self.ids, self.decoding)?;
        }
        Ok(new)
    }

    /// The text still held back, with U+FFFD for bytes that never became a character.
    pub fn finish(self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids, self.decoding)?;
        Ok(text.strip_prefix(&self.text).unwrap_or(&text).to_owned())
    }
}
