//! The examples that a configuration names.
use std::path::Path;

use anyhow::{Result, bail};

use super::samples::{Examples, examples};
use crate::assets::Assets;
use crate::config::{SftConfig, Strategy};
use crate::data::{DatasetConfig, Role, Split, load as load_rows};

/// Examples of a section of the configuration.
fn of_section(config: &SftConfig, assets: &Assets, section: &DatasetConfig, split: Split) -> Result<Examples> {
    let mut section = section.clone();
    if config.own.dataset_text_field != "text" {
        section
            .columns
            .entry(Role::Text)
            .or_insert(config.own.dataset_text_field.clone());
    }
    let (dataset, report) = load_rows(&section, Path::new(""), split)?;
    let mut found = examples(assets, &dataset, &config.own)?;
    let mut warnings = report.warnings();
    warnings.append(&mut found.warnings);
    Ok(Examples { warnings, ..found })
}

/// Training and held-out examples.
pub fn load(config: &SftConfig, assets: &Assets) -> Result<(Examples, Option<Examples>)> {
    let Some(table) = &config.shared.dataset else {
        bail!("dataset: there is none");
    };
    let section: DatasetConfig = config.section("dataset", table)?;
    let train = of_section(config, assets, &section, Split::Train)?;
    let held_out = match &config.shared.eval_dataset {
        Some(table) => {
            let section: DatasetConfig = config.section("eval_dataset", table)?;
            Some(of_section(config, assets, &section, Split::Eval)?)
        }
        None if section.holds_out() => Some(of_section(config, assets, &section, Split::HeldOut)?),
        None => None,
    };
    if config.shared.eval_strategy != Strategy::No && held_out.is_none() {
        return Err(config
            .invalid(
                "eval_strategy",
                "an eval_dataset, dataset.test_size or dataset.test_split to evaluate on",
                "none of them",
            )
            .into());
    }
    Ok((train, held_out))
}
