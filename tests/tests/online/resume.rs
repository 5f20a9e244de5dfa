//! A run that is killed, or stopped by a signal, and gone on with ends in the bytes of one that was not.
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tests::edit;
use tests::host::Rng;
use tests::lab::Lab;
use tests::program::Ran;

use crate::{RESULT, command, go, lab, same};

/// 20 steps. Lines, evaluations and checkpoints fall on different steps.
const TWENTY: &[&str] = &[
    "--dataset.test_size=4",
    "--max_steps=20",
    "--logging_steps=3",
    "--eval_strategy=steps",
    "--eval_steps=4",
    "--eval_on_start=true",
    "--save_steps=5",
    "--resume=true",
];

fn size(lab: &Lab, name: &str) -> u64 {
    fs::metadata(lab.path(name).join("out/metrics.jsonl")).map_or(0, |m| m.len())
}

/// Kills (`KILL`) or stops (`TERM`) a run somewhere in what is left of it. False where it was done before.
fn end(lab: &Lab, trainer: &str, keys: &[&str], signal: &str, rng: &mut Rng) -> bool {
    let mut command = command(lab, trainer, "killed", keys);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let left = size(lab, "whole").saturating_sub(size(lab, "killed")) as f64;
    let until = size(lab, "killed") + (0.7 * left * rng.uniform()) as u64;
    while size(lab, "killed") <= until && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(200));
    }
    let id = child.id().to_string();
    // It may have ended by itself in the meantime.
    let _ = Command::new("kill").args(["-s", signal, &id]).output();
    let ran = Ran::from(child.wait_with_output().unwrap());
    match ran.code {
        Some(0) => false,
        None if signal == "KILL" => true,
        Some(130) if signal == "TERM" => true,
        _ => panic!("{ran:#?}"),
    }
}

/// Three times killed, once stopped. Returns the lab, with what both runs left.
#[track_caller]
fn check(trainer: &str, keys: &[&str], files: &[&str]) -> Lab {
    let lab = lab();
    let keys = [TWENTY, keys].concat();
    go(command(&lab, trainer, "whole", &keys)).good();
    let mut rng = Rng::new(trainer);
    for signal in ["KILL", "TERM", "KILL", "KILL"] {
        let mut attempts = 0;
        while !end(&lab, trainer, &keys, signal, &mut rng) {
            fs::remove_dir_all(lab.path("killed")).unwrap();
            attempts += 1;
            assert!(attempts < 50, "no {signal} came in time");
        }
    }
    go(command(&lab, trainer, "killed", &keys)).good();
    let last = [
        "checkpoint-20/model.safetensors",
        "checkpoint-20/optimizer.safetensors",
        "checkpoint-20/trainer_state.json",
        "checkpoint-20/manifest.json",
    ];
    same(&lab, "whole", "killed", &[&RESULT, &last[..], files].concat());
    let log = fs::read_to_string(lab.path("whole/out/completions.jsonl")).unwrap();
    assert!(log.lines().count() > 20, "{log}");
    lab
}

fn state(lab: &Lab, checkpoint: u64) -> Value {
    let path = lab.path(format!("whole/out/checkpoint-{checkpoint}/trainer_state.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// 6 steps on each generation: checkpoints after 5, 10, 15 and 20 are all within one.
#[test]
fn grpo() {
    let keys = [
        "--num_generations=4",
        "--steps_per_generation=3",
        "--num_iterations=2",
        "--beta=0.05",
        "--sync_ref_model=true",
        "--ref_model_sync_steps=4",
        "--ref_model_mixup_alpha=0.5",
    ];
    let files = ["checkpoint-20/rollouts.json", "checkpoint-20/reference.safetensors"];
    check("grpo", &keys, &files);
}

/// What the sampler said of a generation in use is in its checkpoint.
#[test]
fn grpo_drawn_by_integers() {
    let keys = [
        "--num_generations=4",
        "--steps_per_generation=3",
        "--num_iterations=2",
        "--rollout_dtype=int8",
        "--vllm_importance_sampling_mode=token_truncate",
        "--bf16=true",
    ];
    check("grpo", &keys, &["checkpoint-20/rollouts.json"]);
}

#[test]
fn rloo() {
    let keys = [
        "--num_generations=2",
        "--gradient_accumulation_steps=2",
        "--steps_per_generation=6",
        "--normalize_advantages=true",
        "--sync_ref_model=true",
        "--ref_model_sync_steps=3",
    ];
    check("rloo", &keys, &["checkpoint-20/rollouts.json"]);
}

/// `target_kl` ends generations early: steps without an update are among those that the log and checkpoints see.
#[test]
fn ppo_with_a_head() {
    let keys = ["--num_ppo_epochs=3", "--num_mini_batches=2", "--target_kl=1e-4"];
    let lab = check("ppo", &keys, &["checkpoint-20/rollouts.json"]);
    let updates = state(&lab, 20)["updates"].as_u64().unwrap();
    assert!((4..20).contains(&updates), "{updates} updates");
}

#[test]
fn ppo_with_a_model() {
    let keys = [
        "--num_ppo_epochs=3",
        "--num_mini_batches=2",
        "--critic=model",
        "--critic_learning_rate=3e-3",
        "--whiten_rewards=true",
        "--missing_eos_penalty=0.5",
    ];
    let files = [
        "critic/model.safetensors",
        "checkpoint-20/critic.safetensors",
        "checkpoint-20/critic_exp_avg_sq.safetensors",
    ];
    let lab = check("ppo", &keys, &files);
    assert_eq!(state(&lab, 20)["critic_updates"], 20);
}

#[test]
fn trpo_with_groups() {
    let keys = [
        "--num_generations=4",
        "--gradient_accumulation_steps=2",
        "--fisher_fraction=0.5",
    ];
    check("trpo", &keys, &[]);
}

#[test]
fn trpo_with_a_head() {
    let keys = ["--advantage=critic", "--num_generations=2"];
    check("trpo", &keys, &["value_head.safetensors"]);
}

#[test]
fn trpo_with_a_model() {
    let keys = ["--advantage=critic", "--critic=model", "--num_generations=1"];
    check("trpo", &keys, &["critic/model.safetensors"]);
}

/// From every checkpoint there is: at the beginning of a generation, within it, among steps that `target_kl` leaves out.
#[test]
fn from_everywhere() {
    for (trainer, own) in [
        ("grpo", ["--num_iterations=2", "--num_generations=4", "--beta=0.1"]),
        ("grpo", ["--num_iterations=2", "--num_generations=4", "--bf16=true"]),
        ("ppo", ["--num_ppo_epochs=4", "--target_kl=1e-9", "--critic=model"]),
    ] {
        let lab = lab();
        let keys = [&["--max_steps=9", "--save_steps=1", "--logging_steps=2"], &own[..]].concat();
        go(command(&lab, trainer, "whole", &keys)).good();
        for k in 1..9 {
            let name = k.to_string();
            edit::copy_folder(&lab.path("whole/out"), &lab.path(&name).join("out"));
            let from = format!("--resume=out/checkpoint-{k}");
            go(command(&lab, trainer, &name, &[&keys[..], &[&from]].concat())).good();
            let last = "checkpoint-9/trainer_state.json";
            same(&lab, "whole", &name, &[&RESULT[..], &[last]].concat());
        }
        if trainer == "ppo" {
            // One step on each generation, and the first on the third.
            assert_eq!(state(&lab, 9)["updates"], 3);
        }
    }
}

/// Going on with another batch arithmetic within a generation draws it anew, and says so.
#[test]
fn rollouts_of_another_arithmetic_are_left_out() {
    let lab = lab();
    let keys = ["--num_generations=4", "--steps_per_generation=4", "--save_steps=2"];
    go(command(&lab, "grpo", "run", &[&keys[..], &["--max_steps=2"]].concat())).good();
    assert!(lab.path("run/out/checkpoint-2/rollouts.json").exists());
    let other = [
        "--num_generations=4",
        "--steps_per_generation=2",
        "--max_steps=5",
        "--resume=true",
    ];
    go(command(&lab, "grpo", "run", &other))
        .good()
        .warned(&["the configuration differs", "steps_per_generation: 4 -> 2"]);
    go(command(
        &lab,
        "grpo",
        "run",
        &[&other[..2], &["--max_steps=7", "--resume=out/checkpoint-2"]].concat(),
    ))
    .good()
    .warned(&["generation has 16 completions", "8", "drawn anew"]);
}
