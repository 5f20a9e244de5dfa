//! The CUDA backend against the oracle, through the same cases as the CPU's. Needs a driver: a GPU's, or the emulated one (`tests/cuda-env.sh`);
//! without one each test says so and passes. `PROXIMAL_CASES=rope,head_bwd` keeps only the cases of these methods.
use tests::cases::{Sizes, backward_of, forward, tangents_of};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each_cuda, oracle};
use tests::run::run;
use tests::tolerance::{check, report};

/// Whether the case is of a method that `PROXIMAL_CASES` names, or it names none.
fn wanted(method: &str) -> bool {
    match std::env::var("PROXIMAL_CASES") {
        Ok(list) if !list.is_empty() => list.split(',').any(|name| name == method),
        _ => true,
    }
}

struct Parity {
    lines: Vec<String>,
    cases: usize,
}

impl Visit for Parity {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        for sizes in [Sizes::Small, Sizes::Full] {
            for case in forward(sizes) {
                let mut cases: Vec<_> = backward_of(device, &case).into_iter().map(|b| b.case).collect();
                cases.extend(tangents_of(device, &case));
                cases.push(device.round_case(&case));
                for case in cases.iter().filter(|case| wanted(case.method())) {
                    let lines = check(device, case, &run(device, case), &run(&oracle(), case));
                    self.lines
                        .extend(lines.iter().map(|line| format!("{}: {line}", device.name)));
                    self.cases += 1;
                }
            }
        }
    }
}

#[test]
fn cuda_computes_what_the_oracle_computes() {
    let mut parity = Parity {
        lines: Vec::new(),
        cases: 0,
    };
    if !each_cuda(&mut parity) {
        println!("skipped: there is no CUDA driver");
        return;
    }
    println!("{} cases", parity.cases);
    report("parity", &parity.lines);
}
