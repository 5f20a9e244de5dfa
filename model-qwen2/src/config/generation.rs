//! generation_config.json.
use std::path::Path;

use serde_json::{Map, Value, json};

use super::fields::{Fields, read_object};
use super::{HfConfig, one_or_list};
use crate::error::Result;
use crate::tensors::write_json;

/// The file's name in a model folder.
const FILE: &str = "generation_config.json";

/// What a generation_config.json says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a text, each of them.
    pub eos_token_ids: Vec<u32>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The padding token.
    pub pad_token_id: Option<u32>,
    /// The other fields as they are: defaults for sampling, kept when the model is saved again.
    pub other: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads the file in `folder`; `None` where there is none.
    pub fn open(folder: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = folder.as_ref().join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let mut map = read_object(&path)?;
        let fields = Fields {
            path: &path,
            prefix: "",
            map: &map,
        };
        let mut read = Self {
            eos_token_ids: fields.ids("eos_token_id")?,
            bos_token_id: fields.id("bos_token_id")?,
            pad_token_id: fields.id("pad_token_id")?,
            other: Map::new(),
        };
        for key in ["eos_token_id", "bos_token_id", "pad_token_id"] {
            map.shift_remove(key);
        }
        read.other = map;
        Ok(Some(read))
    }

    /// What transformers makes of a model without the file.
    pub fn from_config(config: &HfConfig) -> Self {
        let mut other = Map::new();
        other.insert("_from_model_config".into(), true.into());
        Self {
            eos_token_ids: config.eos_token_ids.clone(),
            bos_token_id: config.bos_token_id,
            pad_token_id: config.pad_token_id,
            other,
        }
    }

    /// Writes the file into `folder`.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let mut value = json!({
            "bos_token_id": self.bos_token_id,
            "eos_token_id": one_or_list(&self.eos_token_ids),
            "pad_token_id": self.pad_token_id,
        });
        if let Value::Object(map) = &mut value {
            map.retain(|_, value| !value.is_null());
            map.extend(self.other.clone());
        }
        write_json(folder.as_ref().join(FILE), &value)
    }
}
