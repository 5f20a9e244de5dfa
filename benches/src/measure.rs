//! How an operation is checked, measured and set against the machine's limit.
use std::time::{Duration, Instant};

use cpu_backend::{Cpu, Settings};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};

use crate::limit::Limits;
use crate::operation::{Backend, Cost, Operation};

/// Samples of a measurement.
const SAMPLES: usize = 10;

/// Criterion as the benches use it: short, and as the command line says.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args()
}

/// The environment's settings, printed.
pub fn settings() -> Settings {
    let settings = Settings::detect().unwrap_or_else(|e| panic!("{e}"));
    println!("{} threads, {}", settings.threads, settings.isa.name());
    settings
}

/// Operations of one backend and model.
pub struct Measure<'a, B> {
    group: BenchmarkGroup<'a, WallTime>,
    title: String,
    b: &'a B,
    limits: &'a Limits,
    width: usize,
    measured: Vec<(String, Cost, f64)>,
}

impl<'a, B: Backend> Measure<'a, B> {
    /// Under this title; `width` is the bytes of a number at compute precision.
    pub fn new(c: &'a mut Criterion, title: String, b: &'a B, limits: &'a Limits, width: usize) -> Self {
        let mut group = c.benchmark_group(&title);
        group.sampling_mode(SamplingMode::Flat);
        Self {
            group,
            title,
            b,
            limits,
            width,
            measured: Vec::new(),
        }
    }

    /// Compares the result on `few` rows with the oracle's, then measures it on `rows` rows.
    pub fn operation<O: Operation>(&mut self, operation: &O, (few, rows): (usize, usize)) {
        let (b, width) = (self.b, self.width);
        let name = format!("{} x{rows}", operation.name());
        let cost = operation.cost(rows);
        let throughput = match cost.flops {
            0 => Throughput::Bytes(cost.bytes(width) as u64),
            flops => Throughput::Elements(flops as u64),
        };
        // Made, and compared, only for what is going to be measured: the closure is called many times, or never.
        let mut state = None;
        let mut samples = Vec::new();
        self.group.throughput(throughput).bench_function(&name, |bencher| {
            let state = state.get_or_insert_with(|| {
                check(&name, b, width, &operation.small(), few);
                operation.make(b, rows)
            });
            bencher.iter_custom(|times| {
                let begin = Instant::now();
                for _ in 0..times {
                    operation.run(b, state);
                }
                let taken = begin.elapsed();
                samples.push(taken.as_secs_f64() / times as f64);
                taken
            });
        });
        // Warming up comes first.
        let mut last = samples.split_off(samples.len().saturating_sub(SAMPLES));
        last.sort_by(f64::total_cmp);
        if let Some(&seconds) = last.get(last.len() / 2) {
            self.limits.ideal(cost, width);
            self.measured.push((name, cost, seconds));
        }
    }

    /// Says what share of the limit each has reached.
    pub fn finish(self) {
        self.group.finish();
        for (name, cost, seconds) in self.measured {
            let reached = self.limits.ideal(cost, self.width).reached(seconds);
            println!("= {}/{name}: {reached}", self.title);
        }
    }
}

fn check<O: Operation, B: Backend>(name: &str, b: &B, width: usize, operation: &O, rows: usize) {
    let results = (result(operation, b, rows), result(operation, &Cpu::oracle(), rows));
    assert_near(name, &results.0, &results.1, if width == 2 { 3e-2 } else { 2e-5 });
}

fn result<O: Operation, B: Backend>(operation: &O, b: &B, rows: usize) -> Vec<f64> {
    let mut state = operation.make(b, rows);
    operation.run(b, &mut state);
    operation.read(b, &state)
}

/// Panics unless `got` is near `want`, against the root mean square of what is expected.
pub fn assert_near(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        let near = (x - y).abs() <= tolerance * y.abs().max(scale);
        assert!(near, "{what}: number {i} is {x}, expected {y}");
    }
}
