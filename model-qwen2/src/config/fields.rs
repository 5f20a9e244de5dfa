//! Typed reading of a JSON object: every error names the file and the field.
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The JSON object in the file `path`.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let text = fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&text).map_err(|error| Error::invalid(path, "file", "a JSON object", error.to_string()))
}

/// An object of the file `path`; `prefix` is where it stands ("rope_scaling.", or nothing at the top).
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    pub prefix: &'static str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value of `key`; `null` counts as absent, as in transformers.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub fn invalid(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = match self.get(key).map(Value::to_string) {
            None => "nothing".to_owned(),
            Some(text) if text.chars().count() > 80 => text.chars().take(80).chain("...".chars()).collect(),
            Some(text) => text,
        };
        Error::invalid(self.path, format!("{}{key}", self.prefix), expected, found)
    }

    fn typed<T>(&self, key: &str, expected: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| self.invalid(key, expected))
    }

    /// A size: at least 1, and small enough that a product of two cannot overflow.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let convert = |value: &Value| {
            let size = usize::try_from(value.as_u64()?).ok()?;
            (1..1 << 28).contains(&size).then_some(size)
        };
        self.typed(key, "a positive integer below 2^28", convert)
    }

    /// A finite number above zero.
    pub fn positive(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number above 0", |value| {
            value.as_f64().filter(|x| *x > 0.0 && x.is_finite())
        })
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        self.typed(key, "an object", Value::as_object)
    }

    /// A token id. Old Llama files write -1 for none.
    pub fn id(&self, key: &str) -> Result<Option<u32>> {
        if self.get(key).and_then(Value::as_i64) == Some(-1) {
            return Ok(None);
        }
        self.typed(key, "a token id", as_id)
    }

    /// One token id or a list of them.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let convert = |value: &Value| match value {
            Value::Array(ids) => ids.iter().map(as_id).collect(),
            id => as_id(id).map(|id| vec![id]),
        };
        Ok(self
            .typed(key, "a token id or a list of them", convert)?
            .unwrap_or_default())
    }

    /// `value`, or an error that says the field is missing.
    pub fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.invalid(key, expected))
    }

    /// The field must be absent or `neutral`: any other value would change the mathematics.
    pub fn neutral(&self, key: &str, neutral: &Value) -> Result<()> {
        let same = |value: &Value| match (value.as_f64(), neutral.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => value == neutral,
        };
        match self.get(key) {
            Some(value) if !same(value) => Err(self.invalid(key, format!("{neutral} (others are not supported)"))),
            _ => Ok(()),
        }
    }

    /// The field must be absent.
    pub fn absent(&self, key: &str, why: &str) -> Result<()> {
        match self.get(key) {
            Some(_) => Err(self.invalid(key, format!("no such field ({why})"))),
            None => Ok(()),
        }
    }
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
