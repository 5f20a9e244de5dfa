//! From a file and flags to a checked configuration. Flags win over the file; every complaint names its place.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model_qwen2::{Error, Result};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::keys::{Given, Key, Keys};
use super::shared::{Scheduler, Shared, Strategy, Switches};
use super::value::Steps;
use super::{refused, value};

/// Other names of keys.
const ALIASES: &[(&str, &str)] = &[
    ("model", "model_name_or_path"),
    ("activation_checkpointing", "gradient_checkpointing"),
    ("resume_from_checkpoint", "resume"),
];

/// The keys of one trainer.
pub trait Trainer: Keys {
    /// The subcommand's name.
    const COMMAND: &'static str;

    /// Checks what involves several keys.
    fn validate(config: &Config<Self>) -> Result<()>;
}

/// A trainer's whole configuration. In code, start from `Config::default()` and set fields.
#[derive(Debug, Clone, Default)]
pub struct Config<K> {
    /// What every trainer has.
    pub shared: Shared,
    /// What this trainer has.
    pub own: K,
    /// How to run; not saved.
    pub switches: Switches,
    places: BTreeMap<String, Place>,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<K> {
    /// A run.
    Run(Box<Config<K>>),
    /// `--help`: the text to print.
    Help(String),
}

/// Where a key was given: the file (or "command line"), and the field within it.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    field: String,
}

impl Place {
    fn invalid(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.field.clone(), expected, found)
    }
}

/// What was given for one key, and where.
struct Entry {
    given: Given,
    place: Place,
}

/// Reads the arguments that follow the subcommand: `--config run.toml` and `--key value` (`--key=value`, `--key-name`, a bare
/// `--switch`, several words for a list, `--dataset.path` for a key inside a table). Flags win over the file.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key (names the nearest), a wrong value, keys that exclude each other; [`Error::Io`] for the
/// file. A flag's path is "command line".
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

    /// Checks what involves several keys. [`parse`] calls it; call it again after setting fields in code.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let shared = &self.shared;
        if shared.model_name_or_path.as_os_str().is_empty() {
            return Err(self.invalid("model_name_or_path", "the folder of a model", "nothing"));
        }
        if shared.dataset.is_none() {
            return Err(self.invalid("dataset", "a table that names the data", "nothing"));
        }
        let warm = shared.warmup_steps != Steps::Count(0);
        if warm && shared.warmup_ratio.is_some() {
            return Err(self.invalid("warmup_ratio", "warmup_steps or warmup_ratio, not both", "both"));
        }
        if shared.lr_scheduler_type == Scheduler::Constant
            && (warm || shared.warmup_ratio.is_some_and(|ratio| ratio > 0.0))
        {
            return Err(self.invalid(
                "lr_scheduler_type",
                "constant_with_warmup, since a warm-up is set",
                "constant",
            ));
        }
        if let Err(precision) = shared.precision() {
            let found = format!("bf16 = {} and dtype = {}", precision.bf16, precision.dtype.name());
            return Err(self.invalid("bf16", "bf16 and dtype that agree", found));
        }
        if shared.load_best_model_at_end {
            self.validate_best()?;
        }
        K::validate(self)
    }

    /// The best checkpoint can be kept only when each evaluation that may be best has a checkpoint. As transformers.
    fn validate_best(&self) -> Result<()> {
        let (eval, save) = (self.shared.eval_strategy, self.shared.save_strategy);
        if eval == Strategy::No || eval != save {
            let found = format!("eval_strategy = {}, save_strategy = {}", eval.name(), save.name());
            return Err(self.invalid(
                "load_best_model_at_end",
                "the same eval_strategy and save_strategy, steps or epoch",
                found,
            ));
        }
        let (eval, save) = (
            self.shared.eval_steps.unwrap_or(self.shared.logging_steps),
            self.shared.save_steps,
        );
        let multiple = match (save, eval) {
            (Steps::Count(save), Steps::Count(eval)) => save % eval == 0,
            // Steps of a share are rounded, so only equal ones are sure to meet.
            (save, eval) => save == eval,
        };
        if self.shared.eval_strategy == Strategy::Steps && !multiple {
            let found = format!("save_steps = {save:?}, eval_steps = {eval:?}");
            return Err(self.invalid(
                "load_best_model_at_end",
                "save_steps that is a multiple of eval_steps",
                found,
            ));
        }
        Ok(())
    }

    /// An error about `key` (dotted, for a key inside a table) that names the place where it was given.
    pub fn invalid(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let mut known = key;
        loop {
            match (self.places.get(known), known.rsplit_once('.')) {
                (Some(place), _) => return place.invalid(expected, found),
                (None, Some((outer, _))) => known = outer,
                (None, None) => return Error::invalid("configuration", key, expected, found),
            }
        }
    }

    /// Reads the table of `key` ("dataset") as another module's struct.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the place; for an unknown field also the nearest one.
    pub fn section<T: DeserializeOwned>(&self, key: &str, table: &toml::Value) -> Result<T> {
        table.clone().try_into().map_err(|error: toml::de::Error| {
            // What serde says: "unknown field `pth`, expected `path` or `split`", then on its own line "in `a.b`".
            let text = error.to_string();
            let inside = text
                .lines()
                .find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
            let key = inside.map_or(key.to_owned(), |inside| format!("{key}.{inside}"));
            let message = error.message().trim();
            let mut names = message.split('`').skip(1).step_by(2);
            match (message.starts_with("unknown field"), names.next()) {
                (true, Some(field)) => self.invalid(
                    &format!("{key}.{field}"),
                    known(field, names),
                    format!("the unknown key {field}"),
                ),
                _ => self.invalid(&key, "a value of the right type", message),
            }
        })
    }

    /// The resolved configuration, every key that is set. Reading it back gives the same run.
    pub fn to_toml(&self) -> toml::Table {
        let mut table = self.shared.to_toml();
        table.extend(self.own.to_toml());
        table
    }

    /// The keys whose values differ from those of a saved configuration, as `key: old -> new`: what to warn about on resume.
    pub fn differences(&self, saved: &toml::Table) -> Vec<String> {
        let now = self.to_toml();
        let show = |value: Option<&toml::Value>| value.map_or("unset".into(), ToString::to_string);
        all_keys::<K>()
            .iter()
            .map(|key| (key.name, saved.get(key.name), now.get(key.name)))
            .filter(|(_, old, new)| old != new)
            .map(|(name, old, new)| format!("{name}: {} -> {}", show(old), show(new)))
            .collect()
    }
}

fn all_keys<K: Trainer>() -> Vec<Key> {
    [Shared::keys(), K::keys(), Switches::keys()].concat()
}

/// "a known key", with the nearest when one is near.
fn known<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|known| (distance(name, known), known)).min();
    match nearest.filter(|(distance, _)| *distance <= 2 + name.len() / 3) {
        Some((_, nearest)) => format!("a known key; the nearest is {nearest}"),
        None => "a known key; --help lists them".into(),
    }
}

/// Levenshtein's distance in characters.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn help<K: Trainer>() -> String {
    let mut text = format!(
        "Usage: proximal {} [--config <run.toml>] [--<key> <value>]...\n\n\
         Keys have TRL's names; in the file and as flags, where dashes may stand for underscores. Flags win.\n",
        K::COMMAND
    );
    let groups = [
        (K::COMMAND, K::keys()),
        ("every trainer", Shared::keys()),
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
