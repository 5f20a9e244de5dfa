//! The oracle: `Cpu<f64>`, the obvious loops.

/// An allocation that the machine could not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: usize,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "out of memory: {} bytes asked for", self.bytes)
    }
}

impl core::error::Error for OutOfMemory {}
