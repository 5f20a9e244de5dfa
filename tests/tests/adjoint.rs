//! <u, J v> = <J' u, v>: the cheapest strong check of a backward, and it needs no oracle. J v is exact where the
//! operation is linear in the input, on every backend; elsewhere it is a central difference of the oracle's forward.
use kernel::mat::Accum;
use tests::backward::{backward, cotangents};
use tests::case::{Call, Case, Role};
use tests::cases::{Sizes, forward};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each, oracle};
use tests::host::{Host, Rng, add, dot};
use tests::run::run;
use tests::tolerance::{report, tolerance};

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

struct Exact;

impl Visit for Exact {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let mut lines = Vec::new();
        let mut checks = 0;
        for case in forward(Sizes::Full) {
            for of in linear_in(&case) {
                let case = device.round_case(&case);
                let (v, av) = (&case.inputs[of].value, run(device, &case));
                let rng = &mut Rng::new(&case.label);
                let u: Vec<Host> = cotangents(&case, rng)
                    .iter()
                    .map(|u| device.round(case.outputs[0].kind, u))
                    .collect();
                for b in backward(&case, &av, &u, Accum::Replace) {
                    let b_case = device.round_case(&b.case);
                    let results = run(device, &b_case);
                    let b = tests::backward::Backward { case: b_case, of: b.of };
                    for (i, ((input, gradient), y)) in b.gradients(&results).zip(&b.case.outputs).enumerate() {
                        if input != of {
                            continue;
                        }
                        checks += 1;
                        let (left, right) = (dot(&u[0], &av[0]), dot(&gradient, v));
                        // What the gradient was added to is part of what was rounded.
                        let before = if results[i].data == gradient.data {
                            0.0
                        } else {
                            size(&results[i], v)
                        };
                        let scale = size(&u[0], &av[0]).max(size(&gradient, v)).max(before);
                        let limit = tolerance(device, &case, &case.outputs[0]).max(tolerance(device, &b.case, y));
                        if (left - right).abs() > limit * scale {
                            let error = (left - right).abs() / scale;
                            lines.push(format!(
                                "{}: <u, A v> = {left:e}, <A' u, v> = {right:e}: {error:.1e}",
                                b.case.name()
                            ));
                        }
                    }
                }
            }
        }
        assert!(checks > 50, "{checks} checks");
        report(&device.name, &lines);
    }
}

#[test]
fn the_backward_of_a_linear_operation_is_its_transpose_on_every_backend() {
    each(&mut Exact);
}

/// The case with every variable input moved by alpha v.
fn moved(case: &Case, alpha: f64, v: &[Host]) -> Case {
    let mut case = case.clone();
    for (x, v) in case.inputs.iter_mut().zip(v).filter(|(x, _)| x.role == Role::Variable) {
        x.value = add(&x.value, alpha, v);
    }
    case
}

#[test]
fn the_backward_of_the_oracle_is_the_transpose_of_its_tangent_at_full_size() {
    // The error of the central difference grows with the third derivative along v.
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-6;
    let device = oracle();
    let mut lines = Vec::new();
    for case in forward(Sizes::Full) {
        let rng = &mut Rng::new(&case.label);
        let v: Vec<Host> = case
            .inputs
            .iter()
            .map(|x| rng.matrix(x.value.rows, x.value.cols))
            .collect();
        let u = cotangents(&case, rng);
        let outputs = run(&device, &case);
        for accum in [Accum::Replace, Accum::Add] {
            let all = backward(&case, &outputs, &u, accum);
            if all.is_empty() {
                continue;
            }
            let (plus, minus) = (
                run(&device, &moved(&case, STEP, &v)),
                run(&device, &moved(&case, -STEP, &v)),
            );
            let (mut left, mut right, mut scale) = (0.0, 0.0, 0.0f64);
            for ((u, plus), minus) in u.iter().zip(&plus).zip(&minus) {
                if u.data.iter().all(|&u| u == 0.0) {
                    continue;
                }
                let jv = add(plus, -1.0, minus);
                left += dot(u, &jv) / (2.0 * STEP);
                scale = scale.max(size(u, &jv) / (2.0 * STEP));
            }
            for b in &all {
                for (of, gradient) in b.gradients(&run(&device, &b.case)) {
                    right += dot(&gradient, &v[of]);
                    scale = scale.max(size(&gradient, &v[of]));
                }
            }
            if (left - right).abs() > TOLERANCE * scale {
                let error = (left - right).abs() / scale;
                lines.push(format!(
                    "{}: <u, J v> = {left:e}, <J' u, v> = {right:e}: {error:.1e}",
                    case.name()
                ));
            }
        }
    }
    report(&device.name, &lines);
}
