//! Device and shared memory with the shadows that find misuse.
