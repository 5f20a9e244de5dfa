use super::*;
use crate::config::Direction;
use model_qwen2::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A checkpoint with a file of each kind: counted while written, written by another, in a folder below.
fn save(output: &Path, step: u64) -> Checkpoint {
    let mut writer = Writer::begin(output, step).unwrap();
    let mut file = writer.file("weights.bin").unwrap();
    for part in 0..100u64 {
        file.write_all(&(step * part).to_le_bytes()).unwrap();
    }
    file.close().unwrap();
    fs::write(writer.path().join("config.json"), format!("{{\"step\": {step}}}")).unwrap();
    fs::create_dir(writer.path().join("tokenizer")).unwrap();
    fs::write(writer.path().join("tokenizer/vocab.txt"), "a\nb\n").unwrap();
    writer.commit().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn newest_step(output: &Path) -> Option<u64> {
    latest_valid(output)
        .unwrap()
        .checkpoint
        .map(|checkpoint| checkpoint.step)
}

#[test]
fn a_committed_checkpoint_has_a_manifest_of_every_file() {
    let output = tempfile::tempdir().unwrap();
    let saved = save(output.path(), 3);
    assert_eq!(verify(&saved.path).unwrap(), saved);
    assert_eq!(names(output.path()), ["checkpoint-3"]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(saved.path.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["step"], 3);
    assert_eq!(manifest["files"].as_object().unwrap().len(), 3);
    // Checked by Python's zlib.crc32(b"a\nb\n").
    assert_eq!(
        manifest["files"]["tokenizer/vocab.txt"],
        serde_json::json!({"size": 4, "crc32": "18572a97"})
    );
    assert_eq!(manifest["files"]["weights.bin"]["size"], 800);
}

#[test]
fn a_broken_checkpoint_is_named_and_the_one_before_is_used() {
    let output = tempfile::tempdir().unwrap();
    type Break = fn(&Path);
    let cases: [(Break, &str); 6] = [
        (
            |path| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(path.join("weights.bin"))
                    .unwrap()
                    .set_len(799)
                    .unwrap()
            },
            "weights.bin: size: expected 800 bytes, found 799 bytes",
        ),
        (
            |path| {
                let mut bytes = fs::read(path.join("weights.bin")).unwrap();
                bytes[400] ^= 1;
                fs::write(path.join("weights.bin"), bytes).unwrap();
            },
            "weights.bin: crc32: expected ",
        ),
        (
            |path| fs::remove_file(path.join("tokenizer/vocab.txt")).unwrap(),
            "tokenizer/vocab.txt: cannot open: ",
        ),
        (
            |path| fs::write(path.join("tokenizer/vocab.txt"), "a\nc\n").unwrap(),
            "vocab.txt: crc32: expected 18572a97, found ",
        ),
        (
            |path| fs::remove_file(path.join("manifest.json")).unwrap(),
            "manifest.json: cannot read: ",
        ),
        (
            |path| fs::write(path.join("manifest.json"), "{\"step\": 3,\n\"fil").unwrap(),
            "manifest.json: line 2: expected a manifest, found ",
        ),
    ];
    for (break_it, expected) in cases {
        save(output.path(), 1);
        save(output.path(), 2);
        break_it(&save(output.path(), 3).path);
        let newest = latest_valid(output.path()).unwrap();
        assert_eq!(newest.checkpoint.unwrap().step, 2);
        assert_eq!(newest.warnings.len(), 1);
        let warning = &newest.warnings[0];
        assert!(
            warning.starts_with("checkpoint-3 is not used: ") && warning.contains(expected),
            "{warning}"
        );
    }
    assert_eq!(newest_step(&output.path().join("nowhere")), None);
}

/// The system's own ENOSPC, through the code that writes every checkpoint: the file leads to /dev/full.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let output = tempfile::tempdir().unwrap();
    let good = save(output.path(), 1);
    let attempt = || -> Result<(), Error> {
        let mut writer = Writer::begin(output.path(), 2)?;
        writer.write("small.json", b"{}")?;
        std::os::unix::fs::symlink("/dev/full", writer.path().join("weights.bin")).unwrap();
        writer.write("weights.bin", &[7; 3 << 20])?;
        writer.commit()?;
        Ok(())
    };
    let message = attempt().unwrap_err().to_string();
    assert!(
        message.contains(".checkpoint-2.tmp/weights.bin: cannot write: No space left on device"),
        "{message}"
    );
    assert_eq!(names(output.path()), ["checkpoint-1"]);
    assert_eq!(latest_valid(output.path()).unwrap().checkpoint, Some(good));
}

/// The file system itself is full: a tmpfs of 64 KiB in a mount namespace of its own.
#[test]
#[cfg(target_os = "linux")]
fn a_full_file_system_leaves_the_last_good_checkpoint() {
    let output = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$1\" && exec \"$2\" --exact checkpoint::tests::child_fills_the_disk --ignored --nocapture";
    let child = Command::new("unshare")
        .args(["-rm", "sh", "-c", mount, "sh"])
        .args([output.path(), &std::env::current_exe().unwrap()])
        .env("OUTPUT_DIR", output.path())
        .output();
    match child {
        Ok(child) if String::from_utf8_lossy(&child.stdout).contains("running 1 test") => {
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        }
        other => println!("skipped: no tmpfs can be mounted here: {other:?}"),
    }
}

#[test]
#[ignore = "started by a_full_file_system_leaves_the_last_good_checkpoint"]
fn child_fills_the_disk() {
    let output = std::env::var_os("OUTPUT_DIR").unwrap();
    let output = Path::new(&output);
    save(output, 1);
    // By the writer, and by a caller that writes files by itself.
    let mut writer = Writer::begin(output, 2).unwrap();
    let error = writer.write("weights.bin", &[7; 1 << 20]).unwrap_err();
    assert!(
        error.to_string().contains("weights.bin: cannot write: No space left"),
        "{error}"
    );
    drop(writer);
    let writer = Writer::begin(output, 3).unwrap();
    fs::write(writer.path().join("weights.bin"), [7; 1 << 20]).unwrap_err();
    drop(writer);
    assert_eq!(
        (names(output), newest_step(output)),
        (vec!["checkpoint-1".into()], Some(1))
    );
    // There is room for a small one again.
    save(output, 4);
    assert_eq!(newest_step(output), Some(4));
}

#[test]
fn a_writer_that_is_dropped_or_has_an_open_file_leaves_nothing() {
    let output = tempfile::tempdir().unwrap();
    let mut writer = Writer::begin(output.path(), 5).unwrap();
    writer.write("a", b"a").unwrap();
    assert_eq!(names(output.path()), [".checkpoint-5.tmp"]);
    drop(writer);
    let mut writer = Writer::begin(output.path(), 5).unwrap();
    let mut file = writer.file("weights.bin").unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    let message = writer.commit().unwrap_err().to_string();
    assert!(
        message.contains("weights.bin: file: expected a closed file"),
        "{message}"
    );
    assert!(names(output.path()).is_empty());
}

/// kill -9 at moments spread over the writing: whatever has a checkpoint's name is whole.
#[test]
#[cfg(unix)]
fn a_killed_run_leaves_only_whole_checkpoints() {
    let output = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..12u64 {
        let mut child = child("child_saves_for_ever")
            .env("OUTPUT_DIR", output.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The child has begun when a checkpoint of its own is there.
        while list(output.path())
            .unwrap()
            .last()
            .is_none_or(|newest| newest.step <= last)
        {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 317));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(OutputDir::open(output.path(), Begin::Resume).unwrap());
        let newest = latest_valid(output.path()).unwrap();
        assert!(newest.warnings.is_empty(), "{:?}", newest.warnings);
        assert!(newest.checkpoint.as_ref().unwrap().step > last);
        last = newest.checkpoint.unwrap().step;
        let left = names(output.path());
        assert!(
            left.iter()
                .all(|name| name == ".lock" || name.starts_with("checkpoint-")),
            "{left:?}"
        );
    }
}

#[test]
#[ignore = "started by a_killed_run_leaves_only_whole_checkpoints"]
fn child_saves_for_ever() {
    let output = std::env::var_os("OUTPUT_DIR").unwrap();
    let output = OutputDir::open(Path::new(&output), Begin::Resume).unwrap();
    let first = newest_step(output.path()).unwrap_or(0) + 1;
    for step in first.. {
        // The step before is written twice, so that replacing is killed too.
        save(output.path(), step.saturating_sub(1));
        save(output.path(), step);
        prune(output.path(), Some(2), &[step]).unwrap();
    }
}

/// This test program, running one ignored test.
#[cfg(unix)]
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("checkpoint::tests::{test}"),
        "--ignored",
        "--nocapture",
    ]);
    command
}

#[test]
fn what_a_killed_run_left_is_cleared_or_put_back() {
    let output = tempfile::tempdir().unwrap();
    save(output.path(), 1);
    save(output.path(), 2);
    fs::create_dir(output.path().join(".checkpoint-3.tmp")).unwrap();
    fs::write(output.path().join(".checkpoint-3.tmp/weights.bin"), "half").unwrap();
    // Killed between the two renames of a replacement.
    fs::rename(
        output.path().join("checkpoint-2"),
        output.path().join(".checkpoint-2.old"),
    )
    .unwrap();
    assert_eq!(newest_step(output.path()), Some(1));
    drop(OutputDir::open(output.path(), Begin::Resume).unwrap());
    assert_eq!(names(output.path()), [".lock", "checkpoint-1", "checkpoint-2"]);
    assert_eq!(newest_step(output.path()), Some(2));
}

#[test]
fn the_oldest_go_but_never_the_best_or_the_one_just_written() {
    let output = tempfile::tempdir().unwrap();
    let left = |limit, keep: &[u64]| {
        for step in [5, 10, 15, 20] {
            save(output.path(), step);
        }
        let removed = prune(output.path(), limit, keep).unwrap();
        (
            removed,
            list(output.path())
                .unwrap()
                .iter()
                .map(|checkpoint| checkpoint.step)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(left(None, &[20]), (vec![], vec![5, 10, 15, 20]));
    assert_eq!(left(Some(3), &[20]), (vec![5], vec![10, 15, 20]));
    assert_eq!(left(Some(2), &[20, 5]), (vec![10, 15], vec![5, 20]));
    assert_eq!(left(Some(1), &[20, 10]), (vec![5, 15], vec![10, 20]));
    // 20 was found broken and the run went on from 10.
    assert_eq!(left(Some(2), &[15]), (vec![20, 5], vec![10, 15]));
    assert_eq!(names(output.path()), ["checkpoint-10", "checkpoint-15"]);
}

#[test]
fn the_best_is_strictly_better() {
    let mut best = Best::new("eval_loss", Direction::Less);
    let seen = [(1, f64::NAN), (2, 3.0), (3, 3.0), (4, 2.5), (5, f64::NAN), (6, 2.75)]
        .map(|(step, value)| best.update(step, value));
    assert_eq!((seen, best.step()), ([false, true, false, true, false, false], Some(4)));
    let again: Best = serde_json::from_str(&serde_json::to_string(&best).unwrap()).unwrap();
    assert_eq!(again, best);
    let mut most = Best::new("eval_accuracy", Direction::Greater);
    assert!(most.update(1, 0.5) && most.update(2, 0.75) && !most.update(3, 0.25));
}

#[test]
fn a_folder_in_use_or_not_empty_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("new/run");
    let refused = |begin| OutputDir::open(&path, begin).unwrap_err().to_string();
    let first = OutputDir::open(&path, Begin::Fresh).unwrap();
    for begin in [Begin::Fresh, Begin::Resume, Begin::Overwrite] {
        assert!(refused(begin).contains("run: output_dir: expected a folder that no other run writes to"));
    }
    drop(first);
    // The lock file alone is an empty folder.
    drop(OutputDir::open(&path, Begin::Fresh).unwrap());
    save(&path, 1);
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let message = refused(Begin::Fresh);
    assert!(
        message.contains("--resume")
            && message.contains("--overwrite_output_dir")
            && message.ends_with("found checkpoint-1"),
        "{message}"
    );
    drop(OutputDir::open(&path, Begin::Resume).unwrap());
    assert_eq!(newest_step(&path), Some(1));
    drop(OutputDir::open(&path, Begin::Overwrite).unwrap());
    assert_eq!(names(&path), [".lock", "notes.txt"]);
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(
        OutputDir::open(&file, Begin::Fresh)
            .unwrap_err()
            .to_string()
            .contains("file: cannot create")
    );
}

/// What a killed run left of a file that was not whole yet is removed; what others put there is not.
#[test]
fn half_written_files_are_cleared_away() {
    let output = tempfile::tempdir().unwrap();
    for name in [".model.safetensors.4711.tmp", ".notes.tmp", "a.7.tmp", ".b.7x.tmp"] {
        fs::write(output.path().join(name), "").unwrap();
    }
    drop(OutputDir::open(output.path(), Begin::Resume).unwrap());
    assert_eq!(names(output.path()), [".b.7x.tmp", ".lock", ".notes.tmp", "a.7.tmp"]);
}

#[test]
fn names_that_are_not_checkpoints_are_left_alone() {
    let output = tempfile::tempdir().unwrap();
    for name in [
        "checkpoint-",
        "checkpoint-007",
        "checkpoint-3-copy",
        "best-3",
        ".checkpoint-x.tmp",
    ] {
        fs::create_dir(output.path().join(name)).unwrap();
    }
    drop(OutputDir::open(output.path(), Begin::Overwrite).unwrap());
    assert_eq!(names(output.path()).len(), 6);
    assert!(list(output.path()).unwrap().is_empty());
}

/// The first signal asks, the second ends; in a process of its own, since signals are the whole process's.
#[test]
#[cfg(unix)]
fn the_second_signal_ends_the_process() {
    let status = child("child_signals_itself").stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(130));
    let stop = Stop::default();
    assert!(!stop.requested());
    stop.clone().request();
    assert!(stop.requested());
}

#[test]
#[ignore = "started by the_second_signal_ends_the_process"]
fn child_signals_itself() {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        low_level::raise,
    };
    let stop = Stop::on_signals().unwrap();
    assert!(!stop.requested());
    raise(SIGTERM).unwrap();
    assert!(stop.requested());
    raise(SIGINT).unwrap();
    unreachable!("the second signal ends the process");
}
