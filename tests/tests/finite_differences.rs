//! Every gradient of the oracle, number by number: d<u, f(x)>/dx_i = (<u, f(x + h e_i)> - <u, f(x - h e_i)>) / 2h.
use kernel::mat::Accum;
use tests::backward::{backward, cotangents};
use tests::case::{Case, Role};
use tests::cases::{Sizes, forward};
use tests::devices::oracle;
use tests::host::{Host, Rng, dot};
use tests::run::run;
use tests::tolerance::{report, worst};

/// Truncation h^2 = 1e-10 and rounding 1e-16 / h = 1e-11 are both far below.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

/// <u, f> of the case.
fn loss(case: &Case, u: &[Host]) -> f64 {
    let outputs = run(&oracle(), case);
    outputs
        .iter()
        .zip(&case.outputs)
        .zip(u)
        .filter(|((_, y), _)| y.role == Role::Variable)
        .map(|((f, _), u)| dot(u, f))
        .sum()
}

/// The gradient of <u, f> with respect to input `of`.
fn numerical(case: &Case, of: usize, u: &[Host]) -> Host {
    let mut gradient = case.inputs[of].value.clone();
    let mut moved = case.clone();
    for i in 0..gradient.len() {
        let x = case.inputs[of].value.data[i];
        let mut at = |x| {
            moved.inputs[of].value.data[i] = x;
            loss(&moved, u)
        };
        gradient.data[i] = (at(x + STEP) - at(x - STEP)) / (2.0 * STEP);
        moved.inputs[of].value.data[i] = x;
    }
    gradient
}

#[test]
fn every_gradient_of_the_oracle_is_the_slope_of_its_forward() {
    let mut lines = Vec::new();
    for case in forward(Sizes::Small) {
        let u = cotangents(&case, &mut Rng::new(&case.label));
        let outputs = run(&oracle(), &case);
        let mut seen = vec![false; case.inputs.len()];
        for accum in [Accum::Replace, Accum::Add] {
            for b in backward(&case, &outputs, &u, accum) {
                let results = run(&oracle(), &b.case);
                for (of, gradient) in b.gradients(&results) {
                    seen[of] = true;
                    let (error, place) = worst(&gradient, &numerical(&case, of, &u));
                    if error > TOLERANCE {
                        lines.push(format!(
                            "{}: d{} {place}: {error:.1e}",
                            b.case.name(),
                            case.inputs[of].name
                        ));
                    }
                }
            }
        }
        if seen.contains(&true) {
            for (x, seen) in case.inputs.iter().zip(seen) {
                assert_eq!(
                    seen,
                    x.role == Role::Variable,
                    "{}: gradient of {}",
                    case.name(),
                    x.name
                );
            }
        }
    }
    report("Cpu<f64>", &lines);
}
