//! Reading a model's tensors.
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::Deserialize;

use super::element::{Element, decode};
use super::header::{self, Entry, tensor};
use super::{Dtype, INDEX_FILE, SINGLE_FILE, mapped};
use crate::error::{Error, Result};

struct Shard {
    path: PathBuf,
    map: Mmap,
}

/// The tensors of a model folder or of one safetensors file, mapped into memory.
pub struct Tensors {
    shards: Vec<Shard>,
    /// Name to shard and place in it.
    entries: BTreeMap<String, (usize, Entry)>,
    /// What to name when a tensor is missing: the file, or the index.
    origin: PathBuf,
}

/// One tensor, not yet converted.
pub struct View<'a> {
    path: &'a Path,
    name: &'a str,
    dtype: Dtype,
    shape: &'a [usize],
    map: &'a Mmap,
    bytes: Range<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Tensors {
    /// The weights of a model folder: `model.safetensors` or else the shards of `model.safetensors.index.json`, the
    /// order of transformers.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (single, index) = (folder.join(SINGLE_FILE), folder.join(INDEX_FILE));
        if single.exists() {
            Self::open_file(single)
        } else if index.exists() {
            Self::open_index(&index)
        } else {
            fs::metadata(folder).map_err(Error::io(folder, "open"))?;
            Err(Error::invalid(
                folder,
                "weights",
                format!("{SINGLE_FILE} or {INDEX_FILE}"),
                "neither",
            ))
        }
    }

    /// One safetensors file.
    pub fn open_file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let map = mapped::map(&path)?;
        let entries = header::parse(&path, &map)?
            .into_iter()
            .map(|(name, entry)| (name, (0, entry)))
            .collect();
        Ok(Self {
            shards: vec![Shard {
                path: path.clone(),
                map,
            }],
            entries,
            origin: path,
        })
    }

    fn open_index(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io(path, "read"))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| {
            Error::invalid(
                path,
                "index",
                "JSON with a weight_map of names to files",
                error.to_string(),
            )
        })?;
        let mut files: Vec<&String> = index.weight_map.values().collect();
        files.sort();
        files.dedup();

        let mut shards = Vec::with_capacity(files.len());
        let mut entries = BTreeMap::new();
        for (i, &file) in files.iter().enumerate() {
            // A name with a folder in it could reach outside the model's folder.
            if Path::new(file).file_name() != Some(file.as_ref()) {
                return Err(Error::invalid(
                    path,
                    "weight_map",
                    "names of files beside the index",
                    format!("{file:?}"),
                ));
            }
            let shard = path.with_file_name(file);
            if !shard.exists() {
                return Err(Error::invalid(
                    path,
                    "weight_map",
                    format!("the shard {file} beside the index"),
                    "no such file",
                ));
            }
            let map = mapped::map(&shard)?;
            for (name, entry) in header::parse(&shard, &map)? {
                match index.weight_map.get(&name) {
                    Some(home) if home == file => entries.insert(name, (i, entry)),
                    Some(home) => {
                        return Err(Error::invalid(
                            &shard,
                            tensor(&name),
                            format!("it in {home}, as the index says"),
                            "it here",
                        ));
                    }
                    None => {
                        return Err(Error::invalid(&shard, tensor(&name), "it in the index", "it only here"));
                    }
                };
            }
            shards.push(Shard { path: shard, map });
        }
        if let Some((name, file)) = index.weight_map.iter().find(|(name, _)| !entries.contains_key(*name)) {
            let shard = path.with_file_name(file);
            return Err(Error::invalid(
                shard,
                tensor(name),
                "it here, as the index says",
                "no such tensor",
            ));
        }
        Ok(Self {
            shards,
            entries,
            origin: path.to_owned(),
        })
    }

    /// Names and shapes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries
            .iter()
            .map(|(name, (_, entry))| (name.as_str(), entry.shape.as_slice()))
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor `name`, which must have `shape` and be of a [`Dtype`].
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<View<'_>> {
        let Some((name, (shard, entry))) = self.entries.get_key_value(name) else {
            return Err(Error::invalid(
                &self.origin,
                tensor(name),
                format!("shape {shape:?}"),
                "no such tensor",
            ));
        };
        let Shard { path, map } = &self.shards[*shard];
        let Some(dtype) = Dtype::from_safetensors(entry.dtype) else {
            return Err(Error::invalid(
                path,
                tensor(name),
                "dtype F64, F32, F16 or BF16",
                entry.dtype.to_string(),
            ));
        };
        if entry.shape != shape {
            return Err(Error::invalid(
                path,
                tensor(name),
                format!("shape {shape:?}"),
                format!("{:?}", entry.shape),
            ));
        }
        Ok(View {
            path,
            name,
            dtype,
            shape: &entry.shape,
            map,
            bytes: entry.bytes.clone(),
        })
    }

    /// The names that `expected` does not have, but for those that transformers passes over too: rotary tables that
    /// old checkpoints carry (`rotary_emb.inv_freq`), and `lm_head.weight`, where a tied model repeats it, when
    /// `expected` has no such name. A caller should refuse the rest: a tensor that nobody reads means another model.
    pub fn unexpected(&self, expected: impl Fn(&str) -> bool) -> Vec<&str> {
        let passed_over = |name: &str| name.ends_with("rotary_emb.inv_freq") || name == "lm_head.weight";
        self.entries
            .keys()
            .map(String::as_str)
            .filter(|name| !expected(name) && !passed_over(name))
            .collect()
    }
}

impl View<'_> {
    /// The tensor's name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// How it is stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.shape
    }

    /// Numbers in it.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Converts into `out`, which has [`View::len`] places. A number that is not finite (there or after narrowing) is
    /// an error that names the tensor and the index. Afterwards the file's pages are given back.
    #[track_caller]
    pub fn read_into<T: Element>(&self, out: &mut [T]) -> Result<()> {
        assert_eq!(out.len(), self.len(), "read_into: tensor {}", self.name);
        decode(out, self.dtype, &self.map[self.bytes.clone()]);
        mapped::release(self.map, self.bytes.clone());
        // First of all at once, which takes no branches, then of each.
        let all = out.iter().fold(true, |all, value| all & value.to_f64().is_finite());
        let bad = if all {
            None
        } else {
            out.iter().position(|value| !value.to_f64().is_finite())
        };
        match bad {
            None => Ok(()),
            Some(i) => {
                let field = format!("{} index {i}", tensor(self.name));
                Err(Error::invalid(
                    self.path,
                    field,
                    "a finite number",
                    out[i].to_f64().to_string(),
                ))
            }
        }
    }

    /// [`View::read_into`] a new vector.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let mut out = vec![T::from_f32(0.0); self.len()];
        self.read_into(&mut out)?;
        Ok(out)
    }
}
