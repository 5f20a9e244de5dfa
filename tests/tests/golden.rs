//! The cases of tests/golden through `proximal verify`: every number holds, and a changed one is found and named.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use cpu_backend::{Isa, Settings};
use kernel::params::Params;
use model_qwen2::folder::Folder;
use model_qwen2::tensors::Tensors;
use proximal::device::Target;
use proximal::dtype::Dtype;
use proximal::verify::{Options, Report, verify};
use tests::{edit, program};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let entries = fs::read_dir(folder).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "{} cases", cases.len());
    cases
}

fn case(name: &str) -> PathBuf {
    cases().into_iter().find(|c| c.ends_with(name)).unwrap()
}

/// A copy of a case that may be changed.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    edit::copy_folder(&case(name), &path);
    (dir, path)
}

/// Whether every weight is a bfloat16: what a bf16 run is asked about must be the same model.
fn representable(case: &Path) -> bool {
    let folder = Folder::open(case.join("model")).unwrap();
    let specs = Params::specs(&folder.config.kernel, folder.value_head);
    specs.iter().all(|spec| {
        let mut values = vec![0f32; spec.shape.0 * spec.shape.1];
        folder.fill(spec, &mut values).unwrap();
        values.iter().all(|x| half::bf16::from_f32(*x).to_f32() == *x)
    })
}

fn check(case: &Path, dtype: Dtype, micro_batch: Option<usize>, settings: Settings) -> Report {
    verify(case, &options(dtype, micro_batch), Target::Cpu(settings)).unwrap()
}

/// Names of the rows that are out of tolerance.
fn failed(report: &Report) -> Vec<&str> {
    report.rows.iter().filter(|r| !r.ok).map(|r| r.name.as_str()).collect()
}

#[track_caller]
fn holds(case: &Path, dtype: Dtype) {
    let names: Vec<_> = Tensors::open_file(case.join("expected.safetensors"))
        .unwrap()
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    for micro_batch in [None, Some(1), Some(2)] {
        for isa in Isa::available() {
            for threads in [1, 2] {
                let report = check(case, dtype, micro_batch, Settings { threads, isa });
                let what = format!("{} {dtype:?} {micro_batch:?} {isa:?} {threads}", case.display());
                assert!(report.ok, "{what}: {:#?}", failed(&report));
                let rows: Vec<_> = report.rows.iter().map(|r| r.name.clone()).collect();
                assert_eq!(rows, names, "{what}");
                if dtype == Dtype::F64 {
                    // The oracle has neither threads nor instruction sets.
                    break;
                }
            }
            if dtype == Dtype::F64 {
                break;
            }
        }
    }
}

#[test]
fn every_case_holds_in_f64() {
    cases().iter().for_each(|case| holds(case, Dtype::F64));
}

#[test]
fn every_case_holds_in_f32() {
    cases().iter().for_each(|case| holds(case, Dtype::F32));
}

#[test]
fn every_case_with_bf16_weights_holds_in_bf16() {
    let cases: Vec<_> = cases().into_iter().filter(|case| representable(case)).collect();
    assert!(cases.len() >= 3, "{cases:?}");
    cases.iter().for_each(|case| holds(case, Dtype::Bf16));
}

/// Each reference tensor in turn with one number changed by a hundredth: that row fails, and no other.
#[test]
fn one_changed_number_is_found_in_every_reference_tensor() {
    for name in ["qwen2-tied", "dpo-mix", "grpo-dapo", "ppo-value-head"] {
        let (_dir, path) = copy(name);
        let file = path.join("expected.safetensors");
        let whole = fs::read(&file).unwrap();
        let tensors: Vec<_> = check(&path, Dtype::F64, None, settings()).rows;
        for row in tensors.iter().filter(|row| row.norm > 0.0) {
            edit::number(&file, &row.name, |x| 1.01 * x);
            let report = check(&path, Dtype::F64, None, settings());
            assert_eq!(failed(&report), [row.name.as_str()], "{name}");
            assert!(!report.ok);
            fs::write(&file, &whole).unwrap();
        }
    }
}

/// F v: a changed product is found, and no other; a changed direction changes every product.
#[test]
fn one_changed_number_is_found_in_every_fisher_product() {
    let (_dir, path) = copy("fisher-llama");
    let file = path.join("expected.safetensors");
    let whole = fs::read(&file).unwrap();
    let names: Vec<String> = check(&path, Dtype::F64, None, settings())
        .rows
        .into_iter()
        .map(|row| row.name)
        .collect();
    let products: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|n| n.starts_with("fv."))
        .collect();
    let directions = names.iter().filter(|n| n.starts_with("v."));
    assert_eq!((products.len(), directions.clone().count()), (19, 19));
    for name in &products {
        edit::number(&file, name, |x| 1.01 * x);
        assert_eq!(failed(&check(&path, Dtype::F64, None, settings())), [*name]);
        fs::write(&file, &whole).unwrap();
    }
    for name in directions {
        edit::number(&file, name, |x| 1.01 * x);
        assert_eq!(failed(&check(&path, Dtype::F64, None, settings())), products, "{name}");
        fs::write(&file, &whole).unwrap();
    }
}

/// In the lower precisions too, by as much as their tolerances can see.
#[test]
fn one_changed_number_is_found_in_every_precision() {
    for (dtype, factor) in [(Dtype::F64, 1.001), (Dtype::F32, 1.01), (Dtype::Bf16, 2.0)] {
        for name in [
            "grad.model.norm.weight",
            "loss",
            "logps",
            "grad.model.embed_tokens.weight",
        ] {
            let (_dir, path) = copy("llama-head-dim");
            edit::number(&path.join("expected.safetensors"), name, |x| factor * x);
            let report = check(&path, dtype, None, settings());
            assert_eq!(failed(&report), [name], "{dtype:?}");
        }
    }
}

#[test]
fn a_reference_that_is_not_a_number_fails() {
    let (_dir, path) = copy("llama-rope-linear");
    edit::number(&path.join("expected.safetensors"), "loss", |_| f64::NAN);
    let error = verify(&path, &options(Dtype::F64, None), Target::Cpu(settings()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected.safetensors") && error.contains("loss"),
        "{error}"
    );
}

#[test]
fn a_changed_weight_is_found() {
    for name in [
        "model.norm.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.self_attn.k_proj.bias",
        "model.embed_tokens.weight",
    ] {
        let (_dir, path) = copy("qwen2-tied");
        edit::number(&path.join("model/model.safetensors"), name, |x| 1.1 * x);
        for dtype in [Dtype::F64, Dtype::F32] {
            let report = check(&path, dtype, None, settings());
            let failed = failed(&report);
            // The loss itself may move by less than f32's tolerance.
            assert!(failed.contains(&"logits_first"), "{name}: {failed:?}");
            assert!(dtype == Dtype::F32 || failed.contains(&"loss"), "{name}: {failed:?}");
        }
    }
}

fn settings() -> Settings {
    Settings::detect().unwrap()
}

fn options(dtype: Dtype, micro_batch: Option<usize>) -> Options {
    Options {
        dtype,
        rtol: None,
        atol: None,
        micro_batch,
    }
}

#[test]
fn the_command_says_yes_with_0_and_no_with_1() {
    let mut args = vec!["verify".to_owned()];
    args.extend(cases().iter().map(|c| c.display().to_string()));
    let ran = program::run(&args).good();
    assert_eq!(ran.stdout.matches(", 0 out of tolerance").count(), cases().len());
    assert!(!ran.stdout.contains("FAIL"), "{}", ran.stdout);

    let (_dir, path) = copy("llama-untied");
    let tensor = "grad.model.layers.0.mlp.up_proj.weight";
    edit::number(&path.join("expected.safetensors"), tensor, |x| 1.1 * x);
    for dtype in ["f64", "f32"] {
        let ran = program::run(["verify", path.to_str().unwrap(), "--dtype", dtype, "--micro-batch", "1"]);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        let fails: Vec<_> = ran.stdout.lines().filter(|l| l.contains("FAIL")).collect();
        assert_eq!(fails.len(), 1, "{ran:#?}");
        assert!(fails[0].contains(tensor), "{ran:#?}");
    }
    // A tolerance of the user's own wins.
    let ran = program::run(["verify", path.to_str().unwrap(), "--rtol", "0.5"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

#[test]
fn the_command_writes_json() {
    let (dir, path) = copy("qwen2-logprobs");
    let out = dir.path().join("report.json");
    program::run(["verify", path.to_str().unwrap(), "--json", out.to_str().unwrap()]).good();
    let reports: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(reports[0]["ok"], true);
    assert_eq!(reports[0]["dtype"], "f64");
    let names: Vec<_> = reports[0]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"values") && names.contains(&"logits_first"),
        "{names:?}"
    );
    let ran = program::run(["verify", path.to_str().unwrap(), "--json"]).good();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()[0]["ok"],
        true
    );
}

/// A case that is changed in case.json is refused with these words.
#[track_caller]
fn refused(change: (&str, &str), parts: &[&str]) {
    let (_dir, path) = copy("qwen2-tied");
    let file = path.join("case.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(change.0), "{text}");
    fs::write(&file, text.replacen(change.0, change.1, 1)).unwrap();
    let parts: Vec<_> = [&["case.json"], parts].concat();
    program::run(["verify", path.to_str().unwrap()]).refused(&parts);
}

#[test]
fn what_cannot_be_read_is_refused_with_2() {
    refused(("\"objective\"", "\"objektive\": 1, \"objective\""), &["objektive"]);
    refused(("\"loss_type\"", "\"los_type\""), &["config", "los_type", "loss_type"]);
    refused(("\"learning_rate\"", "\"lr\""), &["optimizer", "lr", "learning_rate"]);
    refused(
        ("\"sft\"", "\"sftt\""),
        &["objective", "logprobs, sft, dpo", "\"sftt\""],
    );
    refused(
        ("\"mask\": [", "\"mask\": [1, "),
        &["sequences[0].mask", "7 numbers", "8"],
    );
    refused(("\"mask\": [1", "\"mask\": [2"), &["sequences[0].mask", "0 or 1", "2"]);
    refused(
        ("\"prompt\": [", "\"prompt\": [97, "),
        &["sequences[0].prompt", "97", "97"],
    );
    refused(
        ("\"objective\"", "\"value_head\": true, \"objective\""),
        &["value_head", "v_head.weight"],
    );
    refused(
        ("\"objective\"", "\"temperature\": 0, \"objective\""),
        &["temperature", "positive", "0"],
    );
    refused(("{", "{{"), &["line 1"]);
}

#[test]
fn missing_files_are_named() {
    for file in [
        "case.json",
        "expected.safetensors",
        "model/config.json",
        "model/model.safetensors",
    ] {
        let (_dir, path) = copy("qwen2-tied");
        fs::remove_file(path.join(file)).unwrap();
        let name = file.rsplit('/').next().unwrap();
        program::run(["verify", path.to_str().unwrap()]).refused(&["qwen2-tied", name]);
    }
    program::run(["verify", "/no/such/case"]).refused(&["/no/such/case/case.json", "cannot read"]);
    // A file that ends too early.
    for file in ["expected.safetensors", "model/model.safetensors"] {
        let (_dir, path) = copy("qwen2-tied");
        let bytes = fs::read(path.join(file)).unwrap();
        fs::write(path.join(file), &bytes[..bytes.len() - 100]).unwrap();
        program::run(["verify", path.to_str().unwrap()]).refused(&[file]);
    }
}
