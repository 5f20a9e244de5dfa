//! The driver's meaning, seen through its exported functions: what is done when, what is refused, what is reported.
//!
//! Every test has a context of its own, so an error in one does not end the others, and the device to itself.

mod capture;
mod copies;
mod errors;
mod launches;
mod memory;
mod processes;
mod streams;
mod support;
mod tensors;
