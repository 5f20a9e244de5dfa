//! TensorBoard event files: TFRecord frames around hand-encoded protobuf messages.
//!
//! A frame is the length (u64), its masked CRC-32C, the message, its masked CRC-32C, all little-endian
//! (tensorflow/core/lib/io/record_writer.h). The messages are `Event` and `Summary` of
//! tensorflow/core/util/event.proto and framework/summary.proto; only the fields written here are encoded.
use super::Start;
use model_qwen2::{Error, Result};
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Creates a new file in `folder`. A resumed run goes on in a file of its own; its first record tells TensorBoard
    /// to drop the points of earlier files after the step where it goes on.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn create(folder: &Path, start: Start) -> Result<Self> {
        create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let (file, path) = create_new(folder)?;
        let mut events = Self { file, path };
        events.write(&event(0, &field_bytes(3, b"brain.Event:2")))?;
        // session_log (7) { status (1): START (1) } at the first step that this file will have.
        events.write(&event(start.step() + 1, &field_bytes(7, &[0x08, 0x01])))?;
        Ok(events)
    }

    /// Writes one scalar for each value.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (name, value) in values {
            // Value { tag (1), simple_value (2, float) }
            let mut scalar = field_bytes(1, tag(name).as_bytes());
            scalar.push(2 << 3 | 5);
            scalar.extend((*value as f32).to_le_bytes());
            summary.extend(field_bytes(1, &scalar));
        }
        self.write(&event(step, &field_bytes(5, &summary)))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, message: &[u8]) -> Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let frame = [
            &length,
            &masked_crc32c(&length).to_le_bytes()[..],
            message,
            &masked_crc32c(message).to_le_bytes(),
        ]
        .concat();
        self.file.write_all(&frame).map_err(Error::io(&self.path, "write"))
    }
}

/// TensorBoard's name of a metric, as transformers groups them: `eval_loss` is eval/loss, all others are train/.
pub fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(name) => format!("eval/{name}"),
        None => format!("train/{name}"),
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// TensorBoard reads the files of a folder in the order of their names, which begin with the time.
fn create_new(folder: &Path) -> Result<(File, PathBuf)> {
    let seconds = now() as u64;
    let mut count = 0;
    loop {
        let path = folder.join(format!("events.out.tfevents.{seconds}.proximal.{count}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => count += 1,
            Err(error) => return Err(Error::io(path, "create")(error)),
        }
    }
}

/// Event { wall_time (1, double), step (2, varint), then the given field }.
fn event(step: u64, field: &[u8]) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend(now().to_le_bytes());
    message.push(2 << 3);
    message.extend(varint(step));
    message.extend(field);
    message
}

/// A length-delimited field: a string, bytes or message.
fn field_bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(content.len() as u64));
    field.extend(content);
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// TFRecord's checksum: a CRC of a CRC is a weak one, so the stored value is rotated and offset.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), bit by bit: a log has few bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
