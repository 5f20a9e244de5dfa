//! Files that are cut, or that lie about themselves.
use super::build::{Put, Row, bytes, open};
use super::*;

#[track_caller]
fn has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} not in {message:?}");
    }
}

#[test]
fn cut_anywhere() {
    let rows: [Row; 2] = [("a", vec![32], 0, 0), ("b", vec![32, 2], 8, 128)];
    let metadata = [
        ("k", Put::Texts(vec!["x", "yz"])),
        ("n", Put::Ints(vec![1, -2])),
        ("f", Put::Float(0.5)),
    ];
    let whole = bytes(&metadata, &rows, 128 + 68);
    assert_eq!(open(&whole).unwrap().tensors().count(), 2);
    for length in 0..whole.len() {
        has(&error(open(&whole[..length])), &["x.gguf: ", "expected ", "found "]);
    }
}

#[test]
fn one_wrong_byte_anywhere_never_panics() {
    let whole = fs::read(golden("qwen2.gguf")).unwrap();
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    // The head of the file, and the tensor table with what stands before it.
    let table = whole.windows(17).position(|w| w == b"token_embd.weight").unwrap();
    for at in (0..400).chain(table - 200..table + 600) {
        for wrong in [whole[at] ^ 1, 0xff, 0] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            fs::write(&path, bytes).unwrap();
            if let Ok(gguf) = Gguf::open(&path) {
                let _ = config(&gguf).and_then(|config| specs(&gguf, &config, Dtype::F32));
            }
        }
    }
}

#[test]
fn headers_that_are_none() {
    has(&error(open(b"GGML\0\0\0\0")), &["magic", "found GGML"]);
    let mut file = bytes(&[], &[], 0);
    file[4] = 1;
    has(&error(open(&file)), &["version: expected 2 or 3", "found 1"]);
    file[4..8].copy_from_slice(&3_u32.to_be_bytes());
    has(&error(open(&file)), &["big-endian"]);
}

#[test]
fn counts_that_lie() {
    let mut file = bytes(&[], &[], 64);
    file[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    has(&error(open(&file)), &["tensor", "expected"]);
    let mut file = bytes(&[], &[], 64);
    file[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    has(&error(open(&file)), &["expected"]);

    let mut long_text = 8_u32.to_le_bytes().to_vec();
    long_text.extend((1_u64 << 60).to_le_bytes());
    has(
        &error(open(&bytes(&[("k", Put::Raw(long_text))], &[], 0))),
        &["k: expected 1152921504606846976 bytes"],
    );
    let mut long_array = [9_u32, 5].map(u32::to_le_bytes).concat();
    long_array.extend(u64::MAX.to_le_bytes());
    has(
        &error(open(&bytes(&[("k", Put::Raw(long_array))], &[], 0))),
        &["k: expected 4 bytes"],
    );
    // Arrays in arrays in arrays ...
    let mut nested = 9_u32.to_le_bytes().to_vec();
    for _ in 0..100_000 {
        nested.extend(9_u32.to_le_bytes());
        nested.extend(1_u64.to_le_bytes());
    }
    has(
        &error(open(&bytes(&[("k", Put::Raw(nested))], &[], 0))),
        &["k: expected a value type of GGUF, found type 9"],
    );
}

#[test]
fn metadata_that_is_none() {
    let raw = |bytes: &[u8]| [("k", Put::Raw(bytes.to_vec()))];
    has(
        &error(open(&bytes(&raw(&[13, 0, 0, 0]), &[], 64))),
        &["k: expected a value type of GGUF, found type 13"],
    );
    has(
        &error(open(&bytes(&raw(&[7, 0, 0, 0, 2]), &[], 64))),
        &["k: expected 0 or 1, found 2"],
    );
    let mut text = 8_u32.to_le_bytes().to_vec();
    text.extend(1_u64.to_le_bytes());
    text.push(0xff);
    has(
        &error(open(&bytes(&[("k", Put::Raw(text))], &[], 64))),
        &["k: expected UTF-8"],
    );
    let twice = [("k", Put::Uint(1)), ("k", Put::Uint(1))];
    has(
        &error(open(&bytes(&twice, &[], 64))),
        &["k: expected each metadata key once"],
    );
    for alignment in [Put::Uint(0), Put::Uint(48), Put::Text("32")] {
        has(
            &error(open(&bytes(&[("general.alignment", alignment)], &[], 64))),
            &["general.alignment: expected a power of two"],
        );
    }
}

#[test]
fn tensor_tables_that_lie() {
    let cases: [(Vec<Row>, usize, &[&str]); 10] = [
        (
            vec![("a", vec![32], 0, 0)],
            127,
            &["tensor a", "128 bytes of data at offset 0"],
        ),
        (vec![("a", vec![32], 0, 32)], 128, &["tensor a", "at offset 32"]),
        (
            vec![("a", vec![32], 0, u64::MAX - 31)],
            128,
            &["tensor a", "128 bytes of data"],
        ),
        (
            vec![("a", vec![32], 0, 8)],
            256,
            &["tensor a", "a multiple of 32", "found 8"],
        ),
        (
            vec![("a", vec![32], 0, 0), ("b", vec![32], 0, 96)],
            256,
            &["tensor b", "where the one before ends"],
        ),
        (
            vec![("a", vec![32], 0, 0), ("a", vec![32], 0, 128)],
            256,
            &["tensor a", "it twice"],
        ),
        (
            vec![("a", vec![1 << 40, 1 << 40], 0, 0)],
            256,
            &["tensor a", "fits in memory"],
        ),
        (
            vec![("a", vec![], 0, 0)],
            256,
            &["tensor a", "1 to 4 dimensions, found 0"],
        ),
        (
            vec![("a", vec![48, 2], 8, 0)],
            256,
            &["tensor a", "whole blocks of 32, found rows of 48"],
        ),
        (
            vec![("a", vec![256], 10, 0)],
            256,
            &["tensor a", "one of F32, F16", "found type Q2_K"],
        ),
    ];
    for (rows, data, parts) in cases {
        has(&error(open(&bytes(&[], &rows, data))), parts);
    }
    has(
        &error(open(&bytes(&[], &[("a", vec![1], 99, 0)], 32))),
        &["found type 99"],
    );
}

#[test]
fn tensors_that_are_not_as_asked() {
    let mut file = bytes(&[], &[("a", vec![2, 1], 0, 0)], 32);
    let gguf = open(&file).unwrap();
    has(&error(gguf.read("b", &[2])), &["tensor b", "no such tensor"]);
    has(
        &error(gguf.read("a", &[2, 1])),
        &["tensor a: expected shape [2, 1], found [1, 2]"],
    );
    assert_eq!(gguf.read("a", &[1, 2]).unwrap(), [0.0, 0.0]);
    let data = file.len() - 32;
    file[data + 4..data + 8].copy_from_slice(&f32::NAN.to_le_bytes());
    has(
        &error(open(&file).unwrap().read("a", &[1, 2])),
        &["tensor a index 1", "finite", "NaN"],
    );
}

#[test]
fn getters_name_the_key_and_the_type() {
    let metadata = [
        ("k", Put::Text("x")),
        ("f", Put::Float(f32::NAN)),
        ("n", Put::Ints(vec![1, -2])),
        ("e", Put::Float(1e-5)),
    ];
    let gguf = open(&bytes(&metadata, &[], 0)).unwrap();
    has(&error(gguf.uint("k")), &["k: expected an integer", "found \"x\""]);
    has(&error(gguf.number("f")), &["f: expected a finite number, found NaN"]);
    has(
        &error(gguf.uints("n")),
        &["n: expected an array of integers, found an array of 2"],
    );
    has(&error(gguf.texts("n")), &["n: expected an array of strings"]);
    has(&error(gguf.flag("k")), &["k: expected a boolean"]);
    has(&error(gguf.text("e")), &["e: expected a string"]);
    assert_eq!(
        (
            gguf.text("k").unwrap(),
            gguf.number("e").unwrap(),
            gguf.uint("no").unwrap()
        ),
        (Some("x"), Some(1e-5), None)
    );
}
