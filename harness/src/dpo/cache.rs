//! The reference's log-probs on disk: computed once, used by every run on the same model and data.
//!
//! One line of JSON (what they were computed from, how many, their CRC-32), then the numbers as little-endian f32. They are
//! read only if all of it fits.
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use kernel::backend::Memory;
use kernel::params::{Params, ValueHead};
use kernel::real::Real;
use model_qwen2::Error;
use model_qwen2::folder::Folder;
use model_qwen2::tensors::{Element, write_atomic};
use serde::{Deserialize, Serialize};

use super::data::Pair;

/// Its name in the output folder.
pub const FILE: &str = "reference_logps.bin";

/// What the numbers follow from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// CRC-32 of the reference's weights.
    pub model: String,
    /// CRC-32 of the tokenised pairs.
    pub data: String,
    /// Element type and instruction set: others give other last bits.
    pub precision: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    key: Key,
    numbers: usize,
    crc32: String,
}

/// CRC-32 of a model's configuration and weights.
pub fn checksum<B: Memory>(folder: &Folder) -> Result<String>
where
    B::Real: Element,
{
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(format!("{:?}", folder.config.kernel).as_bytes());
    for spec in Params::specs(&folder.config.kernel, ValueHead::None).iter() {
        let mut values = vec![B::Real::ZERO; spec.shape.0 * spec.shape.1];
        folder.fill(spec, &mut values)?;
        let mut bytes = Vec::with_capacity(values.len() * 4);
        for x in &values {
            bytes.extend(Element::to_f32(*x).to_le_bytes());
        }
        hasher.update(&bytes);
    }
    Ok(format!("{:08x}", hasher.finalize()))
}

fn crc(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// Predictions of a pair.
fn length(pair: &Pair) -> usize {
    pair.chosen.len() + pair.rejected.len() - 2 * usize::from(pair.prompt.is_empty())
}

/// The log-probs of both sets; `None` where there is no file. Errors: a sentence that says why it cannot be used.
pub fn read(path: &Path, key: &Key, sets: [&[Pair]; 2]) -> Result<Option<[Vec<Vec<f32>>; 2]>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{}: cannot be read ({e})", path.display())),
    };
    let broken = |why: &str| format!("{}: {why}", path.display());
    let line = bytes.iter().position(|&b| b == b'\n');
    let (line, rest) = bytes.split_at(line.map_or(bytes.len(), |i| i + 1));
    let header: Header = serde_json::from_slice(line).map_err(|_| broken("the first line is broken"))?;
    if &header.key != key {
        return Err(broken(
            "log-probs of another reference, other data or another precision",
        ));
    }
    let expected: usize = sets.iter().flat_map(|set| set.iter()).map(length).sum();
    if header.numbers != expected || rest.len() != 4 * expected || crc(rest) != header.crc32 {
        return Err(broken("the numbers are broken"));
    }
    let mut numbers = rest
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Ok(Some(sets.map(|set| {
        let one = |pair| numbers.by_ref().take(length(pair)).collect();
        set.iter().map(one).collect()
    })))
}

/// Writes them, whole or not at all.
pub fn write(path: &Path, key: &Key, known: &[Vec<Vec<f32>>; 2]) -> Result<()> {
    let numbers = known.iter().flatten().flatten();
    let bytes: Vec<u8> = numbers.flat_map(|x| x.to_le_bytes()).collect();
    let header = Header {
        key: key.clone(),
        numbers: bytes.len() / 4,
        crc32: crc(&bytes),
    };
    let line = serde_json::to_string(&header)?;
    Ok(write_atomic(path, |out| {
        writeln!(out, "{line}").map_err(Error::io(path, "write"))?;
        out.write_all(&bytes).map_err(Error::io(path, "write"))
    })?)
}

#[cfg(test)]
mod tests;
