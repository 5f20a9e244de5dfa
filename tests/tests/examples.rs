//! Every configuration in `examples/`, run as it is on its own relative paths: a tiny model and a few rows of the form that it
//! says, one step or a few answers. A file that has no such run fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::lab::{Lab, read_rows};
use tests::program::Ran;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    assert!(paths.len() >= 13, "{paths:?}");
    paths
}

/// What the examples name, in the folder that they run in.
fn lab() -> Lab {
    let lab = Lab::new();
    // A token of the tiny model is a byte: a prompt with examples in it needs a longer context.
    let config = lab.path("model/config.json");
    let mut edited: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    edited["max_position_embeddings"] = 1024.into();
    fs::write(config, edited.to_string()).unwrap();
    let rows = |name: &str, n: usize, row: &dyn Fn(usize) -> Value| {
        lab.rows(&format!("run/{name}"), &(0..n).map(row).collect::<Vec<_>>());
    };
    let turns = |i: usize, answer: &str| {
        json!([
            { "role": "user", "content": format!("question {i}") },
            { "role": "assistant", "content": format!("{answer} {i}") },
        ])
    };
    rows("faq.jsonl", 60, &|i| json!({ "messages": turns(i, "answer") }));
    rows(
        "pairs.jsonl",
        40,
        &|i| json!({ "chosen": turns(i, "Nova"), "rejected": turns(i, "other") }),
    );
    for (folder, answers) in [
        ("maths", ["7", "1,234"]),
        ("gsm8k/main", ["3 + 4 = 7\n#### 7", "so\n#### 1,234"]),
    ] {
        for split in ["train", "test"] {
            let row = |i: usize| json!({ "question": format!("{i} + {i}?"), "answer": answers[i % 2] });
            rows(&format!("{folder}/{split}.jsonl"), 12, &row);
        }
    }
    for split in ["train", "test"] {
        let row = |i: usize| json!({ "query-id": format!("q{i}"), "corpus-id": format!("c{i}"), "score": 1 });
        rows(&format!("stack-exchange/pairs/{split}.jsonl"), 30, &row);
    }
    rows(
        "stack-exchange/queries/a.jsonl",
        30,
        &|i| json!({ "_id": format!("q{i}"), "text": format!("task {i}") }),
    );
    rows(
        "stack-exchange/corpus/a.jsonl",
        30,
        &|i| json!({ "_id": format!("c{i}"), "text": format!("text {i}") }),
    );
    lab
}

/// Small enough for a tiny model; everything else is the file's.
fn small(command: &str) -> &'static [&'static str] {
    match command {
        "sft" | "dpo" => &["--model=../model", "--max_steps=1"],
        "grpo" | "ppo" | "trpo" => &["--model=../model", "--max_steps=1", "--max_completion_length=6"],
        "eval" => &["--model=../model", "--max-new-tokens=6"],
        _ => &[],
    }
}

#[test]
fn run() {
    let lab = lab();
    for path in examples() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let command = name.split('-').next().unwrap();
        let output = format!("--{}={name}", if command == "eval" { "output" } else { "output_dir" });
        let config = format!("--config={}", path.display());
        let mut args = vec![command, &config, &output];
        args.extend(small(command));
        if name == "eval-grade-school" {
            args.push("--compare=../model");
        }
        Ran::from(lab.command("run", &args).output().unwrap()).good();
        match command {
            "eval" => assert!(!read_rows(&lab.path(format!("run/{name}"))).is_empty(), "{name}"),
            _ => assert!(lab.path(format!("run/{name}/model.safetensors")).exists(), "{name}"),
        }
        if let "grpo" | "ppo" | "trpo" = command {
            // The truth was found in the answer: no row was left out of the accuracy.
            let completions = read_rows(&lab.path(format!("run/{name}/completions.jsonl")));
            assert!(
                completions.iter().all(|row| row["rewards"]["boxed"].is_number()),
                "{name}"
            );
        }
    }
}
