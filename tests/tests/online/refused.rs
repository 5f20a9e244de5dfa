//! Bad input: one clear error or one note for each.
use std::fs;

use serde_json::{Value, json};
use tests::edit;
use tests::lab::Lab;
use tests::program::Ran;
use tests::tiny;

use crate::{COMMON, RESULT, command, go, lab, metrics, number, same};

const ONE: &[&str] = &["--max_steps=1", "--save_strategy=no", "--num_generations=4"];

fn run(lab: &Lab, trainer: &str, name: &str, keys: &[&str]) -> Ran {
    go(command(lab, trainer, name, &[ONE, keys].concat()))
}

/// Nothing is made where something is refused before training.
#[track_caller]
fn refused(lab: &Lab, trainer: &str, keys: &[&str], parts: &[&str]) {
    run(lab, trainer, "refused", keys).refused(parts);
    assert!(
        !lab.path("refused/out").exists(),
        "nothing may be made before all is checked"
    );
}

fn with_prompts(rows: &[Value]) -> Lab {
    let lab = Lab::new();
    lab.rows("prompts.jsonl", rows);
    lab
}

#[test]
fn prompts() {
    let good = json!({ "prompt": "a" });
    let long = with_prompts(&[good.clone(), json!({ "prompt": "x".repeat(128) })]);
    let parts = [
        "prompts.jsonl",
        "line 2",
        "prompt",
        "1 to 127 tokens",
        "context of 128",
        "128 tokens",
    ];
    refused(&long, "grpo", &[], &parts);
    refused(
        &with_prompts(&[json!({ "text": "a" })]),
        "rloo",
        &[],
        &["prompts.jsonl", "prompt"],
    );
    refused(
        &with_prompts(&[good.clone(), json!({ "id": 1 })]),
        "ppo",
        &[],
        &["prompts.jsonl", "line 2", "prompt"],
    );
    refused(
        &with_prompts(&vec![good; 3]),
        "grpo",
        &["--per_device_train_batch_size=16"],
        &["dataset", "at least 4 prompts, those of one generation", "3"],
    );
    // A prompt that leaves little room is a note, and its completion is short.
    let tight = with_prompts(&[json!({ "prompt": "x".repeat(125) })]);
    run(&tight, "grpo", "tight", &[])
        .good()
        .warned(&["the longest prompt has 125 tokens", "context of 128"]);
    assert!(number(&metrics(&tight, "tight")[0], "completions/max_length") <= 3.0);
}

#[test]
fn rewards() {
    let lab = with_prompts(&[json!({ "prompt": "a", "truth": 1 })]);
    let own = |lab: &Lab, reward: &str, parts: &[&str]| {
        let keys = [&["grpo"], &COMMON[..COMMON.len() - 3], ONE, &["--reward_funcs", reward]].concat();
        go(lab.command("refused", &keys)).refused(parts);
        assert!(!lab.path("refused/out").exists());
    };
    own(&lab, "boxed", &["reward_funcs", "column", "prompt, truth", "answer"]);
    own(
        &lab,
        "{ type = 'boxed', column = 'trth' }",
        &["reward_funcs", "prompt, truth", "trth"],
    );
    own(&lab, "boxd", &["reward_funcs", "boxed"]);
    own(&lab, "{ type = 'regex' }", &["reward_funcs", "pattern"]);
}

#[test]
fn integers_where_there_are_none() {
    let lab = lab();
    let cuda = ["--rollout_dtype=int8", "--device=cuda"];
    for trainer in ["grpo", "rloo"] {
        refused(
            &lab,
            trainer,
            &cuda,
            &["--rollout_dtype", "same on device cuda", "int8"],
        );
    }
    refused(
        &lab,
        "grpo",
        &["--rollout_dtype=int4"],
        &["--rollout_dtype", "same, int8", "int4"],
    );
    refused(
        &lab,
        "ppo",
        &["--rollout_dtype=int8"],
        &["--rollout_dtype", "a known key", "unknown key rollout_dtype"],
    );
    let of_vespo = ["--rollout_dtype=int8", "--loss_type=vespo"];
    refused(
        &lab,
        "grpo",
        &of_vespo,
        &["--loss_type", "a loss other than vespo", "vespo"],
    );
    for (key, reason) in [
        ("cap=2", "use vllm_importance_sampling_clip_max"),
        ("clip_min=0.5", "weights have an upper bound alone"),
    ] {
        let key = format!("--vllm_importance_sampling_{key}");
        refused(&lab, "grpo", &[&key], &[reason]);
    }
}

#[test]
fn critics_of_another_vocabulary() {
    let lab = lab();
    tiny::write_sized(&lab.path("other"), 140);
    edit::copy_folder(&lab.path("model"), &lab.path("renamed"));
    let tokenizer = lab.path("renamed/tokenizer.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&tokenizer).unwrap()).unwrap();
    let vocab = value["model"]["vocab"].as_object_mut().unwrap();
    let [a, b] = ["a", "b"].map(|token| vocab[token].clone());
    vocab["a"] = b;
    vocab["b"] = a;
    fs::write(&tokenizer, value.to_string()).unwrap();
    for (trainer, more) in [("ppo", "--critic=model"), ("trpo", "--advantage=critic")] {
        let keys = |folder| [more, "--critic=model", folder];
        let sized = ["--value_model", "vocabulary of 136 tokens", "other", "140"];
        refused(&lab, trainer, &keys("--value_model=../other"), &sized);
        let renamed = ["--value_model", "vocabulary, token ", "\"a\"", "\"b\""];
        refused(&lab, trainer, &keys("--value_model=../renamed"), &renamed);
        refused(&lab, trainer, &keys("--value_model=../none"), &["none"]);
    }
}

#[test]
fn evaluations_without_data() {
    let lab = lab();
    refused(
        &lab,
        "grpo",
        &["--eval_strategy=steps"],
        &["--eval_strategy", "test_size", "none"],
    );
    refused(
        &lab,
        "grpo",
        &["--eval_on_start=true"],
        &["--eval_on_start", "test_size", "none"],
    );
}

/// There is no loss that could say which model is best: a reward does.
#[test]
fn the_best_model_needs_a_metric() {
    let lab = lab();
    let keys = [
        "--dataset.test_size=5",
        "--eval_strategy=steps",
        "--save_strategy=steps",
        "--eval_steps=1",
        "--save_steps=1",
        "--eval_on_start=true",
        "--load_best_model_at_end=true",
        "--num_generations=4",
        "--max_steps=3",
    ];
    refused(&lab, "grpo", &keys, &["metric_for_best_model", "reward", "none"]);
    let keys = [&keys[..], &["--metric_for_best_model=reward"]].concat();
    go(command(&lab, "grpo", "best", &keys)).good();
    let rows = metrics(&lab, "best");
    let evals: Vec<_> = rows.iter().filter(|row| row["eval_reward"].is_number()).collect();
    // The model before the first step has no checkpoint and is no candidate.
    let best = evals[1..].iter().rev().max_by(|a, b| {
        let [a, b] = [a, b].map(|row| number(row, "eval_reward"));
        a.total_cmp(&b)
    });
    let model = |folder: &str| fs::read(lab.path("best/out").join(folder).join("model.safetensors")).unwrap();
    let best = best.unwrap()["step"].as_u64().unwrap();
    assert!(evals.len() == 4 && model("") == model(&format!("checkpoint-{best}")));
}

/// Rewards 0, 1, 2, … in the order of the samples. Where there is a file `broken` with a kind and a number in it, that is
/// what it answers from its batch of that number on, however often it is started.
const JUDGE: &str = r#"
while read -r line; do
    n=$(( $(cat count 2>/dev/null || echo 0) + 1 ))
    echo $n > count
    kind=good; from=0
    if [ -e broken ]; then read -r kind from < broken; fi
    if [ $n -lt $from ]; then kind=good; fi
    case $kind in
        good)
            k=$(printf '%s' "$line" | grep -o '"completion":' | wc -l)
            echo "[$(seq -s, 0 $((k - 1)))]" ;;
        rubbish) echo "no idea" ;;
        nan) echo "[NaN]" ;;
        crash) echo "out of luck" >&2; exit 3 ;;
    esac
done
"#;

/// What went wrong is named, what was trained is kept, and once the command is mended the run ends as if nothing had been.
#[cfg(unix)]
#[test]
fn reward_commands_that_fail_in_the_middle() {
    let lab = lab();
    lab.file("judge.sh", JUDGE);
    for (trainer, own) in [
        (
            "grpo",
            ["--num_generations=4", "--num_iterations=2", "--logging_steps=3"],
        ),
        ("ppo", ["--num_ppo_epochs=2", "--critic=model", "--logging_steps=3"]),
    ] {
        let keys = [
            &[trainer],
            &COMMON[..COMMON.len() - 3],
            &own,
            &[
                "--reward_funcs={ type = 'command', command = 'sh ../judge.sh', name = 'judge' }",
                "--max_steps=12",
                "--save_steps=5",
                "--dataset.test_size=4",
                "--eval_strategy=steps",
                "--eval_steps=4",
                "--resume=true",
            ],
        ]
        .concat();
        let start = |name: &str| go(lab.command(name, &keys));
        let whole = format!("{trainer} whole");
        start(&whole).good();
        // Batches: generations before steps 1, 3; the evaluation after 4; generations before 5, 7; the evaluation after 8.
        for (kind, batch, parts) in [
            ("rubbish", 4, ["checkpoint-4 is kept", "step 5", "no idea"]),
            ("nan", 5, ["checkpoint-6 is kept", "step 7", "NaN"]),
            ("crash", 4, ["checkpoint-4 is kept", "step 5", "exit status: 3"]),
            (
                "crash",
                3,
                ["checkpoint-4 is kept", "evaluation after step 4", "exit status: 3"],
            ),
            (
                "rubbish",
                6,
                ["checkpoint-8 is kept", "evaluation after step 8", "no idea"],
            ),
        ] {
            let name = format!("{trainer} {kind} {batch}");
            let broken = lab.file(format!("{name}/broken").as_str(), format!("{kind} {batch}\n"));
            let ran = start(&name).refused(&parts);
            assert!(ran.stderr.contains("judge"), "{ran:#?}");
            // Once more, to no avail, and nothing is lost by it.
            start(&name).refused(&parts);
            fs::remove_file(broken).unwrap();
            start(&name).good();
            let files = [
                "checkpoint-12/optimizer.safetensors",
                "checkpoint-12/trainer_state.json",
            ];
            same(&lab, &whole, &name, &[&RESULT[..], &files].concat());
        }
    }
}

/// A policy that runs away stops the run, with advice; the checkpoint of the step before is there.
#[test]
fn a_kl_that_explodes() {
    let lab = lab();
    for (trainer, own, what) in [
        (
            "grpo",
            ["--num_iterations=5", "--beta=0"],
            "to the policy that drew the completions",
        ),
        ("grpo", ["--num_iterations=1", "--beta=0.001"], "to the reference"),
        (
            "ppo",
            ["--num_ppo_epochs=5", "--vf_coef=0"],
            "to the policy that drew the completions",
        ),
        ("ppo", ["--num_ppo_epochs=1", "--kl_coef=1e-3"], "to the reference"),
    ] {
        let name = format!("{trainer} {}", own[0]);
        let keys = [
            "--learning_rate=0.1",
            "--per_device_train_batch_size=16",
            "--max_steps=10",
            "--num_generations=4",
            "--logging_steps=3",
        ];
        let keys = [&keys[..], &own].concat();
        let with = |name: &str, more: &[&str]| go(command(&lab, trainer, name, &[&keys[..], more].concat()));
        let ran = with(&name, &["--kl_limit=0.05"]).refused(&[
            "stopped; checkpoint-",
            "is kept",
            "step ",
            what,
            "above kl_limit = 0.05",
            "learning_rate",
        ]);
        let kept = ran.stderr.split("checkpoint-").nth(1).unwrap();
        let kept: u64 = kept.split(' ').next().unwrap().parse().unwrap();
        assert!(ran.stderr.contains(&format!("step {}: the KL", kept + 1)), "{ran:#?}");
        let out = lab.path(&name).join("out");
        let checkpoint = out.join(format!("checkpoint-{kept}"));
        assert!(checkpoint.join("model.safetensors").exists() && !out.join("model.safetensors").exists());
        // With a higher limit it goes on as if it had always had that: nothing is left of the step that failed.
        with(&name, &["--kl_limit=1e9", "--resume=true"]).good();
        let whole = format!("{name} whole");
        with(&whole, &["--kl_limit=1e9"]).good();
        same(&lab, &whole, &name, &RESULT);
    }
}

/// Without a line search only `kl_limit` bounds a natural gradient step. The step has been made by then: it is not saved.
#[test]
fn a_natural_gradient_step_that_goes_too_far() {
    let lab = lab();
    let keys = [
        "--npg=true",
        "--max_kl=4",
        "--kl_limit=4",
        "--cg_damping=1e-6",
        "--num_generations=4",
        "--per_device_train_batch_size=16",
        "--max_steps=20",
    ];
    let ran = go(command(&lab, "trpo", "run", &keys));
    let ran = ran.refused(&[
        "step ",
        "the KL of the step",
        "above kl_limit = 4",
        "max_kl",
        "cg_damping",
    ]);
    assert!(!ran.stderr.contains("is kept"), "{ran:#?}");
    let out = fs::read_dir(lab.path("run/out")).unwrap();
    let names: Vec<_> = out.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains("checkpoint")), "{names:?}");
}
