//! Parquet, by its row interface: nested lists and structs become JSON arrays and objects, dates and timestamps
//! strings, binary values base64.
use super::super::row::Row;
use super::Numbered;
use model_qwen2::{Error, Result};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::fs::File;
use std::path::Path;

/// All rows. The parquet crate panics on some corrupt files (1 in 200 of single flipped bits); that becomes an error too.
pub(super) fn rows(path: &Path) -> Result<Vec<Numbered>> {
    std::panic::catch_unwind(|| read(path)).unwrap_or_else(|_| {
        Err(Error::invalid(
            path,
            "file",
            "a whole Parquet file",
            "corrupt data on which its reader gave up",
        ))
    })
}

fn read(path: &Path) -> Result<Vec<Numbered>> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let reader = SerializedFileReader::new(file)
        .map_err(|e| Error::invalid(path, "file", "a whole Parquet file", e.to_string()))?;
    let schema = reader.metadata().file_metadata().schema();
    // The row interface gives nanoseconds, which is what pandas writes, as bare integers.
    let nanos: Vec<bool> = schema
        .get_fields()
        .iter()
        .map(|field| {
            let kind = field.get_basic_info().logical_type_ref();
            matches!(kind, Some(LogicalType::Timestamp(t)) if t.unit == TimeUnit::NANOS)
        })
        .collect();
    let unreadable = |number: usize, e: ParquetError| {
        Error::invalid(
            path,
            format!("row {number}"),
            "Parquet data that is whole, uncompressed, snappy or gzip",
            e.to_string(),
        )
    };
    let iter = reader.get_row_iter(None).map_err(|e| unreadable(1, e))?;
    iter.enumerate()
        .map(|(i, row)| {
            let columns = row.map_err(|e| unreadable(i + 1, e))?.into_columns();
            let object = columns.into_iter().zip(&nanos).map(|((name, field), nanos)| {
                let field = match field {
                    Field::Long(ns) if *nanos => Field::TimestampMicros(ns.div_euclid(1000)),
                    other => other,
                };
                (name, field.to_json_value())
            });
            Ok((i as u32 + 1, object.collect::<Row>()))
        })
        .collect()
}
