//! Which files a split is made of, by Hugging Face's rules for folders.
use super::nearest::one_of;
use super::read::EXTENSIONS;
use model_qwen2::{Error, Result};
use regex::Regex;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Words in a file's or folder's name that say its split, as in `datasets`.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The splits of a dataset.
#[derive(Debug)]
pub(super) struct Source {
    root: PathBuf,
    splits: Vec<(String, Vec<PathBuf>)>,
    given: Given,
}

/// How the paths were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// Files: one split, `train`, whatever it is called.
    Files,
    /// At least one folder, which has the splits that its names say.
    Folder,
}

impl Source {
    /// Finds the splits of `paths`: files make up the split `train`; a folder's splits come from shards
    /// (`data/train-00000-of-00002.parquet`), else from sub-folders (`train/`), else from file names
    /// (`train.jsonl`, `my_test.csv`), else every file is `train`.
    pub fn find(paths: &[PathBuf]) -> Result<Self> {
        let root = paths.first().cloned().unwrap_or_default();
        let mut source = Self {
            root,
            splits: Vec::new(),
            given: Given::Files,
        };
        for path in paths {
            let kind = std::fs::metadata(path).map_err(Error::io(path, "find"))?;
            if kind.is_dir() {
                source.given = Given::Folder;
                for (name, files) in folder(path)? {
                    source.push(&name, files);
                }
            } else {
                source.push("train", vec![path.clone()]);
            }
        }
        if source.splits.is_empty() {
            return Err(Error::invalid(&source.root, "dataset", "a path", "an empty list"));
        }
        Ok(source)
    }

    fn push(&mut self, name: &str, files: Vec<PathBuf>) {
        match self.splits.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => all.extend(files),
            None => self.splits.push((name.to_owned(), files)),
        }
    }

    /// The files of the split called `name`. A lone file also answers to the split that its name says.
    pub fn split(&self, name: &str) -> Result<&[PathBuf]> {
        let by_name = self.splits.iter().find(|(known, _)| known == name);
        let lone = || {
            self.splits
                .first()
                .filter(|(_, files)| self.given == Given::Files && files.iter().all(|f| says(f, name)))
        };
        by_name.or_else(lone).map(|(_, files)| &files[..]).ok_or_else(|| {
            let known: Vec<&str> = self.splits.iter().map(|(known, _)| known.as_str()).collect();
            Error::invalid(
                &self.root,
                format!("split {name:?}"),
                one_of(name, &known),
                "no such split",
            )
        })
    }

    /// The files to train on when no split is named: `train`, or the only split.
    pub fn train(&self) -> Result<&[PathBuf]> {
        match &self.splits[..] {
            [(_, files)] => Ok(files),
            _ => self.split("train"),
        }
    }

    /// The files to evaluate on when no split is named: `test`, `validation`, or the only split.
    pub fn eval(&self) -> Result<&[PathBuf]> {
        match &self.splits[..] {
            [(_, files)] => Ok(files),
            _ => self
                .split("test")
                .or_else(|_| self.split("validation"))
                .or_else(|_| self.split("test")),
        }
    }

    /// The files of `test` or `validation` of a folder that also has others: what its train split leaves over.
    pub fn held_out(&self) -> Option<&[PathBuf]> {
        if self.given == Given::Files || self.splits.len() < 2 {
            return None;
        }
        self.split("test").or_else(|_| self.split("validation")).ok()
    }

    /// All files, whatever their split.
    pub fn all(&self) -> Vec<PathBuf> {
        self.splits.iter().flat_map(|(_, files)| files).cloned().collect()
    }
}

/// A folder's splits, in the order train, validation, test, others by name.
fn folder(root: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut files = Vec::new();
    list(root, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Error::invalid(
            root,
            "folder",
            format!("files ending in {}", EXTENSIONS.join(", ")),
            "none",
        ));
    }
    let grouped = |of: &dyn Fn(&Path) -> Option<String>| {
        let mut splits: Vec<(String, Vec<PathBuf>)> = Vec::new();
        for file in &files {
            let Some(name) = of(file.strip_prefix(root).unwrap_or(file)) else {
                continue;
            };
            match splits.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(file.clone()),
                None => splits.push((name, vec![file.clone()])),
            }
        }
        let rank = |name: &str| {
            KEYWORDS
                .iter()
                .position(|(split, _)| *split == name)
                .unwrap_or(KEYWORDS.len())
        };
        splits.sort_by(|(a, _), (b, _)| (rank(a), a).cmp(&(rank(b), b)));
        (!splits.is_empty()).then_some(splits)
    };
    let shard = Regex::new(r"^(\w+(?:\.\w+)*)-\d{5}-of-\d{5}")
        .map_err(|e| Error::invalid(root, "pattern", "valid", e.to_string()))?;
    let by_shard = |file: &Path| {
        let parent = file.parent().unwrap_or(Path::new(""));
        let top = parent == Path::new("") || parent == Path::new("data");
        shard
            .captures(file.file_name()?.to_str()?)
            .filter(|_| top)
            .map(|c| c[1].to_owned())
    };
    let by_folder = |file: &Path| {
        file.parent()?
            .components()
            .find_map(|part| keyword(part.as_os_str().to_str()?))
            .map(str::to_owned)
    };
    let by_name = |file: &Path| keyword(file.file_name()?.to_str()?).map(str::to_owned);
    let splits = grouped(&by_shard)
        .or_else(|| grouped(&by_folder))
        .or_else(|| grouped(&by_name));
    Ok(splits.unwrap_or_else(|| vec![("train".to_owned(), files.clone())]))
}

/// Every readable file below `folder`, but for hidden ones, `__folders` and what describes a dataset.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with('.')
            || name.starts_with("__")
            || [
                "dataset_info.json",
                "dataset_infos.json",
                "dataset_dict.json",
                "config.json",
            ]
            .contains(&name)
        {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else if path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| EXTENSIONS.contains(&e.to_lowercase().as_str()))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The split that a name says: a keyword that stands alone between anything that is not a letter.
fn keyword(name: &str) -> Option<&'static str> {
    let mut words = name.split(|c: char| "-._ ".contains(c) || c.is_ascii_digit());
    words.find_map(|word| {
        KEYWORDS
            .iter()
            .find(|(_, keys)| keys.contains(&word))
            .map(|(split, _)| *split)
    })
}

fn says(file: &Path, split: &str) -> bool {
    file.file_name().and_then(|n| n.to_str()).and_then(keyword) == Some(split)
}
