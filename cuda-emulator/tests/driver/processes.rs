//! What only a process of its own shows: other seeds, the files of findings and counters, leaks at its end.

use crate::support::{KERNELS, Scope, device, function, launch, load, ok};
use cuda_emulator::driver::abi::Stream;
use cuda_emulator::driver::context::cuCtxSynchronize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This program again, for some of its tests.
fn again(tests: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.args(["--include-ignored", "--exact"]).args(tests);
    command
}

/// A file that is not there when the test begins, and not when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("cuda-emulator-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Scratch(path)
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn orders_that_are_asked_for_hold_for_every_seed() {
    let tests = [
        "capture::a_fork_and_a_join_are_edges_of_the_graph",
        "capture::captured_work_runs_when_its_graph_is_launched",
        "memory::another_stream_must_not_use_memory_after_it_is_freed",
        "memory::another_stream_must_not_use_memory_before_it_is_allocated",
        "memory::memory_of_a_stream_is_good_in_its_order",
        "streams::a_host_function_runs_in_the_order_of_its_stream",
        "streams::a_stream_waits_for_an_event_of_another",
        "streams::blocking_streams_wait_for_the_legacy_stream",
        "streams::time_goes_on_and_streams_overlap",
    ];
    for seed in 1..=8 {
        let output = again(&tests)
            .env("CUDA_EMULATOR_SEED", seed.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("9 passed"),
            "seed {seed}: {text}"
        );
    }
}

#[test]
fn findings_leaks_and_counters_are_written() {
    let (faults, counters) = (Scratch::new("faults"), Scratch::new("counters"));
    let output = again(&["processes::leaves_memory_behind"])
        .env("CUDA_EMULATOR_FAULTS", faults.as_ref())
        .env("CUDA_EMULATOR_COUNTERS", counters.as_ref())
        .output()
        .unwrap();
    assert!(output.status.success());
    let faults = std::fs::read_to_string(&faults).unwrap();
    assert!(
        faults.contains("1 device allocations (64 bytes), 1 modules"),
        "{faults}"
    );
    let counters = std::fs::read_to_string(&counters).unwrap();
    let lines: Vec<&str> = counters.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("\"increment\""), "{counters}");
}

#[test]
#[ignore = "a child of another test"]
fn leaves_memory_behind() {
    // Not dropped, so that the end of the process finds it.
    std::mem::forget(Scope::new());
    let (f, data) = (function(load(KERNELS), c"increment"), device(&[1; 64]));
    for _ in 0..2 {
        ok(launch(f, 64, Stream::NULL, &[data]));
    }
    ok(cuCtxSynchronize());
}
