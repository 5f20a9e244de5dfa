//! Initialisation, versions, names of errors, addresses of functions, profiling.

use super::abi::{Out, Text};
use super::exports::exports;
use super::report;
use super::state::{DONE, Driver, here, lock};
use super::status::Status;
use crate::counters::report::Report;
use crate::engine::Options;
use std::ffi::{c_char, c_void};

/// The version that the emulator follows.
const VERSION: i32 = 13000;

/// A symbol's address, or null.
type Address = *const c_void;

/// `CU_GET_PROC_ADDRESS_`: found, not found.
const FOUND: i32 = 0;
const MISSING: i32 = 1;

fn find(name: &str) -> Option<Address> {
    let tables = [
        table,
        super::capture::table,
        super::context::table,
        super::copy::table,
        super::device::table,
        super::event::table,
        super::graph::table,
        super::launch::table,
        super::memory::table,
        super::module::table,
        super::occupancy::table,
        super::pointer::table,
        super::pool::table,
        super::stream::table,
        super::tensor_map::table,
    ];
    let all: Vec<(&str, Address)> = tables.iter().flat_map(|table| table()).collect();
    // A name without a version means the newest.
    let versions = ["_v4", "_v3", "_v2", ""].map(|version| format!("{name}{version}"));
    versions
        .iter()
        .find_map(|name| all.iter().find(|(n, _)| n == name))
        .map(|(_, address)| *address)
}

exports! {
    /// Starts the driver with the settings of the environment.
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Status::INVALID_VALUE;
        }
        let mut guard = lock();
        if guard.is_none() {
            match Options::from_env() {
                Ok(options) => *guard = Some(Box::new(Driver::new(options))),
                Err(text) => {
                    report::misuse(&text);
                    return Status::INVALID_VALUE;
                }
            }
            report::at_exit();
        }
        Status::SUCCESS
    }

    /// The version of CUDA that the driver follows.
    fn cuDriverGetVersion(version: Out<'_, i32>) {
        match version.set(VERSION) {
            Ok(()) => Status::SUCCESS,
            Err(status) => status,
        }
    }

    /// Name of a status.
    fn cuGetErrorName(status: Status, text: Out<'_, *const c_char>) {
        let name = status.name();
        text.set_if_wanted(name.map_or(std::ptr::null(), |n| n.as_ptr()));
        if name.is_some() { Status::SUCCESS } else { Status::INVALID_VALUE }
    }

    /// Description of a status.
    fn cuGetErrorString(status: Status, text: Out<'_, *const c_char>) {
        let found = status.text();
        text.set_if_wanted(found.map_or(std::ptr::null(), |t| t.as_ptr()));
        if found.is_some() { Status::SUCCESS } else { Status::INVALID_VALUE }
    }

    /// Address of a function.
    fn cuGetProcAddress_v2(name: Text<'_>, address: Out<'_, Address>, _version: i32, _flags: u64, result: Out<'_, i32>) {
        let Ok(name) = name.get() else {
            return Status::INVALID_VALUE;
        };
        let found = find(name);
        result.set_if_wanted(if found.is_some() { FOUND } else { MISSING });
        address.set_if_wanted(found.unwrap_or(std::ptr::null()));
        if found.is_some() { Status::SUCCESS } else { Status::NOT_FOUND }
    }

    /// The same by its older interface.
    fn cuGetProcAddress(name: Text<'_>, address: Out<'_, Address>, _version: i32, _flags: u64) {
        let Ok(name) = name.get() else {
            return Status::INVALID_VALUE;
        };
        let found = find(name);
        address.set_if_wanted(found.unwrap_or(std::ptr::null()));
        if found.is_some() { Status::SUCCESS } else { Status::NOT_FOUND }
    }

    /// Begins to count anew. There is no profiler, but what kernels execute and move is counted: see cuProfilerStop.
    fn cuProfilerStart() {
        here(|d, _| {
            d.counters = Report::new();
            DONE
        })
    }

    /// Writes the counters since cuProfilerStart, or since the beginning, to the file that `CUDA_EMULATOR_COUNTERS` names.
    fn cuProfilerStop() {
        here(|d, _| {
            d.write_counters();
            DONE
        })
    }

    /// Memory of other programs.
    fn cuImportExternalMemory(_memory: Out<'_, usize>, _description: usize) {
        report::unsupported("cuImportExternalMemory: memory of graphics programs");
        Status::NOT_SUPPORTED
    }

    /// The same.
    fn cuExternalMemoryGetMappedBuffer(_address: Out<'_, u64>, _memory: usize, _description: usize) {
        report::unsupported("cuExternalMemoryGetMappedBuffer: memory of graphics programs");
        Status::NOT_SUPPORTED
    }

    /// The same.
    fn cuDestroyExternalMemory(_memory: usize) {
        report::unsupported("cuDestroyExternalMemory: memory of graphics programs");
        Status::NOT_SUPPORTED
    }
}
