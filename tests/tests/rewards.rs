//! Reward functions against the numbers of TRL's own, and reward models against transformers: `golden/rewards.py`.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use model_qwen2::generate::Finish;
use proximal::reward::{RewardConfig, Rewards, Sample, Setup};
use serde_json::{Map, Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn reference() -> Value {
    serde_json::from_slice(&fs::read(golden("rewards.json")).unwrap()).unwrap()
}

fn open(toml: &str) -> Rewards {
    let table: toml::Table = format!("reward_funcs = {toml}").parse().unwrap();
    let funcs = RewardConfig::list("reward_funcs", &table["reward_funcs"]).unwrap();
    let setup = Setup {
        max_completion_length: 50,
        threads: Some(1),
    };
    Rewards::open(&funcs, None, &setup).unwrap()
}

fn sample<'a>(completion: &'a str, ids: &'a [u32], columns: &'a Map<String, Value>) -> Sample<'a> {
    Sample {
        prompt: "",
        messages: None,
        completion,
        completion_ids: ids,
        finished: Finish::Stop,
        columns,
    }
}

fn score(rewards: &mut Rewards, samples: &[Sample<'_>]) -> Vec<f64> {
    let scored = rewards.score(samples).unwrap();
    scored.total.into_iter().map(Option::unwrap).collect()
}

#[test]
fn think_format_is_trls() {
    let reference = reference();
    let mut rewards = open("'think_format_reward'");
    assert_eq!(rewards.names(), ["think_format_reward"]);
    let none = Map::new();
    let cases = reference["think_format"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let text = case[0].as_str().unwrap();
        let found = score(&mut rewards, &[sample(text, &[], &none)]);
        assert_eq!(found, [case[1].as_f64().unwrap()], "{text:?}");
    }
}

/// The function of TRL's documentation that users copy, run by Python.
#[test]
fn the_strict_box_is_the_users_scripts() {
    let mut rewards = open("{ type = 'boxed', mode = 'strict' }");
    for case in reference()["boxed"].as_array().unwrap() {
        let columns = json!({ "answer": case[1] });
        let found = score(
            &mut rewards,
            &[sample(case[0].as_str().unwrap(), &[], columns.as_object().unwrap())],
        );
        assert_eq!(found, [case[2].as_f64().unwrap()], "{case}");
    }
}

#[test]
fn soft_overlong_punishment_is_trls() {
    let none = Map::new();
    let ids = vec![1; 2000];
    for case in reference()["soft_overlong_punishment"].as_array().unwrap() {
        let (max, cache) = (&case[0], &case[1]);
        let mut rewards = open(&format!(
            "{{ type = 'get_soft_overlong_punishment', max_completion_len = {max}, soft_punish_cache = {cache} }}"
        ));
        for pair in case[2].as_array().unwrap() {
            let n = pair[0].as_u64().unwrap() as usize;
            let found = score(&mut rewards, &[sample("", &ids[..n], &none)]);
            assert_eq!(
                found,
                [pair[1].as_f64().unwrap()],
                "{n} tokens, max {max}, cache {cache}"
            );
        }
    }
}

#[test]
fn repetition_penalty_is_trls() {
    let (reference, none) = (reference(), Map::new());
    let cases = &reference["repetition_penalty"];
    let ids: Vec<Vec<u32>> = serde_json::from_value(cases["ids"].clone()).unwrap();
    let samples: Vec<_> = ids.iter().map(|ids| sample("", ids, &none)).collect();
    for case in cases["rewards"].as_array().unwrap() {
        let (n, penalty) = (&case[0], &case[1]);
        let mut rewards = open(&format!(
            "{{ type = 'repetition_penalty', ngram_size = {n}, max_penalty = {penalty} }}"
        ));
        let expected: Vec<f64> = serde_json::from_value(case[2].clone()).unwrap();
        assert_eq!(score(&mut rewards, &samples), expected, "{n} {penalty}");
    }
}

#[test]
fn cosine_scaled_is_trls() {
    let columns = json!({ "solution": "7" });
    let columns = columns.as_object().unwrap();
    let ids = vec![1; 200];
    for case in reference()["cosine_scaled"].as_array().unwrap() {
        let completion = if case[0] == true { "\\boxed{7}" } else { "\\boxed{8}" };
        let v = &case[1];
        // The run's longest completion, 50 tokens, is TRL's max_len.
        let mut rewards = open(&format!(
            "{{ type = 'cosine_scaled', min_value_wrong = {}, max_value_wrong = {}, min_value_correct = {}, max_value_correct = {} }}",
            v[0], v[1], v[2], v[3]
        ));
        for pair in case[2].as_array().unwrap() {
            let n = pair[0].as_u64().unwrap() as usize;
            let found = score(&mut rewards, &[sample(completion, &ids[..n], columns)]);
            assert!(
                (found[0] - pair[1].as_f64().unwrap()).abs() < 1e-15,
                "{n}: {found:?} {pair}"
            );
        }
    }
}

/// A golden reward model with the golden tokenizer.
fn model(folder: &Path, name: &str) {
    for from in [golden("rewards").join(name), golden("tokenizer")] {
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

/// The samples of the golden file: the content of the last user message, the messages, the completion.
fn samples(of: &Value) -> Vec<(String, Option<Vec<Value>>, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |case: &Value| {
        let messages = case["messages"].as_array().cloned();
        let prompt = match &messages {
            None => text(&case["prompt"]),
            Some(messages) => text(&messages.last().unwrap()["content"]),
        };
        (prompt, messages, text(&case["completion"]))
    };
    of.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn reward_models_give_the_scores_of_transformers() {
    let (reference, none) = (reference(), Map::new());
    let reference = &reference["models"];
    for name in ["qwen2", "llama"] {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path(), name);
        let path = folder.path().display();
        let mut whole = open(&format!("'{path}'"));
        // One text at a time gives the same bits as all at once.
        let mut alone = open(&format!("{{ type = 'model', path = '{path}', batch_tokens = 1 }}"));
        for kind in ["chats", "plain"] {
            let expected: Vec<f64> = serde_json::from_value(reference[name][kind].clone()).unwrap();
            let cases = samples(&reference[kind]);
            let samples: Vec<_> = cases
                .iter()
                .map(|(prompt, messages, completion)| Sample {
                    prompt,
                    messages: messages.as_deref(),
                    ..sample(completion, &[], &none)
                })
                .collect();
            let found = score(&mut whole, &samples);
            assert_eq!(found, score(&mut alone, &samples));
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() < 2e-6, "{name} {kind} {i}: {found} {expected}");
            }
        }
    }
}

#[test]
fn broken_reward_models_are_refused() {
    let edit = |name: &str, file: &str, from: &str, to: &str| {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path(), name);
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let config = RewardConfig::from_toml("reward_funcs[0]", &folder.path().display().to_string().into()).unwrap();
        let setup = Setup {
            max_completion_length: 50,
            threads: Some(1),
        };
        Rewards::open(&[config], None, &setup).err().unwrap().to_string()
    };
    let says = |error: &str, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error}");
        }
    };
    let error = edit(
        "qwen2",
        "config.json",
        "Qwen2ForSequenceClassification",
        "Qwen2ForCausalLM",
    );
    says(
        &error,
        &[
            "config.json",
            "architectures",
            "LlamaForSequenceClassification",
            "Qwen2ForCausalLM",
        ],
    );
    let error = edit("llama", "config.json", "\"hidden_size\": 24", "\"hidden_size\": 16");
    says(&error, &["model.safetensors", "16", "24"]);
    let error = edit(
        "llama",
        "config.json",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 1",
    );
    says(&error, &["model.layers.1"]);
}

#[test]
fn a_text_longer_than_the_reward_model_reads_is_named() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), "llama");
    let mut rewards = open(&format!("'{}'", folder.path().display()));
    let (none, long) = (Map::new(), "#".repeat(300));
    let error = rewards
        .score(&[sample("short", &[], &none), sample(&long, &[], &none)])
        .unwrap_err();
    let error = format!("{error:#}");
    for word in ["sample 1 of 2", "1 to 256 tokens", "found 300"] {
        assert!(error.contains(word), "{error}");
    }
}
