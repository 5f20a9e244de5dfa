//! The data that a configuration names, to train on and held out.
use anyhow::{Result, bail};

use crate::config::{Config, Strategy, Trainer};
use crate::data::{DatasetConfig, Split};

/// Reads what to train on and, where there is such a thing, what is held out. Errors: those of `read`; an evaluation
/// without data for it.
pub fn load_data<K: Trainer, T>(
    config: &Config<K>,
    mut read: impl FnMut(&DatasetConfig, Split) -> Result<T>,
) -> Result<(T, Option<T>)> {
    let Some(table) = &config.shared.dataset else {
        bail!("dataset: there is none");
    };
    let section: DatasetConfig = config.section("dataset", table)?;
    let train = read(&section, Split::Train)?;
    let held_out = match &config.shared.eval_dataset {
        Some(table) => {
            let section: DatasetConfig = config.section("eval_dataset", table)?;
            Some(read(&section, Split::Eval)?)
        }
        None if section.holds_out() => Some(read(&section, Split::HeldOut)?),
        None => None,
    };
    let asked = [
        ("eval_strategy", config.shared.eval_strategy != Strategy::No),
        ("eval_on_start", config.shared.eval_on_start),
    ];
    if let Some((key, _)) = asked.iter().find(|(_, asked)| *asked && held_out.is_none()) {
        return Err(config
            .invalid(
                key,
                "an eval_dataset, dataset.test_size or dataset.test_split to evaluate on",
                "none of them",
            )
            .into());
    }
    Ok((train, held_out))
}
