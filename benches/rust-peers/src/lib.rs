//! Sides that do the same work, checked against one another and then measured by turns.
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Turns that are measured; one before them is not.
const TURNS: usize = 15;
/// How long a turn of one side is at least: several runs, so that threads that sleep between them are awake.
const TURN: Duration = Duration::from_millis(20);

/// The work of one side; where it is given a place, it puts the result there.
type Run<'a> = Box<dyn FnMut(Option<&mut Vec<f32>>) + 'a>;

/// One side.
pub struct Side<'a> {
    name: &'static str,
    run: Run<'a>,
}

impl<'a> Side<'a> {
    /// A side of this name.
    pub fn new(name: &'static str, run: impl FnMut(Option<&mut Vec<f32>>) + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// Seconds of a run, the mean of a turn.
    fn turn(&mut self) -> f64 {
        let (begin, mut runs) = (Instant::now(), 0);
        while begin.elapsed() < TURN {
            (self.run)(None);
            runs += 1;
        }
        begin.elapsed().as_secs_f64() / f64::from(runs)
    }
}

/// Compares every side's result with the first one's, against the root mean square of that, then prints for each side the median time of a run,
/// what that is of `work` (operations or bytes; in units of `unit`) a second, and how many times the first one's time it takes: the least,
/// the median and the most of the ratios of the turns. Above 1 the first side is faster.
pub fn by_turns(what: &str, (work, unit): (usize, &str), tolerance: f32, sides: &mut [Side<'_>]) {
    let results: Vec<Vec<f32>> = sides
        .iter_mut()
        .map(|side| {
            let mut result = Vec::new();
            (side.run)(Some(&mut result));
            result
        })
        .collect();
    for (side, result) in sides.iter().zip(&results) {
        check(&format!("{what}, {}", side.name), result, &results[0], tolerance);
    }
    let mut seconds = vec![Vec::new(); sides.len()];
    for turn in 0..=TURNS {
        for (side, seconds) in sides.iter_mut().zip(&mut seconds) {
            let taken = side.turn();
            if turn > 0 {
                seconds.push(taken);
            }
        }
    }
    println!("{what}");
    for (side, own) in sides.iter().zip(&seconds) {
        let [_, median, _] = spread(own.clone());
        let ratios = own.iter().zip(&seconds[0]).map(|(own, first)| own / first).collect();
        let [least, middle, most] = spread(ratios);
        println!(
            "  {:24} {:9.3} ms {:9.2} {unit}   {least:6.2} {middle:6.2} {most:6.2}",
            side.name,
            median * 1e3,
            work as f64 / median / 1e9
        );
    }
}

/// The least, the median, the most.
fn spread(mut x: Vec<f64>) -> [f64; 3] {
    x.sort_by(f64::total_cmp);
    [x[0], x[x.len() / 2], x[x.len() - 1]]
}

fn check(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = (want.iter().map(|x| x * x).sum::<f32>() / want.len() as f32).sqrt();
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        let near = (x - y).abs() <= tolerance * y.abs().max(scale);
        assert!(near, "{what}: number {i} is {x}, the first side has {y}");
    }
}

/// Numbers between -1 and 1 that bf16 can represent.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 57) as f32 / 64.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The value, or a panic that says why there is none.
#[track_caller]
pub fn ok<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}
