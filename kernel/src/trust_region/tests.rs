extern crate std;
use std::vec;
use std::vec::Vec;

use super::*;

/// What the policy is broken by.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// No step improves the surrogate.
    Worse,
    /// The second evaluation fails.
    Fails,
    /// Evaluations are not numbers.
    Nan,
}

/// A policy whose surrogate is -<gradient, d> and whose KL is `stretch` d' F d / 2, d the way gone, with F a full matrix.
struct Quadratic {
    parameters: Vec<f64>,
    gradient: Vec<f64>,
    f: Vec<Vec<f64>>,
    stretch: f64,
    fault: Fault,
    old: Vec<f64>,
    evaluations: usize,
}

const START: [f64; 4] = [-0.0, 1.5, f64::MIN_POSITIVE, -3.0];

impl Quadratic {
    fn new(fault: Fault) -> Self {
        // A' A of a matrix of full rank.
        let a = [
            [2.0, 0.3, -0.5, 0.1],
            [0.0, 1.0, 0.7, -0.2],
            [0.4, -0.1, 0.5, 0.9],
            [0.0, 0.2, 0.1, 3.0],
        ];
        let entry = |i: usize, j: usize| a.iter().map(|r| r[i] * r[j]).sum();
        Self {
            parameters: START.to_vec(),
            gradient: vec![0.5, -1.0, 2.0, 0.25],
            f: (0..4).map(|i| (0..4).map(|j| entry(i, j)).collect()).collect(),
            stretch: 1.0,
            fault,
            old: Vec::new(),
            evaluations: 0,
        }
    }

    fn bits(&self) -> Vec<u64> {
        self.parameters.iter().map(|x| x.to_bits()).collect()
    }

    fn unchanged(&self) -> bool {
        self.bits() == START.map(f64::to_bits)
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        self.f.iter().map(|row| dot(row, x)).collect()
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

impl Policy for Quadratic {
    type Vector = Vec<f64>;
    type Error = &'static str;

    fn gradient(&self) -> &Vec<f64> {
        &self.gradient
    }

    fn fisher(&mut self, out: &mut Vec<f64>, x: &Vec<f64>) -> Result<(), &'static str> {
        *out = self.times(x);
        Ok(())
    }

    fn exchange(&mut self, other: &mut Vec<f64>) {
        core::mem::swap(&mut self.parameters, other);
    }

    fn place(&mut self, old: &Vec<f64>, step: f64, x: &Vec<f64>) {
        self.old = old.clone();
        self.parameters = old.iter().zip(x).map(|(o, x)| o + step * x).collect();
    }

    fn evaluate(&mut self) -> Result<Evaluation, &'static str> {
        self.evaluations += 1;
        let d: Vec<f64> = self.parameters.iter().zip(&self.old).map(|(p, o)| p - o).collect();
        let e = Evaluation {
            surrogate: 7.0 - dot(&self.gradient, &d),
            kl: 0.5 * self.stretch * dot(&d, &self.times(&d)),
        };
        match self.fault {
            Fault::Fails if self.evaluations == 2 => Err("the device is gone"),
            Fault::Fails => Ok(Evaluation { kl: 1.0, ..e }),
            Fault::Worse => Ok(Evaluation { surrogate: 7.0, ..e }),
            Fault::Nan => Ok(Evaluation {
                surrogate: f64::NAN,
                kl: f64::NAN,
            }),
            Fault::None => Ok(e),
        }
    }

    fn zero(&self, x: &mut Vec<f64>) {
        x.fill(0.0);
    }

    fn dot(&self, x: &Vec<f64>, y: &Vec<f64>) -> Result<f64, &'static str> {
        Ok(dot(x, y))
    }

    fn axpy(&self, y: &mut Vec<f64>, alpha: f64, x: &Vec<f64>) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
    }

    fn scale(&self, x: &mut Vec<f64>, alpha: f64) {
        x.iter_mut().for_each(|x| *x *= alpha);
    }
}

/// Work that holds rubbish.
fn work() -> Work<Vec<f64>> {
    let one = || vec![f64::NAN; 4];
    Work {
        x: one(),
        r: one(),
        p: one(),
        ap: one(),
    }
}

fn run(policy: &mut Quadratic, settings: &Settings) -> (Result<Report, Error<&'static str>>, Work<Vec<f64>>) {
    let mut work = work();
    (step(policy, 7.0, settings, &mut work), work)
}

#[test]
fn as_many_products_as_numbers_solve_the_system() {
    for cg_damping in [0.0, 0.1, 3.0] {
        let mut policy = Quadratic::new(Fault::None);
        let settings = Settings {
            cg_damping,
            ..Settings::default()
        };
        let (report, work) = run(&mut policy, &settings);
        let report = report.unwrap();
        assert!(report.cg_iters <= 6 && report.cg_residual <= 1e-10, "{report:?}");
        for ((fx, x), g) in policy.times(&work.x).iter().zip(&work.x).zip(&policy.gradient) {
            assert!((fx + cg_damping * x + g).abs() < 1e-9, "{fx} {x} {g}");
        }
    }
}

#[test]
fn a_full_step_has_the_kl_that_was_asked_for_and_the_best_surrogate_within_it() {
    let settings = Settings {
        cg_damping: 0.0,
        line_search: LineSearch::None,
        ..Settings::default()
    };
    let mut policy = Quadratic::new(Fault::None);
    let (report, work) = run(&mut policy, &settings);
    let report = report.unwrap();
    assert!((report.kl_old_new - 0.01).abs() < 1e-12, "{report:?}");
    // max <g, d> with d' F d / 2 <= kl is sqrt(2 kl g' F^-1 g).
    let best = (0.02 * -dot(&work.x, &policy.gradient)).sqrt();
    assert!((report.surrogate - 7.0 - best).abs() < 1e-10, "{report:?} {best}");
    assert_eq!((report.outcome, report.line_search_steps), (Outcome::Moved, 1));
    let gone = policy.parameters.iter().zip(START).zip(&work.x);
    for ((new, old), x) in gone {
        assert!((new - old - report.step_size * x).abs() < 1e-12);
    }
}

#[test]
fn few_iterations_leave_a_residual_and_still_a_step_within_the_region() {
    let settings = Settings {
        cg_iters: 2,
        ..Settings::default()
    };
    let mut policy = Quadratic::new(Fault::None);
    let report = run(&mut policy, &settings).0.unwrap();
    assert_eq!(report.cg_iters, 2);
    assert!(report.cg_residual > 1e-6, "{report:?}");
    assert!(report.surrogate > 7.0 && report.kl_old_new <= 0.01);
}

#[test]
fn lengths_are_tried_until_the_kl_fits() {
    // The KL is four times what F says: 0.8^(2j) 4 <= 1 first at j = 4; with damping the first is below max_kl by a little.
    let mut policy = Quadratic::new(Fault::None);
    policy.stretch = 4.0;
    let settings = Settings {
        cg_damping: 1e-6,
        ..Settings::default()
    };
    let (report, work) = run(&mut policy, &settings);
    let report = report.unwrap();
    assert_eq!((report.outcome, report.line_search_steps), (Outcome::Moved, 5));
    assert!(
        report.kl_old_new <= 0.01 && report.kl_old_new > 0.64 * 0.01,
        "{report:?}"
    );
    let full = (0.02 / -dot(&work.x, &policy.gradient)).sqrt();
    assert!((report.step_size - full * 0.8f64.powi(4)).abs() < 1e-6 * full);
    // Without a search the same step is taken as it is.
    let mut policy = Quadratic::new(Fault::None);
    policy.stretch = 4.0;
    let settings = Settings {
        line_search: LineSearch::None,
        ..settings
    };
    let report = run(&mut policy, &settings).0.unwrap();
    assert_eq!(report.outcome, Outcome::Moved);
    assert!(report.kl_old_new > 0.039, "{report:?}");
}

#[test]
fn a_step_that_does_not_help_leaves_every_bit() {
    for (fault, line_search, tries) in [
        (Fault::Worse, LineSearch::Backtrack, 10),
        (Fault::Nan, LineSearch::Backtrack, 10),
        (Fault::Nan, LineSearch::None, 1),
    ] {
        let mut policy = Quadratic::new(fault);
        let settings = Settings {
            line_search,
            ..Settings::default()
        };
        let report = run(&mut policy, &settings).0.unwrap();
        assert_eq!((report.outcome, report.line_search_steps), (Outcome::Rejected, tries));
        assert_eq!(
            (report.step_size, report.kl_old_new, report.surrogate),
            (0.0, 0.0, report.surrogate_before)
        );
        assert!(policy.unchanged());
    }
    let mut policy = Quadratic::new(Fault::Fails);
    let e = run(&mut policy, &Settings::default()).0.unwrap_err();
    assert_eq!((e, policy.evaluations), (Error::Policy("the device is gone"), 2));
    assert!(policy.unchanged());
}

#[test]
fn no_gradient_is_not_an_error_and_changes_nothing() {
    let mut policy = Quadratic::new(Fault::None);
    policy.gradient = vec![0.0; 4];
    let report = run(&mut policy, &Settings::default()).0.unwrap();
    assert_eq!((report.outcome, policy.evaluations), (Outcome::NoGradient, 0));
    assert_eq!((report.surrogate, report.step_size, report.cg_iters), (7.0, 0.0, 0));
    assert!(policy.unchanged());
}

#[test]
fn what_cannot_be_is_reported() {
    let mut policy = Quadratic::new(Fault::None);
    policy.gradient[2] = f64::NAN;
    let e = run(&mut policy, &Settings::default()).0.unwrap_err();
    assert_eq!(e, Error::Gradient);
    assert!(std::format!("{e}").contains("not finite"));

    for x in [-4.0, f64::NAN, f64::INFINITY] {
        let mut policy = Quadratic::new(Fault::None);
        policy.f[2][2] = x;
        let e = run(&mut policy, &Settings::default()).0.unwrap_err();
        let Error::Curvature { iteration, value } = &e else {
            panic!("{e:?}");
        };
        assert!(*iteration < 4 && (*value <= 0.0 || !value.is_finite()), "{e:?}");
        assert!(std::format!("{e}").contains("cg_damping"));
        assert!(policy.unchanged());
    }
}

#[test]
fn settings_out_of_range() {
    assert_eq!(Settings::default().check(), Ok(()));
    let d = Settings::default();
    for (field, settings) in [
        ("max_kl", Settings { max_kl: 0.0, ..d }),
        ("max_kl", Settings { max_kl: f64::NAN, ..d }),
        ("cg_damping", Settings { cg_damping: -0.1, ..d }),
        ("cg_iters", Settings { cg_iters: 0, ..d }),
        (
            "cg_tolerance",
            Settings {
                cg_tolerance: f64::NAN,
                ..d
            },
        ),
        (
            "backtrack_coeff",
            Settings {
                backtrack_coeff: 1.0,
                ..d
            },
        ),
        (
            "backtrack_iters",
            Settings {
                backtrack_iters: 0,
                ..d
            },
        ),
    ] {
        assert_eq!(settings.check().unwrap_err().field, field);
    }
}
