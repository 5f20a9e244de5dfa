//! Checkpoints that are whole or not there, the output folder, and stopping on a signal.
//!
//! `checkpoint-<step>/` is written beside its place in a hidden folder: every file is synced, `manifest.json` with
//! the size and CRC-32 of each comes last, then one rename, then a sync of the parent. An error or a kill leaves the
//! earlier checkpoints as they were; a file that was cut or changed later is found by its checksum.
//!
//! ```no_run
//! # fn main() -> model_qwen2::Result<()> {
//! use proximal::checkpoint::{self, Begin, OutputDir, Writer};
//! let output = OutputDir::open("out".as_ref(), Begin::Fresh)?;
//! let mut writer = Writer::begin(output.path(), 10)?;
//! writer.write("state.json", b"{}")?;
//! let saved = writer.commit()?;
//! checkpoint::prune(output.path(), Some(2), &[saved.step])?;
//! # Ok(())
//! # }
//! ```
mod best;
mod folder;
mod manifest;
mod stop;
#[cfg(test)]
mod tests;
mod writer;

pub use best::Best;
pub use folder::{Begin, Newest, OutputDir, latest_valid, list, prune};
pub use manifest::{Checkpoint, verify};
pub use stop::Stop;
pub use writer::{FileWriter, Writer};
