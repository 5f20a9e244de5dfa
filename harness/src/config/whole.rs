//! A trainer's whole configuration, and the checks that involve several keys.
use super::keys::{Key, Keys};
use super::nearest::known;
use super::shared::{Dtype, Scheduler, Shared, Strategy, Switches};
use super::value::Steps;
use crate::plan::{Beside, Method, Reference};
use model_qwen2::{Error, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The keys of one trainer.
pub trait Trainer: Keys {
    /// The subcommand's name.
    const COMMAND: &'static str;
    /// What it holds in memory.
    const METHOD: Method;

    /// The shared keys, where this trainer's defaults differ from [`Shared::default`].
    fn shared() -> Shared {
        Shared::default()
    }

    /// The models that it holds beside the policy.
    fn beside(&self) -> Beside {
        Self::METHOD.beside()
    }

    /// Checks what involves several keys.
    fn validate(config: &Config<Self>) -> Result<()>;
}

/// A trainer's whole configuration. In code, start from `Config::default()` and set fields.
#[derive(Debug, Clone)]
pub struct Config<K> {
    /// What every trainer has.
    pub shared: Shared,
    /// What this trainer has.
    pub own: K,
    /// How to run; not saved.
    pub switches: Switches,
    pub(super) places: BTreeMap<String, Place>,
}

impl<K: Trainer> Default for Config<K> {
    fn default() -> Self {
        Self {
            shared: K::shared(),
            own: K::default(),
            switches: Switches::default(),
            places: BTreeMap::new(),
        }
    }
}

/// Where a key was given: the file (or "command line"), and the field within it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub path: PathBuf,
    pub field: String,
}

impl Place {
    pub fn invalid(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.field.clone(), expected, found)
    }
}

impl<K: Trainer> Config<K> {
    /// The trainer's defaults beside these shared keys.
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            ..Self::default()
        }
    }

    /// Checks what involves several keys. [`super::parse`] calls it; call it again after setting fields in code.
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
        if shared.master_dtype == Dtype::Bf16 {
            self.validate_masters()?;
        }
        if shared.load_best_model_at_end {
            self.validate_best()?;
        }
        K::validate(self)
    }

    /// Where nothing is kept in f32, nothing may need it.
    fn validate_masters(&self) -> Result<()> {
        if K::METHOD == Method::Trpo {
            let expected = "f32: a step within a trust region needs its digits";
            return Err(self.invalid("master_dtype", expected, "bf16"));
        }
        if self.shared.precision() == Ok(Dtype::F32) {
            let expected = "f32, or bf16 beside dtype = \"bf16\"";
            return Err(self.invalid("master_dtype", expected, "bf16 beside dtype = \"f32\""));
        }
        if self.own.beside().reference == Reference::Moving {
            let expected = "false with master_dtype = \"bf16\": a reference that moves is mixed of f32 masters";
            return Err(self.invalid("sync_ref_model", expected, "true"));
        }
        Ok(())
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
            match (self.places.get(known), known.rsplit_once(['.', '['])) {
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

    /// The keys whose values differ from those of a saved configuration, as `key: old -> new`: what to warn about on
    /// resume.
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

/// The table of all keys that a trainer takes.
pub(super) fn all_keys<K: Trainer>() -> Vec<Key> {
    [shared_keys::<K>(), K::keys(), Switches::keys()].concat()
}

/// The keys of every trainer with this one's defaults.
pub(super) fn shared_keys<K: Trainer>() -> Vec<Key> {
    let defaults = K::shared().to_toml();
    let mut keys = Shared::keys();
    for key in keys.iter_mut().filter(|key| key.default.is_some()) {
        key.default = defaults.get(key.name).cloned();
    }
    keys
}
