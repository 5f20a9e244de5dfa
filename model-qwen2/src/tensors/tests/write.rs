//! Files appear whole or not at all.
use super::*;

#[test]
fn shards_and_their_index() {
    let folder = tempdir().unwrap();
    let specs: Vec<Spec> = ["a", "b", "c", "d"].map(|name| spec(name, &[2, 3], Dtype::F32)).into();
    let save = |limit: u64, offset: f32| {
        save_tensors(folder.path(), &specs, limit, |spec, sink| {
            sink.put(&[f32::from(spec.name.as_bytes()[0]) + offset; 6])
        })
        .unwrap();
    };
    let check = |files: &[&str], offset: f32| {
        assert_eq!(names(folder.path()), files);
        let tensors = Tensors::open(folder.path()).unwrap();
        assert_eq!(tensors.iter().map(|(name, _)| name).collect::<String>(), "abcd");
        for Spec { name, .. } in &specs {
            let values: Vec<f32> = tensors.get(name, &[2, 3]).unwrap().to_vec().unwrap();
            assert_eq!(values, [f32::from(name.as_bytes()[0]) + offset; 6]);
        }
    };
    save(1000, 0.0);
    check(&["model.safetensors"], 0.0);
    // 24 bytes each: two to a shard.
    save(48, 1.0);
    check(
        &[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            INDEX_FILE,
        ],
        1.0,
    );
    let index: Value = serde_json::from_slice(&fs::read(folder.path().join(INDEX_FILE)).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 96);
    assert_eq!(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
    // Larger than the limit: each its own.
    save(5, 2.0);
    assert_eq!(names(folder.path()).len(), 5);
    save(96, 3.0);
    check(&["model.safetensors"], 3.0);
}

#[test]
fn failed_writes_leave_the_old_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join(SINGLE_FILE);
    let specs = [spec("a", &[2], Dtype::F32), spec("b", &[2], Dtype::Bf16)];
    write_safetensors(&path, &specs, |_, sink| sink.put(&[1.0_f32, 2.0])).unwrap();
    let old = fs::read(&path).unwrap();
    let survived = || {
        assert_eq!(
            (names(folder.path()), fs::read(&path).unwrap()),
            (vec![SINGLE_FILE.into()], old.clone())
        )
    };

    // f32::MAX is finite, but not as bf16.
    let result = write_safetensors(&path, &specs, |_, sink| sink.put(&[1.0, f32::MAX]));
    has(&error(result), &[SINGLE_FILE, "tensor b index 1", "finite in bfloat16"]);
    survived();
    let short = std::panic::catch_unwind(|| write_safetensors(&path, &specs, |_, sink| sink.put(&[1.0_f32])));
    let message = *short.unwrap_err().downcast::<String>().unwrap();
    has(&message, &["tensor a of shape [2]"]);
    survived();
    has(
        &error(write_safetensors(folder.path().join("no/x"), &specs, |_, _| Ok(()))),
        &["no", "cannot create"],
    );
}

/// A file may grow to 64 KiB only, as on a full disk. The limit needs a process of its own.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_file() {
    const FOLDER: &str = "PROXIMAL_TEST_FULL_DISK";
    let specs = [spec("a", &[1 << 20], Dtype::F32)];
    if let Some(folder) = std::env::var_os(FOLDER) {
        let path = Path::new(&folder).join(SINGLE_FILE);
        has(
            &error(write_safetensors(&path, &specs, |_, sink| {
                sink.put(&[1.0_f32; 1 << 20])
            })),
            &["cannot write", "too large"],
        );
        fs::write(Path::new(&folder).join("ran"), "").unwrap();
        return;
    }
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(SINGLE_FILE), "old").unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tensors::tests::write::a_full_disk_leaves_the_old_file"])
        .env(FOLDER, folder.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(names(folder.path()), [SINGLE_FILE, "ran"]);
    assert_eq!(fs::read(folder.path().join(SINGLE_FILE)).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn files_are_readable_for_all() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    write_json(folder.path().join("ours"), &json!({ "a": "é" })).unwrap();
    // As the umask lets any new file be: 0644 mostly, and not the 0600 of a temporary file.
    fs::write(folder.path().join("plain"), "").unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("ours"), mode("plain"));
    assert_eq!(
        fs::read_to_string(folder.path().join("ours")).unwrap(),
        "{\n  \"a\": \"é\"\n}\n"
    );
}

#[test]
fn output_folders_must_be_empty() {
    let folder = tempdir().unwrap();
    assert!(new_folder(folder.path()).is_ok());
    let deep = folder.path().join("a/b");
    assert_eq!(new_folder(&deep).unwrap(), deep);
    has(
        &error(new_folder(folder.path())),
        &["a new or empty folder", "found a in it"],
    );
}
