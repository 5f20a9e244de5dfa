//! Other orders of work are the same training.
use model_qwen2::tensors::Tensors;
use serde_json::Value;
use tests::lab::Lab;

use crate::{RESULT, command, completions, go, lab, number, same, train};

/// Each trainer with keys of its own.
const TRAINERS: &[(&str, &[&str])] = &[
    (
        "grpo",
        &[
            "--num_generations=4",
            "--num_iterations=2",
            "--beta=0.05",
            "--entropy_coef=0.01",
        ],
    ),
    (
        "grpo",
        &["--num_generations=4", "--loss_type=grpo", "--top_entropy_quantile=0.6"],
    ),
    ("rloo", &["--num_generations=4", "--num_iterations=2", "--beta=0.1"]),
    ("ppo", &["--num_ppo_epochs=2", "--ent_coef=0.01"]),
    ("ppo", &["--num_ppo_epochs=2", "--critic=model"]),
    ("trpo", &["--num_generations=4", "--fisher_fraction=0.5"]),
    ("trpo", &["--advantage=critic", "--num_generations=2"]),
    ("trpo", &["--advantage=critic", "--critic=model", "--num_generations=2"]),
];

/// Drawn by integers.
const INT8: (&str, &[&str]) = (
    "grpo",
    &[
        "--num_generations=4",
        "--num_iterations=2",
        "--rollout_dtype=int8",
        "--vllm_importance_sampling_mode=token_truncate",
        "--beta=0.05",
    ],
);

#[track_caller]
fn same_file(lab: &Lab, a: &str, b: &str) {
    let [x, y] = [a, b].map(|file| std::fs::read(lab.path(file)).unwrap());
    assert!(x == y, "{a} and {b}");
}

fn ids(rows: &[Value]) -> Vec<&Value> {
    rows.iter().map(|row| &row["completion_ids"]).collect()
}

/// The divisor is the step's: 1 x 16 and 16 x 1 differ by the rounding of sums alone.
#[test]
fn micro_batches_of_any_size() {
    let lab = lab();
    // Weights that differ by rounding alone are now and then other integers: one generation of them.
    let all = TRAINERS.iter().map(|trainer| (trainer, 3)).chain([(&INT8, 2)]);
    for (i, ((trainer, keys), steps)) in all.enumerate() {
        let [one, many] = ["16 1", "1 16"].map(|sizes| {
            let (batch, accumulation) = sizes.split_once(' ').unwrap();
            let more = [
                &format!("--per_device_train_batch_size={batch}"),
                &format!("--gradient_accumulation_steps={accumulation}"),
                &format!("--max_steps={steps}"),
                "--save_strategy=no",
            ];
            let name = format!("{i} {sizes}");
            let rows = train(&lab, trainer, &name, &[&more, *keys].concat());
            (rows, completions(&lab, &name))
        });
        assert_eq!(one.0.len(), steps);
        assert_eq!(ids(&one.1), ids(&many.1), "{trainer}");
        for (a, b) in one.0.iter().zip(&many.0) {
            for (key, a) in a.as_object().unwrap() {
                let (a, b) = (a.as_f64().unwrap(), number(b, key));
                // Conjugate gradients end on their residual, which is rounding alone.
                let rounding = if key == "cg_residual" { 1.0 } else { 1e-4 };
                assert!(
                    (a - b).abs() <= rounding * a.abs().max(1e-2),
                    "{trainer} {keys:?}, {key}: {a} and {b}"
                );
            }
        }
    }
}

/// The bits do not depend on threads, nor on how many completions are decoded side by side or fit into memory.
#[test]
fn threads_and_the_engine_change_no_bit() {
    let half: (&str, &[&str]) = ("grpo", &["--bf16=true", "--num_generations=4", "--num_iterations=2"]);
    for (trainer, keys) in TRAINERS.iter().chain([&INT8, &half]) {
        let lab = lab();
        let keys = [&["--max_steps=4", "--save_strategy=no"], *keys].concat();
        train(&lab, trainer, "two", &keys);
        for threads in ["1", "3"] {
            let mut run = command(&lab, trainer, threads, &keys);
            run.env("PROXIMAL_THREADS", threads);
            go(run).good();
            same(&lab, "two", threads, &RESULT);
        }
        for (name, key) in [
            ("few", "--rollout_batch_size=1"),
            ("three", "--rollout_batch_size=3"),
            ("little", "--rollout_cache_bytes=1"),
        ] {
            train(&lab, trainer, name, &[&keys[..], &[key]].concat());
            same(&lab, "two", name, &RESULT);
        }
    }
}

/// The log-probs recorded when tokens are drawn are training's, bit for bit, and where integers draw them the policy is asked: the first step on a
/// generation is exactly on-policy, and a later one is not.
#[test]
fn the_first_step_on_a_generation_is_on_policy_exactly() {
    let lab = lab();
    let keys = ["--max_steps=4", "--save_strategy=no", "--temperature=0.7"];
    for dtype in ["f32", "bf16"] {
        for (trainer, twice) in [
            ("grpo", ["--num_iterations=2", "--num_generations=4"].as_slice()),
            (
                "grpo",
                &["--num_iterations=2", "--num_generations=4", "--rollout_dtype=int8"],
            ),
            ("rloo", &["--num_iterations=2", "--beta=0"]),
            ("ppo", &["--num_ppo_epochs=2"]),
            ("ppo", &["--num_ppo_epochs=2", "--critic=model"]),
        ] {
            let name = format!("{trainer} {dtype} {}", twice.len());
            let dtype = format!("--dtype={dtype}");
            let rows = train(&lab, trainer, &name, &[&keys[..], &[&dtype], twice].concat());
            for (i, row) in rows.iter().enumerate() {
                let kl = number(row, "policy/approxkl");
                assert_eq!(kl == 0.0, i % 2 == 0, "{name}, step {}: {kl}", i + 1);
            }
        }
    }
}

/// Once a step is too far from the policy that drew the completions, it and the rest of the generation are left out, also
/// those steps whose own completions would not be.
#[test]
fn target_kl_ends_a_generation() {
    let lab = lab();
    let keys = [
        "--num_ppo_epochs=4",
        "--num_mini_batches=3",
        "--max_steps=48",
        "--target_kl=3e-3",
        "--save_strategy=no",
    ];
    let rows = train(&lab, "ppo", "run", &keys);
    let made: Vec<bool> = rows.iter().map(|row| row["loss"].is_number()).collect();
    for of_generation in made.chunks(12) {
        let first = of_generation.iter().take_while(|made| **made).count();
        assert!(of_generation[first..].iter().all(|made| !made), "{made:?}");
        assert!((1..12).contains(&first), "{made:?}");
    }
    let most = rows.iter().filter_map(|row| row["policy/approxkl"].as_f64());
    assert!(most.fold(0.0, f64::max) <= 3e-3);
}

/// Greedy evaluations of one model say the same, whatever was drawn in training.
#[test]
fn a_greedy_evaluation_is_deterministic() {
    let lab = lab();
    let eval = |name: &str, keys: &[&str]| -> Vec<Value> {
        let keys = [
            &[
                "--max_steps=2",
                "--learning_rate=0",
                "--num_generations=4",
                "--dataset.test_size=5",
                "--eval_strategy=steps",
                "--eval_steps=1",
                "--eval_on_start=true",
                "--eval_temperature=0",
                "--num_generations_eval=1",
                "--save_strategy=no",
            ],
            keys,
        ]
        .concat();
        let rows = train(&lab, "grpo", name, &keys);
        rows.into_iter().filter(|row| row["eval_reward"].is_number()).collect()
    };
    let one = eval("one", &[]);
    let of = |rows: &[Value]| {
        let keys = [
            "eval_reward",
            "eval_rewards/letters/mean",
            "eval_completions/mean_length",
        ];
        rows.iter()
            .map(|row| keys.map(|key| number(row, key)))
            .collect::<Vec<_>>()
    };
    assert_eq!(one.iter().map(|row| &row["step"]).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(of(&one).windows(2).all(|two| two[0] == two[1]), "{one:?}");
    // Groups of one have no spread to speak of.
    assert!(one[0]["eval_frac_reward_zero_std"].is_null());
    // And training does not notice.
    let keys = [
        "--max_steps=3",
        "--num_generations=4",
        "--dataset.test_size=5",
        "--logging_steps=5",
    ];
    train(&lab, "grpo", "never", &keys);
    let often = ["--eval_strategy=steps", "--eval_steps=1", "--eval_on_start=true"];
    train(&lab, "grpo", "often", &[&keys[..], &often].concat());
    same(&lab, "never", "often", &["model.safetensors", "completions.jsonl"]);
    assert_eq!(of(&one), of(&eval("other", &["--seed=7", "--data_seed=42"])));
}

/// The last step is evaluated whatever `eval_steps` is.
#[test]
fn the_end_is_evaluated() {
    let lab = lab();
    let keys = [
        "--max_steps=5",
        "--num_generations=4",
        "--dataset.test_size=5",
        "--eval_strategy=steps",
        "--eval_steps=3",
    ];
    let rows = train(&lab, "grpo", "run", &keys);
    let evals: Vec<_> = rows.iter().filter(|row| row["eval_reward"].is_number()).collect();
    assert_eq!(evals.iter().map(|row| &row["step"]).collect::<Vec<_>>(), [3, 5]);
}

/// What is left of a rejected step: nothing. A Fisher matrix of one completion alone makes the first step far too long for
/// the others.
#[test]
fn a_rejected_step_changes_no_bit() {
    let lab = lab();
    let bytes = |lab: &Lab, file: &str| std::fs::read(lab.path(file)).unwrap();
    for (name, keys, moved) in [
        (
            "rejected",
            ["--fisher_fraction=0.01", "--cg_damping=1e-6", "--backtrack_iters=1"].as_slice(),
            0.0,
        ),
        ("accepted", &["--max_kl=0.01"], 1.0),
    ] {
        let fixed = [
            "--max_steps=3",
            "--num_generations=4",
            "--per_device_train_batch_size=16",
        ];
        let keys = [&fixed, keys].concat();
        for row in train(&lab, "trpo", name, &keys) {
            assert_eq!(number(&row, "line_search/success"), moved, "{row}");
            assert!(number(&row, "line_search/steps") >= 1.0);
            let kl = number(&row, "kl_old_new");
            assert_eq!(kl == 0.0, moved == 0.0);
            assert!((0.0..=0.01).contains(&kl), "{row}");
            assert_eq!(number(&row, "surrogate_improvement") > 0.0, moved == 1.0);
        }
        let same = bytes(&lab, "model/model.safetensors") == bytes(&lab, &format!("{name}/out/model.safetensors"));
        assert_eq!(same, moved == 0.0);
    }
}

/// A critic on the policy's trunk is fitted whatever becomes of the step, and leaves the trunk alone, bit for bit.
#[test]
fn a_head_of_trpo_leaves_the_trunk_alone() {
    let lab = lab();
    let keys = [
        "--advantage=critic",
        "--num_generations=1",
        "--fisher_fraction=0.01",
        "--cg_damping=1e-6",
        "--backtrack_iters=1",
        "--per_device_train_batch_size=16",
        "--weight_decay=0.1",
        "--max_steps=3",
    ];
    let rows = train(&lab, "trpo", "run", &keys);
    assert!(
        rows.iter().all(|row| number(row, "line_search/success") == 0.0),
        "{rows:?}"
    );
    same_file(&lab, "model/model.safetensors", "run/out/model.safetensors");
    let head = Tensors::open_file(lab.path("run/out/value_head.safetensors")).unwrap();
    let head: Vec<f32> = head.get("v_head.weight", &[1, 32]).unwrap().to_vec().unwrap();
    assert!(head.iter().all(|&w| w != 0.0), "{head:?}");
}

/// A reference that becomes the policy after every step is the policy.
#[test]
fn a_reference_that_follows_the_policy() {
    let lab = lab();
    let keys = [
        "--max_steps=4",
        "--beta=0.1",
        "--num_generations=4",
        "--save_strategy=no",
    ];
    let follow = [
        "--sync_ref_model=true",
        "--ref_model_mixup_alpha=1",
        "--ref_model_sync_steps=1",
    ];
    for trainer in ["grpo", "rloo"] {
        let rows = train(&lab, trainer, trainer, &[&keys[..], &follow].concat());
        assert!(rows.iter().all(|row| number(row, "kl") == 0.0), "{rows:?}");
        let rows = train(&lab, trainer, &format!("{trainer} still"), &keys);
        assert!(
            number(&rows[0], "kl") == 0.0 && number(&rows[3], "kl") != 0.0,
            "{rows:?}"
        );
    }
}

/// Nothing to compare is no gradient, and that is no error: not for CG either.
#[test]
fn equal_rewards_are_said_once() {
    let lab = lab();
    for trainer in ["grpo", "rloo", "trpo"] {
        let keys = [
            "--max_steps=3",
            "--num_generations=2",
            "--reward_funcs",
            "{ type = 'regex', pattern = '$' }",
        ];
        // The common keys have reward functions already.
        let keys: Vec<&str> = [&[trainer], &crate::COMMON[..10], &keys].concat();
        let ran = go(lab.command(trainer, &keys)).good();
        let said = ran.stderr.matches("nothing to learn from this generation").count();
        assert_eq!(said, 1, "{ran:#?}");
        for row in crate::metrics(&lab, trainer) {
            assert_eq!(number(&row, "frac_reward_zero_std"), 1.0);
        }
    }
}
