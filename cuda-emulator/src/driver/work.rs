//! What one operation does. The same for an operation of a stream and a node of a graph.

use super::abi::{Event, Module, UserData};
use crate::engine::Kernel;
use std::ffi::c_void;
use std::sync::Arc;

/// A rectangle of bytes: rows of `width` bytes, `pitch` bytes apart. One row for everything that is not 2D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Address of the first byte.
    pub address: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes of a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

impl Rows {
    /// One row.
    pub fn line(address: u64, bytes: u64) -> Rows {
        Rows {
            address,
            pitch: bytes,
            width: bytes,
            height: 1,
        }
    }

    /// Bytes in it. More than there are numbers for is the largest, which no memory has.
    pub fn bytes(&self) -> u64 {
        self.width.saturating_mul(self.height)
    }

    /// Bytes from the first to beyond the last.
    pub fn extent(&self) -> u64 {
        if self.bytes() == 0 {
            0
        } else {
            self.pitch.saturating_mul(self.height - 1).saturating_add(self.width)
        }
    }

    /// Addresses of its rows.
    pub fn starts(&self) -> impl Iterator<Item = u64> + use<> {
        let Rows {
            address, pitch, height, ..
        } = *self;
        (0..height).map(move |i| address.wrapping_add(i.wrapping_mul(pitch)))
    }
}

/// Where bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Taken when the copy was issued, as the driver stages pageable memory.
    Snapshot(Arc<Vec<u8>>),
    /// Host memory, read when the copy runs.
    Host(Rows),
    /// Device memory.
    Device(Rows),
}

/// Where bytes go.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Host memory.
    Host(Rows),
    /// Device memory.
    Device(Rows),
}

/// A launch with its parameters, copied when it was issued.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The code.
    pub kernel: Arc<Kernel>,
    /// The module that it is from.
    pub module: Module,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// The parameter block.
    pub params: Vec<u8>,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Nothing: a wait, a join, a prefetch.
    Nothing,
    /// Sets the time of an event.
    Record(Event),
    /// Moves bytes.
    Copy(Source, Target),
    /// Fills each row with a value of 1, 2 or 4 bytes, the low ones of the second number.
    Fill(Rows, u32, u8),
    /// Runs a kernel.
    Launch(Launch),
    /// Calls a function of the host, on a thread of the driver.
    Call(unsafe extern "C" fn(*mut c_void), UserData),
    /// From here on the memory at this address may be used.
    Allocate(u64),
    /// From here on it may not.
    Free(u64),
}

impl Work {
    /// What it is called in a report.
    pub fn name(&self) -> String {
        match self {
            Work::Nothing => "wait".into(),
            Work::Record(_) => "event record".into(),
            Work::Copy(source, target) => {
                let from = match source {
                    Source::Snapshot(_) | Source::Host(_) => "host",
                    Source::Device(_) => "device",
                };
                let (to, rows) = match target {
                    Target::Host(rows) => ("host", rows),
                    Target::Device(rows) => ("device", rows),
                };
                format!("copy of {} bytes from {from} to {to}", rows.bytes())
            }
            Work::Fill(rows, ..) => format!("memset of {} bytes", rows.bytes()),
            Work::Launch(l) => format!("kernel {}", l.kernel.name),
            Work::Call(..) => "host function".into(),
            Work::Allocate(_) => "allocation".into(),
            Work::Free(_) => "free".into(),
        }
    }

    /// Kind of a graph's node: `CUgraphNodeType`.
    pub fn node_type(&self) -> i32 {
        match self {
            Work::Launch(_) => 0,
            Work::Copy(..) => 1,
            Work::Fill(..) => 2,
            Work::Call(..) => 3,
            Work::Record(_) => 7,
            Work::Allocate(_) => 10,
            Work::Free(_) => 11,
            Work::Nothing => 5,
        }
    }
}
