//! The tokenizer inside a GGUF file -> the three files of a Hugging Face tokenizer.
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::file::Gguf;
use crate::error::Result;

/// Content of a tokenizer's files. The class is `PreTrainedTokenizerFast`: others make transformers replace the
/// pre-tokenizer of tokenizer.json by their own.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    /// tokenizer.json.
    pub tokenizer: Value,
    /// tokenizer_config.json, chat template included.
    pub config: Value,
    /// special_tokens_map.json.
    pub special_tokens: Value,
}

/// Token types of GGUF.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// How text is cut before the merges. The patterns are those of the models' own tokenizer.json; llama.cpp keeps a
/// rewriting of each under the name in `tokenizer.ggml.pre`.
enum Pre {
    /// GPT-2's pattern, built into `ByteLevel`.
    Gpt2,
    /// Digits one by one, then GPT-2's pattern.
    SmolLm,
    Qwen2,
    Llama3,
    /// What llama.cpp does where the converter did not recognise the model.
    Default,
}

const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Pre {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gpt-2" => Self::Gpt2,
            "smollm" => Self::SmolLm,
            "qwen2" => Self::Qwen2,
            "llama-bpe" | "llama3" | "llama-v3" => Self::Llama3,
            "default" => Self::Default,
            _ => return None,
        })
    }

    fn pre_tokenizer(&self) -> Value {
        let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
        let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        let steps = match self {
            Self::Gpt2 => return byte_level(true),
            Self::SmolLm => vec![json!({ "type": "Digits", "individual_digits": true }), byte_level(true)],
            Self::Qwen2 => vec![split(QWEN2_PATTERN), byte_level(false)],
            Self::Llama3 => vec![split(LLAMA3_PATTERN), byte_level(false)],
            Self::Default => {
                let patterns = [r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN, r"\p{N}+", "[0-9][0-9][0-9]"];
                patterns.map(split).into_iter().chain([byte_level(false)]).collect()
            }
        };
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}

/// Reads the tokenizer of `gguf`: byte-level BPE only.
pub fn tokenizer(gguf: &Gguf) -> Result<TokenizerFiles> {
    if gguf.text("tokenizer.ggml.model")? != Some("gpt2") {
        return Err(gguf.invalid("tokenizer.ggml.model", "gpt2 (byte-level BPE)"));
    }
    let pre = gguf
        .text("tokenizer.ggml.pre")?
        .and_then(Pre::from_name)
        .ok_or_else(|| gguf.invalid("tokenizer.ggml.pre", "gpt-2, smollm, qwen2, llama-bpe or default"))?;
    if gguf.text("general.architecture")? == Some("qwen2") && !matches!(pre, Pre::Qwen2) {
        let expected =
            "qwen2: AutoTokenizer of transformers 5 gives any qwen2 model that one, whatever tokenizer.json says";
        return Err(gguf.invalid("tokenizer.ggml.pre", expected));
    }
    let (tokens, types) = tokens(gguf)?;
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = vocab.insert(*token, id) {
            let expected = format!("each token once, not {token:?} as {first} and as {id}");
            return Err(gguf.invalid("tokenizer.ggml.tokens", expected));
        }
    }
    let merges = merges(gguf, &vocab)?;

    let added = |(id, token): (usize, &&str)| {
        let special = match types[id] {
            CONTROL => true,
            USER_DEFINED => false,
            _ => return None,
        };
        Some(
            json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special }),
        )
    };
    let added: Vec<Value> = tokens.iter().enumerate().filter_map(added).collect();
    let special = special_tokens(gguf, &tokens)?;

    let by_id: Map<String, Value> = tokens
        .iter()
        .zip(0u32..)
        .map(|(token, id)| ((*token).to_owned(), id.into()))
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": matches!(pre, Pre::Qwen2).then(|| json!({ "type": "NFC" })),
        "pre_tokenizer": pre.pre_tokenizer(),
        "post_processor": post_processor(gguf, &pre, &special, &vocab)?,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": matches!(pre, Pre::Llama3),
            "vocab": by_id,
            "merges": merges,
        },
    });
    Ok(TokenizerFiles {
        tokenizer,
        config: config(gguf, &added, &special)?,
        special_tokens: Value::Object(special),
    })
}

/// Tokens and their types, without the unused ones at the end that only pad the embedding.
fn tokens(gguf: &Gguf) -> Result<(Vec<&str>, Vec<u64>)> {
    let key = "tokenizer.ggml.tokens";
    let mut tokens = gguf.required(key, "an array of strings", gguf.texts(key)?)?;
    if let Some(rows) = gguf
        .tensor("token_embd.weight")
        .and_then(|tensor| tensor.shape.first())
        .filter(|rows| tokens.len() > **rows)
    {
        return Err(gguf.invalid(
            "tokenizer.ggml.tokens",
            format!("at most the {rows} tokens of token_embd.weight"),
        ));
    }
    let key = "tokenizer.ggml.token_type";
    let mut types = gguf.required(key, "an array of integers", gguf.uints(key)?)?;
    if types.len() != tokens.len() {
        return Err(gguf.invalid(key, format!("one type for each of the {} tokens", tokens.len())));
    }
    let used = types
        .iter()
        .rposition(|kind| *kind != UNUSED)
        .map_or(0, |last| last + 1);
    tokens.truncate(used);
    types.truncate(used);
    Ok((tokens, types))
}

fn merges(gguf: &Gguf, vocab: &HashMap<&str, usize>) -> Result<Vec<Value>> {
    let key = "tokenizer.ggml.merges";
    let merges = gguf.required(key, "an array of strings", gguf.texts(key)?)?;
    let pair = |merge: &str| {
        let (a, b) = merge.split_once(' ')?;
        let known = [a, b, &format!("{a}{b}")].iter().all(|token| vocab.contains_key(token));
        known.then(|| json!([a, b]))
    };
    merges
        .iter()
        .enumerate()
        .map(|(i, merge)| {
            pair(merge)
                .ok_or_else(|| gguf.invalid(key, format!("at {i} two tokens whose union is a token, not {merge:?}")))
        })
        .collect()
}

/// `bos_token` and the like, where the file names them.
fn special_tokens(gguf: &Gguf, tokens: &[&str]) -> Result<Map<String, Value>> {
    let mut special = Map::new();
    for (name, own) in [("bos", "bos"), ("eos", "eos"), ("padding", "pad"), ("unknown", "unk")] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        if let Some(id) = gguf.uint(&key)? {
            let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
            let token = token.ok_or_else(|| gguf.invalid(&key, format!("a token id below {}", tokens.len())))?;
            special.insert(format!("{own}_token"), (*token).into());
        }
    }
    Ok(special)
}

/// What is put around a text: nothing, or the tokens that the file asks for.
fn post_processor(gguf: &Gguf, pre: &Pre, special: &Map<String, Value>, vocab: &HashMap<&str, usize>) -> Result<Value> {
    let mut template = vec![json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let mut used = Map::new();
    // llama.cpp adds bos for llama-bpe where the file does not say.
    for (key, name, default) in [
        ("tokenizer.ggml.add_bos_token", "bos_token", matches!(pre, Pre::Llama3)),
        ("tokenizer.ggml.add_eos_token", "eos_token", false),
    ] {
        if !gguf.flag(key)?.unwrap_or(default) {
            continue;
        }
        let token = special.get(name).and_then(Value::as_str);
        let token = token.ok_or_else(|| gguf.invalid(key, format!("false, as there is no {name}")))?;
        let at = if name == "bos_token" { 0 } else { template.len() };
        template.insert(at, json!({ "SpecialToken": { "id": token, "type_id": 0 } }));
        used.insert(
            token.into(),
            json!({ "id": token, "ids": [vocab.get(token)], "tokens": [token] }),
        );
    }
    if used.is_empty() {
        return Ok(Value::Null);
    }
    let mut pair = template.clone();
    for piece in &template {
        let mut piece = piece.clone();
        for kind in ["Sequence", "SpecialToken"] {
            if let Some(fields) = piece.get_mut(kind) {
                fields["type_id"] = 1.into();
                if kind == "Sequence" {
                    fields["id"] = "B".into();
                }
            }
        }
        pair.push(piece);
    }
    Ok(json!({ "type": "TemplateProcessing", "single": template, "pair": pair, "special_tokens": used }))
}

fn config(gguf: &Gguf, added: &[Value], special: &Map<String, Value>) -> Result<Value> {
    let mut decoder = Map::new();
    for token in added {
        let mut token = token.clone();
        if let Some(id) = token.as_object_mut().and_then(|fields| fields.shift_remove("id")) {
            decoder.insert(id.to_string(), token);
        }
    }
    let mut config = Map::new();
    config.insert("add_prefix_space".into(), false.into());
    config.insert("added_tokens_decoder".into(), decoder.into());
    config.extend(special.clone());
    if let Some(template) = gguf.text("tokenizer.chat_template")? {
        config.insert("chat_template".into(), template.into());
    }
    config.insert("clean_up_tokenization_spaces".into(), false.into());
    let architecture = gguf.text("general.architecture")?.unwrap_or_default();
    if let Some(length) = gguf.uint(&format!("{architecture}.context_length"))? {
        config.insert("model_max_length".into(), length.into());
    }
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    Ok(config.into())
}
