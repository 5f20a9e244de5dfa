use super::*;
use crate::error::Result;
use half::{bf16, f16};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn spec(name: &str, shape: &[usize], dtype: Dtype) -> Spec {
    Spec {
        name: name.into(),
        shape: shape.into(),
        dtype,
    }
}

/// A file with this header and this much data, zeros.
fn file(header: impl ToString, data: usize) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join(SINGLE_FILE);
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn error<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} not in {message:?}");
    }
}

/// Files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn half(bits: u16) -> f64 {
    f16::from_bits(bits).to_f64()
}

fn brain_float(bits: u16) -> f64 {
    bf16::from_bits(bits).to_f64()
}

/// The 16-bit number nearest to `x`, of two as near the one with even bits; by search, `value` being monotonic.
fn nearest(x: f64, value: fn(u16) -> f64) -> f64 {
    let (mut low, mut high) = (0, 0x7fff);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if value(middle) <= x.abs() {
            low = middle
        } else {
            high = middle
        }
    }
    let (below, above) = (x.abs() - value(low), value(high) - x.abs());
    let bits = if below < above || below == above && low % 2 == 0 {
        low
    } else {
        high
    };
    value(bits).copysign(x)
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempdir().unwrap();
    let values: Vec<f64> = (0..40_000)
        .map(|i| (f64::from(i) - 2e4) * 1.000_1e-3)
        .collect();
    let all = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];
    let specs: Vec<Spec> = all
        .iter()
        .map(|&dtype| spec(dtype.torch_name(), &[200, 200], dtype))
        .collect();
    save_tensors(folder.path(), &specs, u64::MAX, |_, sink| {
        let (a, b) = values.split_at(12_345);
        sink.put(a)?;
        sink.put(b)
    })
    .unwrap();

    let tensors = Tensors::open(folder.path()).unwrap();
    assert_eq!(tensors.iter().count(), 4);
    let read = |dtype: Dtype| {
        let view = tensors.get(dtype.torch_name(), &[200, 200]).unwrap();
        assert_eq!(
            (view.name(), view.dtype(), view.shape(), view.len()),
            (dtype.torch_name(), dtype, &[200, 200][..], 40_000)
        );
        (
            view.to_vec::<f64>().unwrap(),
            view.to_vec::<f32>().unwrap(),
            view.to_vec::<bf16>().unwrap(),
        )
    };
    let rounded: [fn(f64) -> f64; 4] = [
        |x| x,
        |x| (x as f32).into(),
        |x| nearest(x, half),
        |x| nearest(x, brain_float),
    ];
    for (dtype, round) in all.into_iter().zip(rounded) {
        let (double, single, brain) = read(dtype);
        for (i, &x) in values.iter().enumerate() {
            assert_eq!(double[i], round(x));
            assert_eq!(single[i], round(x) as f32);
            // A half-precision number goes through f32, exactly.
            assert_eq!(brain[i].to_f64(), nearest(round(x), brain_float));
        }
    }

    // The crate of the format's authors agrees.
    let bytes = fs::read(folder.path().join(SINGLE_FILE)).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let theirs: Vec<f32> = theirs
        .tensor("float32")
        .unwrap()
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    assert_eq!(theirs, read(Dtype::F32).1);
}

#[test]
fn bf16_rounds_to_nearest_even() {
    // One and two thirds of the way between neighbours, and ties to either side.
    let cases = [
        (0x3f80_5555, 0x3f80),
        (0x3f80_aaaa, 0x3f81),
        (0x3f80_8000, 0x3f80),
        (0x3f81_8000, 0x3f82),
    ];
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let values = cases.map(|(bits, _)| f32::from_bits(bits));
    write_safetensors(&path, &[spec("x", &[4], Dtype::Bf16)], |_, sink| {
        sink.put(&values)
    })
    .unwrap();
    let read: Vec<bf16> = Tensors::open_file(&path)
        .unwrap()
        .get("x", &[4])
        .unwrap()
        .to_vec()
        .unwrap();
    assert_eq!(
        read.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        cases.map(|(_, bits)| bits)
    );
}

#[test]
fn shards_and_their_index() {
    let folder = tempdir().unwrap();
    let specs: Vec<Spec> = ["a", "b", "c", "d"]
        .map(|name| spec(name, &[2, 3], Dtype::F32))
        .into();
    let save = |limit: u64, offset: f32| {
        save_tensors(folder.path(), &specs, limit, |spec, sink| {
            sink.put(&[f32::from(spec.name.as_bytes()[0]) + offset; 6])
        })
        .unwrap();
    };
    let check = |files: &[&str], offset: f32| {
        assert_eq!(names(folder.path()), files);
        let tensors = Tensors::open(folder.path()).unwrap();
        assert_eq!(
            tensors.iter().map(|(name, _)| name).collect::<String>(),
            "abcd"
        );
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
    let index: Value =
        serde_json::from_slice(&fs::read(folder.path().join(INDEX_FILE)).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 96);
    assert_eq!(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
    // Larger than the limit: each its own.
    save(5, 2.0);
    assert_eq!(names(folder.path()).len(), 5);
    save(96, 3.0);
    check(&["model.safetensors"], 3.0);
}

#[test]
fn lying_headers() {
    let one = |dtype: &str, shape: Value, from: usize, to: usize| json!({ "w": { "dtype": dtype, "shape": shape, "data_offsets": [from, to] } });
    let two = |from: usize| {
        json!({ "w": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] },
            "x": { "dtype": "F32", "shape": [2], "data_offsets": [from, from + 8] } })
    };
    let cases = [
        (
            one("F32", json!([2, 3]), 0, 24),
            20,
            &["tensor w", "cut at byte 20"][..],
        ),
        (
            one("F32", json!([2, 3]), 0, 24),
            30,
            &["file: expected 24 bytes", "found 30"],
        ),
        (
            one("F32", json!([2, 3]), 0, 20),
            20,
            &["tensor w", "[2, 3]", "20 bytes"],
        ),
        (
            one("F32", json!([1u64 << 40, 1u64 << 40]), 0, 24),
            24,
            &["tensor w", "as many bytes as F32"],
        ),
        (one("F32", json!([2]), 8, 0), 8, &["tensor w", "[8, 0]"]),
        (
            one("F32", json!([2]), 4, 12),
            12,
            &["tensor w", "from byte 0"],
        ),
        (
            one("F99", json!([2]), 0, 8),
            8,
            &["tensor w", "unknown variant `F99`"],
        ),
        (
            one("F32", json!([-1]), 0, 8),
            8,
            &["tensor w", "invalid value"],
        ),
        (
            json!({ "w": { "dtype": "F32" } }),
            8,
            &["tensor w", "missing field"],
        ),
        (two(4), 12, &["tensor x", "from byte 8", "[4, 12]"]),
        (two(12), 20, &["tensor x", "from byte 8", "[12, 20]"]),
        (json!([]), 0, &["header: expected a JSON object"]),
    ];
    for (header, data, parts) in cases {
        let (folder, path) = file(&header, data);
        let message = error(Tensors::open(folder.path()));
        has(&message, parts);
        has(&message, &[path.to_str().unwrap()]);
    }
}

#[test]
fn truncated_files() {
    let (folder, path) = file(
        json!({ "w": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] } }),
        8,
    );
    let whole = fs::read(&path).unwrap();
    assert!(Tensors::open(folder.path()).is_ok());
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        has(
            &error(Tensors::open(folder.path())),
            &["model.safetensors: ", "expected "],
        );
    }
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, lying).unwrap();
    has(
        &error(Tensors::open(folder.path())),
        &["header length", &u64::MAX.to_string()],
    );
}

#[test]
fn a_tensor_that_is_not_as_asked() {
    let (folder, _) = file(
        json!({ "w": { "dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8] },
            "i": { "dtype": "I64", "shape": [2], "data_offsets": [8, 24] } }),
        24,
    );
    let tensors = Tensors::open(folder.path()).unwrap();
    has(
        &error(tensors.get("v", &[2])),
        &[SINGLE_FILE, "tensor v", "no such tensor"],
    );
    has(
        &error(tensors.get("w", &[2])),
        &["tensor w: expected shape [2], found [2, 1]"],
    );
    has(
        &error(tensors.get("i", &[2])),
        &["tensor i", "F64, F32, F16 or BF16", "found I64"],
    );
    assert!(tensors.get("w", &[2, 1]).is_ok() && tensors.contains("w") && !tensors.contains("v"));
}

#[test]
fn numbers_that_are_not_finite() {
    let (folder, path) = file(
        json!({ "w": { "dtype": "F64", "shape": [3], "data_offsets": [0, 24] } }),
        24,
    );
    let mut bytes = fs::read(&path).unwrap();
    let start = bytes.len() - 24;
    // Finite in f64, not in f32.
    bytes[start + 16..].copy_from_slice(&1e300_f64.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let tensors = Tensors::open(folder.path()).unwrap();
    assert_eq!(
        tensors.get("w", &[3]).unwrap().to_vec::<f64>().unwrap()[2],
        1e300
    );
    has(
        &error(tensors.get("w", &[3]).unwrap().to_vec::<f32>()),
        &["tensor w index 2", "finite", "found inf"],
    );
    drop(tensors);
    bytes[start + 8..start + 16].copy_from_slice(&f64::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let tensors = Tensors::open(folder.path()).unwrap();
    has(
        &error(tensors.get("w", &[3]).unwrap().to_vec::<f64>()),
        &["tensor w index 1", "found NaN"],
    );
}

#[test]
fn unexpected_tensors() {
    let folder = tempdir().unwrap();
    let specs = [
        "a",
        "b",
        "lm_head.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
    ]
    .map(|name| spec(name, &[1], Dtype::F32));
    save_tensors(folder.path(), &specs, u64::MAX, |_, sink| {
        sink.put(&[0.5_f32])
    })
    .unwrap();
    assert_eq!(
        Tensors::open(folder.path())
            .unwrap()
            .unexpected(|name| name == "a"),
        ["b"]
    );
}

#[test]
fn folders_without_weights() {
    let folder = tempdir().unwrap();
    has(
        &error(Tensors::open(folder.path())),
        &["expected model.safetensors or model.safetensors.index.json"],
    );
    has(
        &error(Tensors::open(folder.path().join("nowhere"))),
        &["nowhere: cannot open"],
    );
}

#[test]
fn indexes_that_do_not_fit() {
    let folder = tempdir().unwrap();
    let specs = ["a", "b"].map(|name| spec(name, &[1], Dtype::F32));
    save_tensors(folder.path(), &specs, 4, |_, sink| sink.put(&[0.5_f32])).unwrap();
    let (one, two) = (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    );
    let message = |map: Value| {
        fs::write(
            folder.path().join(INDEX_FILE),
            json!({ "weight_map": map }).to_string(),
        )
        .unwrap();
        error(Tensors::open(folder.path()))
    };
    has(
        &message(json!({ "a": one, "b": "x.safetensors" })),
        &[INDEX_FILE, "the shard x.safetensors", "no such file"],
    );
    has(
        &message(json!({ "a": one, "b": two, "c": two })),
        &[two, "tensor c", "no such tensor"],
    );
    has(
        &message(json!({ "a": one, "c": two })),
        &[two, "tensor b", "in the index"],
    );
    has(
        &message(json!({ "a": two, "b": two })),
        &[two, "tensor a", "no such tensor"],
    );
    has(
        &message(json!({ "a": one, "b": one, "c": two })),
        &[two, "tensor b", "it in model-00001"],
    );
    has(
        &message(json!({ "a": one, "b": "../x" })),
        &["weight_map", "beside the index", "../x"],
    );
    has(
        &message(json!({ "a": 1 })),
        &[INDEX_FILE, "weight_map", "invalid type"],
    );
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
    has(
        &error(result),
        &[SINGLE_FILE, "tensor b index 1", "finite in bfloat16"],
    );
    survived();
    let short = std::panic::catch_unwind(|| {
        write_safetensors(&path, &specs, |_, sink| sink.put(&[1.0_f32]))
    });
    let message = *short.unwrap_err().downcast::<String>().unwrap();
    has(&message, &["tensor a of shape [2]"]);
    survived();
    has(
        &error(write_safetensors(
            folder.path().join("no/x"),
            &specs,
            |_, _| Ok(()),
        )),
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
        return;
    }
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(SINGLE_FILE), "old").unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tensors::tests::a_full_disk_leaves_the_old_file"])
        .env(FOLDER, folder.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(names(folder.path()), [SINGLE_FILE]);
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
    let mode = |name: &str| {
        fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
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
