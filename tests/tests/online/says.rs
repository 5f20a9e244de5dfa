//! What is logged, and that every setting runs.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::{completions, go, lab, metrics, number, train};

/// Names of TRL 1.16's GRPOTrainer, without those of tools, of vLLM's sampler, of aux losses.
const GENERATION: &[&str] = &[
    "num_tokens",
    "completions/mean_length",
    "completions/min_length",
    "completions/max_length",
    "completions/clipped_ratio",
    "completions/mean_terminated_length",
    "completions/min_terminated_length",
    "completions/max_terminated_length",
    "rewards/letters/mean",
    "rewards/letters/std",
    "rewards/length/mean",
    "rewards/length/std",
    "reward",
    "reward_std",
];
const TRAINER: &[&str] = &["step", "epoch", "loss", "grad_norm"];
const CLIP: &[&str] = &[
    "clip_ratio/low_mean",
    "clip_ratio/low_min",
    "clip_ratio/high_mean",
    "clip_ratio/high_max",
    "clip_ratio/region_mean",
];
const GROUP: &[&str] = &[
    "frac_reward_zero_std",
    "entropy",
    "kl",
    "learning_rate",
    "policy/approxkl",
];
const PPO: &[&str] = &[
    "learning_rate",
    "objective/kl",
    "objective/entropy",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "objective/scores",
    "policy/approxkl",
    "policy/clipfrac",
    "policy/entropy",
    "loss/policy",
    "loss/value",
    "val/clipfrac",
    "val/ratio",
    "val/ratio_var",
    "val/num_eos_tokens",
    "explained_variance",
];
const TRPO: &[&str] = &[
    "frac_reward_zero_std",
    "entropy",
    "surrogate",
    "surrogate_improvement",
    "kl_old_new",
    "cg_iters",
    "cg_residual",
    "step_size",
    "line_search/success",
    "line_search/steps",
];

#[test]
fn metrics_have_trls_names() {
    let lab = lab();
    for (trainer, keys, own) in [
        ("grpo", ["--beta=0.1", "--num_generations=4"], [GROUP, CLIP].concat()),
        ("rloo", ["--beta=0.1", "--num_generations=4"], [GROUP, CLIP].concat()),
        ("ppo", ["--critic=head", "--num_generations=1"], PPO.to_vec()),
        ("trpo", ["--max_kl=0.1", "--num_generations=4"], TRPO.to_vec()),
    ] {
        let rows = train(
            &lab,
            trainer,
            trainer,
            &[&keys[..], &["--max_steps=1", "--save_strategy=no"]].concat(),
        );
        let found: BTreeSet<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = [GENERATION, TRAINER, &own].concat().into_iter().collect();
        assert_eq!(found, expected, "{trainer}");
        assert!(
            rows[0].as_object().unwrap().values().all(|v| v.is_number()),
            "{}",
            rows[0]
        );
    }
}

#[test]
fn losses_and_settings_run() {
    let lab = lab();
    for (i, keys) in [
        ["--loss_type=grpo"].as_slice(),
        &["--loss_type=bnpo", "--delta=2"],
        &["--loss_type=dr_grpo", "--scale_rewards=none"],
        &[
            "--loss_type=dapo",
            "--epsilon_high=0.28",
            "--mask_truncated_completions=true",
        ],
        &["--loss_type=luspo", "--scale_rewards=batch"],
        &["--loss_type=cispo", "--epsilon_high=2"],
        &[
            "--loss_type=sapo",
            "--top_p=0.9",
            "--top_k=20",
            "--min_p=0.01",
            "--repetition_penalty=1.1",
        ],
        &["--loss_type=vespo", "--beta=0.1", "--use_bias_correction_kl=false"],
        &[
            "--importance_sampling_level=sequence",
            "--off_policy_mask_threshold=0.1",
        ],
        &["--top_entropy_quantile=0.3", "--entropy_coef=0.01", "--bf16=true"],
    ]
    .iter()
    .enumerate()
    {
        let fixed = [
            "--max_steps=2",
            "--num_generations=4",
            "--num_iterations=2",
            "--save_strategy=no",
        ];
        for row in train(&lab, "grpo", &i.to_string(), &[&fixed, *keys].concat()) {
            for (key, value) in row.as_object().unwrap() {
                assert!(value.is_number(), "{keys:?}: {key} is {value}");
            }
        }
    }
}

/// The stop string is in the text, at its end and nowhere before; what was cut off has none.
#[test]
fn stop_strings_end_a_completion_and_stay() {
    let lab = lab();
    train(
        &lab,
        "grpo",
        "run",
        &["--max_steps=4", "--num_generations=4", "--save_strategy=no"],
    );
    let rows = completions(&lab, "run");
    assert_eq!(rows.len(), 16);
    let mut stopped = 0;
    for row in &rows {
        let text = row["completion"].as_str().unwrap();
        let length = row["completion_ids"].as_array().unwrap().len();
        let found = text.find([' ', 'e']);
        match row["finish"].as_str().unwrap() {
            "stop" => {
                // Or the model's own end, which is no text.
                assert!(found.is_none_or(|at| at == text.len() - 1), "{row}");
                stopped += u32::from(found.is_some());
            }
            other => assert!(other == "length" && found.is_none() && length == 8, "{row}"),
        }
    }
    assert!(stopped > 0);
}

/// A row of completions.jsonl has what is needed to compute the step again.
#[test]
fn completions_come_with_their_rewards() {
    let lab = lab();
    let keys = [
        "--max_steps=4",
        "--num_generations=4",
        "--logging_steps=2",
        "--num_completions_to_print=1",
    ];
    let ran = go(crate::command(&lab, "grpo", "run", &keys)).good();
    let rows = completions(&lab, "run");
    let steps: Vec<u64> = rows.iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [[1; 4], [2; 4], [4; 4]].concat());
    for row in &rows {
        let rewards = &row["rewards"];
        assert_eq!(
            number(row, "reward"),
            number(rewards, "letters") + number(rewards, "length")
        );
        assert!(row["prompt"].as_str().unwrap().starts_with("say ") && row["advantage"].is_number());
    }
    let tokens = |row: &Value| ["prompt_ids", "completion_ids"].map(|key| row[key].as_array().unwrap().len());
    let first: usize = rows[..8].iter().flat_map(tokens).sum();
    let line = &metrics(&lab, "run")[0];
    assert_eq!(number(line, "num_tokens"), first as f64);
    let lengths = rows[..8].iter().map(|row| tokens(row)[1] as f64);
    assert_eq!(number(line, "completions/mean_length"), lengths.sum::<f64>() / 8.0);
    let of_group = rows[..4].iter().map(|row| number(row, "advantage"));
    assert!(of_group.sum::<f64>().abs() < 1e-6);
    assert!(ran.stderr.contains("letters  length  advantage"), "{}", ran.stderr);
    go(crate::command(
        &lab,
        "grpo",
        "none",
        &[&keys[..], &["--log_completions=false"]].concat(),
    ))
    .good();
    assert!(!lab.path("none/out/completions.jsonl").exists());
}

/// A conversation goes through the chat template; what is shown of it is the last user's message.
#[test]
fn conversations_go_through_the_template() {
    let lab = lab();
    let keys = [
        "--dataset.path=../data.jsonl",
        "--dataset.system_prompt=Be brief.",
        "--max_steps=1",
        "--num_generations=4",
    ];
    train(&lab, "grpo", "run", &keys);
    for row in completions(&lab, "run") {
        let text = row["prompt"].as_str().unwrap();
        assert!(text.starts_with("question "), "{row}");
        // One token a byte and three for the marks: system, user, the assistant's beginning.
        let turns = ["system\nBe brief.", "\n", "user\n", text, "\n", "assistant\n"].concat();
        assert_eq!(row["prompt_ids"].as_array().unwrap().len(), turns.len() + 5);
    }
}
