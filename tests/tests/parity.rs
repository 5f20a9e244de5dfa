//! Every case on every backend against the oracle.
use tests::cases::{Sizes, all};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each, oracle};
use tests::run::run;
use tests::tolerance::{check, report};

struct Parity;

impl Visit for Parity {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let mut lines = Vec::new();
        for sizes in [Sizes::Small, Sizes::Full] {
            for case in all(device, sizes) {
                let (got, want) = (run(device, &case), run(&oracle(), &case));
                lines.extend(check(device.precision, &case, &got, &want));
            }
        }
        report(&device.name, &lines);
    }
}

#[test]
fn every_backend_computes_what_the_oracle_computes() {
    each(&mut Parity);
}
