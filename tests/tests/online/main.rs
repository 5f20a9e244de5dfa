//! `proximal grpo`, `rloo`, `ppo` and `trpo`: what they share.
#![allow(clippy::unwrap_used)]

mod objective;
mod refused;
mod resume;
mod same;
mod says;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tests::lab::{Lab, read_rows};
use tests::program::Ran;

/// The tiny model and 24 prompts of different lengths.
fn lab() -> Lab {
    let lab = Lab::new();
    let rows: Vec<_> = (0..24)
        .map(|i| json!({ "prompt": format!("say {}", "xyz".repeat(i % 5)), "answer": i.to_string() }))
        .collect();
    lab.rows("prompts.jsonl", &rows);
    lab
}

/// Completions of up to 8 tokens, which a space or an e ends; rewarded for early letters and for their length.
const COMMON: &[&str] = &[
    "--model=../model",
    "--dataset.path=../prompts.jsonl",
    "--output_dir=out",
    "--learning_rate=1e-3",
    "--logging_steps=1",
    "--max_completion_length=8",
    "--per_device_train_batch_size=4",
    "--stop_strings",
    " ",
    "e",
    "--reward_funcs",
    "{ type = 'regex', pattern = '[a-m]', name = 'letters' }",
    "length",
];

/// `trainer` into `name/out` of the lab, with further keys.
fn command(lab: &Lab, trainer: &str, name: &str, keys: &[&str]) -> Command {
    lab.command(name, &[&[trainer], COMMON, keys].concat())
}

fn go(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

fn metrics(lab: &Lab, name: &str) -> Vec<Value> {
    read_rows(&lab.path(name).join("out/metrics.jsonl"))
}

fn completions(lab: &Lab, name: &str) -> Vec<Value> {
    read_rows(&lab.path(name).join("out/completions.jsonl"))
}

/// Runs it to its end; the lines of its log.
#[track_caller]
fn train(lab: &Lab, trainer: &str, name: &str, keys: &[&str]) -> Vec<Value> {
    go(command(lab, trainer, name, keys)).good();
    metrics(lab, name)
}

#[track_caller]
fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"))
}

/// The same bytes in both runs.
#[track_caller]
fn same(lab: &Lab, a: &str, b: &str, files: &[&str]) {
    for file in files {
        let read = |name: &str| {
            let path = lab.path(name).join("out").join(file);
            fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        assert!(read(a) == read(b), "{file} of {a} and {b}");
    }
}

/// What a run leaves.
const RESULT: [&str; 3] = ["model.safetensors", "metrics.jsonl", "completions.jsonl"];
