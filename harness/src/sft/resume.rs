//! Going on from a checkpoint.
use anyhow::Result;
use cpu_backend::Settings;

use super::samples::Examples;
use crate::checkpoint::{latest_valid, verify};
use crate::config::{Resume, SftConfig};
use crate::train::{Restored, TrainerState, read_state};

/// The checkpoint to go on from, where one is asked for.
pub fn restore_point(config: &SftConfig, notes: &mut Vec<String>) -> Result<Option<Restored>> {
    let path = match &config.switches.resume {
        Resume::No => return Ok(None),
        Resume::From(path) => verify(path)?.path,
        Resume::Latest => {
            let newest = latest_valid(&config.shared.output_dir)?;
            notes.extend(newest.warnings);
            match newest.checkpoint {
                Some(checkpoint) => checkpoint.path,
                None => {
                    notes.push("there is no checkpoint to resume from: starting at step 0".into());
                    return Ok(None);
                }
            }
        }
    };
    Ok(Some(read_state(&path)?))
}

/// The state to go on from, checked against this run's data and configuration.
pub fn state(
    config: &SftConfig,
    settings: Settings,
    saved: &TrainerState,
    train: &Examples,
    notes: &mut Vec<String>,
) -> Result<TrainerState> {
    let data = train.checksum();
    if data != saved.data {
        return Err(config
            .invalid(
                "dataset",
                format!("the data that the checkpoint was trained on (checksum {})", saved.data),
                format!("other data (checksum {data}); start anew with --overwrite_output_dir"),
            )
            .into());
    }
    for difference in config.differences(&saved.config) {
        notes.push(format!("the configuration differs from the checkpoint's: {difference}"));
    }
    let isa = settings.isa.name();
    if isa != saved.isa {
        notes.push(format!(
            "the checkpoint was computed with {}, this run uses {isa}: it goes on within rounding, not bit for bit",
            saved.isa
        ));
    }
    Ok(TrainerState {
        isa: isa.into(),
        config: config.to_toml(),
        ..saved.clone()
    })
}
