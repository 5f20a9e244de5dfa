//! Tokenizers: our own small trait, and tokenizer.json with its tokenizer_config.json behind it.
//!
//! Text in, ids out, equal to `transformers`: the special tokens that tokenizer_config.json names are special tokens of
//! the tokenizer, `add_bos_token` and `add_eos_token` are obeyed, and decoding cleans nothing up.
mod build;
mod files;
mod stream;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::chat::ChatTemplate;
use crate::{Error, Result};

pub use build::{DEMO_CHAT_TEMPLATE, chatml_bytes};
pub use stream::TextStream;

/// Whether encoding adds the tokens that the tokenizer's post-processor adds, such as a `<s>` at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// As `transformers` does with plain text.
    Add,
    /// As `transformers` does with a rendered chat, which has its special tokens already.
    Omit,
}

/// What decoding does with special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// Writes them.
    KeepSpecials,
    /// Leaves them out.
    SkipSpecials,
}

/// Ids with the text that each one came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, N.
    pub ids: Vec<u32>,
    /// The bytes of the text that each token covers, N; empty for a token that was added.
    /// Tokens that share one character cover all of it, each.
    pub spans: Vec<Range<usize>>,
}

/// One of the named special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its text, `<|im_end|>`.
    pub text: String,
    /// Its id.
    pub id: u32,
}

/// What the rest of the project asks of a tokenizer.
pub trait Tokenize: Send + Sync {
    /// The ids of a text.
    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>>;
    /// The ids of a text and where each one lies in it.
    fn encode_spans(&self, text: &str, specials: Specials) -> Result<Encoded>;
    /// The text of ids; bytes that are not UTF-8 become U+FFFD.
    fn decode(&self, ids: &[u32], decoding: Decoding) -> Result<String>;
    /// The id of a token, written as the vocabulary writes it.
    fn token_to_id(&self, token: &str) -> Option<u32>;
    /// The token of an id, written as the vocabulary writes it.
    fn id_to_token(&self, id: u32) -> Option<String>;
    /// One more than the largest id: the rows that an embedding needs.
    fn vocab_size(&self) -> usize;
    /// The token that ends a text, where the tokenizer names one.
    fn eos(&self) -> Option<&SpecialToken>;
}

/// A tokenizer of the Hugging Face kind: tokenizer.json, tokenizer_config.json and, when there, special_tokens_map.json
/// and chat_template.jinja.
#[derive(Clone, Debug)]
pub struct HfTokenizer {
    inner: Tokenizer,
    folder: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    vocab_size: usize,
    specials: Vec<(&'static str, SpecialToken)>,
    template: Option<(PathBuf, String)>,
    notes: Vec<String>,
}

impl HfTokenizer {
    /// Reads the tokenizer of a model's folder.
    ///
    /// Fails when tokenizer.json or tokenizer_config.json is missing or malformed, or when the bos or eos token they name
    /// is not in the vocabulary.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        Self::from_files(folder, files::read(folder)?)
    }

    /// A tokenizer from the content of its files, by name; `origin` is the folder or file that errors name.
    /// For a tokenizer that is made in memory or comes out of a GGUF.
    pub fn from_files(origin: impl AsRef<Path>, files: Vec<(String, Vec<u8>)>) -> Result<Self> {
        let folder = origin.as_ref().to_owned();
        let json = files::required(&folder, &files, "tokenizer.json")?;
        let mut inner = Tokenizer::from_bytes(json).map_err(|e| {
            Error::invalid(
                folder.join("tokenizer.json"),
                "content",
                "a tokenizer of the `tokenizers` library",
                e.to_string(),
            )
        })?;
        inner.with_padding(None);
        let config = files::config(&folder, &files)?;
        let mut notes = Vec::new();
        let specials = named_specials(&mut inner, &mut notes, &config)?;
        inner.with_truncation(None).map_err(|e| broken(&folder, e))?;
        let vocab_size = inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |id| id as usize + 1);
        let mut this = Self {
            inner,
            folder,
            files,
            vocab_size,
            specials,
            template: config.template,
            notes,
        };
        this.post_process(config.add_bos, config.add_eos)?;
        this.pad_falls_back_on_eos();
        Ok(this)
    }

    /// `add_bos_token` and `add_eos_token`, where given, replace the post-processor of tokenizer.json.
    fn post_process(&mut self, add_bos: Option<bool>, add_eos: Option<bool>) -> Result<()> {
        if add_bos.is_none() && add_eos.is_none() {
            return Ok(());
        }
        let bos = self.bos().filter(|_| add_bos == Some(true)).cloned();
        let eos = self.eos().filter(|_| add_eos == Some(true)).cloned();
        let before = bos.iter().map(|t| format!("{}:0", t.text));
        let after = eos.iter().map(|t| format!("{}:0", t.text));
        let single: Vec<String> = before.chain(["$A:0".to_owned()]).chain(after).collect();
        let template = TemplateProcessing::builder()
            .try_single(single)
            .map_err(|e| broken(&self.folder, e))?
            .special_tokens(
                bos.iter()
                    .chain(&eos)
                    .map(|t| (t.text.clone(), t.id))
                    .collect::<Vec<_>>(),
            )
            .build()
            .map_err(|e| broken(&self.folder, e))?;
        self.inner.with_post_processor(Some(template));
        Ok(())
    }

    fn pad_falls_back_on_eos(&mut self) {
        if self.pad().is_some() {
            return;
        }
        match self.eos().cloned() {
            Some(eos) => {
                self.notes.push(format!(
                    "the tokenizer names no pad token: its eos token {} is used",
                    eos.text
                ));
                self.specials.push(("pad_token", eos));
            }
            None => self
                .notes
                .push("the tokenizer names neither an eos nor a pad token".to_owned()),
        }
    }

    /// What the user should know: a pad token that is the eos token, a named token that does not exist.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The folder or file it came from.
    pub fn origin(&self) -> &Path {
        &self.folder
    }

    fn special(&self, name: &str) -> Option<&SpecialToken> {
        self.specials.iter().find(|(n, _)| *n == name).map(|(_, token)| token)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<&SpecialToken> {
        self.special("bos_token")
    }

    /// The token that fills a batch: the eos token where none is named, which [`notes`](Self::notes) then says.
    pub fn pad(&self) -> Option<&SpecialToken> {
        self.special("pad_token")
    }

    /// The token for what the vocabulary cannot write.
    pub fn unk(&self) -> Option<&SpecialToken> {
        self.special("unk_token")
    }

    /// The named special tokens as chat templates see them: (`eos_token`, `<|im_end|>`).
    pub fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        self.specials.iter().map(|(name, token)| (*name, token.text.as_str()))
    }

    /// Makes `text`, a token of the vocabulary, the `eos_token` or `pad_token`, here and in the files that
    /// [`save`](Self::save) writes. Returns its id; fails when there is no such token.
    pub fn set_special(&mut self, name: &'static str, text: &str) -> Result<u32> {
        let path = self.folder.join(files::CONFIG);
        let Some(id) = self.token_to_id(text) else {
            let expected = "a token of tokenizer.json";
            return Err(Error::invalid(&path, name, expected, format!("{text:?}")));
        };
        self.specials.retain(|(n, _)| *n != name);
        self.specials.push((
            name,
            SpecialToken {
                text: text.to_owned(),
                id,
            },
        ));
        for (file, bytes) in &mut self.files {
            if file == files::CONFIG {
                let broken = |e: serde_json::Error| Error::invalid(&path, "JSON", "an object", e.to_string());
                let mut map: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(bytes).map_err(broken)?;
                map.insert(name.to_owned(), text.into());
                *bytes = serde_json::to_vec_pretty(&map).map_err(broken)?;
            }
        }
        Ok(id)
    }

    /// Its chat template: chat_template.jinja, else the one in tokenizer_config.json; of several the one named
    /// `default`. `None` where there is none: see [`fallback_chat_template`](Self::fallback_chat_template).
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        self.template
            .as_ref()
            .map(|(path, source)| ChatTemplate::new(path, source, self.named()))
            .transpose()
    }

    /// Plain ChatML with this tokenizer's special tokens.
    pub fn fallback_chat_template(&self) -> Result<ChatTemplate> {
        ChatTemplate::new("fallback chat template", crate::chat::CHATML, self.named())
    }

    /// Checks that a model of `vocab` embedding rows can read every id of the tokenizer.
    pub fn fits(&self, vocab: usize) -> Result<()> {
        if self.vocab_size <= vocab {
            return Ok(());
        }
        let last = self.vocab_size as u32 - 1;
        Err(Error::invalid(
            self.folder.join("tokenizer.json"),
            format!("token {:?}", self.id_to_token(last).unwrap_or_default()),
            format!("an id below the model's vocab_size {vocab}"),
            format!("id {last}"),
        ))
    }

    /// Writes the files it was read from, byte for byte, into a folder that exists.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        for (name, bytes) in &self.files {
            let path = folder.as_ref().join(name);
            std::fs::write(&path, bytes).map_err(Error::io(&path, "write"))?;
        }
        Ok(())
    }
}

impl Tokenize for HfTokenizer {
    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, specials == Specials::Add)
            .map_err(|e| broken(&self.folder, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn encode_spans(&self, text: &str, specials: Specials) -> Result<Encoded> {
        let encoding = self
            .inner
            .encode(text, specials == Specials::Add)
            .map_err(|e| broken(&self.folder, e))?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoded {
            ids: encoding.get_ids().to_vec(),
            spans,
        })
    }

    fn decode(&self, ids: &[u32], decoding: Decoding) -> Result<String> {
        self.inner
            .decode(ids, decoding == Decoding::SkipSpecials)
            .map_err(|e| broken(&self.folder, e))
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn eos(&self) -> Option<&SpecialToken> {
        self.special("eos_token")
    }
}

/// The library refuses at run time: a model without an unk token for what it cannot write, a decoder that fails.
fn broken(folder: &Path, error: impl std::fmt::Display) -> Error {
    Error::invalid(
        folder.join("tokenizer.json"),
        "content",
        "a tokenizer that works on this input",
        error.to_string(),
    )
}

/// Finds the named tokens in the vocabulary and makes those special that tokenizer.json does not, as transformers does.
fn named_specials(
    inner: &mut Tokenizer,
    notes: &mut Vec<String>,
    config: &files::Config,
) -> Result<Vec<(&'static str, SpecialToken)>> {
    let added = inner.get_added_tokens_decoder();
    let mut specials = Vec::new();
    for (name, text) in &config.specials {
        let Some(id) = inner.token_to_id(text) else {
            if matches!(*name, "bos_token" | "eos_token") {
                return Err(Error::invalid(
                    &config.path,
                    *name,
                    "a token of tokenizer.json",
                    format!("{text:?}"),
                ));
            }
            notes.push(format!(
                "{}: {name} {text:?} is not a token of tokenizer.json and is not used",
                config.path.display()
            ));
            continue;
        };
        if !added.contains_key(&id) {
            let token = AddedToken::from(text.clone(), true).normalized(false);
            inner.add_special_tokens([token]).map_err(|e| broken(&config.path, e))?;
        }
        specials.push((*name, SpecialToken { text: text.clone(), id }));
    }
    Ok(specials)
}
