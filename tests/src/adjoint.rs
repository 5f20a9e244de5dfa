//! <u, J v> = <J' u, v>: the cheapest strong check of a backward, and it needs no other one. J v is exact where the operation is linear in
//! the input, on every backend; elsewhere it is a central difference of the oracle's forward.
use kernel::mat::Accum;

use crate::backward::{Backward, backward, cotangents};
use crate::case::{Call, Case, Role};
use crate::cases::{Sizes, forward};
use crate::device::{Backend, Device};
use crate::devices::oracle;
use crate::host::{Host, Rng, add, dot};
use crate::run::run;
use crate::tolerance::{report, size_allowed_for, tolerance};

/// What was compared.
#[derive(Default)]
struct Found {
    /// Pairs of products.
    checks: usize,
    /// A line for each that differs.
    lines: Vec<String>,
}

impl Found {
    fn compare(&mut self, name: &str, left: f64, right: f64, limit: f64) {
        self.checks += 1;
        let error = (left - right).abs() / limit;
        // NaN fails too.
        if !matches!(error.partial_cmp(&1.0), Some(core::cmp::Ordering::Less)) {
            let line = format!("{name}: <u, J v> = {left:e}, <J' u, v> = {right:e}: {error:.1} times what is allowed");
            self.lines.push(line);
        }
    }

    fn report(&self, device: &str, least: usize) {
        assert!(self.checks > least, "{} checks", self.checks);
        report(device, &self.lines);
    }
}

/// The size of a sum of products whose signs are random: what an error of <x, y> is measured against.
fn size(x: &Host, y: &Host) -> f64 {
    x.data
        .iter()
        .zip(&y.data)
        .map(|(x, y)| (x * y) * (x * y))
        .sum::<f64>()
        .sqrt()
}

/// The inputs that the operation is linear in, the others fixed.
fn linear_in(case: &Case) -> Vec<usize> {
    match case.call {
        Call::Embed | Call::Gather | Call::Rope { .. } => vec![0],
        // Without a bias and without what was there before.
        Call::Linear { accum: Accum::Replace } if case.inputs.len() == 2 => vec![0, 1],
        _ => Vec::new(),
    }
}

/// The cotangents of a case as the device can represent them.
fn rounded_cotangents<B: Backend>(device: &Device<B>, case: &Case) -> Vec<Host> {
    let u = cotangents(case, &mut Rng::new(&case.label));
    let kinds = case.outputs.iter().map(|y| y.kind);
    kinds.zip(&u).map(|(kind, u)| device.round(kind, u)).collect()
}

/// Where an operation is linear in an input, the device's backward is the transpose of its forward. Panics where it is not.
pub fn transposes<B: Backend>(device: &Device<B>) {
    let mut found = Found::default();
    for case in forward(Sizes::Full) {
        for of in linear_in(&case) {
            let case = device.round_case(&case);
            let (v, av) = (&case.inputs[of].value, run(device, &case));
            let u = rounded_cotangents(device, &case);
            for b in backward(&case, &av, &u, Accum::Replace) {
                let b = Backward {
                    case: device.round_case(&b.case),
                    of: b.of,
                };
                let results = run(device, &b.case);
                for (i, ((input, gradient), y)) in b.gradients(&results).zip(&b.case.outputs).enumerate() {
                    if input != of {
                        continue;
                    }
                    // What the gradient was added to is part of what was rounded.
                    let before = if results[i].data == gradient.data {
                        0.0
                    } else {
                        size(&results[i], v)
                    };
                    let scale = size(&u[0], &av[0]).max(size(&gradient, v)).max(before);
                    let limit = tolerance(device, &case, &case.outputs[0]).max(tolerance(device, &b.case, y));
                    let (left, right) = (dot(&u[0], &av[0]), dot(&gradient, v));
                    found.compare(&b.case.name(), left, right, limit * scale);
                }
            }
        }
    }
    found.report(&device.name, 50);
}

/// The case with every variable input moved by alpha v.
fn moved(case: &Case, alpha: f64, v: &[Host]) -> Case {
    let mut case = case.clone();
    for (x, v) in case.inputs.iter_mut().zip(v).filter(|(x, _)| x.role == Role::Variable) {
        x.value = add(&x.value, alpha, v);
    }
    case
}

/// <u, J v> by a central difference of the oracle's forward, and the size of what it sums.
fn slope(case: &Case, u: &[Host], v: &[Host]) -> (f64, f64) {
    // The error of the central difference grows with the third derivative along v.
    const STEP: f64 = 1e-5;
    let [plus, minus] = [STEP, -STEP].map(|step| run(&oracle(), &moved(case, step, v)));
    let (mut slope, mut scale) = (0.0, 0.0f64);
    for ((u, plus), minus) in u.iter().zip(&plus).zip(&minus) {
        if u.data.iter().all(|&u| u == 0.0) {
            continue;
        }
        let jv = add(plus, -1.0, minus);
        slope += dot(u, &jv) / (2.0 * STEP);
        scale = scale.max(size(u, &jv) / (2.0 * STEP));
    }
    (slope, scale)
}

/// The device's backward of every operation is the transpose of the slope of the oracle's forward, at full size. Panics where it is not.
pub fn slopes<B: Backend>(device: &Device<B>) {
    /// Of the central difference.
    const TOLERANCE: f64 = 1e-6;
    let mut found = Found::default();
    for case in forward(Sizes::Full) {
        let case = device.round_case(&case);
        let u = rounded_cotangents(device, &case);
        let rng = &mut Rng::new(&format!("{}, along v", case.label));
        let shapes = case.inputs.iter().map(|x| x.value.shape());
        let v: Vec<Host> = shapes.map(|(rows, cols)| rng.matrix(rows, cols)).collect();
        let outputs = run(device, &case);
        let mut left = None;
        for accum in [Accum::Replace, Accum::Add] {
            let all = backward(&case, &outputs, &u, accum);
            if all.is_empty() {
                continue;
            }
            let (left, scale) = *left.get_or_insert_with(|| slope(&case, &u, &v));
            let (mut right, mut limit) = (0.0, TOLERANCE * scale);
            for b in all {
                let b = Backward {
                    case: device.round_case(&b.case),
                    of: b.of,
                };
                let results = run(device, &b.case);
                for (((of, gradient), y), after) in b.gradients(&results).zip(&b.case.outputs).zip(&results) {
                    right += dot(&gradient, &v[of]);
                    limit += tolerance(device, &b.case, y) * size(&size_allowed_for(after), &v[of]);
                    limit += TOLERANCE * size(&gradient, &v[of]);
                }
            }
            found.compare(&case.name(), left, right, limit);
        }
    }
    found.report(&device.name, 50);
}
