//! Threads that share out numbered pieces of work.
//!
//! The caller takes part. A worker that wakes too late simply finds nothing to do: the caller waits only for workers that
//! have joined. Between jobs a worker spins for some microseconds, then sleeps.
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::buffer::Room;

/// How long a thread looks for work, or for the end of it, before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// A thread's own working memory; what a room holds is up to the operation.
#[derive(Default)]
pub(super) struct Scratch {
    pub a: Room,
    pub b: Room,
    pub c: Room,
    pub d: Room,
    pub e: Room,
    pub f: Room,
}

type Work<'a> = dyn Fn(usize, &mut Scratch) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    items: usize,
}

struct Shared {
    /// Bit 0: a job is open for joining. The rest, times two: workers inside.
    state: AtomicUsize,
    /// Counts jobs, so that a worker sees that there is a new one.
    epoch: AtomicUsize,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    sleepers: AtomicUsize,
    quit: AtomicBool,
    panicked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    done: Condvar,
}

// SAFETY: `job` is written only by the pool's owner while no job is open and no worker is inside, and read only by
// workers that joined through `state`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is followed only while the owner waits in `run`.
unsafe impl Send for Shared {}

/// A team of threads, the caller among them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

impl Pool {
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            sleepers: AtomicUsize::new(0),
            quit: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            done: Condvar::new(),
        });
        // A thread that cannot be had is done without: the results are the same.
        let workers = (1..threads)
            .filter_map(|i| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("cpu-{i}"))
                    .spawn(move || shared.work())
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            scratch: Scratch::default(),
        }
    }

    /// Calls `work(i, scratch)` once for every i below `items`, on whatever thread is free, and returns when all are done.
    pub fn run(&mut self, items: usize, work: &Work<'_>) {
        let shared = &*self.shared;
        if items <= 1 || self.workers.is_empty() {
            (0..items).for_each(|i| work(i, &mut self.scratch));
            return;
        }
        // SAFETY: only the lifetime changes; `run` does not return before every worker has left the job.
        let erased = unsafe { core::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        // SAFETY: no job is open and no worker inside (the end of the last `run`), so nobody reads it.
        unsafe {
            *shared.job.get() = Some(Job { work: erased, items });
        }
        shared.next.store(0, SeqCst);
        shared.state.fetch_or(1, SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            let _guard = shared.guard();
            shared.wake.notify_all();
        }
        let scratch = &mut self.scratch;
        let own = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = shared.next.fetch_add(1, SeqCst);
                if i >= items {
                    return;
                }
                work(i, scratch);
            }
        }));
        shared.next.store(items, SeqCst);
        shared.state.fetch_and(!1, SeqCst);
        if !spin_until(|| shared.state.load(SeqCst) == 0) {
            let mut guard = shared.guard();
            while shared.state.load(SeqCst) != 0 {
                guard = shared.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if let Err(panic) = own {
            shared.panicked.store(false, SeqCst);
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, SeqCst), "a worker thread panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, SeqCst);
        self.shared.epoch.fetch_add(1, SeqCst);
        {
            let _guard = self.shared.guard();
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn guard(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        let mut seen = 0;
        loop {
            seen = self.next_epoch(seen);
            if self.quit.load(SeqCst) {
                return;
            }
            let join = |s| if s & 1 == 1 { Some(s + 2) } else { None };
            if self.state.fetch_update(SeqCst, SeqCst, join).is_err() {
                continue;
            }
            // SAFETY: joined, so the owner waits for us and leaves the job as it is.
            if let Some(job) = unsafe { *self.job.get() } {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    loop {
                        let i = self.next.fetch_add(1, SeqCst);
                        if i >= job.items {
                            return;
                        }
                        // SAFETY: as above: what it borrows outlives the job.
                        unsafe { (*job.work)(i, &mut scratch) };
                    }
                }));
                if result.is_err() {
                    self.panicked.store(true, SeqCst);
                }
            }
            // The last to leave a closed job wakes the owner, who may sleep.
            if self.state.fetch_sub(2, SeqCst) == 2 {
                let _guard = self.guard();
                self.done.notify_all();
            }
        }
    }

    /// Waits until there is a job after `seen`.
    fn next_epoch(&self, seen: usize) -> usize {
        if !spin_until(|| self.epoch.load(SeqCst) != seen) {
            let mut guard = self.guard();
            self.sleepers.fetch_add(1, SeqCst);
            while self.epoch.load(SeqCst) == seen {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, SeqCst);
        }
        self.epoch.load(SeqCst)
    }
}

/// Whether `done` came true while spinning for [`SPIN`].
fn spin_until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            core::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}

#[cfg(test)]
mod tests;
