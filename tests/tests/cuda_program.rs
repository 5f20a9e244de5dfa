//! The whole program on a CUDA device beside the CPU: `proximal verify` on the goldens, and every trainer at toy size. Needs a driver: a
//! GPU's, or the emulated one (`tests/cuda-env.sh`); without one each test says so and passes.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use cuda_backend::Error;
use kernel::backend::Memory;
use kernel::params::Params;
use model_qwen2::folder::Folder;
use proximal::device::Target;
use proximal::dtype::Dtype;
use proximal::verify::{Options, verify};
use serde_json::{Value, json};
use tests::devices::cuda;
use tests::lab::{Lab, read_rows};
use tests::program::Ran;

/// Whether there is a driver.
fn device() -> bool {
    cuda::<f32>().is_some()
}

#[test]
fn memory_that_is_not_there_is_asked_for_in_words_and_the_device_goes_on() {
    // The emulated device finds fault with what is asked for here on purpose.
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--quiet", "child_out_of_memory"])
        .env_remove("CUDA_EMULATOR_FAULTS")
        .status();
    assert!(child.unwrap().success(), "the child says why");
}

#[test]
#[ignore = "a process of the test above"]
fn child_out_of_memory() {
    let Some(b) = cuda::<f32>() else { return };
    let asked = 4usize << 40;
    let Err(Error::OutOfMemory {
        asked: said,
        free,
        total,
    }) = b.acc(1 << 20, 1 << 20)
    else {
        panic!("a device of 4 TiB");
    };
    assert_eq!(said, asked);
    assert!(free > 0 && free <= total && total < asked, "{free} of {total}");
    let mut x = b.acc(1, 3).unwrap();
    b.upload(&mut x, &[1.0, 2.0, 3.0]).unwrap();
    let mut host = [0.0; 3];
    b.download(&mut host, &x).unwrap();
    assert_eq!(host, [1.0, 2.0, 3.0]);
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Whether every weight is a bfloat16.
fn representable(case: &Path) -> bool {
    let folder = Folder::open(case.join("model")).unwrap();
    let specs = Params::specs(&folder.config.kernel, folder.value_head);
    specs.iter().all(|spec| {
        let mut values = vec![0f32; spec.shape.0 * spec.shape.1];
        folder.fill(spec, &mut values).unwrap();
        values.iter().all(|x| half::bf16::from_f32(*x).to_f32() == *x)
    })
}

#[track_caller]
fn holds(case: &Path, dtype: Dtype, micro_batch: Option<usize>) {
    let options = Options {
        dtype,
        rtol: None,
        atol: None,
        micro_batch,
    };
    let report = verify(case, &options, Target::Cuda).unwrap();
    let failed: Vec<_> = report
        .rows
        .iter()
        .filter(|r| !r.ok)
        .map(|r| (&r.name, r.error))
        .collect();
    assert!(report.ok, "{} {dtype:?} {micro_batch:?}: {failed:?}", case.display());
}

#[test]
fn every_golden_holds_in_f32() {
    if device() {
        cases().iter().for_each(|case| holds(case, Dtype::F32, None));
    }
}

#[test]
fn goldens_hold_in_pieces() {
    if device() {
        for name in ["qwen2-tied", "dpo-mix", "grpo-dapo", "ppo-value-head", "fisher-llama"] {
            let case = cases().into_iter().find(|c| c.ends_with(name)).unwrap();
            holds(&case, Dtype::F32, Some(1));
        }
    }
}

#[test]
fn every_golden_with_bf16_weights_holds_in_bf16() {
    if device() {
        let cases: Vec<_> = cases().into_iter().filter(|case| representable(case)).collect();
        assert!(cases.len() >= 3, "{cases:?}");
        cases.iter().for_each(|case| holds(case, Dtype::Bf16, None));
    }
}

/// `proximal` with these arguments on both devices; the numbers of its log agree within `tolerance`, relative to their size or to one
/// hundredth, and so do the tokens that were drawn.
fn same_on_both(args: &[&str], tolerance: f64) {
    if !device() {
        return;
    }
    let lab = Lab::new();
    let pairs: Vec<_> = (0..8)
        .map(|i| json!({ "prompt": format!("question {i}"), "chosen": "yes ".repeat(1 + i % 3), "rejected": "abcdefgh"[..1 + (5 * i) % 8] }))
        .collect();
    lab.rows("pairs.jsonl", &pairs);
    let prompts: Vec<_> = (0..8)
        .map(|i| json!({ "prompt": format!("say {}", "xyz".repeat(i % 5)) }))
        .collect();
    lab.rows("prompts.jsonl", &prompts);
    let run = |device: &str| {
        let device = format!("--device={device}");
        let common = ["--model=../model", "--output_dir=out", "--logging_steps=1", &device];
        let ran: Ran = lab
            .command(&device[9..], &[args, &common].concat())
            .output()
            .unwrap()
            .into();
        ran.good();
        let folder = lab.path(&device[9..]).join("out");
        let completions = folder.join("completions.jsonl");
        let drawn = if completions.is_file() {
            read_rows(&completions)
        } else {
            Vec::new()
        };
        (read_rows(&folder.join("metrics.jsonl")), drawn)
    };
    let ((cpu, cpu_drawn), (cuda, cuda_drawn)) = (run("cpu"), run("cuda"));
    assert_eq!(cpu.len(), cuda.len());
    let mut compared = 0;
    for (a, b) in cpu.iter().zip(&cuda) {
        for (key, x) in a.as_object().unwrap() {
            let timed = ["second", "memory", "time"].iter().any(|word| key.contains(word));
            let (Some(x), false) = (x.as_f64(), timed) else {
                continue;
            };
            let y = b[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {b}"));
            let error = (x - y).abs() / x.abs().max(0.01);
            assert!(error <= tolerance, "{key}: {x} on the CPU, {y} on CUDA, in {a}");
            compared += 1;
        }
    }
    assert!(compared >= 3, "{compared} numbers");
    let tokens = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|r| r["completion"].clone()).collect() };
    assert_eq!(tokens(&cpu_drawn), tokens(&cuda_drawn));
}

const ONLINE: [&str; 8] = [
    "--dataset.path=../prompts.jsonl",
    "--max_steps=1",
    "--learning_rate=1e-3",
    "--max_completion_length=8",
    "--per_device_train_batch_size=4",
    "--reward_funcs",
    "{ type = 'regex', pattern = '[a-m]', name = 'letters' }",
    "length",
];

#[test]
fn ten_steps_of_sft() {
    let data = ["--dataset.path=../data.jsonl", "--max_steps=10", "--learning_rate=1e-3"];
    let sizes = ["--per_device_train_batch_size=2", "--gradient_accumulation_steps=2"];
    same_on_both(&[&["sft"], &data[..], &sizes].concat(), 1e-4);
}

#[test]
fn ten_steps_of_sft_in_bf16() {
    let data = ["--dataset.path=../data.jsonl", "--max_steps=10", "--learning_rate=1e-4"];
    let sizes = ["--per_device_train_batch_size=2", "--dtype=bf16"];
    same_on_both(&[&["sft"], &data[..], &sizes].concat(), 2e-2);
}

#[test]
fn a_step_of_dpo() {
    let data = ["--dataset.path=../pairs.jsonl", "--max_steps=2", "--learning_rate=1e-3"];
    same_on_both(
        &[&["dpo"], &data[..], &["--per_device_train_batch_size=4"]].concat(),
        1e-4,
    );
}

#[test]
fn a_step_of_grpo_with_its_rollouts() {
    same_on_both(
        &[&["grpo"], &ONLINE[..], &["--num_generations=4", "--beta=0.04"]].concat(),
        1e-3,
    );
}

#[test]
fn a_step_of_ppo_with_its_rollouts() {
    same_on_both(&[&["ppo"], &ONLINE[..]].concat(), 1e-3);
}

#[test]
fn a_step_of_trpo_with_conjugate_gradients() {
    same_on_both(&[&["trpo"], &ONLINE[..], &["--num_generations=4"]].concat(), 1e-2);
}
