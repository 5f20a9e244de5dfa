//! From a file and flags to a checked configuration. Flags win over the file; every complaint names its place.
use super::keys::{Given, Key, Keys};
use super::nearest::known;
use super::shared::Switches;
use super::whole::{Config, Place, Trainer, all_keys, shared_keys};
use super::{refused, value};
use model_qwen2::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Other names of keys.
const ALIASES: &[(&str, &str)] = &[
    ("model", "model_name_or_path"),
    ("activation_checkpointing", "gradient_checkpointing"),
    ("resume_from_checkpoint", "resume"),
];

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<K> {
    /// A run.
    Run(Box<Config<K>>),
    /// `--help`: the text to print.
    Help(String),
}

/// What was given for one key, and where.
struct Entry {
    given: Given,
    place: Place,
}

/// Reads the arguments that follow the subcommand: `--config run.toml` and `--key value` (`--key=value`,
/// `--key-name`, a bare `--switch`, several words for a list, `--dataset.path` for a key inside a table). Flags win
/// over the file.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key (names the nearest), a wrong value, keys that exclude each other;
/// [`Error::Io`] for the file. A flag's path is "command line".
pub fn parse<K: Trainer>(args: impl IntoIterator<Item = String>) -> Result<Parsed<K>> {
    let mut flags = Vec::new();
    let mut file = None;
    for (name, words) in split(args)? {
        match (name.as_str(), words.as_slice()) {
            ("help" | "h", _) => return Ok(Parsed::Help(help::<K>())),
            ("config", [path]) => file = Some(PathBuf::from(path)),
            ("config", _) => return Err(flag_place("config").invalid("the path of a TOML file", words.join(" "))),
            _ => flags.push((name, words)),
        }
    }
    let mut config = Config::<K>::default();
    let mut entries = BTreeMap::new();
    if let Some(path) = file {
        read_file(&path, &mut entries, &mut config.places)?;
    }
    for (name, words) in flags {
        merge_flag(&name, words, &mut entries, &mut config.places)?;
    }
    for (name, entry) in &entries {
        config.set(name, entry)?;
    }
    config.validate()?;
    Ok(Parsed::Run(Box::new(config)))
}

/// The name and words of each flag, dashes in the key's own name made underscores.
fn split(args: impl IntoIterator<Item = String>) -> Result<Vec<(String, Vec<String>)>> {
    let mut flags: Vec<(String, Vec<String>)> = Vec::new();
    for arg in args {
        let Some(flag) = arg.strip_prefix("--").or_else(|| (arg == "-h").then_some("help")) else {
            match flags.last_mut() {
                Some((_, words)) => words.push(arg),
                None => {
                    return Err(Place {
                        path: "command line".into(),
                        field: "first argument".into(),
                    }
                    .invalid("a --flag", arg));
                }
            }
            continue;
        };
        let (name, word) = match flag.split_once('=') {
            Some((name, word)) => (name, Some(word.to_owned())),
            None => (flag, None),
        };
        // Below the dot are the names of the user's columns, which may have dashes.
        let name = match name.split_once('.') {
            Some((root, rest)) => format!("{}.{rest}", root.replace('-', "_")),
            None => name.replace('-', "_"),
        };
        flags.push((name, word.into_iter().collect()));
    }
    Ok(flags)
}

fn flag_place(name: &str) -> Place {
    Place {
        path: "command line".into(),
        field: format!("--{name}"),
    }
}

fn canonical(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, key)| key)
}

fn read_file(path: &Path, entries: &mut BTreeMap<String, Entry>, places: &mut BTreeMap<String, Place>) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let line = |offset: usize| text[..offset].matches('\n').count() + 1;
    let broken = |error: toml::de::Error| {
        let field = error
            .span()
            .map_or("content".into(), |span| format!("line {}", line(span.start)));
        Error::invalid(path, field, "TOML", error.message().trim())
    };
    let table: toml::Table = text.parse().map_err(broken)?;
    let spans = DeTable::parse(&text).map_err(broken)?;
    find_places(spans.get_ref(), "", &mut |key, offset| {
        let place = Place {
            path: path.into(),
            field: format!("line {}: {key}", line(offset)),
        };
        places.insert(canonical(&key).to_owned(), place);
    });
    for (name, value) in table {
        let key = canonical(&name).to_owned();
        let place = places.get(&key).cloned().unwrap_or(Place {
            path: path.into(),
            field: name.clone(),
        });
        if entries.contains_key(&key) {
            return Err(place.invalid("one of the key's names", format!("both {key} and its other name")));
        }
        entries.insert(
            key,
            Entry {
                given: Given::Toml(value),
                place,
            },
        );
    }
    Ok(())
}

/// Calls `found` with the dotted name and byte offset of every key.
fn find_places(table: &DeTable, prefix: &str, found: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            find_places(inner, &format!("{name}."), found);
        }
        found(name, key.span().start);
    }
}

fn merge_flag(
    name: &str,
    words: Vec<String>,
    entries: &mut BTreeMap<String, Entry>,
    places: &mut BTreeMap<String, Place>,
) -> Result<()> {
    let place = flag_place(name);
    let (root, rest) = name
        .split_once('.')
        .map_or((name, None), |(root, rest)| (root, Some(rest)));
    let key = canonical(root).to_owned();
    let given = match rest {
        None => Given::Words(words),
        Some(rest) => {
            let value =
                <toml::Value as value::Value>::from_words(&words).ok_or_else(|| place.invalid("a value", "none"))?;
            let mut whole = match entries.remove(&key).map(|entry| entry.given) {
                None => toml::Value::Table(toml::Table::new()),
                Some(Given::Toml(whole)) => whole,
                Some(Given::Words(words)) => toml::Value::String(words.join(" ")),
            };
            insert(&mut whole, rest, value)
                .map_err(|found| place.invalid(format!("a table in the place of {found}"), found.to_string()))?;
            places.insert(format!("{key}.{rest}"), place.clone());
            Given::Toml(whole)
        }
    };
    places.insert(key.clone(), place.clone());
    entries.insert(key, Entry { given, place });
    Ok(())
}

/// Puts `value` at the dotted `path` inside `whole`; the value that is in the way is the error.
fn insert(whole: &mut toml::Value, path: &str, value: toml::Value) -> Result<(), toml::Value> {
    let toml::Value::Table(table) = whole else {
        return Err(whole.clone());
    };
    match path.split_once('.') {
        None => {
            table.insert(path.into(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table
                .entry(first)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            insert(inner, rest, value)
        }
    }
}

impl<K: Trainer> Config<K> {
    fn set(&mut self, name: &str, entry: &Entry) -> Result<()> {
        let set = self
            .shared
            .set(name, &entry.given)
            .or_else(|| self.own.set(name, &entry.given))
            .or_else(|| self.switches.set(name, &entry.given));
        match set {
            Some(Ok(())) => Ok(()),
            Some(Err(mismatch)) => Err(entry.place.invalid(mismatch.expected, mismatch.found)),
            None => Err(match refused::reason(name) {
                Some(reason) => entry.place.invalid(
                    format!("a key that this trainer takes: {reason}"),
                    format!("TRL's {name}"),
                ),
                None => {
                    let keys = all_keys::<K>();
                    let names = keys
                        .iter()
                        .map(|key| key.name)
                        .chain(ALIASES.iter().map(|(alias, _)| *alias));
                    entry
                        .place
                        .invalid(known(name, names), format!("the unknown key {name}"))
                }
            }),
        }
    }
}

fn help<K: Trainer>() -> String {
    let mut text = format!(
        "Usage: proximal {} [--config <run.toml>] [--<key> <value>]...\n\n\
         Keys have TRL's names; in the file and as flags, where dashes may stand for underscores. Flags win.\n",
        K::COMMAND
    );
    let groups = [
        (K::COMMAND, K::keys()),
        ("every trainer", shared_keys::<K>()),
        ("this run only", Switches::keys()),
    ];
    for (title, keys) in groups {
        text += &format!("\nKeys of {title}:\n");
        for Key {
            name,
            expected,
            default,
            help,
        } in keys
        {
            let default = default.map_or(String::new(), |default| format!(" [default: {default}]"));
            text += &format!("  --{name} <{expected}>\n        {help}{default}\n");
        }
    }
    text
}
