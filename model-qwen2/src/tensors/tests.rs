use super::*;
use crate::error::Result;
use half::{bf16, f16};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

mod write;

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

/// Resident kilobytes of a file that is mapped.
#[cfg(target_os = "linux")]
fn resident(path: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A model that was read is not kept in memory a second time, as the file.
#[cfg(target_os = "linux")]
#[test]
fn what_was_read_is_given_back() {
    let n = 1 << 20;
    let (_folder, path) = file(
        json!({ "x": { "dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n] } }),
        4 * n,
    );
    let tensors = Tensors::open_file(&path).unwrap();
    let view = tensors.get("x", &[n]).unwrap();
    for _ in 0..2 {
        assert!(view.to_vec::<f32>().unwrap().iter().all(|&x| x == 0.0));
        let left = resident(&path);
        assert!(left < 64, "{left} KiB of {}", 4 * n / 1024);
    }
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
    let values: Vec<f64> = (0..40_000).map(|i| (f64::from(i) - 2e4) * 1.000_1e-3).collect();
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
    write_safetensors(&path, &[spec("x", &[4], Dtype::Bf16)], |_, sink| sink.put(&values)).unwrap();
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
fn f64_rounds_to_16_bits_once() {
    // Just off a tie, nearer to it than f32 can tell: to go through f32 by nearest rounds to the tie, then to even.
    let off = 1e-12;
    for (value, brain) in [
        (1.0 + 1.0 / 256.0 + off, 0x3f81),
        (1.0 + 1.0 / 256.0, 0x3f80),
        (-1.0 - 1.0 / 256.0 - off, 0xbf81),
        (1.0 + 3.0 / 256.0 - off, 0x3f81),
        (1.0 + 3.0 / 256.0, 0x3f82),
    ] {
        assert_eq!(value.to_bf16().to_bits(), brain, "{value}");
    }
    assert_eq!((1.0 + 1.0 / 2048.0 + off).to_f16().to_bits(), 0x3c01);
    assert_eq!((1.0 + 3.0 / 2048.0 - off).to_f16().to_bits(), 0x3c01);
    assert_eq!(f64::MAX.to_bf16(), bf16::INFINITY);
    assert_eq!((-1e-300_f64).to_bf16().to_bits(), 0x8000);
    assert!(f64::NAN.to_bf16().is_nan());
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
        (one("F32", json!([2]), 4, 12), 12, &["tensor w", "from byte 0"]),
        (one("F99", json!([2]), 0, 8), 8, &["tensor w", "unknown variant `F99`"]),
        (one("F32", json!([-1]), 0, 8), 8, &["tensor w", "invalid value"]),
        (json!({ "w": { "dtype": "F32" } }), 8, &["tensor w", "missing field"]),
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
    assert_eq!(tensors.get("w", &[3]).unwrap().to_vec::<f64>().unwrap()[2], 1e300);
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
    save_tensors(folder.path(), &specs, u64::MAX, |_, sink| sink.put(&[0.5_f32])).unwrap();
    assert_eq!(
        Tensors::open(folder.path()).unwrap().unexpected(|name| name == "a"),
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
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let message = |map: Value| {
        fs::write(folder.path().join(INDEX_FILE), json!({ "weight_map": map }).to_string()).unwrap();
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
    has(&message(json!({ "a": 1 })), &[INDEX_FILE, "weight_map", "invalid type"]);
}
