#![cfg(unix)]
use std::thread;
use std::time::Instant;

use super::*;
use crate::reward::{RewardConfig, Rewards, Scored, Setup};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A shell script as the reward command; `$0` is a folder of its own.
struct Script {
    folder: TempDir,
    rewards: Rewards,
}

impl Script {
    fn new(script: &str, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let toml = format!(
            "f = {{ type = 'command', command = ['sh', '-c', {}, {}], {keys} }}",
            quoted(script),
            quoted(folder.path().to_str().unwrap())
        );
        Self {
            rewards: open(&toml).unwrap(),
            folder,
        }
    }

    fn score(&mut self, completions: &[&str]) -> Result<Scored> {
        let columns = serde_json::json!({ "answer": "42", "n": 7 });
        let messages = [serde_json::json!({ "role": "user", "content": "why?\n" })];
        let sample = |&completion| Sample {
            prompt: "why?\n",
            messages: Some(&messages),
            completion,
            completion_ids: &[5, 6],
            finished: Finish::Length,
            columns: columns.as_object().unwrap(),
        };
        self.rewards.score(&completions.iter().map(sample).collect::<Vec<_>>())
    }

    fn error(&mut self, n: usize) -> String {
        self.score(&vec!["x"; n]).unwrap_err().to_string()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// How often the script noted that it started.
    fn starts(&self) -> usize {
        fs::read_to_string(self.path("starts")).unwrap().lines().count()
    }
}

fn open(toml: &str) -> Result<Rewards> {
    let table: toml::Table = toml.parse().unwrap();
    let setup = Setup {
        max_completion_length: 10,
        threads: None,
    };
    Rewards::open(&RewardConfig::list("reward_funcs", &table["f"])?, None, &setup)
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

const STARTED: &str = "echo started >> \"$0/starts\"; ";

#[test]
fn it_is_asked_line_by_line_and_lives_on() {
    let script = STARTED.to_owned()
        + "while read -r line; do printf '%s\\n' \"$line\" >> \"$0/lines\"; echo '[1.5, null]'; done";
    let mut script = Script::new(&script, "name = 'judge'");
    for _ in 0..3 {
        let scored = script.score(&["å\n\"b\"", "🙂"]).unwrap();
        assert_eq!(scored.total, [Some(1.5), None]);
        assert!(scored.notes.is_empty());
    }
    assert_eq!(script.starts(), 1);
    let lines = fs::read_to_string(script.path("lines")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let expected = serde_json::json!({
        "prompt": "why?\n",
        "messages": [{ "role": "user", "content": "why?\n" }],
        "completion": "å\n\"b\"",
        "completion_ids": [5, 6],
        "finished": "length",
        "columns": { "answer": "42", "n": 7 },
    });
    assert_eq!(lines[2]["samples"][0], expected);
    assert_eq!(lines[2]["samples"][1]["completion"], "🙂");
}

#[test]
fn what_is_no_answer_is_shown() {
    for (answer, words) in [
        ("hello there", vec!["the line \"hello there\""]),
        ("[1.0]", vec!["1 of them: [1.0]"]),
        ("[1, 2, 3]", vec!["3 of them"]),
        ("[1, \"a\"]", vec!["\"a\" for sample 1"]),
        ("[true, 1]", vec!["true for sample 0"]),
        ("[NaN, 1]", vec!["the line", "NaN"]),
        ("[1, 1e999]", vec!["the line", "1e999"]),
        ("null", vec!["the line \"null\""]),
        ("{}", vec!["the line"]),
        ("", vec!["the line \"\""]),
    ] {
        let line = format!("while read -r line; do echo '{answer}'; done");
        let error = Script::new(&line, "retries = 0").error(2);
        says(
            &error,
            &["reward command", "sh -c", "a JSON list of 2 numbers or null", "found"],
        );
        says(&error, &words);
    }
    // However long, the first 200 characters.
    let long = "while read -r line; do head -c 100000 /dev/zero | tr '\\0' 'x'; echo; done";
    let error = Script::new(long, "retries = 0").error(1);
    says(&error, &["xxx…"]);
    assert!(error.len() < 800, "{error}");
}

#[test]
fn a_crash_is_told_with_the_end_of_standard_error() {
    let mut script = Script::new(
        &(STARTED.to_owned() + "read -r line; echo 'cannot judge that' >&2; exit 3"),
        "retries = 2",
    );
    let error = script.error(1);
    says(
        &error,
        &[
            "ended before it answered",
            "exit status: 3",
            "standard error",
            "cannot judge that",
        ],
    );
    assert_eq!(script.starts(), 3);
    let mut script = Script::new("echo started >> \"$0/starts\"; exit 0", "");
    says(&script.error(1), &["ended", "exit status: 0"]);
    assert_eq!(script.starts(), 2);
}

#[test]
fn after_a_crash_the_same_batch_is_asked_again() {
    // The second batch kills the first process; the second process answers it.
    let script = STARTED.to_owned()
        + "n=0; while read -r line; do n=$((n + 1)); printf '%s\\n' \"$line\" >> \"$0/lines\"; \
           if [ $n = 2 ] && [ ! -e \"$0/crashed\" ]; then touch \"$0/crashed\"; echo oh >&2; exit 1; fi; echo '[0.25]'; done";
    let mut script = Script::new(&script, "");
    assert!(script.score(&["a"]).unwrap().notes.is_empty());
    let scored = script.score(&["b"]).unwrap();
    assert_eq!(scored.total, [Some(0.25)]);
    assert_eq!(scored.notes.len(), 1);
    says(&scored.notes[0], &["ended before it answered", "oh", "started again"]);
    assert!(script.score(&["c"]).unwrap().notes.is_empty());
    assert_eq!(script.starts(), 2);
    let lines = fs::read_to_string(script.path("lines")).unwrap();
    let asked: Vec<char> = lines
        .lines()
        .map(|l| {
            let line: Value = serde_json::from_str(l).unwrap();
            line["samples"][0]["completion"]
                .as_str()
                .unwrap()
                .chars()
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(asked, ['a', 'b', 'b', 'c']);
}

#[test]
fn a_process_that_ends_between_batches_is_started_again() {
    let mut script = Script::new(&(STARTED.to_owned() + "read -r line; echo '[1]'"), "");
    for i in 0..3 {
        let scored = script.score(&["a"]).unwrap();
        assert_eq!(scored.total, [Some(1.0)]);
        // Its end is found at once or when it does not answer.
        assert_eq!(scored.notes.len(), usize::from(i > 0), "{:?}", scored.notes);
    }
    assert_eq!(script.starts(), 3);
}

#[test]
fn silence_ends_at_the_timeout() {
    let begin = Instant::now();
    let mut script = Script::new(&(STARTED.to_owned() + "exec sleep 100"), "timeout = 0.2");
    let error = script.error(1);
    says(&error, &["within 0.2 seconds", "timeout", "flush"]);
    assert_eq!(script.starts(), 2);
    assert!(begin.elapsed() < Duration::from_secs(20));
    // Also where it does not read what a pipe cannot hold.
    let mut script = Script::new("exec sleep 100", "timeout = 0.2, retries = 0");
    let long = "x".repeat(1 << 20);
    says(
        &script.score(&[&long]).unwrap_err().to_string(),
        &["within 0.2 seconds"],
    );
}

#[test]
fn a_line_too_many_is_not_taken_for_the_next_answer() {
    let mut script = Script::new(
        "while read -r line; do echo '[1]'; echo '[2]'; touch \"$0/done\"; done",
        "retries = 0",
    );
    assert_eq!(script.score(&["a"]).unwrap().total, [Some(1.0)]);
    while !script.path("done").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    // Until the thread at the pipe has it.
    thread::sleep(Duration::from_millis(200));
    says(&script.error(1), &["a line that was not asked for", "[2]"]);
}

#[test]
fn a_long_standard_error_does_not_block_it() {
    let line = "while read -r line; do head -c 1000000 /dev/zero | tr '\\0' 'e' >&2; echo; echo end >&2; done";
    let error = Script::new(line, "retries = 0").error(1);
    says(&error, &["eeee", "end"]);
    assert!(error.len() < 3000, "{}", error.len());
}

#[test]
fn it_is_killed_when_the_rewards_are_dropped() {
    let mut script = Script::new(
        "echo $$ > \"$0/pid\"; while read -r line; do echo '[1]'; done; sleep 100",
        "",
    );
    script.score(&["a"]).unwrap();
    let pid = fs::read_to_string(script.path("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    if !Path::new("/proc/self").exists() {
        return;
    }
    assert!(process.exists());
    drop(script);
    assert!(!process.exists());
}

#[test]
fn programs_that_cannot_be() {
    let mut rewards = open("f = { type = 'command', command = 'no-such-program --at all' }").unwrap();
    let columns = Map::new();
    let sample = Sample {
        prompt: "",
        messages: None,
        completion: "",
        completion_ids: &[],
        finished: Finish::Stop,
        columns: &columns,
    };
    let error = rewards.score(&[sample]).unwrap_err().to_string();
    says(&error, &["\"no-such-program --at all\"", "a program that starts"]);
    for (toml, words) in [
        (
            "f = { type = 'command', command = '' }",
            ["reward_funcs[0].command", "a program", "nothing"],
        ),
        (
            "f = { type = 'command', command = [] }",
            ["reward_funcs[0].command", "a program", "nothing"],
        ),
        (
            "f = { type = 'command', command = 'a', timeout = 0 }",
            ["reward_funcs[0].timeout", "above 0", "0"],
        ),
        (
            "f = { type = 'command', command = 'a', timeout = 1e9 }",
            ["reward_funcs[0].timeout", "a day", "1000000000"],
        ),
        (
            "f = { type = 'command', command = 'a', timeout = nan }",
            ["reward_funcs[0].timeout", "above 0", "NaN"],
        ),
    ] {
        says(&open(toml).err().unwrap().to_string(), &words);
    }
}
