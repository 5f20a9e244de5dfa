//! The examples that a configuration names.
use std::path::Path;

use anyhow::Result;

use super::samples::{Examples, examples};
use crate::assets::Assets;
use crate::config::SftConfig;
use crate::data::{Role, load as load_rows};
use crate::train::load_data;

/// Training and held-out examples.
pub fn load(config: &SftConfig, assets: &Assets) -> Result<(Examples, Option<Examples>)> {
    load_data(config, |section, split| {
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
    })
}
