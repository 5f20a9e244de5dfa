//! A run that is stopped, killed or starved of disk and gone on with ends in the bytes of one that was not.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::edit::copy_folder;
use tests::host::Rng;
use tests::lab::{Lab, read_rows};
use tests::program::{Ran, path as proximal};

/// What must be equal, all bytes: the model, all of the last checkpoint, the log.
const FILES: [&str; 6] = [
    "model.safetensors",
    "metrics.jsonl",
    "checkpoint-30/model.safetensors",
    "checkpoint-30/optimizer.safetensors",
    "checkpoint-30/trainer_state.json",
    "checkpoint-30/manifest.json",
];

#[track_caller]
fn same(a: &Path, b: &Path) {
    for file in FILES {
        let [x, y] = [a, b].map(|folder| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")));
        assert!(x == y, "{file} of {} and {}", a.display(), b.display());
    }
}

fn run(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

/// The lab with a run that nothing disturbed, in `whole/out`, and how long it took.
fn lab() -> (Lab, Duration) {
    let lab = Lab::new();
    let begin = Instant::now();
    run(lab.train("whole", &[])).good();
    (lab, begin.elapsed())
}

fn start(lab: &Lab, name: &str) -> Child {
    let mut command = lab.train(name, &["--resume", "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills (SIGKILL). True where the process had not ended by itself.
fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Waits until `there`, or until the process ends by itself.
fn wait_for(child: &mut Child, there: impl Fn() -> bool) {
    while !there() && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let (lab, time) = lab();
    let mut rng = Rng::new("moments");
    for name in ["killed", "killed-2"] {
        let mut kills = 0;
        for attempt in 0.. {
            assert!(attempt < 100, "only {kills} of {attempt} came in time");
            let mut child = start(&lab, name);
            let moment = time.mul_f64(rng.uniform());
            let begin = Instant::now();
            wait_for(&mut child, || begin.elapsed() > moment);
            match kill(child) {
                true => kills += 1,
                // It was done before: from the start again.
                false => fs::remove_dir_all(lab.path(name)).unwrap(),
            }
            if kills == 5 {
                break;
            }
        }
        run(lab.train(name, &["--resume", "true"])).good();
        same(&lab.path("whole/out"), &lab.path(name).join("out"));
    }
}

/// Killed while a checkpoint is being written, and just after it has its name.
#[test]
fn a_run_that_is_killed_in_a_checkpoint_ends_in_the_same_bytes() {
    let (lab, _) = lab();
    let out = lab.path("checkpoint/out");
    let mut killed = 0;
    for name in [
        ".checkpoint-5.tmp",
        "checkpoint-10",
        ".checkpoint-15.tmp/optimizer.safetensors",
        "checkpoint-20",
    ] {
        let mut child = start(&lab, "checkpoint");
        wait_for(&mut child, || out.join(name).exists());
        killed += u32::from(kill(child));
    }
    assert_eq!(killed, 4);
    // In the last files of all; where this comes too late there is only nothing left to do.
    let mut child = start(&lab, "checkpoint");
    wait_for(&mut child, || out.join("model.safetensors").exists());
    kill(child);
    let ran = run(lab.train("checkpoint", &["--resume", "true"])).good();
    assert!(!ran.stderr.contains("step 24/30"), "{}", ran.stderr);
    assert!(out.join("tokenizer.json").exists() && out.join("config.json").exists());
    same(&lab.path("whole/out"), &out);
    let hidden: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp") || name.ends_with(".old"))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

/// Masters and moments of bf16: stored as that, without loss, and rounded by the same bits after a kill and on any number of threads.
#[test]
fn narrow_masters_go_on_in_the_same_bytes() {
    let lab = Lab::new();
    let keys = ["--dtype=bf16", "--master_dtype=bf16"];
    run(lab.train("whole", &keys)).good();
    let whole = lab.path("whole/out");
    let train = |name, more: &[&str]| lab.train(name, &[&keys, more].concat());

    let out = lab.path("killed/out");
    let mut child = train("killed", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&mut child, || out.join("checkpoint-10").exists());
    assert!(kill(child), "it was done before");
    run(train("killed", &["--resume"])).good();
    same(&whole, &out);

    // The configuration, which names the threads, is in the trainer's state.
    run(train("threads", &["--threads=3"])).good();
    for file in [
        "model.safetensors",
        "checkpoint-30/model.safetensors",
        "checkpoint-30/optimizer.safetensors",
    ] {
        let [a, b] = ["whole/out", "threads/out"].map(|run| fs::read(lab.path(run).join(file)).unwrap());
        assert!(a == b, "{file}");
    }

    run(lab.train("full", &["--dtype=bf16"])).good();
    let size = |run: &str, file: &str| {
        fs::metadata(lab.path(run).join("out/checkpoint-30").join(file))
            .unwrap()
            .len() as f64
    };
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let ratio = size("whole", file) / size("full", file);
        assert!((0.45..0.6).contains(&ratio), "{file}: {ratio}");
    }
    // Another seed, other bits.
    run(train("seed", &["--seed=43", "--data_seed=42"])).good();
    let model = |run: &str| fs::read(lab.path(run).join("out/model.safetensors")).unwrap();
    assert!(model("seed") != model("whole"));
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_ends_with_130() {
    let (lab, _) = lab();
    for signal in ["TERM", "INT"] {
        let out = lab.path(signal).join("out");
        let mut child = lab
            .train(signal, &["--resume", "true"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&mut child, || {
            fs::metadata(out.join("metrics.jsonl")).is_ok_and(|m| m.len() > 0)
        });
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:#?}");
        assert!(ran.stderr.contains("stopped by a signal after step"), "{ran:#?}");
        assert!(!out.join("model.safetensors").exists());
        // It went on to the end of its step and saved there, not at the last multiple of save_steps alone.
        let words: Vec<_> = ran
            .stderr
            .split("stopped by a signal after step ")
            .nth(1)
            .unwrap()
            .split(';')
            .collect();
        assert!(out.join(format!("checkpoint-{}", words[0])).is_dir(), "{ran:#?}");
        run(lab.train(signal, &["--resume", "true"])).good();
        same(&lab.path("whole/out"), &out);
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let (lab, _) = lab();
    for threads in ["1", "3"] {
        let mut command = lab.train(threads, &[]);
        run({
            command.env("PROXIMAL_THREADS", threads);
            command
        })
        .good();
        same(&lab.path("whole/out"), &lab.path(threads).join("out"));
    }
}

/// In bf16 and with the activations kept, too.
#[test]
fn bf16_resumes_bit_for_bit() {
    let lab = Lab::new();
    let keys = [
        "--bf16",
        "true",
        "--gradient_checkpointing",
        "false",
        "--packing",
        "true",
        "--max_length",
        "64",
    ];
    run(lab.train("whole", &keys)).good();
    let mut command = lab.train("killed", &keys);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    wait_for(&mut child, || lab.path("killed/out/checkpoint-15").exists());
    assert!(kill(child));
    run(lab.train("killed", &[&keys[..], &["--resume", "true"]].concat())).good();
    same(&lab.path("whole/out"), &lab.path("killed/out"));
}

#[test]
fn recomputation_changes_no_byte_of_the_result() {
    let (lab, _) = lab();
    run(lab.train("kept", &["--gradient_checkpointing", "false"])).good();
    for file in [
        "model.safetensors",
        "metrics.jsonl",
        "checkpoint-30/optimizer.safetensors",
    ] {
        let [a, b] = ["whole/out", "kept/out"].map(|f| fs::read(lab.path(f).join(file)).unwrap());
        assert!(a == b, "{file}");
    }
}

/// 1 x 16 = 4 x 4 = 16 x 1: one divisor for all micro-batches, whatever their tokens.
#[test]
fn accumulation_is_a_larger_batch() {
    let lab = Lab::new();
    let losses: Vec<Vec<f64>> = [("1", "16"), ("4", "4"), ("16", "1")]
        .map(|(batch, accumulation)| {
            let name = format!("{batch}x{accumulation}");
            let keys = [
                "--per_device_train_batch_size",
                batch,
                "--gradient_accumulation_steps",
                accumulation,
                "--logging_steps=1",
                "--save_strategy=no",
                "--eval_strategy=no",
            ];
            run(lab.train(&name, &keys)).good();
            let rows = read_rows(&lab.path(name).join("out/metrics.jsonl"));
            rows.iter().map(|row| row["loss"].as_f64().unwrap()).collect()
        })
        .into();
    assert_eq!(losses[0].len(), 30);
    assert!(losses[0][29] < losses[0][0] - 1.0, "{:?}", losses[0]);
    for other in &losses[1..] {
        for (step, (a, b)) in losses[0].iter().zip(other).enumerate() {
            assert!((a - b).abs() <= 1e-6 * a.abs(), "step {}: {a} and {b}", step + 1);
        }
    }
}

/// Cut short, or with one byte changed: found by size or checksum, and the checkpoint before it is used.
#[test]
fn a_broken_checkpoint_is_found_and_the_one_before_is_used() {
    let (lab, _) = lab();
    type Change = fn(&mut Vec<u8>);
    let damage: [(&str, &str, Change); 4] = [
        ("optimizer.safetensors", "size", |b| b.truncate(b.len() / 2)),
        ("model.safetensors", "crc32", |b| {
            let middle = b.len() / 2;
            b[middle] ^= 1;
        }),
        ("manifest.json", "line", |b| b.truncate(b.len() / 2)),
        ("trainer_state.json", "size", |b| b.clear()),
    ];
    for (file, what, change) in damage {
        let name = format!("broken-{file}");
        let out = lab.path(&name).join("out");
        copy_folder(&lab.path("whole/out"), &out);
        let path = out.join("checkpoint-30").join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        fs::remove_file(out.join("model.safetensors")).unwrap();
        let ran = run(lab.train(&name, &["--resume", "true"])).good();
        let ran = ran.warned(&["checkpoint-30 is not used", file, what, "found"]);
        assert!(!ran.stderr.contains("checkpoint-25 is not used"), "{}", ran.stderr);
        same(&lab.path("whole/out"), &out);
    }
    // Named itself, it is an error.
    let out = lab.path("named/out");
    copy_folder(&lab.path("whole/out"), &out);
    let path = out.join("checkpoint-30/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..1000]).unwrap();
    run(lab.train("named", &["--resume", "out/checkpoint-30"])).refused(&["checkpoint-30/model.safetensors", "size"]);
}

#[test]
fn other_data_is_refused_and_another_configuration_is_told() {
    let (lab, _) = lab();
    for name in ["data", "config"] {
        copy_folder(&lab.path("whole/out"), &lab.path(name).join("out"));
        fs::remove_dir_all(lab.path(name).join("out/checkpoint-30")).unwrap();
    }
    let keys = ["--resume", "true", "--dataset.test_size=7"];
    run(lab.train("data", &keys)).refused(&["dataset", "checksum", "other data", "--overwrite_output_dir"]);
    let keys = ["--resume", "true", "--learning_rate=2e-3"];
    run(lab.train("config", &keys))
        .good()
        .warned(&["the configuration differs", "learning_rate: 0.001 -> 0.002"]);
}

/// The last step has a checkpoint whatever `save_steps` is: a longer run may go on from it.
#[test]
fn the_last_step_is_saved() {
    let lab = Lab::new();
    run(lab.train("last", &["--save_steps=100", "--max_steps=7"])).good();
    assert!(lab.path("last/out/checkpoint-7").is_dir());
    let ran = run(lab.train("last", &["--save_steps=100", "--max_steps=9", "--resume", "true"])).good();
    assert!(lab.path("last/out/checkpoint-9").is_dir());
    ran.warned(&["max_steps: 7 -> 9"]);
}

#[cfg(unix)]
#[test]
fn two_runs_do_not_share_a_folder() {
    let lab = Lab::new();
    let mut first = start(&lab, "shared");
    wait_for(&mut first, || lab.path("shared/out/checkpoint-5").exists());
    // Stopped, not ended: it holds the folder however slow the machine is.
    let id = first.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    signal("STOP");
    run(lab.train("shared", &["--resume", "true"])).refused(&["out", "output_dir", "no other run", "another run"]);
    signal("CONT");
    assert!(first.wait().unwrap().success());
}

/// Only the newest checkpoints stay, and the best.
#[test]
fn old_checkpoints_go() {
    let lab = Lab::new();
    let keys = [
        "--save_total_limit=2",
        "--load_best_model_at_end",
        "true",
        "--eval_steps=5",
    ];
    run(lab.train("limit", &keys)).good();
    let mut names: Vec<_> = fs::read_dir(lab.path("limit/out"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("checkpoint"))
        .collect();
    names.sort();
    let rows = read_rows(&lab.path("limit/out/metrics.jsonl"));
    let evals = rows
        .iter()
        .filter_map(|r| Some((r["eval_loss"].as_f64()?, r["step"].as_u64()?)));
    let best = evals.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;
    let other = if best == 30 { 25 } else { 30 };
    assert_eq!(
        names,
        [
            format!("checkpoint-{}", best.min(other)),
            format!("checkpoint-{}", best.max(other))
        ]
    );
    // The model is the best checkpoint's.
    let [model, checkpoint] = ["limit/out".into(), format!("limit/out/checkpoint-{best}")]
        .map(|f: String| fs::read(lab.path(f).join("model.safetensors")).unwrap());
    assert!(model == checkpoint);
}

/// A file system of 700 KiB, where two checkpoints find room and a third does not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let (lab, _) = lab();
    let small = lab.path("full");
    fs::create_dir_all(&small).unwrap();
    let saved = lab.path("after");
    // The mount is this child's alone and ends with it.
    let script = r#"
        mount -t tmpfs -o size=800k none "$SMALL" || exit 77
        cd "$SMALL" && ln -s "$LAB/model" model && ln -s "$LAB/data.jsonl" data.jsonl && mkdir run && cd run
        "$@"
        code=$?
        mkdir -p "$SAVED" && cp -a "$SMALL/run/out" "$SAVED/"
        exit $code
    "#;
    let train = lab.train("unused", &[]);
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(proximal())
        .args(train.get_args())
        .env("PROXIMAL_THREADS", "2")
        .env("SMALL", &small)
        .env("LAB", lab.path("."))
        .env("SAVED", &saved)
        .output();
    let ran = match output.map(Ran::from) {
        Ok(ran) if ran.code != Some(77) && !ran.stderr.contains("unshare") => ran,
        not => {
            println!("skipped: no small file system can be mounted here: {not:?}");
            return;
        }
    };
    let ran = ran.refused(&[
        "the checkpoint of step",
        "was not saved",
        "out/.checkpoint-",
        "No space left",
    ]);
    assert!(ran.stderr.contains("earlier ones are whole"), "{ran:#?}");
    let newest = proximal::checkpoint::latest_valid(&saved.join("out")).unwrap();
    assert!(newest.warnings.is_empty(), "{:?}", newest.warnings);
    let newest = newest.checkpoint.expect("a checkpoint that was saved before");
    assert!(newest.step >= 5, "{newest:?}");
    let ran = run(lab.train("after", &["--resume", "true"])).good();
    assert!(!ran.stderr.contains("step 3/30"), "{ran:#?}");
    same(&lab.path("whole/out"), &saved.join("out"));
}
