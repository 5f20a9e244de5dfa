//! Trainer and objective agree: the loss and the gradient of a step equal what `proximal verify` computes, in f64 and in
//! plain loops, for a case made from the run's own completions.
use std::fs;
use std::path::Path;

use model_qwen2::tensors::{Dtype, Spec, write_safetensors};
use proximal::config::DeviceKind;
use proximal::device::Target;
use proximal::dtype::Dtype as Precision;
use proximal::verify::{Options, verify};
use serde_json::{Value, json};
use tests::lab::Lab;

use crate::{completions, lab, number, train};

/// What a step logged, against the case of these sequences on the model in `model`.
#[track_caller]
fn check(lab: &Lab, model: &str, what: (&str, Value), sequences: Vec<Value>, row: &Value) {
    let folder = lab.path(format!("{model}/case-{}", what.0));
    fs::create_dir_all(folder.join("model")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(lab.path(model).join(file), folder.join("model").join(file)).unwrap();
    }
    let mut config = what.1;
    config["optimizer"] = json!({ "learning_rate": 0.0 });
    let case = json!({
        "objective": what.0,
        "config": config,
        "temperature": 0.8,
        "value_head": what.0 == "ppo",
        "sequences": sequences,
    });
    fs::write(folder.join("case.json"), case.to_string()).unwrap();
    let entropy = if what.0 == "ppo" { "policy/entropy" } else { "entropy" };
    expect(
        &folder,
        &[
            ("loss", number(row, "loss")),
            ("step.1.grad_norm", number(row, "grad_norm")),
            ("metric.entropy", number(row, entropy)),
        ],
    );
    let options = Options {
        dtype: Precision::F64,
        rtol: Some(1e-4),
        // A loss may be next to nothing: a difference of large terms.
        atol: Some(1e-6),
        micro_batch: None,
    };
    let report = verify(&folder, &options, Target::new(DeviceKind::Cpu, None).unwrap()).unwrap();
    assert!(report.ok, "{case}: {:#?}", report.rows);
    assert_eq!(report.rows.len(), 3);
}

fn expect(folder: &Path, numbers: &[(&str, f64)]) {
    let specs: Vec<Spec> = numbers
        .iter()
        .map(|(name, _)| Spec {
            name: (*name).into(),
            dtype: Dtype::F64,
            shape: vec![],
        })
        .collect();
    let mut values = numbers.iter();
    write_safetensors(folder.join("expected.safetensors"), &specs, |_, sink| {
        sink.put(&[values.next().unwrap().1])
    })
    .unwrap();
}

/// Drawn by integers: the loss is the sampler's weights times the plain one, of the same completions, and the log says how far the two models are
/// from each other.
#[test]
fn integers_are_corrected() {
    let lab = lab();
    let keys = [
        "--num_generations=4",
        "--gradient_accumulation_steps=4",
        "--max_steps=1",
        "--rollout_dtype=int8",
        "--save_strategy=no",
        "--loss_type=grpo",
    ];
    let modes = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"];
    let of = |name: &str, more: &[&str]| train(&lab, "grpo", name, &[&keys[..], more].concat()).remove(0);
    let plain = of("plain", &["--vllm_importance_sampling_correction=false"]);
    let difference = number(&plain, "sampling/sampling_logp_difference/mean");
    let most = number(&plain, "sampling/sampling_logp_difference/max");
    assert!(0.0 < difference && difference < most && most < 0.1, "{plain}");
    assert!(plain["sampling/importance_sampling_ratio/mean"].is_null(), "{plain}");
    for mode in modes {
        let given = format!("--vllm_importance_sampling_mode={mode}");
        let row = of(mode, &[&given]);
        let [least, mean, largest] =
            ["min", "mean", "max"].map(|name| number(&row, &format!("sampling/importance_sampling_ratio/{name}")));
        assert!(0.0 < least && least < mean && mean < largest && largest < 1.5, "{row}");
        assert_ne!(number(&row, "grad_norm"), number(&plain, "grad_norm"), "{mode}");
        assert!(
            (number(&row, "grad_norm") / number(&plain, "grad_norm") - 1.0).abs() < 0.1,
            "{mode}: {row}, {plain}"
        );
        // None is below a cap next to nothing: masked, all are left out; truncated, all are scaled alike.
        let capped = of(
            &format!("{mode} capped"),
            &[&given, "--vllm_importance_sampling_clip_max=0.125"],
        );
        let part = number(&capped, "grad_norm") / number(&plain, "grad_norm");
        let want = if mode.ends_with("mask") { 0.0 } else { 0.125 };
        assert!((part - want).abs() < 1e-5, "{mode}: {part}");
    }
    let same = train(
        &lab,
        "grpo",
        "same",
        &["--num_generations=4", "--max_steps=1", "--save_strategy=no"],
    );
    assert!(
        same[0]
            .as_object()
            .unwrap()
            .keys()
            .all(|key| !key.starts_with("sampling/"))
    );
    let rloo = train(
        &lab,
        "rloo",
        "rloo",
        &["--num_generations=4", "--max_steps=1", "--rollout_dtype=int8"],
    );
    assert!(number(&rloo[0], "sampling/sampling_logp_difference/mean") > 0.0);
}

const FIXED: &[&str] = &[
    "--max_steps=2",
    "--save_steps=1",
    "--gradient_accumulation_steps=2",
    "--temperature=0.8",
    "--learning_rate=1e-2",
];

/// The completions that the second step was made on, from the first one's checkpoint; with rewards or advantages.
fn buffer(lab: &Lab, name: &str, masks: bool, sequence: impl Fn(&Value, Value) -> Value) -> Vec<Value> {
    let text = fs::read(lab.path(name).join("out/checkpoint-1/rollouts.json")).unwrap();
    let buffer: Value = serde_json::from_slice(&text).unwrap();
    let logged = completions(lab, name);
    let all = buffer["experiences"].as_array().unwrap().iter().zip(&logged);
    all.map(|(e, row)| {
        assert_eq!(e["tokens"], row["completion_ids"]);
        let trained = u8::from(e["trained"].as_bool().unwrap());
        assert_eq!(trained == 1, !masks || row["finish"] == "stop");
        let mask = vec![trained; e["tokens"].as_array().unwrap().len()];
        let mut base = json!({
            "prompt": row["prompt_ids"],
            "completion": e["tokens"],
            "mask": mask,
            "old_logps": e["old"],
        });
        if !e["reference"].as_array().unwrap().is_empty() {
            // The policy that drew these is the reference still: the same bits.
            assert_eq!(e["reference"], e["old"]);
            base["ref_logps"] = e["reference"].clone();
        }
        sequence(e, base)
    })
    .collect()
}

fn of_group(e: &Value, mut sequence: Value) -> Value {
    sequence["reward"] = e["reward"].clone();
    sequence["group"] = e["prompt"].clone();
    sequence
}

/// The second step on a generation: ratios, clipping and the KL to the reference all count.
#[test]
fn grpo() {
    let lab = lab();
    for (i, config) in [
        json!({ "loss_type": "dapo", "beta": 0.1, "epsilon_high": 0.28 }),
        json!({ "loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": false }),
        json!({ "loss_type": "bnpo", "scale_rewards": "batch" }),
        json!({ "loss_type": "dr_grpo", "scale_rewards": "none", "max_completion_length": 8 }),
        json!({ "loss_type": "luspo", "delta": 1.1 }),
        json!({ "loss_type": "cispo", "epsilon_high": 1.05 }),
        json!({ "loss_type": "sapo" }),
        json!({ "loss_type": "vespo" }),
        json!({ "loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.01 }),
        json!({ "loss_type": "dapo", "entropy_coef": 0.05, "top_entropy_quantile": 0.5 }),
        json!({ "loss_type": "dapo", "off_policy_mask_threshold": 0.01 }),
    ]
    .into_iter()
    .enumerate()
    {
        let own: Vec<String> = config
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("--{key}={}", value.as_str().map_or(value.to_string(), str::to_owned)))
            .collect();
        let own = own.iter().map(String::as_str);
        let fixed = FIXED
            .iter()
            .copied()
            .chain(["--num_generations=4", "--num_iterations=2"]);
        let masked = (i % 2 == 0).then_some("--mask_truncated_completions=true");
        let keys: Vec<&str> = fixed.chain(own).chain(masked).collect();
        let name = i.to_string();
        let rows = train(&lab, "grpo", &name, &keys);
        let mut config = config;
        // Known to `verify` by the loss that needs it.
        if config["loss_type"] != "dr_grpo" {
            config.as_object_mut().unwrap().remove("max_completion_length");
        }
        let sequences = buffer(&lab, &name, masked.is_some(), of_group);
        check(
            &lab,
            &format!("{name}/out/checkpoint-1"),
            ("grpo", config),
            sequences,
            &rows[1],
        );
    }
}

#[test]
fn rloo() {
    let lab = lab();
    for (name, normalize) in [("plain", "false"), ("normal", "true")] {
        let normalize = format!("--normalize_advantages={normalize}");
        let own = ["--num_generations=4", "--num_iterations=2", "--beta=0.1", &normalize];
        let rows = train(&lab, "rloo", name, &[FIXED, &own].concat());
        let config = json!({ "beta": 0.1, "normalize_advantages": name == "normal" });
        let sequences = buffer(&lab, name, false, of_group);
        check(
            &lab,
            &format!("{name}/out/checkpoint-1"),
            ("rloo", config),
            sequences,
            &rows[1],
        );
    }
}

#[test]
fn ppo() {
    let lab = lab();
    let own = [
        "--num_ppo_epochs=2",
        "--cliprange=0.05",
        "--cliprange_value=0.05",
        "--vf_coef=0.3",
        "--ent_coef=0.02",
    ];
    let rows = train(&lab, "ppo", "run", &[FIXED, &own].concat());
    let config = json!({ "cliprange": 0.05, "cliprange_value": 0.05, "vf_coef": 0.3, "ent_coef": 0.02 });
    let sequences = buffer(&lab, "run", false, |e, mut sequence| {
        sequence["advantage"] = e["advantages"].clone();
        sequence["old_values"] = e["values"].clone();
        sequence["returns"] = e["returns"].clone();
        sequence.as_object_mut().unwrap().remove("ref_logps");
        sequence
    });
    check(&lab, "run/out/checkpoint-1", ("ppo", config), sequences, &rows[1]);
    assert!(number(&rows[1], "policy/clipfrac") > 0.0 && number(&rows[1], "val/clipfrac") > 0.0);
}

/// The first step's gradient is that of the surrogate.
#[test]
fn trpo() {
    let lab = lab();
    let own = ["--num_generations=4", "--max_steps=1"];
    let rows = train(&lab, "trpo", "run", &[&FIXED[1..], &own].concat());
    let logged = completions(&lab, "run");
    let sequence = |(i, row): (usize, &Value)| {
        json!({
            "prompt": row["prompt_ids"],
            "completion": row["completion_ids"],
            "reward": row["reward"],
            "group": i / 4,
        })
    };
    let sequences = logged.iter().enumerate().map(sequence).collect();
    check(&lab, "model", ("trpo", json!({})), sequences, &rows[0]);
}

/// Two losses that differ in their KL term alone: by beta times the difference of what is logged as `kl`.
#[test]
fn the_kl_that_is_logged_is_that_of_the_loss() {
    let lab = lab();
    let [plain, corrected] = ["false", "true"].map(|correction| {
        let correction = format!("--use_bias_correction_kl={correction}");
        let own = ["--num_generations=4", "--num_iterations=2", "--beta=0.5", &correction];
        train(&lab, "grpo", &correction, &[FIXED, &own].concat())
    });
    // The policy is the reference still: the first step is the same.
    assert_eq!(plain[0], corrected[0]);
    let [loss, kl] = ["loss", "kl"].map(|key| number(&corrected[1], key) - number(&plain[1], key));
    assert!(kl.abs() > 1e-4 && (loss - 0.5 * kl).abs() < 1e-6, "{loss} and {kl}");
}

/// What PPO makes of rewards, worked out again from the second generation's checkpoint, where the policy has left the reference.
#[test]
fn ppo_makes_advantages_of_rewards() {
    let lab = lab();
    let keys = [
        "--max_steps=3",
        "--save_steps=1",
        "--num_ppo_epochs=2",
        "--learning_rate=3e-3",
        "--kl_coef=0.3",
        "--gamma=0.9",
        "--lam=0.8",
        "--missing_eos_penalty=0.7",
    ];
    let rows = train(&lab, "ppo", "run", &keys);
    let text = fs::read(lab.path("run/out/checkpoint-3/rollouts.json")).unwrap();
    let buffer: Value = serde_json::from_slice(&text).unwrap();
    let list =
        |e: &Value, key: &str| -> Vec<f64> { e[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let (mut raw, mut kls) = (Vec::new(), Vec::new());
    let all = buffer["experiences"].as_array().unwrap();
    for e in all {
        let [old, reference, values, returns] = ["old", "reference", "values", "returns"].map(|key| list(e, key));
        let kl: Vec<f64> = old.iter().zip(&reference).map(|(l, r)| l - r).collect();
        let mut rewards: Vec<f64> = kl.iter().map(|kl| -0.3 * kl).collect();
        let penalty = if e["stopped"].as_bool().unwrap() { 0.0 } else { 0.7 };
        *rewards.last_mut().unwrap() += number(e, "reward") - penalty;
        let (mut advantage, mut next) = (0.0, 0.0);
        let mut advantages = Vec::new();
        for t in (0..rewards.len()).rev() {
            advantage = rewards[t] + 0.9 * next - values[t] + 0.9 * 0.8 * advantage;
            next = values[t];
            assert!((returns[t] - (advantage + values[t])).abs() < 1e-9);
            advantages.insert(0, advantage);
        }
        raw.extend(advantages);
        kls.push(kl.iter().sum::<f64>());
        assert!(
            values.iter().any(|v| v.abs() > 1e-4),
            "the head has learnt something by now"
        );
    }
    let n = raw.len() as f64;
    let mean = raw.iter().sum::<f64>() / n;
    let variance = raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let found: Vec<f64> = all.iter().flat_map(|e| list(e, "advantages")).collect();
    for (found, raw) in found.iter().zip(&raw) {
        assert!((found - (raw - mean) / (variance + 1e-8).sqrt()).abs() < 1e-9);
    }
    let kl = kls.iter().sum::<f64>() / kls.len() as f64;
    let row = &rows[2];
    assert!(kl.abs() > 1e-3 && (number(row, "objective/kl") - kl).abs() < 1e-9);
    assert!((number(row, "objective/non_score_reward") + 0.3 * kl).abs() < 1e-9);
    let rlhf = number(row, "objective/scores") + number(row, "objective/non_score_reward");
    assert!((number(row, "objective/rlhf_reward") - rlhf).abs() < 1e-9);
}
