//! `proximal sft` on sound data: what it learns, and that data in another form or order of work is the same training.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::lab::{Lab, read_rows};
use tests::program::{Ran, run};

fn go(mut command: std::process::Command) -> Ran {
    Ran::from(command.output().unwrap())
}

/// Losses and gradient norms, by step.
fn curve(out: &Path) -> Vec<[f64; 2]> {
    let rows = read_rows(&out.join("metrics.jsonl"));
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
    rows.iter()
        .map(|row| [number(row, "loss"), number(row, "grad_norm")])
        .collect()
}

#[track_caller]
fn close(a: &[[f64; 2]], b: &[[f64; 2]], relative: f64) {
    assert_eq!(a.len(), b.len());
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= relative * a.abs(), "step {}: {a} and {b}", step + 1);
        }
    }
}

/// All 50 examples in each of 3 steps: then it does not matter how they are put together.
const ALL: &[&str] = &[
    "sft",
    "--model=../model",
    "--dataset=../data.jsonl",
    "--output_dir=out",
    "--max_steps=3",
    "--per_device_train_batch_size=50",
    "--learning_rate=1e-3",
    "--logging_steps=1",
    "--save_strategy=no",
];

fn train_all(lab: &Lab, name: &str, keys: &[&str]) -> Vec<[f64; 2]> {
    go(lab.command(name, &[ALL, keys].concat())).good();
    curve(&lab.path(name).join("out"))
}

#[test]
fn packing_is_the_same_training() {
    let lab = Lab::new();
    let plain = train_all(&lab, "plain", &[]);
    assert_eq!(plain.len(), 3);
    for strategy in ["bfd", "bfd_split"] {
        let keys = ["--packing", "true", "--max_length=100", "--packing_strategy", strategy];
        let packed = train_all(&lab, strategy, &keys);
        close(&plain, &packed, 1e-5);
        let tokens = |name: &str| read_rows(&lab.path(name).join("out/metrics.jsonl"))[2]["num_tokens"].clone();
        assert_eq!(tokens("plain"), tokens(strategy));
    }
    // A stream that is cut anywhere is not: there a sample sees the one before it.
    let wrapped = train_all(
        &lab,
        "wrapped",
        &["--packing", "true", "--max_length=100", "--packing_strategy=wrapped"],
    );
    assert!((wrapped[0][0] - plain[0][0]).abs() > 1e-4, "{wrapped:?}, {plain:?}");
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// The lab's data as whole conversations.
fn conversations(lab: &Lab) -> Vec<Value> {
    read_rows(&lab.path("data.jsonl"))
        .iter()
        .map(|row| json!({ "messages": [row["prompt"][0], row["completion"][0]] }))
        .collect()
}

#[test]
fn data_in_another_form_is_the_same_training() {
    let lab = Lab::new();
    let rows = read_rows(&lab.path("data.jsonl"));
    let text = |row: &Value, part: &str| row[part][0]["content"].as_str().unwrap().to_owned();
    train_all(&lab, "plain", &[]);
    let plain = fs::read(lab.path("plain/out/metrics.jsonl")).unwrap();

    let renamed: Vec<_> = rows
        .iter()
        .map(|r| json!({ "q": text(r, "prompt"), "a": text(r, "completion"), "id": 7 }))
        .collect();
    lab.rows("renamed.jsonl", &renamed);
    let csv: String = rows
        .iter()
        .map(|r| format!("\"{}\",{}\n", text(r, "prompt"), text(r, "completion")))
        .collect();
    lab.file("renamed.csv", format!("q,a\n{csv}"));
    let sharegpt: Vec<_> = rows
        .iter()
        .map(|r| {
            json!({ "conversations": [
                { "from": "human", "value": text(r, "prompt") },
                { "from": "gpt", "value": text(r, "completion") },
            ] })
        })
        .collect();
    lab.rows("sharegpt.jsonl", &sharegpt);
    lab.rows("messages.jsonl", &conversations(&lab));

    let columns = [
        "--dataset.columns={ prompt = \"q\", completion = \"a\" }",
        "--dataset.conversational=true",
    ];
    for (name, keys) in [
        ("renamed.jsonl", columns.as_slice()),
        ("renamed.csv", columns.as_slice()),
        ("messages.jsonl", &["--assistant_only_loss", "true"]),
        ("sharegpt.jsonl", &["--assistant_only_loss", "true"]),
    ] {
        let path = format!("--dataset.path=../{name}");
        let keys: Vec<&str> = ALL
            .iter()
            .copied()
            .filter(|k| !k.starts_with("--dataset"))
            .chain([path.as_str()])
            .chain(keys.iter().copied())
            .collect();
        let folder = format!("of {name}");
        go(lab.command(&folder, &keys)).good();
        let log = fs::read(lab.path(folder).join("out/metrics.jsonl")).unwrap();
        assert!(log == plain, "{name}: {}", String::from_utf8_lossy(&log));
    }
}

/// Of conversations of several turns only the assistant's words are trained, by the template's marks or without them.
#[test]
fn assistant_only_loss_trains_the_assistant() {
    let lab = Lab::new();
    let rows: Vec<_> = (0..12)
        .map(|i| {
            json!({ "messages": [
                message("system", "be brief"),
                message("user", &format!("first {i}")),
                message("assistant", &"xy".repeat(1 + i % 3)),
                message("user", "second"),
                message("assistant", &format!("{i}z")),
            ] })
        })
        .collect();
    lab.rows("data.jsonl", &rows);
    let all = train_all(&lab, "all", &[]);
    let assistant = train_all(&lab, "assistant", &["--assistant_only_loss", "true"]);
    assert!((all[0][0] - assistant[0][0]).abs() > 1e-3, "{all:?} {assistant:?}");
    // The tokenizer's template has no marks; this is the same text with them.
    lab.file(
        "marked.jinja",
        "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}\
         {%- if message.role == 'assistant' %}{% generation %}{{- message.content + '<|im_end|>\\n' }}{% endgeneration %}\
         {%- else %}{{- message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}\
         {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    );
    let keys = ["--assistant_only_loss", "true", "--chat_template_path=../marked.jinja"];
    close(&assistant, &train_all(&lab, "marked", &keys), 0.0);
}

/// One example by heart: the whole road from data to a folder that answers.
#[test]
fn a_trained_folder_says_what_it_learnt() {
    let lab = Lab::new();
    let answer = "a short answer, learnt by heart.";
    lab.rows(
        "data.jsonl",
        &[json!({ "prompt": [message("user", "say it")], "completion": [message("assistant", answer)] })],
    );
    for (name, keys) in [("f32", &["--bf16=false"]), ("bf16", &["--bf16=true"])] {
        let ran = go(lab.command(
            name,
            &[
                &[
                    "sft",
                    "--model=../model",
                    "--dataset=../data.jsonl",
                    "--output_dir=out",
                    "--max_steps=60",
                    "--learning_rate=1e-2",
                    "--lr_scheduler_type=cosine",
                    "--save_strategy=no",
                    "--report_to=tensorboard",
                    "--questions",
                    "say it",
                    "--json",
                ],
                keys.as_slice(),
            ]
            .concat(),
        ))
        .good();
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(summary["steps"], 60);
        assert_eq!(summary["stopped"], false);
        assert!(summary["loss"].as_f64().unwrap() < 0.1, "{summary}");
        let out = lab.path(name).join("out");
        let answers = read_rows(&out.join("answers.jsonl"));
        assert_eq!(answers, [json!({ "question": "say it", "answer": answer })]);
        let ran = run([
            "generate",
            "--model",
            out.to_str().unwrap(),
            "--prompt",
            "say it",
            "--dtype",
            name,
        ])
        .good();
        assert_eq!(ran.stdout.trim_end(), answer);
        let events = fs::read_dir(out.join("runs")).unwrap().next().unwrap().unwrap();
        assert!(events.metadata().unwrap().len() > 100);
        let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        let dtype = if name == "f32" { "float32" } else { "bfloat16" };
        assert!(config["dtype"] == dtype || config["torch_dtype"] == dtype, "{config}");
        // And on from there.
        let model = format!("--model={}", out.display());
        let ran = go(lab.command(
            "on",
            &[
                ALL[0],
                &model,
                "--dataset=../data.jsonl",
                "--max_steps=1",
                "--logging_steps=1",
                "--overwrite_output_dir",
            ],
        ))
        .good();
        assert!(ran.stderr.contains("step 1/1  loss 0.0"), "{ran:#?}");
    }
}

/// A run from a file with tables joined by id, templates, functions and a system prompt, held-out data beside it.
#[test]
fn joined_parquet_tables_are_trained_on() {
    let lab = Lab::new();
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/parquet/stack");
    let stack = stack.display();
    lab.file(
        "run/run.toml",
        format!(
            r#"
            model = "../model"
            output_dir = "out"
            max_steps = 2
            logging_steps = 1
            eval_strategy = "steps"
            save_strategy = "no"

            [dataset]
            path = "{stack}/data"
            columns = {{ completion = "answer" }}
            prompt_template = "In about {{num}} words: {{query}}"
            functions = {{ num = "round_to(word_count(answer), 5)" }}
            conversational = true
            system_prompt = "be brief"
            chat_template_kwargs = {{ enable_thinking = false }}
            test_size = 1

            [[dataset.join]]
            column = "query-id"
            table = "{stack}/queries.parquet"
            take = {{ text = "query" }}

            [[dataset.join]]
            column = "corpus-id"
            table = "{stack}/corpus.parquet"
            take = {{ text = "answer" }}
            "#
        ),
    );
    let ran = go(lab.command("run", &["sft", "--config", "run.toml"])).good();
    let ran = ran.warned(&["rows skipped", "no such"]);
    let rows = read_rows(&lab.path("run/out/metrics.jsonl"));
    assert!(rows.iter().any(|row| row["eval_loss"].is_number()), "{rows:?}");
    assert!(ran.stderr.contains("2 optimizer steps"), "{ran:#?}");
}

#[test]
fn what_is_too_long_is_cut_and_counted() {
    let lab = Lab::new();
    let long = "0123456789".repeat(9);
    let rows: Vec<_> = ["short", &long, "also short", &long[..80]]
        .iter()
        .map(|answer| json!({ "prompt": "q:", "completion": answer }))
        .collect();
    lab.rows("data.jsonl", &rows);
    let ran = go(lab.command("cut", &[ALL, &["--max_length=40"]].concat())).good();
    // 2 + 90 + 1 and 2 + 80 + 1 tokens.
    let tokens = 93 - 40 + 83 - 40;
    let ran = ran.warned(&[
        "2 samples are longer than max_length = 40 and were cut",
        &format!("{tokens} tokens are lost"),
    ]);
    assert!(ran.stderr.contains("4 examples"), "{ran:#?}");
    // Where only the prompt is left of a sample, it has nothing to train and goes.
    let rows = [
        json!({ "prompt": long, "completion": "a" }),
        json!({ "prompt": "q:", "completion": "b" }),
    ];
    lab.rows("data.jsonl", &rows);
    let ran = go(lab.command("prompt", &[ALL, &["--max_length=40"]].concat())).good();
    ran.warned(&["1 samples are longer"])
        .warned(&["1 of 2 samples have no trained token", "dropped"]);
}

/// Another token ends the answers: in the data, in the saved tokenizer, in what generation stops at.
#[test]
fn the_end_of_an_answer_may_be_another_token() {
    let lab = Lab::new();
    let row = json!({ "prompt": "q", "completion": "an answer" });
    lab.rows("data.jsonl", &[row]);
    let keys = ["--eos_token=<|endoftext|>", "--max_steps=60", "--learning_rate=1e-2"];
    train_all(&lab, "run", &keys);
    let out = lab.path("run/out");
    let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(out.join(name)).unwrap()).unwrap();
    assert_eq!(read("tokenizer_config.json")["eos_token"], "<|endoftext|>");
    // 128 bytes, then <|endoftext|>, <|im_start|>, <|im_end|>.
    let stops = read("generation_config.json")["eos_token_id"].clone();
    assert!(
        stops == 128 || stops.as_array().is_some_and(|ids| ids.contains(&128.into())),
        "{stops}"
    );
    let model = out.to_str().unwrap();
    let ran = run(["generate", "--model", model, "--raw", "--prompt=q", "--json"]).good();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["text"], "an answer");
    assert_eq!(report["tokens"].as_array().unwrap().last(), Some(&128.into()));
    let keys = [ALL, &["--output_dir=no", "--eos_token=<|nothing|>"]].concat();
    go(lab.command("run", &keys)).refused(&["eos_token", "<|nothing|>"]);
}

/// Before the first step where it is asked for, and after the last one always.
#[test]
fn the_beginning_and_the_end_are_evaluated() {
    let lab = Lab::new();
    Ran::from(
        lab.train("run", &["--eval_on_start=true", "--eval_steps=8"])
            .output()
            .unwrap(),
    )
    .good();
    let rows = read_rows(&lab.path("run/out/metrics.jsonl"));
    let evals = rows.iter().filter(|row| row["eval_loss"].is_number());
    let steps: Vec<_> = evals.map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 8, 16, 24, 30]);
}
