//! Going on from a checkpoint.
use anyhow::Result;

use super::{Meter, Restored, TrainerState, read_state};
use crate::checkpoint::{latest_valid, verify};
use crate::config::{Config, Resume, Trainer};
use crate::device::Place;

/// The checkpoint to go on from, where one is asked for.
pub fn restore_point<K: Trainer>(config: &Config<K>, notes: &mut Vec<String>) -> Result<Option<Restored>> {
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

/// The state to begin with: that of the checkpoint, checked against this run's data and configuration, or a fresh one.
pub fn begin_state<K: Trainer>(
    config: &Config<K>,
    place: &Place,
    saved: Option<&TrainerState>,
    data: &str,
    notes: &mut Vec<String>,
) -> Result<TrainerState> {
    let isa = &place.arithmetic;
    let Some(saved) = saved else {
        return Ok(TrainerState {
            step: 0,
            updates: 0,
            critic_updates: 0,
            num_tokens: 0,
            meter: Meter::default(),
            last_update: None,
            owes_evaluation: false,
            best: None,
            data: data.into(),
            isa: isa.clone(),
            config: config.to_toml(),
        });
    };
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
    if *isa != saved.isa {
        notes.push(format!(
            "the checkpoint was computed with {}, this run uses {isa}: it goes on within rounding, not bit for bit",
            saved.isa
        ));
    }
    Ok(TrainerState {
        isa: isa.clone(),
        config: config.to_toml(),
        ..saved.clone()
    })
}
