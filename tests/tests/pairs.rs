//! `proximal pairs`: preference data from a model's own answers.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tests::host::Rng;
use tests::lab::{Lab, read_rows};
use tests::program::Ran;

/// 40 prompts of different lengths with columns beside them.
fn lab() -> Lab {
    let lab = Lab::new();
    let rows: Vec<_> = (0..40)
        .map(|i| json!({ "prompt": format!("prompt {} {i}", "x".repeat(i % 9)), "id": format!("nr-{i}"), "index": i }))
        .collect();
    lab.rows("prompts.jsonl", &rows);
    lab
}

fn command(lab: &Lab, output: &str, keys: &[&str]) -> Command {
    let output = format!("--output={output}");
    let common = [
        "pairs",
        "--model=../model",
        "--dataset=../prompts.jsonl",
        "--max-new-tokens=60",
        &output,
    ];
    lab.command("pairs", &[&common, keys].concat())
}

fn pairs(lab: &Lab, output: &str, keys: &[&str]) -> Ran {
    command(lab, output, keys).output().unwrap().into()
}

/// Some answers have the letter, others do not.
const RULE: [&str; 1] = ["--replace=V=##"];

fn whole(lab: &Lab) -> Vec<Value> {
    pairs(lab, "whole.jsonl", &RULE).good();
    read_rows(&lab.path("pairs/whole.jsonl"))
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|p| fs::read_to_string(p).unwrap());
    assert!(a == b, "{a}\n\n{b}");
}

#[test]
fn answers_are_rewritten_and_those_that_stay_the_same_are_dropped() {
    let lab = lab();
    let rows = whole(&lab);
    assert!(rows.len() > 3 && rows.len() < 37, "{} rows", rows.len());
    let mut ran = command(&lab, "answers.jsonl", &[]);
    ran.args(["--replace=V=V", "--regex=$=!"]);
    // Every answer, as it was.
    Ran::from(ran.output().unwrap()).good();
    let answers = read_rows(&lab.path("pairs/answers.jsonl"));
    assert_eq!(answers.len(), 40);
    let with: Vec<_> = answers
        .iter()
        .filter(|row| row["rejected"].as_str().unwrap().contains('V'))
        .collect();
    assert_eq!(with.len(), rows.len());
    for (row, answer) in rows.iter().zip(with) {
        let own = answer["rejected"].as_str().unwrap();
        assert_eq!(row["rejected"], own);
        assert_eq!(answer["chosen"], format!("{own}!"));
        assert_eq!(row["chosen"], own.replace('V', "##"));
        let i = row["index"].as_u64().unwrap();
        assert_eq!(row["id"], format!("nr-{i}"));
        assert_eq!(row["data.index"], i);
        assert!(row["prompt"].as_str().unwrap().ends_with(&format!(" {i}")));
    }

    let ran = pairs(
        &lab,
        "other.jsonl",
        &["--replace=V=##", "--rewritten=rejected", "--json"],
    )
    .good();
    let other = read_rows(&lab.path("pairs/other.jsonl"));
    for (a, b) in rows.iter().zip(&other) {
        assert_eq!((&a["chosen"], &a["rejected"]), (&b["rejected"], &b["chosen"]));
    }
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["pairs"], rows.len());
    assert_eq!(summary["equal"], 40 - rows.len());
    let ran = pairs(&lab, "again.jsonl", &RULE).good();
    let line = format!(
        "{} answers dropped: the rewriting left them as they were",
        40 - rows.len()
    );
    assert!(ran.stdout.contains(&line), "{ran:#?}");
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_stopped() {
    let lab = lab();
    whole(&lab);
    let whole = lab.path("pairs/whole.jsonl");
    let size = fs::metadata(&whole).unwrap().len();
    let output = lab.path("pairs/killed.jsonl");
    let mut rng = Rng::new("sizes");
    let mut kills = 0;
    for attempt in 0.. {
        assert!(attempt < 100, "only {kills} came in time");
        let written = || fs::metadata(&output).map_or(0, |m| m.len());
        let until = written() + ((size - written()) as f64 * 0.5 * rng.uniform()) as u64;
        let mut child = command(&lab, "killed.jsonl", &[RULE[0], "--batch-size=1"]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while written() <= until && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_micros(100));
        }
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => kills += 1,
            Some(_) => fs::remove_file(&output).unwrap(),
        }
        if kills == 4 {
            break;
        }
    }
    pairs(&lab, "killed.jsonl", &RULE).good();
    same(&whole, &output);
    // Cut anywhere.
    let bytes = fs::read(&whole).unwrap();
    for cut in [bytes.len() - 1, bytes.len() / 2, 1, 0] {
        let output = lab.file("pairs/cut.jsonl", &bytes[..cut]);
        pairs(&lab, "cut.jsonl", &RULE).good();
        same(&whole, &output);
    }
    // Draws are keyed by the prompt, wherever the run began.
    let drawn = [RULE[0], "--temperature=1.2", "--seed=3"];
    pairs(&lab, "drawn.jsonl", &drawn).good();
    let bytes = fs::read(lab.path("pairs/drawn.jsonl")).unwrap();
    let half = lab.file("pairs/half.jsonl", &bytes[..bytes.len() / 2]);
    pairs(&lab, "half.jsonl", &drawn).good();
    same(&lab.path("pairs/drawn.jsonl"), &half);
}

#[test]
fn dialogues_systems_and_what_dpo_reads() {
    let lab = lab();
    let turn = |role: &str, content: &str| json!({ "from": role, "value": content });
    let rows: Vec<_> = (0..4)
        .map(|i| {
            json!({ "conversations": [
                turn("human", "first"), turn("gpt", "answer"), turn("human", &format!("last {i}")), turn("gpt", "end"),
            ] })
        })
        .collect();
    lab.rows("prompts.jsonl", &rows);
    lab.file(
        "pairs/run.toml",
        "model = \"../model\"\noutput = \"toml.jsonl\"\nmax_new_tokens = 12\nregex = [\"^=> \", \"[a-z]=q\"]\n\
         [dataset]\npath = \"../prompts.jsonl\"\nsystem_prompt = \"be brief\"\n",
    );
    let run = |args: &[&str]| Ran::from(lab.command("pairs", &[&["pairs"], args].concat()).output().unwrap());
    run(&["--config", "run.toml"]).good();
    let pairs = read_rows(&lab.path("pairs/toml.jsonl"));
    assert_eq!(pairs.len(), 4);
    for (i, row) in pairs.iter().enumerate() {
        let roles: Vec<_> = row["prompt"].as_array().unwrap().iter().map(|m| &m["role"]).collect();
        assert_eq!(roles, ["system", "user"]);
        assert_eq!(row["prompt"][1]["content"], format!("last {i}"));
        assert_eq!(row["chosen"][0]["role"], "assistant");
        assert!(row["chosen"][0]["content"].as_str().unwrap().starts_with("> "));
    }
    run(&["--config", "run.toml", "--history", "--output=history.jsonl"]).good();
    let history = read_rows(&lab.path("pairs/history.jsonl"));
    assert_eq!(history[0]["prompt"].as_array().unwrap().len(), 4);
    let train = [
        "dpo",
        "--model=../model",
        "--dataset.path=toml.jsonl",
        "--output_dir=out",
        "--max_steps=1",
        "--save_strategy=no",
    ];
    Ran::from(lab.command("pairs", &train).output().unwrap()).good();
}

/// A program of the user's, after the other rules.
#[cfg(unix)]
#[test]
fn a_command_rewrites_or_drops() {
    let lab = lab();
    // Drops the answers to prompts with "xxx", shouts at the others.
    lab.file(
        "pairs/shout.sh",
        "while read -r line; do case \"$line\" in *xxx*) echo null;; *) echo '\"shouted\"';; esac; done\n",
    );
    let ran = pairs(&lab, "out.jsonl", &["--command=sh shout.sh", "--json"]).good();
    let rows = read_rows(&lab.path("pairs/out.jsonl"));
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let long = |row: &Value| row["prompt"].as_str().unwrap().contains("xxx");
    let prompts = read_rows(&lab.path("prompts.jsonl"));
    let dropped = prompts.iter().filter(|row| long(row)).count();
    assert!(
        rows.iter().all(|row| row["chosen"] == "shouted" && !long(row)),
        "{rows:?}"
    );
    assert_eq!(
        (summary["left_out"].clone(), rows.len()),
        (dropped.into(), 40 - dropped)
    );
    lab.file(
        "pairs/rubbish.sh",
        "echo oops >&2; while read -r line; do echo rubbish; done\n",
    );
    let ran = pairs(&lab, "bad.jsonl", &["--command=sh rubbish.sh"]);
    ran.refused(&["rewriting", "sh rubbish.sh", "a JSON string or null", "rubbish"]);
    pairs(&lab, "bad.jsonl", &["--command= "]).refused(&["--command", "a program"]);
    pairs(&lab, "bad.jsonl", &["--command=x", "--command-timeout=0"]).refused(&["--command-timeout", "above 0"]);
}

#[test]
fn what_cannot_be_done_is_named() {
    let lab = lab();
    let run = |args: &[&str]| Ran::from(lab.command("pairs", &[&["pairs"], args].concat()).output().unwrap());
    pairs(&lab, "out.jsonl", &[]).refused(&["--replace", "a rule", "none"]);
    pairs(&lab, "out.jsonl", &["--replace=a"]).refused(&["--replace", "FROM=TO", "\"a\""]);
    pairs(&lab, "out.jsonl", &["--regex=(=b"]).refused(&["--regex", "a regular expression", "("]);
    run(&["--replace=a=b", "--dataset=../prompts.jsonl"]).refused(&["--model"]);
    run(&["--replace=a=b", "--model=../model"]).refused(&["--dataset"]);
    run(&["--replace=a=b", "--model=../model", "--dataset=../prompts.jsonl"]).refused(&["--output"]);
    assert!(!lab.path("pairs/out.jsonl").exists());

    whole(&lab);
    let text = fs::read_to_string(lab.path("pairs/whole.jsonl")).unwrap();
    let other = text.replacen("prompt ", "prompt y", 1);
    lab.file("pairs/other.jsonl", &other);
    pairs(&lab, "other.jsonl", &RULE).refused(&["other.jsonl", "line 1, prompt", "found", "prompt y"]);
    assert_eq!(fs::read_to_string(lab.path("pairs/other.jsonl")).unwrap(), other);
    let twice = format!("{text}{text}");
    lab.file("pairs/twice.jsonl", &twice);
    pairs(&lab, "twice.jsonl", &RULE).refused(&["twice.jsonl", "index", "a later row"]);
    for notes in ["my notes", "my notes\n"] {
        lab.file("pairs/notes.txt", notes);
        pairs(&lab, "notes.txt", &RULE).refused(&["notes.txt", "line 1", "a pair"]);
        assert_eq!(fs::read_to_string(lab.path("pairs/notes.txt")).unwrap(), notes);
    }

    // A prompt that is too long has no answer; the others have.
    let mut rows = read_rows(&lab.path("prompts.jsonl"));
    rows[1]["prompt"] = "long".repeat(50).into();
    lab.rows("prompts.jsonl", &rows);
    let ran = pairs(&lab, "long.jsonl", &["--regex=^=> "]).good();
    assert!(ran.stdout.contains("39 pairs of 40 prompts"), "{ran:#?}");
    assert!(
        ran.stdout.contains("1 prompts have no answer (first: ") && ran.stdout.contains("200 tokens"),
        "{ran:#?}"
    );
}
