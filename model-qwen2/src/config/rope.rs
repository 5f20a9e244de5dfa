//! Rotary embedding in config.json: `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters` of 5.
use kernel::config::{Rope, RopeScaling};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::error::Result;

/// The base where the file names none: that of both model classes in transformers.
const DEFAULT_THETA: f64 = 10_000.0;

/// Reads the rotary embedding of a model made for `max_positions`.
pub(super) fn read(top: &Fields<'_>, max_positions: usize) -> Result<Rope> {
    let theta = top.positive("rope_theta")?;
    let (scaling, parameters) = (top.object("rope_scaling")?, top.object("rope_parameters")?);
    let (prefix, map) = match (scaling, parameters) {
        (None, None) => {
            return Ok(Rope {
                theta: theta.unwrap_or(DEFAULT_THETA),
                scaling: RopeScaling::None,
            });
        }
        (Some(scaling), None) => ("rope_scaling.", scaling),
        (None, Some(parameters)) => ("rope_parameters.", parameters),
        (Some(scaling), Some(parameters)) if scaling == parameters => ("rope_parameters.", parameters),
        (Some(_), Some(_)) => {
            return Err(top.invalid("rope_scaling", "the same as rope_parameters, or only one of the two"));
        }
    };
    let rope = Fields {
        path: top.path,
        prefix,
        map,
    };
    rope.neutral("partial_rotary_factor", &json!(1.0))?;
    let theta = rope.positive("rope_theta")?.or(theta).unwrap_or(DEFAULT_THETA);
    let kind_key = if rope.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let kind = rope.text(kind_key)?.unwrap_or("default");
    let (scaling, own): (_, &[&str]) = match kind {
        "default" => (RopeScaling::None, &[]),
        "linear" => (
            RopeScaling::Linear {
                factor: number(&rope, "factor")?,
            },
            &["factor"],
        ),
        "llama3" => (
            llama3(&rope, max_positions)?,
            &["factor", "low_freq_factor", "high_freq_factor"],
        ),
        _ => return Err(rope.invalid(kind_key, "default, linear or llama3")),
    };
    let common = [
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",
    ];
    for key in rope.map.keys() {
        if !common.contains(&key.as_str()) && !own.contains(&key.as_str()) {
            rope.absent(key, &format!("unknown for rope type {kind}"))?;
        }
    }
    Ok(Rope { theta, scaling })
}

fn number(rope: &Fields<'_>, key: &str) -> Result<f64> {
    rope.required(key, "a number above 0", rope.positive(key)?)
}

fn llama3(rope: &Fields<'_>, max_positions: usize) -> Result<RopeScaling> {
    let (low, high) = (number(rope, "low_freq_factor")?, number(rope, "high_freq_factor")?);
    if low >= high {
        return Err(rope.invalid("high_freq_factor", format!("a number above low_freq_factor, {low}")));
    }
    Ok(RopeScaling::Llama3 {
        factor: number(rope, "factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_positions: rope
            .positive("original_max_position_embeddings")?
            .unwrap_or(max_positions as f64),
    })
}

/// The fields as transformers 4 writes them, which 5 reads too; 4 would pass over `rope_parameters`.
pub(super) fn write(fields: &mut Map<String, Value>, rope: &Rope) {
    let scaling = match rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_positions,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            // transformers wants an integer here.
            "original_max_position_embeddings": original_max_positions as u64,
        }),
    };
    fields.insert("rope_theta".into(), rope.theta.into());
    fields.insert("rope_scaling".into(), scaling);
}
