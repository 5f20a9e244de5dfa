//! A tiny tokenizer made in memory, for the demo and for tests.
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Result;
use crate::tokenizer::HfTokenizer;

/// ChatML as Qwen2.5 writes it, without its default system prompt and its tools.
pub const DEMO_CHAT_TEMPLATE: &str = "{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// A byte-level tokenizer in which every byte of `alphabet` is one token, followed by `<|endoftext|>`, `<|im_start|>` and
/// `<|im_end|>`. Bytes outside the alphabet become `<|endoftext|>`, its unk and pad token; eos is `<|im_end|>`.
///
/// Saved, it loads in transformers as a `PreTrainedTokenizerFast`.
pub fn chatml_bytes(alphabet: impl IntoIterator<Item = u8>) -> Result<HfTokenizer> {
    let mut bytes: Vec<u8> = alphabet.into_iter().collect();
    bytes.sort_unstable();
    bytes.dedup();
    let tokens = bytes
        .iter()
        .map(|&b| byte_char(b).to_string())
        .chain(SPECIALS.map(str::to_owned));
    let vocab: Map<String, Value> = tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    let added = |token: &str| json!({"content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let added_tokens: Vec<Value> = SPECIALS
        .iter()
        .map(|token| {
            let mut entry = json!({"id": vocab[*token]});
            if let (Some(entry), Value::Object(fields)) = (entry.as_object_mut(), added(token)) {
                entry.extend(fields);
            }
            entry
        })
        .collect();
    let decoder: Map<String, Value> = SPECIALS
        .iter()
        .map(|token| (vocab[*token].to_string(), added(token)))
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": SPECIALS[0], "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [],
        },
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": decoder,
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "clean_up_tokenization_spaces": false,
        "model_max_length": 32768,
        "chat_template": DEMO_CHAT_TEMPLATE,
    });
    let file = |name: &str, value: &Value| (name.to_owned(), format!("{value:#}\n").into_bytes());
    HfTokenizer::from_files(
        Path::new("tokenizer made in memory"),
        vec![
            file("tokenizer.json", &tokenizer),
            file("tokenizer_config.json", &config),
        ],
    )
}

/// The character that byte-level vocabularies write for a byte: itself where it is printable, else one from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return byte.into();
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or('\u{FFFD}')
}
