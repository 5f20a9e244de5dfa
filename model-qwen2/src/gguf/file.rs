//! The GGUF container: header, metadata, tensor table; memory-mapped, nothing in it believed before it is checked.
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::quant::Kind;
use crate::error::{Error, Result};
use crate::tensors::map;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer type.
    Uint(u64),
    /// Any signed integer type.
    Int(i64),
    /// FLOAT32.
    F32(f32),
    /// FLOAT64.
    F64(f64),
    /// BOOL.
    Bool(bool),
    /// STRING.
    Text(String),
    /// ARRAY.
    Array(Vec<Value>),
}

/// One entry of the tensor table.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Sizes, outermost first (the file has them innermost first).
    pub shape: Vec<usize>,
    /// Number format.
    pub kind: Kind,
    bytes: Range<usize>,
}

/// An opened GGUF file.
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or_else(|| {
                let expected = format!("{length} bytes at byte {}", self.at);
                Error::invalid(
                    self.path,
                    what,
                    expected,
                    format!("the end of the file after {}", rest.len()),
                )
            })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        let text =
            str::from_utf8(bytes).map_err(|error| Error::invalid(self.path, what, "UTF-8", error.to_string()))?;
        Ok(text.to_owned())
    }

    /// `depth` bounds arrays of arrays, which a lying file could nest until the stack ends.
    fn value(&mut self, kind: u32, what: &str, depth: usize) -> Result<Value> {
        Ok(match kind {
            0 => Value::Uint(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Int(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Uint(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Uint(self.u32(what)?.into()),
            5 => Value::Int(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            7 => match self.array(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => {
                    return Err(Error::invalid(self.path, what, "0 or 1", other.to_string()));
                }
            },
            8 => Value::Text(self.text(what)?),
            9 if depth < 4 => {
                let kind = self.u32(what)?;
                let count = self.u64(what)?;
                // Not allocated ahead: the count may lie, and each element takes bytes that must be there.
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(kind, what, depth + 1)?);
                }
                Value::Array(values)
            }
            10 => Value::Uint(self.u64(what)?),
            11 => Value::Int(i64::from_le_bytes(self.array(what)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            _ => {
                return Err(Error::invalid(
                    self.path,
                    what,
                    "a value type of GGUF",
                    format!("type {kind}"),
                ));
            }
        })
    }
}

impl Gguf {
    /// Opens `path` and checks its header, metadata and tensor table against the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let map = map(path)?;
        let mut cursor = Cursor {
            path,
            bytes: &map,
            at: 0,
        };
        let invalid = |field: &str, expected: &str, found: String| Error::invalid(path, field, expected, found);

        let magic: [u8; 4] = cursor.array("magic")?;
        if &magic != b"GGUF" {
            return Err(invalid("magic", "the bytes GGUF", magic.escape_ascii().to_string()));
        }
        let version = cursor.u32("version")?;
        if !matches!(version, 2 | 3) {
            let big_endian = if version.swap_bytes() < 10 {
                " (a big-endian file)"
            } else {
                ""
            };
            return Err(invalid(
                "version",
                "2 or 3, little-endian",
                format!("{version}{big_endian}"),
            ));
        }
        let (tensor_count, metadata_count) = (cursor.u64("tensor_count")?, cursor.u64("metadata_kv_count")?);

        let mut metadata = BTreeMap::new();
        for i in 0..metadata_count {
            let key = cursor.text(&format!("metadata key {i}"))?;
            let kind = cursor.u32(&key)?;
            let value = cursor.value(kind, &key, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(invalid(&key, "each metadata key once", "it twice".into()));
            }
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Uint(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n as usize,
            Some(other) => {
                return Err(invalid("general.alignment", "a power of two", format!("{other:?}")));
            }
        };
        let mut table = Vec::new();
        for i in 0..tensor_count {
            table.push(table_entry(&mut cursor, i)?);
        }
        let data_start = cursor.at.next_multiple_of(alignment);
        let tensors = place(path, table, data_start, alignment, map.len())?;
        Ok(Self {
            path: path.to_owned(),
            map,
            metadata,
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, sorted by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of this name, if it is there.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The numbers of `name`, which must have `shape`, row-major. A number that is not finite is an error.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let invalid =
            |field: String, expected: String, found: String| Error::invalid(&self.path, field, expected, found);
        let tensor = self.tensor(name).ok_or_else(|| {
            invalid(
                format!("tensor {name}"),
                format!("shape {shape:?}"),
                "no such tensor".into(),
            )
        })?;
        if tensor.shape != shape {
            return Err(invalid(
                format!("tensor {name}"),
                format!("shape {shape:?}"),
                format!("{:?}", tensor.shape),
            ));
        }
        let mut out = vec![0.0; shape.iter().product()];
        tensor.kind.dequantise(&mut out, &self.map[tensor.bytes.clone()]);
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(out),
            Some(i) => Err(invalid(
                format!("tensor {name} index {i}"),
                "a finite number".into(),
                out[i].to_string(),
            )),
        }
    }

    /// An error on the metadata `key`, with what is there.
    pub fn invalid(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = match self.metadata.get(key) {
            None => "nothing".to_owned(),
            Some(Value::Text(text)) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Some(Value::Array(values)) => format!("an array of {}", values.len()),
            Some(Value::Uint(n)) => n.to_string(),
            Some(Value::Int(n)) => n.to_string(),
            Some(Value::F32(x)) => x.to_string(),
            Some(Value::F64(x)) => x.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
        };
        Error::invalid(&self.path, key, expected, found)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| self.invalid(key, expected))
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer of at least 0, of any integer type.
    pub fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer of at least 0", as_uint)
    }

    /// A floating-point number. A FLOAT32 becomes the shortest decimal number that reads back as it: 1e-5 was written
    /// as 1e-5, not as 0.00000999999974738.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite number", |value| match value {
            Value::F32(x) if x.is_finite() => x.to_string().parse().ok(),
            Value::F64(x) if x.is_finite() => Some(*x),
            _ => None,
        })
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a boolean", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// An array of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(values) => values
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// An array of integers of at least 0.
    pub fn uints(&self, key: &str) -> Result<Option<Vec<u64>>> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Array(values) => values.iter().map(as_uint).collect(),
            _ => None,
        })
    }

    /// `value`, or an error that says the key is missing.
    pub fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.invalid(key, expected))
    }
}

fn as_uint(value: &Value) -> Option<u64> {
    match value {
        Value::Uint(n) => Some(*n),
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

struct TableEntry {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    offset: u64,
    length: usize,
}

fn table_entry(cursor: &mut Cursor<'_>, i: u64) -> Result<TableEntry> {
    let name = cursor.text(&format!("name of tensor {i}"))?;
    let what = format!("tensor {name}");
    let path = cursor.path;
    let invalid = |expected: String, found: String| Error::invalid(path, &what, expected, found);
    let dimensions = cursor.u32(&what)?;
    if !(1..=4).contains(&dimensions) {
        return Err(invalid("1 to 4 dimensions".into(), dimensions.to_string()));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(cursor.u64(&what)?);
    }
    let number = cursor.u32(&what)?;
    let offset = cursor.u64(&what)?;
    let kind = Kind::from_number(number).map_err(|found| invalid(format!("one of {}", Kind::names()), found))?;
    let (block, bytes) = kind.block();
    let row = shape[0];
    if !row.is_multiple_of(block as u64) {
        return Err(invalid(
            format!("rows of whole blocks of {block}"),
            format!("rows of {row}"),
        ));
    }
    let length = shape
        .iter()
        .try_fold(1, |product: usize, &n| product.checked_mul(usize::try_from(n).ok()?))
        .and_then(|count| (count / block).checked_mul(bytes))
        .ok_or_else(|| invalid("a size that fits in memory".into(), format!("shape {shape:?}")))?;
    let shape = shape.into_iter().rev().map(|n| n as usize).collect();
    Ok(TableEntry {
        name,
        shape,
        kind,
        offset,
        length,
    })
}

/// Checks that the tensors lie in the file and apart.
fn place(
    path: &Path,
    mut table: Vec<TableEntry>,
    data_start: usize,
    alignment: usize,
    file_len: usize,
) -> Result<BTreeMap<String, Tensor>> {
    table.sort_by_key(|entry| entry.offset);
    let mut end_before = data_start;
    let mut tensors = BTreeMap::new();
    for TableEntry {
        name,
        shape,
        kind,
        offset,
        length,
    } in table
    {
        let what = format!("tensor {name}");
        if !offset.is_multiple_of(alignment as u64) {
            let expected = format!("an offset that is a multiple of {alignment}");
            return Err(Error::invalid(path, what, expected, offset.to_string()));
        }
        let start = usize::try_from(offset)
            .ok()
            .and_then(|offset| offset.checked_add(data_start));
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        let Some(bytes) = range.filter(|range| range.end <= file_len) else {
            let expected = format!("{length} bytes of data at offset {offset}");
            return Err(Error::invalid(
                path,
                what,
                expected,
                format!("a file of {file_len} bytes"),
            ));
        };
        if bytes.start < end_before {
            let expected = format!("data from byte {end_before}, where the one before ends");
            return Err(Error::invalid(
                path,
                what,
                expected,
                format!("data from byte {}", bytes.start),
            ));
        }
        end_before = bytes.end;
        if tensors.insert(name, Tensor { shape, kind, bytes }).is_some() {
            return Err(Error::invalid(path, what, "each tensor once", "it twice"));
        }
    }
    Ok(tensors)
}
