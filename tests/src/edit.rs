//! One number of a safetensors file, changed in place.
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// Replaces the number of the largest magnitude in tensor `name` of the file by `change` of it.
pub fn number(path: &Path, name: &str, change: impl Fn(f64) -> f64) {
    let mut bytes = fs::read(path).expect("a file");
    let (at, dtype, value) = {
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensor = file.tensor(name).expect("a tensor of this name");
        let start = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let size = tensor.dtype().bitsize() / 8;
        let values: Vec<f64> = tensor.data().chunks(size).map(|b| get(tensor.dtype(), b)).collect();
        let largest = (0..values.len()).max_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
        let i = largest.expect("a number");
        (start + i * size, tensor.dtype(), values[i])
    };
    put(dtype, &mut bytes[at..], change(value));
    fs::write(path, bytes).expect("the file written");
}

fn get(dtype: Dtype, b: &[u8]) -> f64 {
    match dtype {
        Dtype::F64 => f64::from_le_bytes(b.try_into().expect("8 bytes")),
        Dtype::F32 => f32::from_le_bytes(b.try_into().expect("4 bytes")).into(),
        Dtype::BF16 => half::bf16::from_le_bytes(b.try_into().expect("2 bytes")).into(),
        other => panic!("{other:?} is not a dtype of these tests"),
    }
}

fn put(dtype: Dtype, out: &mut [u8], x: f64) {
    match dtype {
        Dtype::F64 => out[..8].copy_from_slice(&x.to_le_bytes()),
        Dtype::F32 => out[..4].copy_from_slice(&(x as f32).to_le_bytes()),
        Dtype::BF16 => out[..2].copy_from_slice(&half::bf16::from_f64(x).to_le_bytes()),
        other => panic!("{other:?} is not a dtype of these tests"),
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
