//! The exported functions of the driver API.
//!
//! A C program (or cudarc) finds them as symbols of the cdylib; a Rust test calls them directly. They follow NVIDIA's manual of the driver
//! API, version 13.0; a function that is not here is not supported, and one that is here but cannot do what it is asked returns
//! CUDA_ERROR_NOT_SUPPORTED and says why on stderr.
//!
//! | file | what it holds |
//! |---|---|
//! | [`abi`], [`types`], [`status`] | pointers, structures and status codes of the C interface |
//! | `exports`, `state` | how a function is written, the one lock, how a call waits |
//! | `queue`, `work`, `perform` | what was issued and has not run, what it does, running it; `timing`: the modelled clock |
//! | [`context`], [`device`], [`stream`], [`event`], [`capture`], [`graph`] | objects of the API, each with its functions |
//! | [`memory`], [`pool`], [`copy`], [`pointer`](mod@pointer), `host` | memory |
//! | [`module`], [`launch`], [`occupancy`], `assembler` | code |
//! | [`entry`] | initialisation, versions, names of errors, addresses of functions |
//! | `report` | what is said on stderr; leaks |

pub mod abi;
mod assembler;
pub mod capture;
pub mod context;
pub mod copy;
pub mod device;
pub mod entry;
pub mod event;
mod exports;
pub mod graph;
mod host;
pub mod launch;
pub mod memory;
pub mod module;
pub mod occupancy;
mod perform;
pub mod pointer;
pub mod pool;
mod queue;
mod report;
mod state;
pub mod status;
pub mod stream;
pub mod tensor_map;
mod timing;
pub mod types;
mod work;

pub use report::findings;
