//! The CUDA backend against the oracle, through the same cases as the CPU's. Needs a driver: a GPU's, or the emulated one (`tests/cuda-env.sh`);
//! without one each test says so and passes. `PROXIMAL_CASES=rope,head_bwd` keeps only the cases of these methods.
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::{env, fs};

use tests::adjoint::{slopes, transposes};
use tests::case::Case;
use tests::cases::{Sizes, backward_of, forward, tangents_of};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each_cuda, oracle};
use tests::run::run;
use tests::tolerance::{check, report};

/// Whether the case is of a method that `PROXIMAL_CASES` names, or it names none.
fn wanted(method: &str) -> bool {
    match env::var("PROXIMAL_CASES") {
        Ok(list) if !list.is_empty() => list.split(',').any(|name| name == method),
        _ => true,
    }
}

struct Parity {
    lines: Vec<String>,
    cases: usize,
}

/// The forward, backward and tangent cases that are wanted, as the device can represent them.
fn all_cases<B: Backend>(device: &Device<B>, sizes: Sizes) -> impl Iterator<Item = Case> {
    forward(sizes).into_iter().flat_map(move |case| {
        let mut cases: Vec<_> = backward_of(device, &case).into_iter().map(|b| b.case).collect();
        cases.extend(tangents_of(device, &case));
        cases.push(device.round_case(&case));
        cases.into_iter().filter(|case| wanted(case.method()))
    })
}

impl Visit for Parity {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        for case in [Sizes::Small, Sizes::Full]
            .into_iter()
            .flat_map(|sizes| all_cases(device, sizes))
        {
            let lines = check(device, &case, &run(device, &case), &run(&oracle(), &case));
            self.lines
                .extend(lines.iter().map(|line| format!("{}: {line}", device.name)));
            self.cases += 1;
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
        return;
    }
    println!("{} cases", parity.cases);
    report("parity", &parity.lines);
}

struct Adjoint;

impl Visit for Adjoint {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        transposes(device);
        slopes(device);
    }
}

#[test]
fn the_backward_is_the_transpose_of_the_forward() {
    each_cuda(&mut Adjoint);
}

/// Names the file that the child writes.
const BITS: &str = "PROXIMAL_TEST_BITS";

/// A line a case: its name and every bit of its outputs, hashed.
struct Bits(String);

impl Visit for Bits {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        for case in all_cases(device, Sizes::Full) {
            let outputs = run(device, &case);
            let numbers = outputs.iter().flat_map(|y| &y.data);
            let hash = numbers.fold(0xcbf2_9ce4_8422_2325, |h: u64, x| {
                (h ^ x.to_bits()).wrapping_mul(0x0100_0000_01b3)
            });
            writeln!(self.0, "{}: {}: {hash:016x}", device.name, case.name()).expect("memory");
        }
    }
}

#[test]
#[ignore = "a process of the test below"]
fn child_bits() {
    let mut bits = Bits(String::new());
    each_cuda(&mut bits);
    fs::write(env::var(BITS).expect("the parent names the file"), bits.0).expect("the file can be written");
}

#[test]
fn no_bit_depends_on_the_order_of_blocks_and_warps() {
    // The emulated device runs them in the order of a seed; a GPU in any.
    let folder = env::temp_dir().join(format!("proximal-bits-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the test");
    let file = |seed: u32| folder.join(seed.to_string());
    let start = |seed: u32| -> Child {
        Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "--ignored", "--quiet", "child_bits"])
            .env("CUDA_EMULATOR_SEED", seed.to_string())
            .env(BITS, file(seed))
            .spawn()
            .expect("this test starts")
    };
    let bits = |path: &Path| fs::read_to_string(path).expect("the child wrote it");
    for mut child in [0, 1, 7].map(start) {
        assert!(child.wait().expect("it runs").success(), "the child says why");
    }
    let first = bits(&file(0));
    for seed in [1, 7] {
        for (a, b) in first.lines().zip(bits(&file(seed)).lines()) {
            assert_eq!(a, b, "seed {seed}");
        }
        assert_eq!(first.lines().count(), bits(&file(seed)).lines().count());
    }
    println!("{} cases", first.lines().count());
    fs::remove_dir_all(&folder).expect("the folder is the test's own");
}
