//! The header of one safetensors file, believed only after it is checked against the file.
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One tensor of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub dtype: safetensors::Dtype,
    pub shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub bytes: Range<usize>,
}

/// The tensors of the file `path` with content `file`. As the format asks, they must follow each other without hole
/// or overlap up to the end of the file.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(Error::invalid(
            path,
            "header",
            "8 bytes of header length",
            format!("a file of {} bytes", file.len()),
        ));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| {
            let expected = format!("a length within the {} bytes that follow it", rest.len());
            Error::invalid(path, "header length", expected, length.to_string())
        })?;
    let data_start = 8 + header.len();
    let header: Map<String, Value> = serde_json::from_slice(header)
        .map_err(|error| Error::invalid(path, "header", "a JSON object", error.to_string()))?;

    let mut infos = Vec::with_capacity(header.len());
    for (name, value) in header {
        if name == "__metadata__" {
            continue;
        }
        let info: TensorInfo = serde_json::from_value(value).map_err(|error| {
            Error::invalid(
                path,
                tensor(&name),
                "dtype, shape and data_offsets in the header",
                error.to_string(),
            )
        })?;
        infos.push((name, info));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let data_len = file.len() - data_start;
    let mut end_before = 0;
    let mut entries = BTreeMap::new();
    for (name, info) in infos {
        let (start, end) = info.data_offsets;
        if start != end_before || end < start {
            let expected = format!("data from byte {end_before}, where the one before ends");
            return Err(Error::invalid(
                path,
                tensor(&name),
                expected,
                format!("data_offsets [{start}, {end}]"),
            ));
        }
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits, &n| bits.checked_mul(n));
        if bits != (end - start).checked_mul(8) {
            let expected = format!("as many bytes as {} {:?} take", info.dtype, info.shape);
            return Err(Error::invalid(
                path,
                tensor(&name),
                expected,
                format!("{} bytes", end - start),
            ));
        }
        if end > data_len {
            let expected = format!("data up to byte {end}");
            return Err(Error::invalid(
                path,
                tensor(&name),
                expected,
                format!("a file cut at byte {data_len}"),
            ));
        }
        end_before = end;
        let bytes = data_start + start..data_start + end;
        entries.insert(
            name,
            Entry {
                dtype: info.dtype,
                shape: info.shape,
                bytes,
            },
        );
    }
    if end_before != data_len {
        let expected = format!("{end_before} bytes of data, all of them in the header");
        return Err(Error::invalid(path, "file", expected, format!("{data_len} bytes")));
    }
    Ok(entries)
}

/// How a tensor is named in an error.
pub(super) fn tensor(name: &str) -> String {
    format!("tensor {name}")
}
