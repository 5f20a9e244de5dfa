use serde_json::{Value, json};

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tokenizer");

/// A folder with the tokenizer that is made in memory and the given changes to its tokenizer_config.json; null removes a
/// key.
fn folder(changes: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    chatml_bytes(0..=255).unwrap().save(folder.path()).unwrap();
    let path = folder.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(&path, config.to_string()).unwrap();
    folder
}

fn load(changes: &Value) -> HfTokenizer {
    HfTokenizer::load(folder(changes).path()).unwrap()
}

/// The error of a folder in which one file is replaced, or removed.
fn refusal(name: &str, content: Option<&str>) -> String {
    let folder = folder(&json!({}));
    let path = folder.path().join(name);
    match content {
        Some(content) => std::fs::write(path, content).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
    HfTokenizer::load(folder.path()).unwrap_err().to_string()
}

#[test]
fn special_tokens_are_strings_or_objects() {
    let tokenizer = HfTokenizer::load(GOLDEN).unwrap();
    let eos = tokenizer.eos().unwrap();
    assert_eq!(
        (eos.text.as_str(), Some(eos.id)),
        ("<|im_end|>", tokenizer.token_to_id("<|im_end|>"))
    );
    assert_eq!(tokenizer.pad().unwrap().text, "<|endoftext|>");
    assert!(tokenizer.bos().is_none() && tokenizer.unk().is_none() && tokenizer.notes().is_empty());
    assert_eq!(tokenizer.id_to_token(eos.id).as_deref(), Some("<|im_end|>"));
    let names: Vec<_> = tokenizer.named().collect();
    assert_eq!(names, [("eos_token", "<|im_end|>"), ("pad_token", "<|endoftext|>")]);
}

#[test]
fn special_tokens_map_names_what_the_config_does_not() {
    let folder = folder(&json!({"pad_token": null, "eos_token": "<|endoftext|>"}));
    let map = json!({"pad_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"});
    std::fs::write(folder.path().join("special_tokens_map.json"), map.to_string()).unwrap();
    let tokenizer = HfTokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.pad().unwrap().text, "<|im_start|>");
    assert_eq!(tokenizer.eos().unwrap().text, "<|endoftext|>");
}

#[test]
fn pad_falls_back_on_eos_and_says_so() {
    let tokenizer = load(&json!({"pad_token": null}));
    assert_eq!(tokenizer.pad(), tokenizer.eos());
    assert!(tokenizer.notes()[0].contains("no pad token") && tokenizer.notes()[0].contains("<|im_end|>"));
    let unknown = load(&json!({"pad_token": "<nowhere>"}));
    assert_eq!(unknown.pad(), unknown.eos());
    assert!(unknown.notes()[0].contains("\"<nowhere>\""));
    let neither = load(&json!({"pad_token": null, "eos_token": null}));
    assert!(neither.pad().is_none() && neither.notes()[0].contains("neither"));
}

#[test]
fn bos_and_eos_are_added_where_the_config_says_so() {
    let special = |changes: Value| load(&changes).encode("a", Specials::Add).unwrap();
    let (a, end, bos, eos) = (97, 256, 257, 258);
    assert_eq!(special(json!({})), [a]);
    assert_eq!(
        special(json!({"bos_token": "<|im_start|>", "add_bos_token": true})),
        [bos, a]
    );
    assert_eq!(
        special(json!({"bos_token": "<|im_start|>", "add_bos_token": false, "add_eos_token": true})),
        [a, eos]
    );
    assert_eq!(
        special(json!({"add_bos_token": true})),
        [a],
        "there is no bos token to add"
    );
    let both = load(&json!({"bos_token": "<|endoftext|>", "add_bos_token": true, "add_eos_token": true}));
    assert_eq!(both.encode("a", Specials::Omit).unwrap(), [a]);
    let encoded = both.encode_spans("aü", Specials::Add).unwrap();
    assert_eq!(encoded.ids, [end, a, 0xC3, 0xBC, eos]);
    assert_eq!(encoded.spans, [0..0, 0..1, 1..3, 1..3, 0..0]);
}

/// transformers makes every named token special, also one that tokenizer.json has as an ordinary word.
#[test]
fn a_named_token_is_special() {
    let tokenizer = load(&json!({"eos_token": "e"}));
    let ids = tokenizer.encode("hey", Specials::Omit).unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(tokenizer.decode(&ids, Decoding::SkipSpecials).unwrap(), "hy");
    assert_eq!(tokenizer.decode(&ids, Decoding::KeepSpecials).unwrap(), "hey");
}

#[test]
fn chat_templates_come_from_file_string_or_list() {
    let source = |tokenizer: &HfTokenizer| {
        let message = serde_json::from_value(json!([{"role": "user", "content": "x"}])).unwrap();
        let message: Vec<crate::chat::Message> = message;
        let template = tokenizer.chat_template().unwrap().unwrap();
        let text = template
            .render(&message, Default::default(), crate::chat::GenerationPrompt::Omit)
            .unwrap();
        (
            template.origin().file_name().unwrap().to_str().unwrap().to_owned(),
            text,
        )
    };
    let config = "tokenizer_config.json".to_owned();
    assert_eq!(
        source(&load(&json!({"chat_template": "s{{ eos_token }}"}))),
        (config.clone(), "s<|im_end|>".to_owned())
    );
    let list = json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
    let named = folder(&json!({"chat_template": list}));
    assert_eq!(
        source(&HfTokenizer::load(named.path()).unwrap()),
        (config, "d".to_owned())
    );
    std::fs::write(named.path().join("chat_template.jinja"), "file").unwrap();
    let file = ("chat_template.jinja".to_owned(), "file".to_owned());
    assert_eq!(source(&HfTokenizer::load(named.path()).unwrap()), file);
    let none = load(&json!({"chat_template": null}));
    assert!(none.chat_template().unwrap().is_none());
    assert!(none.fallback_chat_template().is_ok());
}

#[test]
fn fits_names_the_token() {
    let tokenizer = chatml_bytes(*b"ab").unwrap();
    assert_eq!(tokenizer.vocab_size(), 5);
    assert!(tokenizer.fits(5).is_ok() && tokenizer.fits(512).is_ok());
    let error = tokenizer.fits(4).unwrap_err().to_string();
    assert!(
        error.contains(
            "tokenizer.json: token \"<|im_end|>\": expected an id below the model's vocab_size 4, found id 4"
        ),
        "{error}"
    );
}

#[test]
fn saving_copies_every_file() {
    let from = folder(&json!({}));
    for (name, content) in [
        ("special_tokens_map.json", "{ }"),
        ("chat_template.jinja", "é\r\n"),
        ("merges.txt", "x"),
    ] {
        std::fs::write(from.path().join(name), content).unwrap();
    }
    std::fs::write(from.path().join("config.json"), "the model's").unwrap();
    let to = tempfile::tempdir().unwrap();
    HfTokenizer::load(from.path()).unwrap().save(to.path()).unwrap();
    assert!(!to.path().join("config.json").exists());
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "merges.txt",
    ] {
        assert_eq!(
            std::fs::read(from.path().join(name)).unwrap(),
            std::fs::read(to.path().join(name)).unwrap(),
            "{name}"
        );
    }
    let nowhere = HfTokenizer::load(from.path())
        .unwrap()
        .save(to.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(nowhere.contains("none/tokenizer.json: cannot write"), "{nowhere}");
}

#[test]
fn bad_files_are_refused() {
    assert!(refusal("tokenizer.json", None).contains("tokenizer.json: cannot read"));
    assert!(refusal("tokenizer_config.json", None).contains("tokenizer_config.json: cannot read"));
    let cut = refusal("tokenizer.json", Some("{\"version\": \"1.0\", "));
    assert!(
        cut.contains("tokenizer.json: content") && cut.contains("line 1"),
        "{cut}"
    );
    let cut = refusal("tokenizer_config.json", Some("{\n\"a\": }"));
    assert!(
        cut.contains("tokenizer_config.json: line 2 column 6: expected a JSON object"),
        "{cut}"
    );
    let cases = [
        (r#"[]"#, "expected a JSON object"),
        (
            r#"{"eos_token": "<nowhere>"}"#,
            "eos_token: expected a token of tokenizer.json, found \"<nowhere>\"",
        ),
        (
            r#"{"bos_token": 3}"#,
            "bos_token: expected a string or an object with a string `content`, found 3",
        ),
        (
            r#"{"pad_token": {"content": 3}}"#,
            "pad_token: expected a string or an object",
        ),
        (
            r#"{"add_bos_token": "yes"}"#,
            "add_bos_token: expected true or false, found \"yes\"",
        ),
        (
            r#"{"chat_template": [{"name": "rag", "template": "x"}]}"#,
            "found templates named \"rag\"",
        ),
        (r#"{"chat_template": 3}"#, "chat_template: expected a string, or a list"),
    ];
    for (config, reason) in cases {
        let error = refusal("tokenizer_config.json", Some(config));
        assert!(
            error.contains("tokenizer_config.json: ") && error.contains(reason),
            "{error}"
        );
    }
    let map = refusal("special_tokens_map.json", Some("x"));
    assert!(map.contains("special_tokens_map.json: line 1"), "{map}");
    let broken = load(&json!({"chat_template": "{% if %}"}))
        .chat_template()
        .unwrap_err()
        .to_string();
    assert!(
        broken.contains("tokenizer_config.json: chat template line 1"),
        "{broken}"
    );
}

#[test]
fn made_in_memory_it_reads_back_every_text() {
    let tokenizer = chatml_bytes(0..=255).unwrap();
    let text = "<|im_start|>user\n1 + 2 = 3\tÜ世👩‍🚀<|im_end|>";
    let ids = tokenizer.encode(text, Specials::Omit).unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (257, 258));
    assert_eq!(
        ids.len(),
        text.len() - "<|im_start|>".len() - "<|im_end|>".len() + 2,
        "a token a byte"
    );
    assert_eq!(
        ids[1..5],
        [b'u', b's', b'e', b'r'].map(u32::from),
        "ids of bytes are the bytes"
    );
    assert_eq!(tokenizer.decode(&ids, Decoding::KeepSpecials).unwrap(), text);
    let digits = chatml_bytes(*b"0123456789+=").unwrap();
    assert_eq!(
        digits.encode("1+x", Specials::Omit).unwrap(),
        [2, 0, 12],
        "what it cannot write is <|endoftext|>"
    );
}

#[test]
fn a_stream_holds_back_half_characters() {
    let tokenizer = chatml_bytes(0..=255).unwrap();
    let ids = tokenizer.encode("a世<|im_end|>é", Specials::Omit).unwrap();
    let mut stream = TextStream::new(&tokenizer, Decoding::SkipSpecials);
    let parts: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(parts, ["a", "", "", "世", "", "", "é"]);
    assert_eq!(stream.finish().unwrap(), "");
    let mut cut = TextStream::new(&tokenizer, Decoding::KeepSpecials);
    let parts: Vec<String> = [97, 0xE4, 98, 0xE4].iter().map(|&id| cut.push(id).unwrap()).collect();
    assert_eq!(parts, ["a", "", "\u{FFFD}b", ""]);
    assert_eq!(cut.finish().unwrap(), "\u{FFFD}");
}
