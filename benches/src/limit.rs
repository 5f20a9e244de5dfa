//! What the machine can do at most, measured in this process with the threads and the instruction set in force.
//!
//! Products: [`peak`], multiply-adds from registers. Bytes: [`stream`], the rate at which as many bytes as an operation touches are read over
//! and over, so from the cache that holds them, or from memory. Both are the best of some tries: what the machine can do, not what its
//! other tenants leave of it.
//!
//! What it is not: the limit of an operation that also takes exponentials, or that writes (a cache line that is written is read first), or
//! that is so short that waking the threads rules.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cpu_backend::{Isa, Settings};

use crate::operation::Cost;

pub mod peak;
pub mod stream;

/// Bytes of what no cache holds.
const MEMORY: usize = 512 << 20;
/// Tries at one moment, and how long each is.
const TRIES: usize = 16;
const TRY: Duration = Duration::from_millis(6);
/// Moments.
const LOOKS: usize = 8;
/// Rounds of a peak kernel between two looks at the clock.
const ROUNDS: usize = 4096;

/// What rules the time of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Multiply-adds.
    Products,
    /// Bytes, from the cache that holds as many.
    Bytes,
    /// Bytes from memory.
    Memory,
}

/// The least time of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Ideal {
    /// Seconds.
    pub seconds: f64,
    /// What they are the time of.
    pub bound: Bound,
    /// The limit: operations, or bytes, a second.
    limit: f64,
    /// Operations, and bytes, of the work.
    work: (f64, f64),
}

/// The limits of this machine. Each is measured when it is asked for, the first few times, and is the best that was seen.
pub struct Limits {
    settings: Settings,
    best: RefCell<BTreeMap<Of, (f64, usize)>>,
}

/// What there is a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// Products of numbers of so many bytes.
    Products(usize),
    /// Reading so many bytes again and again.
    Bytes(usize),
}

impl Limits {
    /// For these threads and this instruction set.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            best: RefCell::default(),
        }
    }

    /// Operations a second of products of numbers of `width` bytes; a multiply-add is two. Where tiles multiply f32 in parts, a sixth of their
    /// rate: each product is six.
    pub fn products(&self, width: usize) -> f64 {
        let rate = self.look(Of::Products(width), || {
            let kernel = peak::kernel(self.settings.isa, width == 2);
            self.rate(|| (), |()| kernel(ROUNDS) as f64)
        });
        match (self.settings.isa, width) {
            (Isa::Amx, 4) => rate.max(self.products(2) / 6.0),
            _ => rate,
        }
    }

    /// Bytes a second, where `bytes` of them are read again and again.
    pub fn bytes(&self, bytes: usize) -> f64 {
        let class = bytes.next_power_of_two().clamp(64 << 10, MEMORY);
        self.look(Of::Bytes(class), || {
            let words = class / size_of::<u64>() / self.settings.threads;
            let sum = stream::kernel(self.settings.isa);
            let read = |x: &mut Vec<u64>| {
                std::hint::black_box(sum(std::hint::black_box(x)));
                size_of_val(&x[..]) as f64
            };
            self.rate(|| vec![1_u64; words], read)
        })
    }

    /// The best so far, after one more look unless there have been enough.
    fn look(&self, of: Of, measure: impl FnOnce() -> f64) -> f64 {
        let (best, looks) = self.best.borrow().get(&of).copied().unwrap_or_default();
        if looks == LOOKS {
            return best;
        }
        let best = best.max(measure());
        self.best.borrow_mut().insert(of, (best, looks + 1));
        best
    }

    /// The least time of work of this cost, where a number at compute precision has `width` bytes.
    pub fn ideal(&self, cost: Cost, width: usize) -> Ideal {
        let bytes = cost.bytes(width);
        let rate = self.bytes(if cost.cold { MEMORY } else { bytes });
        let work = (cost.flops as f64, bytes as f64);
        let moved = Ideal {
            seconds: work.1 / rate,
            bound: if cost.cold || bytes >= MEMORY {
                Bound::Memory
            } else {
                Bound::Bytes
            },
            limit: rate,
            work,
        };
        if cost.flops == 0 {
            return moved;
        }
        let rate = self.products(width);
        let multiplied = Ideal {
            seconds: work.0 / rate,
            bound: Bound::Products,
            limit: rate,
            work,
        };
        if multiplied.seconds > moved.seconds {
            multiplied
        } else {
            moved
        }
    }

    /// The best rate of all threads together: each makes its state and repeats `work`, which returns how much it did.
    fn rate<S>(&self, make: impl Fn() -> S + Sync, work: impl Fn(&mut S) -> f64 + Sync) -> f64 {
        let barrier = Barrier::new(self.settings.threads);
        let one = || {
            let mut state = make();
            work(&mut state);
            let mut rates = Vec::new();
            for _ in 0..TRIES {
                barrier.wait();
                let (begin, mut done) = (Instant::now(), 0.0);
                while begin.elapsed() < TRY {
                    done += work(&mut state);
                }
                rates.push(done / begin.elapsed().as_secs_f64());
            }
            rates
        };
        let rates: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.settings.threads).map(|_| scope.spawn(one)).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| panic!("a thread that measures the limit")))
                .collect()
        });
        (0..TRIES)
            .map(|i| rates.iter().map(|r: &Vec<f64>| r[i]).sum())
            .fold(0.0, f64::max)
    }
}

impl Ideal {
    /// What was reached in `seconds`: the rate of products, the rate of bytes where they are the limit, the share of the limit.
    pub fn reached(&self, seconds: f64) -> String {
        let (flops, bytes) = self.work;
        let (unit, what) = match self.bound {
            Bound::Products => ("GFLOP/s", "products"),
            Bound::Bytes => ("GB/s", "bytes"),
            Bound::Memory => ("GB/s", "bytes from memory"),
        };
        let mut out = String::new();
        if flops > 0.0 {
            out += &rate(flops / seconds, "GFLOP/s");
        }
        if self.bound != Bound::Products {
            out += &rate(bytes / seconds, "GB/s");
        }
        let share = 100.0 * self.seconds / seconds;
        out + &format!("{share:.0} % of {:.0} {unit} ({what})", self.limit / 1e9)
    }
}

fn rate(x: f64, unit: &str) -> String {
    let x = x / 1e9;
    let places = if x < 10.0 { 2 } else { 0 };
    format!("{x:.places$} {unit}, ")
}
