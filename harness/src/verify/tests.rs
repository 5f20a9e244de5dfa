use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::config::DeviceKind;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases")
}

fn cpu() -> Target {
    Target::new(DeviceKind::Cpu, None).unwrap()
}

fn options(dtype: Dtype, micro_batch: Option<usize>) -> Options {
    Options {
        dtype,
        rtol: None,
        atol: None,
        micro_batch,
    }
}

/// Every objective's cases, whole and in pieces, in both precisions, at the default tolerances.
#[test]
fn goldens_of_the_objectives() {
    let mut seen = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !["dpo", "grpo", "rloo", "ppo", "trpo"]
            .iter()
            .any(|o| name.starts_with(o))
        {
            continue;
        }
        seen += 1;
        for dtype in [Dtype::F64, Dtype::F32] {
            for micro_batch in [None, Some(1), Some(2)] {
                let report = verify(&folder, &options(dtype, micro_batch), cpu()).unwrap();
                let off: Vec<_> = report.rows.iter().filter(|r| !r.ok).collect();
                assert!(report.ok, "{name} {} {micro_batch:?}: {off:?}", dtype.name());
                assert!(report.rows.iter().any(|r| r.name.starts_with("metric.")) && report.rows.len() > 10);
            }
        }
    }
    assert!(seen >= 16, "{seen} cases");
}

/// The error of a golden case after `edit`.
fn error(name: &str, edit: impl FnOnce(&mut Value)) -> String {
    let from = cases().join(name);
    let to = tempfile::tempdir().unwrap();
    std::fs::create_dir(to.path().join("model")).unwrap();
    for file in ["model/config.json", "model/model.safetensors", "expected.safetensors"] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    let mut case: Value = serde_json::from_slice(&std::fs::read(from.join("case.json")).unwrap()).unwrap();
    edit(&mut case);
    std::fs::write(to.path().join("case.json"), case.to_string()).unwrap();
    match Case::open(to.path()) {
        Ok(_) => panic!("{name}: no error"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn settings_that_cannot_be() {
    for (case, config, parts) in [
        ("dpo-sigmoid", json!({"gamma": 1}), ["config", "`gamma`"]),
        (
            "dpo-sigmoid",
            json!({"loss_type": "sigmoidal"}),
            ["config.loss_type", "`sigmoidal`"],
        ),
        (
            "dpo-sigmoid",
            json!({"loss_type": ["ipo", "sft"], "loss_weights": [1]}),
            ["config.loss_weights", "2 numbers"],
        ),
        (
            "dpo-sigmoid",
            json!({"loss_type": "exo_pair"}),
            ["config.label_smoothing", "exo_pair"],
        ),
        ("dpo-sigmoid", json!({"beta": 0}), ["config.beta", "found 0"]),
        (
            "dpo-sigmoid",
            json!({"loss_type": "nca_pair", "f_divergence_type": "forward_kl"}),
            ["config.f_divergence_type", "found \"forward_kl\""],
        ),
        (
            "dpo-sigmoid",
            json!({"loss_type": "aot", "use_weighting": true}),
            ["config.use_weighting", "found true"],
        ),
        (
            "grpo-dapo",
            json!({"loss_type": "dr_grpo"}),
            ["config.max_completion_length", "dr_grpo"],
        ),
        (
            "grpo-dapo",
            json!({"loss_type": "cispo"}),
            ["config.epsilon_high", "cispo"],
        ),
        (
            "grpo-dapo",
            json!({"top_entropy_quantile": 2}),
            ["config.top_entropy_quantile", "found 2"],
        ),
        ("grpo-dapo", json!({"scale_rewards": "all"}), ["config", "`all`"]),
        ("rloo", json!({"epsilon_high": 0.3}), ["config", "`epsilon_high`"]),
        (
            "ppo-value-head",
            json!({"cliprange": -0.1}),
            ["config.cliprange", "found -0.1"],
        ),
        ("trpo", json!({"beta": 0.1}), ["config", "`beta`"]),
        ("fisher-qwen2", json!({"damping": 0.1}), ["config", "`damping`"]),
    ] {
        let e = error(case, |c| c["config"] = config.clone());
        assert!(
            parts.iter().all(|p| e.contains(p)) && e.contains("case.json"),
            "{config}: {e}"
        );
    }
    let e = error("trpo", |c| c["objective"] = "fischer".into());
    assert!(e.contains("objective") && e.contains("\"fischer\""), "{e}");
}

#[test]
fn fisher_needs_a_direction() {
    let from = cases().join("fisher-qwen2");
    let to = tempfile::tempdir().unwrap();
    std::fs::create_dir(to.path().join("model")).unwrap();
    for file in ["model/config.json", "model/model.safetensors", "case.json"] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    // Numbers of another case: none of them a direction.
    let other = cases().join("qwen2-logprobs/expected.safetensors");
    std::fs::copy(other, to.path().join("expected.safetensors")).unwrap();
    let e = verify(to.path(), &options(Dtype::F64, None), cpu()).unwrap_err();
    let e = e.to_string();
    assert!(e.contains("expected.safetensors") && e.contains("v.NAME"), "{e}");
}

#[test]
fn sequences_that_lack_something() {
    let remove = |c: &mut Value, i: usize, key: &str| {
        c["sequences"][i].as_object_mut().unwrap().remove(key);
    };
    let check = |e: String, field: &str| assert!(e.contains(&format!("{field}: expected")), "{e}");
    check(
        error("dpo-sigmoid", |c| remove(c, 1, "ref_logps")),
        "sequences[1].ref_logps",
    );
    check(error("dpo-sigmoid", |c| remove(c, 2, "role")), "sequences[2].pair");
    check(
        error("dpo-sigmoid", |c| c["sequences"][3]["pair"] = 9.into()),
        "sequences[2].pair",
    );
    check(
        error("dpo-sigmoid", |c| c["sequences"][1]["role"] = "chosen".into()),
        "sequences[1].role",
    );
    check(
        error("grpo-dapo", |c| remove(c, 4, "ref_logps")),
        "sequences[4].ref_logps",
    );
    check(error("grpo-dapo", |c| remove(c, 0, "group")), "sequences[0].group");
    check(
        error("grpo-dapo", |c| c["sequences"][2]["advantage"] = 1.into()),
        "sequences[2].group",
    );
    check(
        error("grpo-dapo", |c| c["sequences"][2]["old_logps"] = json!([-1.0])),
        "sequences[2].old_logps",
    );
    check(
        error("grpo-sapo", |c| c["sequences"][2]["reward"] = 1.into()),
        "sequences[2].reward",
    );
    check(error("rloo", |c| remove(c, 3, "ref_logps")), "sequences[3].ref_logps");
    let lists = |c: &mut Value| {
        for s in c["sequences"].as_array_mut().unwrap() {
            let n = s["old_logps"].as_array().unwrap().len();
            s["advantage"] = vec![1.0; n].into();
            s.as_object_mut().unwrap().remove("reward");
        }
    };
    check(error("rloo", lists), "sequences[0].advantage");
    check(
        error("ppo-value-head", |c| remove(c, 5, "advantage")),
        "sequences[5].advantage",
    );
    check(
        error("ppo-value-head", |c| remove(c, 5, "returns")),
        "sequences[5].returns",
    );
    check(
        error("ppo-value-head", |c| c["value_head"] = false.into()),
        "sequences[0].returns",
    );
}
