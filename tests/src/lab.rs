//! A folder with a tiny model and a little data, and `proximal sft` on them.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{program, tiny};

/// A temporary folder with `model/` and `data.jsonl` in it. Commands run in folders of their own inside it, so that the
/// same relative paths name other files: two runs have the same configuration and their bytes can be compared.
pub struct Lab {
    dir: TempDir,
}

/// What the trainings here have in common: 30 steps of 2 x 2 examples, a checkpoint every 5 steps, an evaluation every
/// 4, a line of the log every 3, so that lines, evaluations and checkpoints fall on different steps.
const COMMON: &[&str] = &[
    "sft",
    "--model=../model",
    "--dataset.path=../data.jsonl",
    "--dataset.test_size=6",
    "--output_dir=out",
    "--max_steps=30",
    "--per_device_train_batch_size=2",
    "--gradient_accumulation_steps=2",
    "--learning_rate=1e-3",
    "--weight_decay=0.01",
    "--warmup_steps=4",
    "--logging_steps=3",
    "--eval_strategy=steps",
    "--eval_steps=4",
    "--save_steps=5",
];

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// The folder with the model and 50 questions with answers of different lengths.
    pub fn new() -> Self {
        let lab = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        tiny::write(&lab.path("model"));
        let rows: Vec<Value> = (0..50)
            .map(|i| {
                let answer: String = "abcdefghij".chars().cycle().take(1 + (7 * i) % 23).collect();
                json!({
                    "prompt": [{ "role": "user", "content": format!("question {i}") }],
                    "completion": [{ "role": "assistant", "content": answer }],
                })
            })
            .collect();
        lab.rows("data.jsonl", &rows);
        lab
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes JSON lines.
    pub fn rows(&self, name: &str, rows: &[Value]) -> PathBuf {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        self.file(name, text)
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// `proximal` with these arguments, in the folder `name` of the lab.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        let mut command = program::command(args);
        command.current_dir(folder);
        command
    }

    /// A training of 30 steps into `name/out`, with further keys.
    pub fn train(&self, name: &str, keys: &[&str]) -> Command {
        self.command(name, &[COMMON, keys].concat())
    }
}

/// The lines of a file of JSON lines.
pub fn read_rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file");
    let parse = |line| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(parse).collect()
}
