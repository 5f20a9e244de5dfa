//! Broken input: every command says once and clearly what is wrong, where, and what was expected, and ends with 2.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use model_qwen2::tensors::{Dtype, Spec, Tensors, save_tensors, write_safetensors};
use model_qwen2::tokenizer::chatml_bytes;
use serde_json::{Value, json};
use tests::edit;
use tests::lab::Lab;
use tests::program::{Ran, run};

fn sft(lab: &Lab, keys: &[&str]) -> Ran {
    let common = [
        "sft",
        "--model=../model",
        "--output_dir=out",
        "--max_steps=1",
        "--save_strategy=no",
    ];
    let data = ["--dataset=../data.jsonl"];
    let data = if keys.iter().any(|k| k.starts_with("--dataset")) {
        &[][..]
    } else {
        &data
    };
    Ran::from(lab.command("run", &[&common, data, keys].concat()).output().unwrap())
}

#[test]
fn the_lab_itself_is_sound() {
    sft(&Lab::new(), &[]).good();
}

#[test]
fn keys() {
    let lab = Lab::new();
    sft(&lab, &["--learning_rat=1e-3"]).refused(&["--learning_rat", "known key", "learning_rate", "found"]);
    sft(&lab, &["--learning_rate=fast"]).refused(&["--learning_rate", "a number", "fast"]);
    sft(&lab, &["--learning_rate=-1"]).refused(&["--learning_rate", "0 or more", "-1"]);
    sft(&lab, &["--per_device_train_batch_size=0"]).refused(&["--per_device_train_batch_size", "1 or more", "0"]);
    sft(&lab, &["--lr_scheduler_type=cosin"]).refused(&["--lr_scheduler_type", "cosine", "cosin"]);
    sft(&lab, &["--fp16=true"]).refused(&["--fp16", "bf16"]);
    sft(&lab, &["--eval_strategy=steps"]).refused(&["--eval_strategy", "eval_dataset", "none of them"]);
    sft(&lab, &["--dataset.pth=../data.jsonl"]).refused(&["dataset", "pth"]);
    sft(&lab, &["--threads=0"]).refused(&["--threads", "1 or more", "0"]);
    lab.file("run/a.toml", "learning_rate = 1e-3\nwarmup_step = 2\n");
    sft(&lab, &["--config", "a.toml"]).refused(&["a.toml", "line 2", "warmup_step", "nearest is warmup_steps"]);
    lab.file("run/b.toml", "learning_rate = \n");
    sft(&lab, &["--config", "b.toml"]).refused(&["b.toml", "line 1", "TOML"]);
    lab.file(
        "run/c.toml",
        "[dataset]\npath = \"../data.jsonl\"\nconversationl = true\n",
    );
    sft(&lab, &["--config", "c.toml", "--dataset.test_size=2"]).refused(&[
        "c.toml",
        "line 3",
        "conversationl",
        "conversational",
    ]);
    sft(&lab, &["--config", "d.toml"]).refused(&["d.toml", "cannot read"]);
    assert!(
        !lab.path("run/out").exists(),
        "nothing may be made before all is checked"
    );
}

/// Nothing is written where a model or data is refused: the folder stays free for the next attempt.
#[track_caller]
fn data(content: impl AsRef<[u8]>, keys: &[&str], parts: &[&str]) {
    let lab = Lab::new();
    lab.file("data.jsonl", content);
    sft(&lab, keys).refused(parts);
    assert!(!lab.path("run/out").exists());
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn data_files() {
    let row = json!({ "prompt": "a", "completion": "b" });
    data("", &[], &["data.jsonl", "at least one row"]);
    data("\n\n", &[], &["data.jsonl", "at least one row"]);
    data(
        format!("{row}\n{row}\n{{\"prompt\": \n"),
        &[],
        &["data.jsonl", "line 3", "a JSON object", "found"],
    );
    data(
        format!("{row}\n[1]\n"),
        &[],
        &["data.jsonl", "line 2", "a JSON object", "a list"],
    );
    data(b"\xff\xfe{", &[], &["data.jsonl", "line 1"]);
    let asked = lines(&[json!({ "question": "a", "answer": "b", "id": 1 })]);
    data(
        &asked,
        &[],
        &[
            "data.jsonl",
            "columns",
            "prompt and completion",
            "found",
            "question",
            "answer",
            "id",
        ],
    );
    let keys = [
        "--dataset.path=../data.jsonl",
        "--dataset.columns={ prompt = \"question\", completion = \"anser\" }",
    ];
    data(
        &asked,
        &keys,
        &["data.jsonl", "\"anser\"", "question, answer, id", "did you mean answer"],
    );
    let keys = [
        "--dataset.path=../data.jsonl",
        "--dataset.prompt_template={questn}",
        "--dataset.columns.completion=answer",
    ];
    data(&asked, &keys, &["data.jsonl", "prompt_template", "question", "questn"]);
    let empty = lines(&[row.clone(), json!({ "prompt": "a", "completion": " " })]);
    data(
        &empty,
        &[],
        &["data.jsonl", "line 2", "completion", "expected", "empty"],
    );
    let missing = lines(&[row.clone(), json!({ "prompt": "a" })]);
    data(&missing, &[], &["data.jsonl", "line 2", "completion"]);
    let wrong = lines(&[row, json!({ "prompt": "a", "completion": { "x": 1 } })]);
    data(&wrong, &[], &["data.jsonl", "line 2", "completion", "an object"]);
    data(
        lines(&[json!({ "messages": "hi" })]),
        &[],
        &["data.jsonl", "line 1", "messages", "a list of messages"],
    );
    data(
        lines(&[json!({ "messages": [{ "role": "user" }] })]),
        &[],
        &["data.jsonl", "line 1", "messages", "empty"],
    );
    data(
        lines(&[json!({ "prompt": "only" })]),
        &[],
        &["data.jsonl", "line 1", "without a completion"],
    );
    data("x", &["--dataset=../none.jsonl"], &["none.jsonl"]);
    data("x", &["--dataset=../data.xyz"], &["data.xyz"]);
}

#[test]
fn a_dropped_empty_sample_is_counted() {
    let lab = Lab::new();
    lab.rows(
        "data.jsonl",
        &[
            json!({ "prompt": "a", "completion": "b" }),
            json!({ "prompt": "a", "completion": "" }),
        ],
    );
    sft(&lab, &["--dataset.path=../data.jsonl", "--dataset.empty=drop"])
        .good()
        .warned(&["1 empty samples dropped", "data.jsonl", "line 2"]);
}

#[test]
fn masks_that_train_nothing() {
    let question = json!({ "prompt": "a long prompt", "completion": "b" });
    data(
        lines(&[question]),
        &["--max_length=5"],
        &["data.jsonl", "max_length", "5"],
    );
    let user = json!({ "messages": [{ "role": "user", "content": "anyone?" }] });
    data(
        lines(&[user]),
        &["--assistant_only_loss=true"],
        &["data.jsonl", "line 1", "assistant_only_loss", "assistant"],
    );
    // One token alone predicts nothing.
    data(
        lines(&[json!({ "text": "a" })]),
        &["--max_length=1"],
        &["data.jsonl", "max_length", "1"],
    );
}

/// What the model's folder says after `change`.
#[track_caller]
fn model(change: impl FnOnce(&Path), parts: &[&str]) {
    let lab = Lab::new();
    let folder = lab.path("model");
    change(&folder);
    sft(&lab, &[]).refused(parts);
    let folder = folder.to_str().unwrap();
    run(["generate", "--model", folder, "--prompt", "a"]).refused(parts);
    let (data, output) = (lab.path("data.jsonl"), lab.path("answers.jsonl"));
    let (data, output) = (data.to_str().unwrap(), output.to_str().unwrap());
    run(["eval", "--model", folder, "--dataset", data, "--output", output]).refused(parts);
    assert!(
        !lab.path("answers.jsonl").exists(),
        "nothing may be made before all is checked"
    );
}

fn config(key: &str, value: Value) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        fs::write(path, config.to_string()).unwrap();
    }
}

#[test]
fn model_configurations() {
    model(
        config("model_type", "mistral".into()),
        &["config.json", "model_type", "qwen2", "mistral"],
    );
    model(
        config("hidden_act", "gelu".into()),
        &["config.json", "hidden_act", "silu", "gelu"],
    );
    model(
        config("use_sliding_window", true.into()),
        &["config.json", "use_sliding_window"],
    );
    model(
        config("rope_scaling", json!({ "rope_type": "yarn", "factor": 2.0 })),
        &["config.json", "rope", "yarn"],
    );
    model(config("num_hidden_layers", 3.into()), &["model.layers.2"]);
    model(config("num_hidden_layers", 1.into()), &["tensor model.layers.1"]);
    model(
        config("num_key_value_heads", 3.into()),
        &["config.json", "num_key_value_heads"],
    );
    model(
        config("vocab_size", 135.into()),
        &["model.safetensors", "embed_tokens", "135", "136"],
    );
    model(
        |folder| fs::write(folder.join("config.json"), "{\"model_type\": ").unwrap(),
        &["config.json", "line 1"],
    );
    model(
        |folder| fs::remove_file(folder.join("config.json")).unwrap(),
        &["config.json", "cannot"],
    );
}

/// The model's tensors, and their numbers.
fn tensors(folder: &Path) -> (Vec<Spec>, Vec<Vec<f32>>) {
    let all = Tensors::open(folder).unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
        .collect();
    names
        .into_iter()
        .map(|(name, shape)| {
            let values = all.get(&name, &shape).unwrap().to_vec::<f32>().unwrap();
            let dtype = Dtype::F32;
            (Spec { name, shape, dtype }, values)
        })
        .unzip()
}

fn sharded(folder: &Path) {
    let (specs, values) = tensors(folder);
    let mut values = values.into_iter();
    save_tensors(folder, &specs, 20_000, |_, sink| sink.put(&values.next().unwrap())).unwrap();
    assert!(folder.join("model.safetensors.index.json").exists() && !folder.join("model.safetensors").exists());
}

#[test]
fn shards_are_read_and_a_missing_one_is_named() {
    let lab = Lab::new();
    sharded(&lab.path("model"));
    sft(&lab, &[]).good();
    let shard = fs::read_dir(lab.path("model"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("model-00002-of-"))
        .unwrap();
    let remove = |folder: &Path| {
        sharded(folder);
        fs::remove_file(folder.join(&shard)).unwrap();
    };
    model(
        remove,
        &["model.safetensors.index.json", shard.as_str(), "no such file"],
    );
    let cut = |folder: &Path| {
        sharded(folder);
        let bytes = fs::read(folder.join(&shard)).unwrap();
        fs::write(folder.join(&shard), &bytes[..bytes.len() - 8]).unwrap();
    };
    model(cut, &[shard.as_str()]);
}

#[test]
fn model_weights() {
    let file = "model.safetensors";
    let tensor = "model.layers.1.mlp.up_proj.weight";
    for (x, found) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        model(
            |folder| edit::number(&folder.join(file), tensor, |_| x),
            &[file, tensor, "finite", found],
        );
    }
    let truncate = |to: usize| {
        move |folder: &Path| {
            let bytes = fs::read(folder.join(file)).unwrap();
            fs::write(folder.join(file), &bytes[..to.min(bytes.len() - 1)]).unwrap();
        }
    };
    model(truncate(usize::MAX), &[file, "expected", "found"]);
    model(truncate(100), &[file, "expected", "found"]);
    model(truncate(3), &[file, "expected", "found"]);
    model(truncate(0), &[file]);
    // A header that claims more than there is.
    model(
        |folder| {
            let mut bytes = fs::read(folder.join(file)).unwrap();
            bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
            fs::write(folder.join(file), bytes).unwrap();
        },
        &[file, "header"],
    );
    let rewrite = |change: fn(&mut Vec<Spec>, &mut Vec<Vec<f32>>)| {
        move |folder: &Path| {
            let (mut specs, mut values) = tensors(folder);
            change(&mut specs, &mut values);
            let mut values = values.into_iter();
            write_safetensors(folder.join(file), &specs, |_, sink| sink.put(&values.next().unwrap())).unwrap();
        }
    };
    model(
        rewrite(|specs, _| {
            let up = specs
                .iter_mut()
                .find(|s| s.name.ends_with("1.mlp.up_proj.weight"))
                .unwrap();
            up.shape.reverse();
        }),
        &[file, tensor, "[64, 32]", "[32, 64]"],
    );
    model(
        rewrite(|specs, values| {
            let i = specs
                .iter()
                .position(|s| s.name.ends_with("1.mlp.up_proj.weight"))
                .unwrap();
            specs.remove(i);
            values.remove(i);
        }),
        &[tensor],
    );
    // A number format that is no floating-point one, of the same size.
    model(
        |folder| {
            let mut bytes = fs::read(folder.join(file)).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
            let at = text.find(tensor).unwrap();
            let at = 8 + at + text[at..].find("F32").unwrap();
            bytes[at..at + 3].copy_from_slice(b"I32");
            fs::write(folder.join(file), bytes).unwrap();
        },
        &[file, tensor, "I32"],
    );
    model(|folder| fs::remove_file(folder.join(file)).unwrap(), &["model", file]);
}

#[test]
fn tokenizers() {
    // 256 bytes and 3 special tokens, of a model with 136.
    model(
        |folder| chatml_bytes(0..=255).unwrap().save(folder).unwrap(),
        &["tokenizer.json", "<|im_end|>", "vocab_size 136", "258"],
    );
    model(
        |folder| fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        &["tokenizer.json"],
    );
    model(
        |folder| fs::write(folder.join("tokenizer.json"), "{}").unwrap(),
        &["tokenizer.json", "expected"],
    );
    let template = |folder: &Path| {
        let path = folder.join("tokenizer_config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["chat_template"] = "{% for m in messages %}{{ m.content".into();
        fs::write(path, config.to_string()).unwrap();
    };
    model(template, &["tokenizer_config.json", "chat template line 1", "Jinja"]);
}

#[test]
fn output_folders() {
    let lab = Lab::new();
    lab.file("run/out/notes.txt", "mine");
    sft(&lab, &[]).refused(&[
        "out",
        "output_dir",
        "empty folder",
        "--resume",
        "--overwrite_output_dir",
        "notes.txt",
    ]);
    sft(&lab, &["--overwrite_output_dir"]).good();
    assert_eq!(fs::read_to_string(lab.path("run/out/notes.txt")).unwrap(), "mine");
    lab.file("run/file", "");
    sft(&lab, &["--output_dir=file"]).refused(&["file", "cannot create"]);
    sft(&lab, &["--output_dir=other", "--resume", "true"])
        .good()
        .warned(&["no checkpoint to resume from"]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let lab = Lab::new();
    let ran = sft(
        &lab,
        &[
            "--learning_rate=1e30",
            "--max_steps=9",
            "--save_steps=1",
            "--save_strategy=steps",
        ],
    );
    ran.refused(&["step ", "not", "learning"]);
    assert!(!lab.path("run/out/model.safetensors").exists());
}

#[test]
fn the_environment() {
    let lab = Lab::new();
    for (name, value) in [("PROXIMAL_CPU", "quantum"), ("PROXIMAL_THREADS", "none")] {
        let mut command = lab.command("run", &["generate", "--model=../model", "--prompt=a"]);
        Ran::from(command.env(name, value).output().unwrap()).refused(&[name, value, "expected"]);
    }
}
