//! Writing a model's tensors.
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::atomic::{write_atomic, write_json};
use super::element::{Element, encode};
use super::header::tensor;
use super::{Dtype, INDEX_FILE, SINGLE_FILE};
use crate::error::{Error, Result};

/// Largest file before [`save_tensors`] begins another: that of transformers 4, 5 GB.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// Numbers converted at a time.
const CHUNK: usize = 1 << 14;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// How to store it.
    pub dtype: Dtype,
}

impl Spec {
    /// Numbers in it.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> u64 {
        self.len() as u64 * self.dtype.size() as u64
    }
}

/// Where one tensor's numbers go.
pub struct Sink<'a> {
    out: &'a mut BufWriter<File>,
    path: &'a Path,
    spec: &'a Spec,
    written: usize,
    buffer: Vec<u8>,
}

impl Sink<'_> {
    /// Appends `values`, row-major; may be called again for the rest. A number that is not finite in the tensor's
    /// dtype is an error: a broken model must not replace a good one.
    pub fn put<T: Element>(&mut self, values: &[T]) -> Result<()> {
        for chunk in values.chunks(CHUNK) {
            self.buffer.clear();
            encode(&mut self.buffer, self.spec.dtype, chunk).map_err(|i| {
                let field = format!("{} index {}", tensor(&self.spec.name), self.written + i);
                let expected = format!("a number that is finite in {}", self.spec.dtype);
                Error::invalid(self.path, field, expected, chunk[i].to_f64().to_string())
            })?;
            self.out
                .write_all(&self.buffer)
                .map_err(Error::io(self.path, "write"))?;
            self.written += chunk.len();
        }
        Ok(())
    }
}

/// Writes one safetensors file with the tensors of `specs` in that order. `fill` is called once for each and puts its
/// numbers into the sink; to put more or fewer than the shape says is a bug and panics. The file appears under its
/// name when it is complete, see [`write_atomic`].
pub fn write_safetensors(
    path: impl AsRef<Path>,
    specs: &[Spec],
    fill: impl FnMut(&Spec, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    write_file(path.as_ref(), &specs.iter().collect::<Vec<_>>(), fill)
}

fn write_file(path: &Path, specs: &[&Spec], mut fill: impl FnMut(&Spec, &mut Sink<'_>) -> Result<()>) -> Result<()> {
    write_atomic(path, |out| {
        let header = header(specs);
        let length = header.len() as u64;
        out.write_all(&length.to_le_bytes()).map_err(Error::io(path, "write"))?;
        out.write_all(header.as_bytes()).map_err(Error::io(path, "write"))?;
        for spec in specs {
            let mut sink = Sink {
                out,
                path,
                spec,
                written: 0,
                buffer: Vec::new(),
            };
            fill(spec, &mut sink)?;
            assert_eq!(
                sink.written,
                spec.len(),
                "write_safetensors: tensor {} of shape {:?}",
                spec.name,
                spec.shape
            );
        }
        Ok(())
    })
}

/// The JSON header, padded so that the data begins at a multiple of 8.
fn header(specs: &[&Spec]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for spec in specs {
        let end = start + spec.bytes();
        let dtype = spec.dtype.to_safetensors();
        header.insert(
            spec.name.clone(),
            json!({ "dtype": dtype, "shape": spec.shape, "data_offsets": [start, end] }),
        );
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

/// Writes `model.safetensors` into `folder`, or shards of at most `shard_bytes` each (a larger tensor has one to itself)
/// and their index. Weights of another layout that were there before are removed at the end, or transformers might
/// load them.
pub fn save_tensors(
    folder: impl AsRef<Path>,
    specs: &[Spec],
    shard_bytes: u64,
    mut fill: impl FnMut(&Spec, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let folder = folder.as_ref();
    let shards = split(specs, shard_bytes);
    let index = folder.join(INDEX_FILE);
    let stale = sharded_files(folder)?;
    if let [] | [_] = shards.as_slice() {
        write_safetensors(folder.join(SINGLE_FILE), specs, fill)?;
        return remove(stale.into_iter().chain([index]));
    }

    let name = |i: usize| format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
    let mut weight_map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        write_file(&folder.join(name(i)), shard, &mut fill)?;
        weight_map.extend(shard.iter().map(|spec| (spec.name.clone(), name(i).into())));
    }
    let total: u64 = specs.iter().map(Spec::bytes).sum();
    write_json(
        index,
        &json!({ "metadata": { "total_size": total }, "weight_map": weight_map }),
    )?;
    let kept: Vec<PathBuf> = (0..shards.len()).map(|i| folder.join(name(i))).collect();
    remove(
        stale
            .into_iter()
            .filter(|path| !kept.contains(path))
            .chain([folder.join(SINGLE_FILE)]),
    )
}

fn split(specs: &[Spec], shard_bytes: u64) -> Vec<Vec<&Spec>> {
    let mut shards: Vec<Vec<&Spec>> = Vec::new();
    let mut room = 0;
    for spec in specs {
        match shards.last_mut() {
            Some(shard) if spec.bytes() <= room => shard.push(spec),
            _ => {
                shards.push(vec![spec]);
                room = shard_bytes;
            }
        }
        room = room.saturating_sub(spec.bytes());
    }
    shards
}

/// Files of the form `model-00001-of-00002.safetensors`.
fn sharded_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors") {
            files.push(path);
        }
    }
    Ok(files)
}

fn remove(paths: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    for path in paths {
        if path.exists() {
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}
