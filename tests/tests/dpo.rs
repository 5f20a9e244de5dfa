//! `proximal dpo`: what it learns, that other orders of work are the same training, that a run goes on bit for bit.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tests::edit;
use tests::host::Rng;
use tests::lab::{Lab, read_rows};
use tests::program::Ran;
use tests::tiny;

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// The tiny model and 30 pairs, whose better answers are "yes", more or less often, and whose worse ones are not.
fn lab() -> Lab {
    let lab = Lab::new();
    let rows: Vec<_> = (0..30)
        .map(|i| {
            json!({
                "prompt": [message("user", &format!("question {}", "x".repeat(i % 7)))],
                "chosen": [message("assistant", &"yes ".repeat(1 + i % 3))],
                "rejected": [message("assistant", &"abcdefgh"[..1 + (5 * i) % 8])],
            })
        })
        .collect();
    lab.rows("pairs.jsonl", &rows);
    lab
}

const COMMON: &[&str] = &[
    "dpo",
    "--model=../model",
    "--dataset.path=../pairs.jsonl",
    "--output_dir=out",
    "--learning_rate=1e-3",
    "--logging_steps=1",
];

fn dpo(lab: &Lab, name: &str, keys: &[&str]) -> Command {
    lab.command(name, &[COMMON, keys].concat())
}

fn go(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

fn rows(lab: &Lab, name: &str) -> Vec<Value> {
    read_rows(&lab.path(name).join("out/metrics.jsonl"))
}

fn train(lab: &Lab, name: &str, keys: &[&str]) -> Vec<Value> {
    go(dpo(lab, name, keys)).good();
    rows(lab, name)
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"))
}

#[test]
fn it_learns_which_answers_are_better() {
    let lab = lab();
    let keys = [
        "--dataset.test_size=6",
        "--max_steps=20",
        "--eval_strategy=steps",
        "--eval_steps=10",
    ];
    let all = train(&lab, "run", &keys);
    let (steps, evals): (Vec<_>, Vec<_>) = all.iter().partition(|row| row["loss"].is_number());
    assert_eq!((steps.len(), evals.len()), (20, 2));
    // Policy and reference are the same model at first: all log-ratios are 0, exactly.
    for (key, expected) in [
        ("loss", std::f64::consts::LN_2),
        ("rewards/chosen", 0.0),
        ("rewards/rejected", 0.0),
        ("rewards/margins", 0.0),
        ("rewards/accuracies", 0.0),
    ] {
        assert_eq!(number(steps[0], key), expected, "{key}");
    }
    assert!(number(steps[19], "loss") < 0.2, "{}", steps[19]);
    assert_eq!(number(steps[19], "rewards/accuracies"), 1.0);
    let last = evals[1];
    assert!(
        number(last, "eval_loss") < 0.3 && number(last, "eval_rewards/margins") > 1.0,
        "{last}"
    );
    for key in [
        "grad_norm",
        "learning_rate",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "entropy",
        "mean_token_accuracy",
        "num_tokens",
        "epoch",
    ] {
        assert!(steps.iter().all(|row| row[key].is_number()), "{key}");
    }
}

/// The divisor is the step's: it does not matter how many pairs share a micro-batch. (The aot losses rank the whole step,
/// sft divides by its tokens, WPO reads log sum p^2.)
#[test]
fn micro_batches_of_any_size_are_the_same_training() {
    let lab = lab();
    for (i, keys) in [
        ["--loss_type=sigmoid", "--label_smoothing=0.1"].as_slice(),
        &["--loss_type", "aot", "sft", "--loss_weights", "1", "0.3"],
        &["--loss_type=aot_unpaired", "--ld_alpha=0.3"],
        &["--loss_type=sigmoid_norm", "--use_weighting", "true"],
        &["--loss_type=ipo", "--f_divergence_type=js_divergence"],
    ]
    .iter()
    .enumerate()
    {
        let [one, many] = ["16 1", "1 16"].map(|sizes| {
            let (batch, accumulation) = sizes.split_once(' ').unwrap();
            let batch = format!("--per_device_train_batch_size={batch}");
            let accumulation = format!("--gradient_accumulation_steps={accumulation}");
            let more = [&batch, &accumulation, "--max_steps=3", "--save_strategy=no"];
            train(&lab, &format!("{i} {sizes}"), &[&more, *keys].concat())
        });
        assert_eq!(one.len(), 3);
        for (a, b) in one.iter().zip(&many) {
            for (key, a) in a.as_object().unwrap() {
                let (a, b) = (a.as_f64().unwrap(), number(b, key));
                assert!(
                    (a - b).abs() <= 1e-5 * a.abs().max(1e-2),
                    "{keys:?}, {key}: {a} and {b}"
                );
            }
        }
    }
}

#[test]
fn data_in_another_form_is_the_same_training() {
    let lab = lab();
    let pairs = read_rows(&lab.path("pairs.jsonl"));
    let keys = ["--max_steps=2", "--save_strategy=no"];
    let plain = train(&lab, "plain", &keys);
    let whole = |row: &Value, part: &str| json!([row["prompt"][0], row[part][0]]);
    let implicit: Vec<_> = pairs
        .iter()
        .map(|row| json!({ "chosen": whole(row, "chosen"), "rejected": whole(row, "rejected"), "id": 1 }))
        .collect();
    lab.rows("pairs.jsonl", &implicit);
    assert_eq!(train(&lab, "implicit", &keys), plain);
    let text = |row: &Value, part: &str| row[part][0]["content"].clone();
    let texts: Vec<_> = pairs
        .iter()
        .map(|row| json!({ "q": text(row, "prompt"), "good": text(row, "chosen"), "bad": text(row, "rejected") }))
        .collect();
    lab.rows("pairs.jsonl", &texts);
    let columns = [
        "--dataset.columns={ prompt = \"q\", chosen = \"good\", rejected = \"bad\" }",
        "--dataset.conversational=true",
    ];
    assert_eq!(train(&lab, "texts", &[&keys, columns.as_slice()].concat()), plain);
}

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

const RESULT: [&str; 2] = ["model.safetensors", "metrics.jsonl"];

#[test]
fn log_probs_computed_once_are_those_of_the_frozen_model() {
    let lab = lab();
    let keys = [
        "--dataset.test_size=6",
        "--max_steps=6",
        "--per_device_train_batch_size=5",
        "--eval_strategy=steps",
        "--eval_steps=3",
        "--save_steps=2",
    ];
    train(&lab, "frozen", &keys);
    let once = [&keys, ["--precompute_ref_log_probs", "true"].as_slice()].concat();
    for size in ["1", "24"] {
        let batch = format!("--precompute_ref_batch_size={size}");
        train(&lab, size, &[once.as_slice(), &[&batch]].concat());
        same(&lab, "frozen", size, &RESULT);
    }
    // The starting weights as another folder are the same reference.
    edit::copy_folder(&lab.path("model"), &lab.path("copy"));
    train(&lab, "copy-run", &[once.as_slice(), &["--ref_model=../copy"]].concat());
    same(&lab, "frozen", "copy-run", &RESULT);
    // Another reference is not.
    edit::number(&lab.path("copy/model.safetensors"), "model.norm.weight", |x| x * 1.5);
    train(&lab, "other", &[once.as_slice(), &["--ref_model=../copy"]].concat());
    let first = |name: &str| number(&rows(&lab, name)[0], "loss");
    assert!((first("other") - first("frozen")).abs() > 1e-6);

    // Going on, what was computed is found again; what is broken, or another model's, is not trusted.
    let cache = lab.path("1/out/reference_logps.bin");
    let good = fs::read(&cache).unwrap();
    let resume = [
        once.as_slice(),
        &["--resume=out/checkpoint-2", "--precompute_ref_batch_size=1"],
    ]
    .concat();
    let ran = go(dpo(&lab, "1", &resume)).good();
    assert!(ran.stderr.contains("are those computed before"), "{ran:#?}");
    same(&lab, "frozen", "1", &RESULT);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    for (bad, why) in [
        (bad, "the numbers are broken"),
        (good[..good.len() / 2].to_vec(), "broken"),
        (b"rubbish".to_vec(), "the first line is broken"),
        (
            fs::read(lab.path("other/out/reference_logps.bin")).unwrap(),
            "of another reference",
        ),
    ] {
        fs::write(&cache, bad).unwrap();
        go(dpo(&lab, "1", &resume))
            .good()
            .warned(&["reference_logps.bin", why, "computed again"]);
        same(&lab, "frozen", "1", &RESULT);
        assert!(fs::read(&cache).unwrap() == good);
    }
}

#[test]
fn a_reference_that_follows_the_policy() {
    let lab = lab();
    let keys = ["--max_steps=4", "--save_strategy=no", "--sync_ref_model", "true"];
    // All of the policy, after each step: the log-ratios are 0 each time.
    let always = ["--ref_model_mixup_alpha=1", "--ref_model_sync_steps=1"];
    for row in train(&lab, "always", &[&keys, always.as_slice()].concat()) {
        assert_eq!(number(&row, "rewards/margins"), 0.0);
        assert_eq!(number(&row, "loss"), std::f64::consts::LN_2);
    }
    // Half of it, every third step: until then as if it stood still.
    let still = train(&lab, "still", &keys[..2]);
    let sometimes = ["--ref_model_mixup_alpha=0.5", "--ref_model_sync_steps=3"];
    let moving = train(&lab, "sometimes", &[&keys, sometimes.as_slice()].concat());
    assert_eq!(moving[..3], still[..3]);
    let [still, moving] = [&still[3], &moving[3]].map(|row| number(row, "rewards/margins"));
    assert!(moving > 0.2 * still && moving < 0.8 * still, "{moving} of {still}");
}

/// A run that is killed goes on to the bytes of one that was not, a moving reference too.
#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let lab = lab();
    let keys = [
        "--dataset.test_size=6",
        "--max_steps=24",
        "--per_device_train_batch_size=2",
        "--gradient_accumulation_steps=2",
        "--logging_steps=3",
        "--eval_strategy=steps",
        "--eval_steps=4",
        "--save_steps=5",
        "--loss_type=aot",
        "--sync_ref_model=true",
        "--ref_model_sync_steps=4",
        "--resume=true",
    ];
    go(dpo(&lab, "whole", &keys)).good();
    let size = |name: &str| fs::metadata(lab.path(name).join("out/metrics.jsonl")).map_or(0, |m| m.len());
    let mut rng = Rng::new("moments");
    let mut kills = 0;
    for attempt in 0.. {
        assert!(attempt < 100, "only {kills} of {attempt} came in time");
        let mut command = dpo(&lab, "killed", &keys);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Somewhere in what is left.
        let left = (size("whole") - size("killed")) as f64;
        let until = size("killed") + (0.7 * left * rng.uniform()) as u64;
        while size("killed") <= until && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => kills += 1,
            Some(_) => fs::remove_dir_all(lab.path("killed")).unwrap(),
        }
        if kills == 5 {
            break;
        }
    }
    go(dpo(&lab, "killed", &keys)).good();
    let files = [
        "checkpoint-24/model.safetensors",
        "checkpoint-24/optimizer.safetensors",
        "checkpoint-24/reference.safetensors",
        "checkpoint-24/trainer_state.json",
        "checkpoint-24/manifest.json",
    ];
    same(&lab, "whole", "killed", &[RESULT.as_slice(), &files].concat());
}

#[test]
fn bf16_learns_too() {
    let lab = lab();
    let all = train(&lab, "run", &["--bf16", "true", "--max_steps=20", "--save_strategy=no"]);
    assert_eq!(number(&all[0], "rewards/margins"), 0.0);
    assert!(number(&all[19], "loss") < 0.3, "{}", all[19]);
}

fn refused(lab: &Lab, keys: &[&str], parts: &[&str]) {
    go(dpo(
        lab,
        "refused",
        &[&["--max_steps=1", "--save_strategy=no"], keys].concat(),
    ))
    .refused(parts);
    assert!(
        !lab.path("refused/out").exists(),
        "nothing may be made before all is checked"
    );
}

fn with_rows(rows: &[Value]) -> Lab {
    let lab = Lab::new();
    lab.rows("pairs.jsonl", rows);
    lab
}

#[test]
fn bad_data_is_named() {
    let good = json!({ "prompt": "a", "chosen": "b", "rejected": "c" });
    for (bad, parts) in [
        (json!({ "prompt": "a", "chosen": "b" }), ["line 2", "rejected", "found"]),
        (
            json!({ "prompt": "a", "chosen": "b", "rejected": "" }),
            ["line 2", "rejected", "empty"],
        ),
        (
            json!({ "prompt": "a", "chosen": " ", "rejected": "c" }),
            ["line 2", "chosen", "empty"],
        ),
        (
            json!({ "prompt": "a", "chosen": [message("assistant", "b")], "rejected": "c" }),
            ["line 2", "chosen", "a list of messages"],
        ),
    ] {
        refused(
            &with_rows(&[good.clone(), bad]),
            &[],
            &[&["pairs.jsonl"], parts.as_slice()].concat(),
        );
    }
    let unpaired = with_rows(&[json!({ "prompt": "a", "completion": "b" })]);
    refused(&unpaired, &[], &["pairs.jsonl", "line 1", "chosen and rejected"]);
    let columns = with_rows(&[json!({ "prompt": "a", "better": "b", "worse": "c" })]);
    let keys = ["--dataset.columns={ chosen = \"beter\", rejected = \"worse\" }"];
    refused(&columns, &keys, &["pairs.jsonl", "beter", "did you mean better"]);
    let long = json!({ "prompt": "a long prompt", "chosen": "b", "rejected": "c" });
    refused(
        &with_rows(std::slice::from_ref(&long)),
        &["--max_length=13"],
        &["pairs.jsonl", "prompt", "under max_length = 13", "1 pairs", "13 tokens"],
    );

    let mixed = with_rows(&[
        good.clone(),
        long,
        json!({ "prompt": "a", "chosen": "same", "rejected": "same" }),
        json!({ "prompt": "a", "chosen": "b".repeat(40), "rejected": "c" }),
    ]);
    let ran = go(dpo(&mixed, "run", &["--max_length=12", "--max_steps=1"])).good();
    ran.warned(&["1 of 4 pairs: the prompt alone is too long", "max_length = 12"])
        .warned(&["1 of 4 pairs: an answer was cut"])
        .warned(&["1 of 4 pairs: chosen and rejected are the same"]);
}

#[test]
fn bad_settings_and_references_are_named() {
    let lab = lab();
    refused(&lab, &["--bta=1"], &["--bta", "known key", "beta"]);
    refused(&lab, &["--loss_type=kto"], &["--loss_type", "sigmoid", "kto"]);
    refused(&lab, &["--loss_type=exo_pair"], &["label_smoothing", "between 0 and 1"]);
    refused(&lab, &["--ref_model=../none"], &["none"]);
    refused(&lab, &["--eval_strategy=steps"], &["--eval_strategy", "eval_dataset"]);
    // Another vocabulary: of another size, or the same size with other tokens.
    let other = lab.path("other");
    tiny::write_sized(&other, 140);
    refused(
        &lab,
        &["--ref_model=../other"],
        &["--ref_model", "the policy's vocabulary of 136 tokens", "other", "140"],
    );
    edit::copy_folder(&lab.path("model"), &lab.path("renamed"));
    let tokenizer = lab.path("renamed/tokenizer.json");
    let text = fs::read_to_string(&tokenizer).unwrap();
    fs::write(&tokenizer, swap_tokens(&text)).unwrap();
    refused(
        &lab,
        &["--ref_model=../renamed"],
        &["--ref_model", "the policy's vocabulary, token ", "\"a\"", "\"b\""],
    );
    assert!(Path::new(&lab.path("model/config.json")).exists());
}

/// "a" and "b" with each other's ids.
fn swap_tokens(tokenizer: &str) -> String {
    let mut value: Value = serde_json::from_str(tokenizer).unwrap();
    let vocab = value["model"]["vocab"].as_object_mut().unwrap();
    let [a, b] = ["a", "b"].map(|token| vocab[token].clone());
    vocab["a"] = b;
    vocab["b"] = a;
    value.to_string()
}
