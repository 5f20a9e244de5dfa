//! What the emulator says: on stderr, and in the file that `CUDA_EMULATOR_FAULTS` names.

use super::abi::Context;
use super::host::State;
use super::memory::Kind;
use super::state::{Driver, try_lock};
use super::status::Status;
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

struct Settings {
    trace: bool,
    faults: Option<PathBuf>,
    counters: Option<PathBuf>,
}

fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let get = |name: &str| std::env::var_os(format!("CUDA_EMULATOR_{name}")).filter(|v| !v.is_empty());
        Settings {
            trace: get("TRACE").is_some_and(|v| v != "0"),
            faults: get("FAULTS").map(PathBuf::from),
            counters: get("COUNTERS").map(PathBuf::from),
        }
    })
}

fn append(path: &PathBuf, text: &str) {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Err(e) = opened.and_then(|mut f| f.write_all(text.as_bytes())) {
        eprintln!("[cuda-emulator] {}: {e}", path.display());
    }
}

thread_local! {
    static FINDINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Findings that are kept for [`findings`].
const KEPT: usize = 100;

/// Takes what was found wrong by calls of this thread since the last time, the first hundred.
pub fn findings() -> Vec<String> {
    FINDINGS.with_borrow_mut(std::mem::take)
}

/// A finding: what a test is to fail for.
fn finding(text: &str) {
    eprintln!("[cuda-emulator] {text}");
    FINDINGS.with_borrow_mut(|all| {
        if all.len() < KEPT {
            all.push(text.into());
        }
    });
    if let Some(path) = &settings().faults {
        append(path, &format!("{text}\n"));
    }
}

/// One call, if `CUDA_EMULATOR_TRACE` is set.
pub fn trace(function: &str, status: Status) {
    if settings().trace {
        let name = status.name().map_or("?".into(), |n| n.to_string_lossy());
        eprintln!("[cuda-emulator] {function}: {name}");
    }
}

/// A kernel, copy or memset that failed.
pub fn failure(status: Status, text: &str) {
    let name = status.name().map_or("?".into(), |n| n.to_string_lossy());
    finding(&format!("{name}: {text}"));
}

/// A call that is wrong, or an object that was left.
pub fn misuse(text: &str) {
    finding(text);
}

/// Something that a GPU can do and the emulator cannot.
pub fn unsupported(what: &str) {
    eprintln!("[cuda-emulator] not supported: {what}");
}

/// A copy to the host of memory that nothing has written.
pub fn uninitialised(name: &str, address: u64, bytes: u64, count: u64, first: u64) {
    finding(&format!(
        "uninitialised: {name}: nothing has written {count} of the {bytes} bytes at device address {address:#x}, the first at byte {first}"
    ));
}

/// PTX that was not loaded.
pub fn load_error(text: &str) {
    eprintln!("[cuda-emulator] {text}");
}

unsafe extern "C" {
    fn atexit(callback: extern "C" fn()) -> i32;
}

/// Looks for leaks and writes the counters when the process ends.
pub fn at_exit() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: the callback is a function of this library, which is not unloaded before the process ends.
    ONCE.call_once(|| unsafe {
        atexit(end_of_process);
    });
}

extern "C" fn end_of_process() {
    if let Some(mut guard) = try_lock()
        && let Some(driver) = guard.as_mut()
    {
        driver.report_leaks(None);
        driver.write_counters();
    }
}

impl Driver {
    /// Appends the counters since the last time, by kernel and shape, to the file that `CUDA_EMULATOR_COUNTERS` names.
    pub fn write_counters(&mut self) {
        let counters = std::mem::take(&mut self.counters);
        if let Some(path) = &settings().counters {
            append(path, &counters.json(self.engine.options.arch));
        }
    }

    /// Says what a context, or all of them, did not give back, unless it died of an error.
    pub fn report_leaks(&self, only: Option<Context>) {
        if !self.engine.options.checks.leak {
            return;
        }
        for (context, state) in self.contexts.iter().filter(|(c, _)| only.is_none_or(|o| o == **c)) {
            if state.error.is_some() {
                continue;
            }
            let memory = || {
                self.allocations
                    .values()
                    .filter(|a| a.context == *context && !a.is_freed)
            };
            let bytes = |kind: fn(Kind) -> bool| {
                let found: Vec<u64> = memory().filter(|a| kind(a.kind)).map(|a| a.bytes).collect();
                (found.len(), found.iter().sum::<u64>())
            };
            let device = bytes(|k| k != Kind::Managed);
            let managed = bytes(|k| k == Kind::Managed);
            let is_pinned = |address: usize| !self.allocations.contains_key(&(address as u64));
            let host = self
                .host
                .iter()
                .filter(|(a, b)| b.context == *context && b.state == State::Allocated && is_pinned(*a));
            let host = host.fold((0, 0), |(n, sum), (_, b)| (n + 1, sum + b.bytes as u64));
            let is_own = |stream| stream == state.legacy || state.per_thread.values().any(|s| *s == stream);
            let streams = self
                .streams
                .iter()
                .filter(|(h, s)| s.context == *context && !is_own(**h))
                .count();
            let counts = [
                ("streams", streams),
                ("events", self.events.values().filter(|e| e.context == *context).count()),
                (
                    "modules",
                    self.modules.values().filter(|m| m.context == *context).count(),
                ),
                ("graphs", self.graphs.values().filter(|g| g.context == *context).count()),
                (
                    "executable graphs",
                    self.execs.values().filter(|e| e.context == *context).count(),
                ),
                (
                    "memory pools",
                    self.pools.values().filter(|p| p.context == Some(*context)).count(),
                ),
            ];
            let sizes = [
                ("device allocations", device),
                ("managed allocations", managed),
                ("page-locked blocks", host),
            ];
            let mut left: Vec<String> = sizes
                .iter()
                .filter(|(_, (n, _))| *n > 0)
                .map(|(name, (n, bytes))| format!("{n} {name} ({bytes} bytes)"))
                .collect();
            left.extend(
                counts
                    .iter()
                    .filter(|(_, n)| *n > 0)
                    .map(|(name, n)| format!("{n} {name}")),
            );
            if !left.is_empty() {
                finding(&format!("leak: not given back: {}", left.join(", ")));
            }
        }
    }

    /// Takes back all that a context owns.
    pub fn release_all(&mut self, context: Context) {
        let live: Vec<u64> = self
            .allocations
            .iter()
            .filter(|(_, a)| a.context == context && !a.is_freed)
            .map(|(address, _)| *address)
            .collect();
        for address in live {
            self.free_now(address);
        }
        let modules: Vec<_> = self
            .modules
            .iter()
            .filter(|(_, m)| m.context == context)
            .map(|(handle, _)| *handle)
            .collect();
        for module in modules {
            self.unload(module);
        }
        let pinned: Vec<usize> = self
            .host
            .iter()
            .filter(|(_, b)| b.context == context && b.state == State::Allocated)
            .map(|(a, _)| a)
            .collect();
        for address in pinned {
            self.free_now(address as u64);
            if self.host.free(address).is_ok() {
                self.host.release(address);
            }
        }
        self.streams.retain(|_, s| s.context != context);
        self.events.retain(|_, e| e.context != context);
        self.graphs.retain(|_, g| g.context != context);
        self.execs.retain(|_, e| e.context != context);
        self.pools.retain(|_, p| p.context != Some(context));
        self.captures.retain(|_, c| c.context != context);
    }
}
