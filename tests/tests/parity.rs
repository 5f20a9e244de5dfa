//! Every case on every backend against the oracle. `cargo test --test parity -- --nocapture` prints the largest error of
//! each output beside the error allowed.
use std::collections::BTreeMap;

use tests::cases::{Checked, Sizes, all};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each};
use tests::run::run;
use tests::tolerance::{check, report, tolerance, worst};

/// What was wrong, and for each precision, method and output the largest error, where it was, and the error allowed.
#[derive(Default)]
struct Parity {
    lines: Vec<String>,
    errors: BTreeMap<String, (f64, String, f64)>,
}

impl Visit for Parity {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        for sizes in [Sizes::Small, Sizes::Full] {
            for Checked { case, expected } in all(device, sizes).iter() {
                let got = run(device, case);
                let lines = check(device, case, &got, expected);
                self.lines
                    .extend(lines.iter().map(|line| format!("{}: {line}", device.name)));
                for ((y, got), want) in case.outputs.iter().zip(&got).zip(expected) {
                    let key = format!("{:?} {:?} {} {}", device.precision, y.kind, case.method(), y.name);
                    let (error, at) = (worst(got, want).0, format!("{}, {}", device.name, case.label));
                    let largest = self.errors.entry(key).or_default();
                    if error >= largest.0 {
                        *largest = (error, at, tolerance(device, case, y));
                    }
                }
            }
        }
    }
}

#[test]
fn every_backend_computes_what_the_oracle_computes() {
    let mut parity = Parity::default();
    each(&mut parity);
    for (what, (error, at, tolerance)) in &parity.errors {
        println!("{what}: {error:.1e} of {tolerance:.0e} ({at})");
    }
    report("parity", &parity.lines);
}
