//! The commands around training: `generate`, `convert`, `demo`, and the command line itself.
#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::Value;
use tests::lab::Lab;
use tests::program::{Ran, run};

fn generate(lab: &Lab, args: &[&str]) -> Ran {
    let all = [&["generate", "--model=../model", "--max-new-tokens=30"], args].concat();
    lab.command("run", &all).output().unwrap().into()
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.good().stdout).unwrap()
}

#[test]
fn generate_answers() {
    let lab = Lab::new();
    let report = json(generate(&lab, &["--prompt=hello", "--json"]));
    let tokens = report["tokens"].as_array().unwrap();
    assert!(!tokens.is_empty() && tokens.len() <= 30, "{report}");
    // <|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n, a token a byte.
    assert_eq!(
        report["prompt_tokens"].as_array().unwrap().len(),
        1 + 5 + 5 + 1 + 1 + 1 + 10
    );
    // What is streamed is what is told.
    let ran = generate(&lab, &["--prompt=hello"]).good();
    assert_eq!(
        ran.stdout.trim_end_matches('\n'),
        report["text"].as_str().unwrap().trim_end_matches('\n')
    );
    assert!(ran.stderr.contains("24 tokens read"), "{}", ran.stderr);
    let system = json(generate(&lab, &["--prompt=hello", "--system=be brief", "--json"]));
    assert_ne!(system["prompt_tokens"], report["prompt_tokens"]);
    let raw = json(generate(&lab, &["--prompt=hello", "--raw", "--json"]));
    assert_eq!(raw["prompt_tokens"].as_array().unwrap().len(), 5);
}

#[test]
fn generate_draws_by_the_seed_alone() {
    let lab = Lab::new();
    let draw = |seed: &str, more: &[&str]| {
        let drawn = ["--prompt=hello", "--json", "--temperature=1", "--seed", seed];
        json(generate(&lab, &[&drawn, more].concat()))["tokens"].clone()
    };
    let one = draw("1", &[]);
    assert_eq!(one, draw("1", &["--threads=1"]));
    assert_ne!(one, draw("2", &[]));
    // One candidate is the most likely one.
    let greedy = json(generate(&lab, &["--prompt=hello", "--json"]))["tokens"].clone();
    assert_eq!(greedy, draw("1", &["--top-k=1"]));
    assert_eq!(greedy, draw("2", &["--top-p=0"]));
    assert_eq!(greedy, draw("3", &["--min-p=1"]));
    // A penalty without bound never says a thing twice.
    let mut said: Vec<u64> = json(generate(
        &lab,
        &["--prompt=z", "--raw", "--json", "--repetition-penalty=1e9"],
    ))["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_u64().unwrap())
        .collect();
    let count = said.len();
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), count);
}

#[test]
fn generate_is_refused() {
    let lab = Lab::new();
    generate(&lab, &["--prompt", &"long".repeat(40), "--raw"]).refused(&["160 tokens", "128"]);
    generate(&lab, &["--prompt=", "--raw"]).refused(&["no tokens"]);
    generate(&lab, &["--prompt=a", "--max-new-tokens=0"]).code(2, "max-new-tokens");
    // As the key is written in a file: a flag's underscores are dashes, its value's are not.
    let underscores = [
        "generate",
        "--model=../model",
        "--max_new_tokens=3",
        "--prompt=a_b",
        "--raw",
        "--json",
    ];
    let report = json(lab.command("run", &underscores).output().unwrap().into());
    assert_eq!(report["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(report["prompt_tokens"].as_array().unwrap().len(), 3);
    generate(&lab, &["--prompt=a", "--temperature=-1"]).refused(&["temperature", "at least 0", "-1"]);
    generate(&lab, &["--prompt=a", "--top-p=1.5"]).refused(&["top_p", "from 0 to 1", "1.5"]);
    generate(&lab, &["--prompt=a", "--repetition-penalty=0"]).refused(&["repetition_penalty", "above 0", "0"]);
    generate(&lab, &["--prompt=a", "--temprature=1"]).code(2, "--temperature");
    generate(&lab, &["--prompt=a", "--threads=0"]).refused(&["--threads", "1 to 1024", "0"]);
    run(["generate", "--model=/no/such/folder", "--prompt=a"]).refused(&["/no/such/folder", "config.json", "cannot"]);
}

#[test]
fn the_command_line() {
    let help = run(["--help"]).good().stdout;
    for command in ["demo", "sft", "generate", "eval", "convert", "verify"] {
        assert!(help.contains(command), "{help}");
        let text = run([command, "--help"]).good().stdout;
        assert!(text.starts_with("Usage") || text.contains("\nUsage"), "{text}");
    }
    run(["train"]).code(2, "unrecognized subcommand");
    run::<&str>([]).code(2, "Usage");
    run(["sft"]).refused(&["model_name_or_path", "the folder of a model", "nothing"]);
    run(["--version"]).good();
}

trait Code {
    fn code(self, code: i32, part: &str);
}

impl Code for Ran {
    /// The status, and a part of standard error.
    #[track_caller]
    fn code(self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stderr.contains(part), "{part:?} expected in {self:#?}");
    }
}

#[test]
fn convert_is_refused() {
    let lab = Lab::new();
    let convert = |file: &[u8], folder: &str| {
        lab.file("run/model.gguf", file);
        Ran::from(lab.command("run", &["convert", "model.gguf", folder]).output().unwrap())
    };
    convert(b"", "out").refused(&["model.gguf", "expected", "found"]);
    convert(b"GGML\x03\0\0\0", "out").refused(&["model.gguf", "GGUF"]);
    convert(b"GGUF\x01\0\0\0", "out").refused(&["model.gguf", "version"]);
    // It says 2 tensors and 3 entries of metadata, and ends.
    let header = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
    convert(header, "out").refused(&["model.gguf", "expected", "the end of the file"]);
    // A text of 2^60 bytes.
    let huge = [&header[..], &[0, 0, 0, 0, 0, 0, 0, 0x10], b"general"].concat();
    convert(&huge, "out").refused(&["model.gguf", "expected", "the end of the file"]);
    assert!(
        !lab.path("run/out").exists(),
        "nothing may be made before all is checked"
    );
    run(["convert", "/no/such.gguf", "out"]).refused(&["/no/such.gguf", "cannot"]);
    lab.file("run/full/notes.txt", "");
    convert(header, "full").refused(&["model.gguf"]);
    assert_eq!(fs::read_dir(lab.path("run/full")).unwrap().count(), 1);
}

#[test]
fn the_demo_leaves_other_folders_alone() {
    let lab = Lab::new();
    lab.file("run/mine/notes.txt", "mine");
    for args in [
        ["demo", "--output=mine"].as_slice(),
        &["demo", "--output=mine", "--overwrite"],
    ] {
        let ran = Ran::from(lab.command("run", args).output().unwrap());
        ran.refused(&["mine", "--output", "a new or empty folder", "found files"]);
    }
    assert!(lab.path("run/mine/notes.txt").exists());
}
