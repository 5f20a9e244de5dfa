//! `proximal eval`: a row for every prompt, whatever happens on the way.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tests::edit::{copy_folder, number};
use tests::host::Rng;
use tests::lab::{Lab, read_rows};
use tests::program::Ran;

/// 40 prompts of different lengths with columns beside them.
fn lab() -> Lab {
    let lab = Lab::new();
    let rows: Vec<_> = (0..40)
        .map(|i| {
            json!({
                "prompt": format!("prompt {} {i}", "x".repeat(i % 9)),
                "completion": format!("answer {i}"),
                "id": format!("nr-{i}"),
                "score": i as f64 / 4.0,
                "note": "Helsingborg – på väg 日本語 🙂",
            })
        })
        .collect();
    lab.rows("prompts.jsonl", &rows);
    lab
}

fn command(lab: &Lab, output: &str, keys: &[&str]) -> Command {
    let output = format!("--output={output}");
    let common = [
        "eval",
        "--model=../model",
        "--dataset=../prompts.jsonl",
        "--max-new-tokens=60",
        &output,
    ];
    lab.command("eval", &[&common, keys].concat())
}

fn eval(lab: &Lab, output: &str, keys: &[&str]) -> Ran {
    command(lab, output, keys).output().unwrap().into()
}

fn whole(lab: &Lab) -> PathBuf {
    eval(lab, "whole.jsonl", &[]).good();
    lab.path("eval/whole.jsonl")
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|p| fs::read_to_string(p).unwrap());
    for (i, (a, b)) in a.lines().zip(b.lines()).enumerate() {
        assert_eq!(a, b, "line {}", i + 1);
    }
    assert!(a == b, "{} and {} bytes", a.len(), b.len());
}

#[test]
fn every_prompt_has_its_row() {
    let lab = lab();
    let rows = read_rows(&whole(&lab));
    assert_eq!(rows.len(), 40);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i);
        assert_eq!(row["id"], format!("nr-{i}"));
        assert_eq!(row["score"], i as f64 / 4.0);
        assert_eq!(row["note"], "Helsingborg – på väg 日本語 🙂");
        assert_eq!(row["reference"], format!("answer {i}"));
        assert!(row["prompt"].as_str().unwrap().ends_with(&format!(" {i}")));
        assert!(row["answer"].is_string() && row["error"].is_null());
        let tokens = row["tokens"].as_u64().unwrap();
        match row["finish"].as_str().unwrap() {
            "length" => assert_eq!(tokens, 60),
            finish => assert!(finish == "stop" && tokens <= 60),
        }
    }
    // As they are, not as escapes.
    assert!(
        fs::read_to_string(lab.path("eval/whole.jsonl"))
            .unwrap()
            .contains("på väg 日本語 🙂")
    );
}

#[test]
fn what_stands_beside_changes_no_answer() {
    let lab = lab();
    let whole = whole(&lab);
    for (name, keys) in [
        ("alone", ["--batch-size=1", "--threads=1"]),
        ("three", ["--batch-size=3", "--threads=2"]),
        ("little", ["--batch-size=40", "--kv-cache-gib=1e-5"]),
    ] {
        let name = format!("{name}.jsonl");
        eval(&lab, &name, &keys).good();
        same(&whole, &lab.path("eval").join(&name));
    }
    // Drawn answers are keyed by the prompt, not by the batch.
    for (name, batch) in [("a", "1"), ("b", "7")] {
        let name = format!("drawn-{name}.jsonl");
        eval(&lab, &name, &["--temperature=1.5", "--seed=3", "--batch-size", batch]).good();
    }
    let drawn = lab.path("eval/drawn-a.jsonl");
    same(&drawn, &lab.path("eval/drawn-b.jsonl"));
    assert!(fs::read(&drawn).unwrap() != fs::read(&whole).unwrap());
}

#[test]
fn an_evaluation_that_is_killed_goes_on_where_it_stopped() {
    let lab = lab();
    let whole = whole(&lab);
    let size = fs::metadata(&whole).unwrap().len();
    let output = lab.path("eval/killed.jsonl");
    let mut rng = Rng::new("sizes");
    let mut kills = 0;
    for attempt in 0.. {
        assert!(attempt < 100, "only {kills} came in time");
        let written = || fs::metadata(&output).map_or(0, |m| m.len());
        // Somewhere in what is left.
        let until = written() + ((size - written()) as f64 * 0.5 * rng.uniform()) as u64;
        let mut child = command(&lab, "killed.jsonl", &["--batch-size=2"]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while written() < until && child.try_wait().unwrap().is_none() {
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
    let ran = eval(&lab, "killed.jsonl", &["--json"]).good();
    same(&whole, &output);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["summary"]["rows"], 40);
    assert_eq!(report["summary"]["errors"], 0);
    // Nothing is left to do.
    let ran = eval(&lab, "killed.jsonl", &["--json"]).good();
    same(&whole, &output);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["summary"]["resumed"], 40);
    assert_eq!(report["summary"]["tokens"], 0);
}

/// Drawn answers too: a row's draws are keyed by its number, wherever the run began.
#[test]
fn a_sampled_evaluation_goes_on_with_the_same_draws() {
    let lab = lab();
    let keys = ["--temperature=1", "--top-p=0.9", "--seed=5"];
    eval(&lab, "whole.jsonl", &keys).good();
    let whole = lab.path("eval/whole.jsonl");
    let bytes = fs::read(&whole).unwrap();
    let half = lab.file("eval/half.jsonl", &bytes[..bytes.len() / 2]);
    eval(&lab, "half.jsonl", &keys).good();
    same(&whole, &half);
}

/// As kill -9 in the middle of a line leaves it, also in the middle of a character.
#[test]
fn a_cut_last_line_is_written_again() {
    let lab = lab();
    let whole = whole(&lab);
    let bytes = fs::read(&whole).unwrap();
    let character = bytes.windows(4).rposition(|w| w == "🙂".as_bytes()).unwrap();
    for cut in [bytes.len() - 1, bytes.len() / 2, character + 2, 1, 0] {
        let output = lab.file("eval/cut.jsonl", &bytes[..cut]);
        eval(&lab, "cut.jsonl", &[]).good();
        same(&whole, &output);
    }
    // However long the cut line is.
    let line = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    let long = [&bytes[..line], "long ".repeat(bytes.len()).as_bytes()].concat();
    let output = lab.file("eval/cut.jsonl", long);
    eval(&lab, "cut.jsonl", &[]).good();
    same(&whole, &output);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_between_rows() {
    let lab = lab();
    let whole = whole(&lab);
    let output = lab.path("eval/signal.jsonl");
    // A busy machine may deliver the signal after the last row; then it is sent to another run.
    let stopped = (0..20).any(|_| {
        let _ = fs::remove_file(&output);
        let mut child = command(&lab, "signal.jsonl", &["--batch-size=1"]);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while fs::metadata(&output).map_or(0, |m| m.len()) == 0 {
            sleep(Duration::from_micros(100));
        }
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", "TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let ran = Ran::from(child.wait_with_output().unwrap());
        let rows = fs::read_to_string(&output).unwrap();
        match ran.code {
            Some(130) => {
                assert!(rows.ends_with('\n') && rows.lines().count() < 40, "{rows}");
                true
            }
            code => {
                assert_eq!((code, rows.lines().count()), (Some(0), 40), "{ran:#?}");
                false
            }
        }
    });
    assert!(stopped, "no run ended at its signal");
    eval(&lab, "signal.jsonl", &[]).good();
    same(&whole, &output);
}

#[test]
fn a_prompt_that_fails_has_an_error_and_the_rest_goes_on() {
    let lab = lab();
    let mut rows = read_rows(&lab.path("prompts.jsonl"));
    rows.truncate(6);
    rows[2]["prompt"] = "long".repeat(50).into();
    lab.rows("prompts.jsonl", &rows);
    let ran = eval(&lab, "out.jsonl", &["--json"]).good();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["summary"]["errors"], 1);
    assert_eq!(report["summary"]["rows"], 6);
    let answers = read_rows(&lab.path("eval/out.jsonl"));
    for (i, row) in answers.iter().enumerate() {
        assert_eq!(row["id"], format!("nr-{i}"));
        assert_eq!(row["answer"].is_string(), i != 2, "{row}");
    }
    let error = answers[2]["error"].as_str().unwrap();
    assert!(error.contains("200 tokens") && error.contains("128"), "{error}");
    // The others answer as if it were not there.
    rows.remove(2);
    lab.rows("prompts.jsonl", &rows);
    eval(&lab, "without.jsonl", &[]).good();
    let without = read_rows(&lab.path("eval/without.jsonl"));
    let texts = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|r| r["answer"].clone()).collect() };
    let mut expected = texts(&answers);
    expected.remove(2);
    assert_eq!(texts(&without), expected);
}

#[test]
fn messages_are_asked_and_own_names_are_kept_apart() {
    let lab = lab();
    let rows = [
        json!({ "messages": [{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "hello" }], "answer": "column" }),
        json!({ "messages": [{ "role": "system", "content": "s" }, { "role": "user", "content": "né" }], "tokens": 3 }),
        json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }, { "role": "user", "content": "c" }] }),
    ];
    lab.rows("prompts.jsonl", &rows);
    eval(&lab, "out.jsonl", &[]).good();
    let answers = read_rows(&lab.path("eval/out.jsonl"));
    assert_eq!(answers[0]["prompt"], "hi");
    assert_eq!(answers[0]["reference"], "hello");
    assert_eq!(answers[0]["data.answer"], "column");
    assert_eq!(answers[1]["prompt"][1]["content"], "né");
    assert_eq!(answers[1]["data.tokens"], 3);
    assert_eq!(answers[2]["prompt"].as_array().unwrap().len(), 3);
    assert!(answers.iter().all(|row| row["answer"].is_string()), "{answers:?}");
}

#[test]
fn an_output_of_other_data_is_refused() {
    let lab = lab();
    whole(&lab);
    let text = fs::read_to_string(lab.path("eval/whole.jsonl")).unwrap();
    let other = text.replacen("prompt x 1", "prompt y 1", 1);
    assert_ne!(other, text);
    lab.file("eval/other.jsonl", &other);
    let ran = eval(&lab, "other.jsonl", &[]);
    ran.refused(&["other.jsonl", "line 2, prompt", "prompt x 1", "found", "prompt y 1"]);
    assert_eq!(fs::read_to_string(lab.path("eval/other.jsonl")).unwrap(), other);
    lab.file("eval/more.jsonl", text.clone() + "{\"index\":40}\n");
    eval(&lab, "more.jsonl", &[]).refused(&["more.jsonl", "line 41", "the 40 rows", "more"]);
    lab.file("eval/notes.txt", "my notes\n");
    eval(&lab, "notes.txt", &[]).refused(&["notes.txt", "line 1"]);
    assert_eq!(fs::read_to_string(lab.path("eval/notes.txt")).unwrap(), "my notes\n");
}

#[test]
fn questions_and_configuration_files() {
    let lab = lab();
    lab.file(
        "eval/run.toml",
        "model = \"../model\"\noutput = \"toml.jsonl\"\nquestions = [\"hvað?\"]\nmax_new_tokens = 60\n[dataset]\npath = \"../prompts.jsonl\"\nsplit = \"train[:3]\"\npass_through = [\"id\"]\n",
    );
    let run = |args: &[&str]| Ran::from(lab.command("eval", args).output().unwrap());
    let ran = run(&["eval", "--config", "run.toml"]).good();
    assert!(ran.stdout.contains("Q: hvað?\nA: "), "{ran:#?}");
    let rows = read_rows(&lab.path("eval/toml.jsonl"));
    assert_eq!(rows.len(), 3);
    assert!(rows[0]["note"].is_null() && rows[0]["id"] == "nr-0");
    let ran = run(&["eval", "--model=../model", "--json", "--questions", "a", "b"]).good();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["questions"][1][0], "b");
    assert!(report["questions"][1][1].is_string(), "{report}");

    run(&["eval", "--model=../model", "--questions", "a", "--threads=0"]).refused(&["--threads", "1 to 1024", "0"]);
    lab.file("eval/bad.toml", "model = \"../model\"\nmax_tokens = 3\n");
    run(&["eval", "--config", "bad.toml"]).refused(&["bad.toml"]);
    run(&["eval", "--model=../model"]).refused(&["--dataset or --questions"]);
    run(&["eval", "--model=../model", "--dataset=../prompts.jsonl"]).refused(&["--output"]);
    run(&["eval", "--questions", "a"]).refused(&["--model"]);
    run(&["eval", "--model=../none", "--questions", "a"]).refused(&["none"]);
    run(&["eval", "--model=../model", "--questions", "a", "--kv-cache-gib=0"]).refused(&[
        "kv-cache-gib",
        "above 0",
        "0",
    ]);
}

/// 30 rows with answers that were right once: those of an evaluation before, every third changed.
fn scored_lab() -> (Lab, Vec<Value>) {
    let lab = lab();
    let asked = read_rows(&lab.path("prompts.jsonl"));
    let answers = read_rows(&whole(&lab));
    let rows: Vec<Value> = asked
        .into_iter()
        .zip(&answers)
        .take(30)
        .enumerate()
        .map(|(i, (mut row, answered))| {
            row["truth"] = match i % 3 {
                0 => json!(format!("{} no", answered["answer"].as_str().unwrap())),
                _ => answered["answer"].clone(),
            };
            if i % 10 == 9 {
                row["truth"] = Value::Null;
            }
            row["reward"] = "a column".into();
            row
        })
        .collect();
    lab.rows("prompts.jsonl", &rows);
    (lab, answers)
}

const FUNCS: [&str; 4] = [
    "--reward-funcs",
    "{ type = 'exact', column = 'truth', weight = 2 }",
    "length",
    "--json",
];

#[test]
fn answers_are_scored_and_the_scores_survive_a_restart() {
    let (lab, answers) = scored_lab();
    let ran = eval(&lab, "scored.jsonl", &FUNCS).good();
    let rows = read_rows(&lab.path("eval/scored.jsonl"));
    let mut right = 0;
    for (i, (row, answered)) in rows.iter().zip(&answers).enumerate() {
        assert_eq!(row["answer"], answered["answer"]);
        let tokens = row["tokens"].as_f64().unwrap();
        let exact = match i {
            _ if i % 10 == 9 => Value::Null,
            _ => json!(f64::from(u8::from(i % 3 != 0))),
        };
        right += usize::from(exact == 1.0);
        assert_eq!(row["rewards"]["exact"], exact, "{row}");
        assert_eq!(row["rewards"]["length"], -tokens / 60.0);
        assert_eq!(row["reward"], 2.0 * exact.as_f64().unwrap_or(0.0) - tokens / 60.0);
        assert_eq!(row["data.reward"], "a column");
    }
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let exact = &report["summary"]["rewards"]["exact"];
    assert_eq!(exact["n"], 27);
    assert_eq!(exact["mean"], right as f64 / 27.0);
    assert!(exact["low"].as_f64() < exact["mean"].as_f64() && exact["mean"].as_f64() < exact["high"].as_f64());
    assert_eq!(report["summary"]["rewards"]["reward"]["n"], 30);

    // Killed anywhere, the same bytes and the same summary but for what was done now.
    let whole = lab.path("eval/scored.jsonl");
    let bytes = fs::read(&whole).unwrap();
    for cut in [0, 1, bytes.len() / 3, bytes.len() - 1, bytes.len()] {
        let output = lab.file("eval/cut.jsonl", &bytes[..cut]);
        let ran = eval(&lab, "cut.jsonl", &FUNCS).good();
        same(&whole, &output);
        let again: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(again["summary"]["rewards"], report["summary"]["rewards"]);
    }
    // Without --json the means are said.
    let ran = eval(&lab, "scored.jsonl", &FUNCS[..3]).good();
    assert!(ran.stdout.contains("model: exact 0."), "{ran:#?}");

    // Other weights or functions are another evaluation; weights tell at the first row that they change.
    let other = [
        "--reward-funcs",
        "{ type = 'exact', column = 'truth', weight = 3 }",
        "length",
    ];
    eval(&lab, "scored.jsonl", &other).refused(&["scored.jsonl", "line 2, rewards", "exact, length", "weights"]);
    eval(&lab, "scored.jsonl", &["--reward-funcs=length"]).refused(&["line 1, rewards", "those of length"]);
    eval(&lab, "plain.jsonl", &[]).good();
    eval(&lab, "plain.jsonl", &["--reward-funcs=length"]).refused(&["plain.jsonl", "line 1, rewards", "none"]);
    assert!(read_rows(&lab.path("eval/plain.jsonl"))[0]["rewards"].is_null());
    assert_eq!(fs::read(&whole).unwrap(), bytes);
}

#[test]
fn another_model_beside_the_first() {
    let (lab, _) = scored_lab();
    // The same model with other numbers: it answers otherwise.
    copy_folder(&lab.path("model"), &lab.path("other"));
    number(&lab.path("other/model.safetensors"), "model.norm.weight", |x| x + 4.0);
    let keys = [&FUNCS[..], &["--compare=../other"]].concat();
    let ran = eval(&lab, "both.jsonl", &keys).good();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let (own, other) = (&report["summary"]["rewards"], &report["compare"]["rewards"]);
    assert_eq!(report["compare"]["rows"], 30);
    // Each file is what its model writes alone.
    eval(&lab, "own.jsonl", &FUNCS).good();
    same(&lab.path("eval/own.jsonl"), &lab.path("eval/both.jsonl"));
    let args = [
        "eval",
        "--model=../other",
        "--dataset=../prompts.jsonl",
        "--max-new-tokens=60",
        "--output=alone.jsonl",
    ];
    let alone: Ran = lab
        .command("eval", &[&args, &FUNCS[..]].concat())
        .output()
        .unwrap()
        .into();
    let alone: Value = serde_json::from_str(&alone.good().stdout).unwrap();
    same(&lab.path("eval/alone.jsonl"), &lab.path("eval/both.compare.jsonl"));
    assert_eq!(&alone["summary"]["rewards"], other);
    assert_ne!(own, other);
    // The difference is of the rows' sums.
    let [a, b] = ["own", "alone"].map(|name| {
        let rows = read_rows(&lab.path(format!("eval/{name}.jsonl")));
        rows.iter()
            .map(|row| row["reward"].as_f64().unwrap())
            .collect::<Vec<_>>()
    });
    let mean = a.iter().zip(&b).map(|(a, b)| a - b).sum::<f64>() / 30.0;
    let difference = &report["difference"];
    assert!(
        (difference["mean"].as_f64().unwrap() - mean).abs() < 1e-12,
        "{difference}"
    );
    assert_eq!(difference["better"], a.iter().zip(&b).filter(|(a, b)| a > b).count());
    assert_eq!(difference["worse"], a.iter().zip(&b).filter(|(a, b)| a < b).count());

    // Nothing is left to do; said in words, to files of one's own naming.
    let keys = [&FUNCS[..3], &["--compare=../other", "--compare-output=alone.jsonl"]].concat();
    let ran = eval(&lab, "both.jsonl", &keys).good();
    for word in [
        "../model: exact",
        "../other: exact",
        "above that of the other",
        "better",
    ] {
        assert!(ran.stdout.contains(word), "{ran:#?}");
    }
    let same_file = [&keys[..4], &["--compare-output=both.jsonl"]].concat();
    eval(&lab, "both.jsonl", &same_file).refused(&["compare-output", "another file"]);
    eval(&lab, "both.jsonl", &["--compare=../none"]).refused(&["none"]);
}

#[test]
fn rewards_that_cannot_be() {
    let (lab, _) = scored_lab();
    for (keys, words) in [
        (
            vec!["--reward-funcs=boxed"],
            vec!["reward_funcs", "column", "truth", "\"answer\", which boxed reads"],
        ),
        (
            vec!["--reward-funcs=boxd"],
            vec!["reward_funcs[0]", "did you mean boxed"],
        ),
        (
            vec!["--reward-funcs={ type = 'exact', colum = 'truth' }"],
            vec!["colum", "did you mean column"],
        ),
        (vec!["--reward-weights=1"], vec!["reward_weights", "reward_funcs"]),
        (
            vec!["--reward-funcs=length", "--reward-weights", "1", "2"],
            vec!["reward_weights", "1 numbers", "2"],
        ),
    ] {
        eval(&lab, "no.jsonl", &keys).refused(&words);
        assert!(!lab.path("eval/no.jsonl").exists());
    }
    let run = |args: &[&str]| Ran::from(lab.command("eval", args).output().unwrap());
    run(&["eval", "--model=../model", "--questions", "a", "--reward-funcs=length"])
        .refused(&["--reward-funcs", "--dataset"]);
}

/// The user's process: a fault is an error, what was written before stays, and the next run goes on from there.
#[cfg(unix)]
#[test]
fn a_reward_command_that_fails_loses_no_row() {
    let (lab, _) = scored_lab();
    let script = "n=0; while read -r line; do n=$((n + 1)); if [ -e stop ] && [ $n = 12 ]; then echo bad; exit; fi; echo '[0.5]'; done";
    let funcs = format!(
        "--reward-funcs={{ type = 'command', command = ['sh', '-c', \"{script}\"], retries = 0, name = 'mine' }}"
    );
    eval(&lab, "whole-command.jsonl", &[&funcs]).good();
    lab.file("eval/stop", "");
    let ran = eval(&lab, "command.jsonl", &[&funcs]);
    ran.refused(&["reward mine", "sh -c", "a JSON list of 1 numbers or null", "\"bad\""]);
    assert_eq!(read_rows(&lab.path("eval/command.jsonl")).len(), 11);
    fs::remove_file(lab.path("eval/stop")).unwrap();
    eval(&lab, "command.jsonl", &[&funcs]).good();
    same(&lab.path("eval/whole-command.jsonl"), &lab.path("eval/command.jsonl"));
    assert_eq!(
        read_rows(&lab.path("eval/command.jsonl"))[29]["rewards"],
        json!({ "mine": 0.5 })
    );
}
