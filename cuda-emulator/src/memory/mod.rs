//! Device and shared memory with the shadows that find misuse.

/// Device memory.
pub struct Device;
