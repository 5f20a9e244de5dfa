//! The files of a tokenizer: which there are, and what tokenizer_config.json says.
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Names the special tokens and holds the chat template.
pub(super) const CONFIG: &str = "tokenizer_config.json";

/// Every file that belongs to a tokenizer and is carried over to a saved model; the first two must be there.
const NAMES: [&str; 8] = [
    "tokenizer.json",
    CONFIG,
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// The names under which transformers knows special tokens.
const SPECIALS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// What the tokenizer's configuration says, as far as it matters here.
pub(super) struct Config {
    /// tokenizer_config.json, for errors.
    pub path: PathBuf,
    /// Named special tokens and their texts.
    pub specials: Vec<(&'static str, String)>,
    /// `add_bos_token`, where given.
    pub add_bos: Option<bool>,
    /// `add_eos_token`, where given.
    pub add_eos: Option<bool>,
    /// The chat template and the file that it stands in.
    pub template: Option<(PathBuf, String)>,
}

/// Reads the tokenizer's files that are in a folder.
pub(super) fn read(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (i, name) in NAMES.into_iter().enumerate() {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => files.push((name.to_owned(), bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && i >= 2 => {}
            Err(e) => return Err(Error::io(&path, "read")(e)),
        }
    }
    Ok(files)
}

fn find<'a>(files: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    files.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.as_slice())
}

/// The bytes of a file that must be there.
pub(super) fn required<'a>(folder: &Path, files: &'a [(String, Vec<u8>)], name: &str) -> Result<&'a [u8]> {
    find(files, name).ok_or_else(|| Error::invalid(folder, name, "a file of the tokenizer", "none"))
}

fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::invalid(
            path,
            format!("line {} column {}", e.line(), e.column()),
            "a JSON object",
            e.to_string(),
        )
    })
}

/// Reads tokenizer_config.json, then special_tokens_map.json for what it does not name, then chat_template.jinja.
pub(super) fn config(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<Config> {
    let path = folder.join(CONFIG);
    let json = object(&path, required(folder, files, CONFIG)?)?;
    let map_path = folder.join("special_tokens_map.json");
    let map = find(files, "special_tokens_map.json")
        .map(|bytes| object(&map_path, bytes))
        .transpose()?;
    let mut specials = Vec::new();
    for name in SPECIALS {
        let mut text = special_text(&path, name, json.get(name))?;
        if text.is_none()
            && let Some(map) = &map
        {
            text = special_text(&map_path, name, map.get(name))?;
        }
        specials.extend(text.map(|text| (name, text)));
    }
    let template = match find(files, "chat_template.jinja") {
        Some(bytes) => {
            let path = folder.join("chat_template.jinja");
            let source =
                std::str::from_utf8(bytes).map_err(|e| Error::invalid(&path, "content", "UTF-8", e.to_string()))?;
            Some((path, source.to_owned()))
        }
        None => template(&path, json.get("chat_template"))?.map(|source| (path.clone(), source)),
    };
    Ok(Config {
        add_bos: flag(&path, &json, "add_bos_token")?,
        add_eos: flag(&path, &json, "add_eos_token")?,
        path,
        specials,
        template,
    })
}

fn flag(path: &Path, json: &Map<String, Value>, name: &str) -> Result<Option<bool>> {
    match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(Error::invalid(path, name, "true or false", other.to_string())),
    }
}

/// A special token is a string, or an AddedToken object whose `content` is one.
fn special_text(path: &Path, name: &str, value: Option<&Value>) -> Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Object(token)) if token.get("content").is_some_and(Value::is_string) => {
            Ok(token["content"].as_str().map(str::to_owned))
        }
        Some(other) => Err(Error::invalid(
            path,
            name,
            "a string or an object with a string `content`",
            other.to_string(),
        )),
    }
}

/// `chat_template` is a string, or a list of `{name, template}` of which the one named `default` is taken.
fn template(path: &Path, value: Option<&Value>) -> Result<Option<String>> {
    let wrong = |found: String| {
        Error::invalid(
            path,
            "chat_template",
            "a string, or a list of {name, template} with one named \"default\"",
            found,
        )
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(named)) => {
            let default = named
                .iter()
                .find(|t| t["name"] == "default")
                .and_then(|t| t["template"].as_str());
            let names = || {
                named
                    .iter()
                    .map(|t| t["name"].to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            default
                .map(|s| Some(s.to_owned()))
                .ok_or_else(|| wrong(format!("templates named {}", names())))
        }
        Some(other) => Err(wrong(other.to_string())),
    }
}
