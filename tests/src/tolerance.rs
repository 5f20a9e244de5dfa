//! The one tolerance table. An error is measured against the largest of the number itself, the root mean square of its
//! matrix and a floor: a sum that happens to cancel is as wrong as its neighbours, not relatively more, and a matrix of
//! sums that all cancel (the gradient of a softmax over one key) is as wrong as the numbers of size one that went in.
use crate::case::{Case, Kind, Output};
use crate::device::{Backend, Device, Machine, Precision};
use crate::host::Host;

/// What goes into the cases is of size one; what comes out and is far smaller has cancelled.
const FLOOR: f64 = 0.05;

/// The largest error allowed in outputs of compute and of accumulator precision.
pub struct Tolerance {
    /// The precision of the device.
    pub precision: Precision,
    /// For `Buf`.
    pub buf: f64,
    /// For `Acc`.
    pub acc: f64,
}

/// One row a precision.
pub const TABLE: [Tolerance; 3] = [
    // The same sums in another order.
    Tolerance {
        precision: Precision::F64,
        buf: 1e-12,
        acc: 1e-12,
    },
    // Unit roundoff 6e-8; sums of up to a thousand terms.
    Tolerance {
        precision: Precision::F32,
        buf: 3e-6,
        acc: 3e-6,
    },
    // Unit roundoff 4e-3: an output is rounded once, its inputs are what the oracle has. `Acc` is f32 throughout.
    Tolerance {
        precision: Precision::Bf16,
        buf: 5e-3,
        acc: 3e-6,
    },
];

/// An output whose error is larger for a reason.
pub struct Exception {
    /// The machine it is made for.
    pub machine: Machine,
    /// The precision.
    pub precision: Precision,
    /// The method.
    pub method: &'static str,
    /// The output.
    pub output: &'static str,
    /// The error allowed.
    pub tolerance: f64,
    /// Why.
    pub reason: &'static str,
}

const LONG_SUMS: &str = "a sum of 128 terms in the exponent, then one of 150 that cancels to a tenth of its terms";
const SMALL_P: &str = "e^(z - lse) is off by |z - lse| roundoffs, and improbable tokens have 10";
const CENTRED: &str = "as above, and z_dot less its mean cancels where one token has nearly all of p";
const ROUNDED_DZ: &str = "dz is rounded to bf16 before its two products: each term of a sum is off by up to 2^-9 of itself, and terms reach ten times what the outputs have on average";

const ROUNDED_P: &str = "p and ds are multiplied in bf16, as tensor cores and AMX take them: each term of a sum is off by up to 4e-3 of itself, and a row with few keys has terms ten times what the matrix has on average";
const DITHERED: &str =
    "rounded stochastically, to either neighbour: off by up to 2^-7 of itself, twice what the nearest is";
const ROUNDED_EACH: &str =
    "dx is rounded to bf16 after each of three layers, 2^-9 of the sum so far, which may be twice what is left of it";
const SPLIT_DZ: &str = "dz is rounded to a sum of two bf16, 2^-17, before its product";

/// One reason an exception.
#[rustfmt::skip]
pub const EXCEPTIONS: &[Exception] = &[
    exception(Machine::Cpu, Precision::F32, "attention", "o", 1e-5, LONG_SUMS),
    exception(Machine::Cpu, Precision::F32, "attention_decode", "o", 1e-5, LONG_SUMS),
    exception(Machine::Cpu, Precision::F32, "attention_bwd", "dq", 1e-5, LONG_SUMS),
    exception(Machine::Cpu, Precision::F32, "attention_bwd", "dk", 1e-5, LONG_SUMS),
    exception(Machine::Cpu, Precision::F32, "attention_bwd", "dv", 1e-5, LONG_SUMS),
    exception(Machine::Cpu, Precision::F32, "attention_jvp", "o_dot", 1e-5, LONG_SUMS),
    exception(Machine::Cuda, Precision::F32, "attention_bwd", "dq", 1e-5, LONG_SUMS),
    exception(Machine::Cuda, Precision::F32, "attention_bwd", "dk", 1e-5, LONG_SUMS),
    exception(Machine::Cuda, Precision::F32, "attention_bwd", "dv", 1e-5, LONG_SUMS),
    exception(Machine::Cuda, Precision::F32, "attention_jvp", "o_dot", 1e-5, LONG_SUMS),
    exception(Machine::Cuda, Precision::Bf16, "attention", "o", 1.5e-2, ROUNDED_P),
    exception(Machine::Cuda, Precision::Bf16, "attention_bwd", "dq", 4e-2, ROUNDED_P),
    exception(Machine::Cuda, Precision::Bf16, "attention_bwd", "dk", 3e-2, ROUNDED_P),
    exception(Machine::Cuda, Precision::Bf16, "attention_bwd", "dv", 2e-2, ROUNDED_P),
    exception(Machine::Cpu, Precision::Bf16, "head_bwd", "dw", 1e-5, SMALL_P),
    exception(Machine::Cpu, Precision::Bf16, "head_fisher", "dw", 2e-5, CENTRED),
    exception(Machine::CpuBf16, Precision::Bf16, "attention", "o", 1.5e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "attention_decode", "o", 1.5e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "attention_bwd", "dq", 3e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "attention_bwd", "dk", 2e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "attention_bwd", "dv", 2e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "attention_jvp", "o_dot", 1.5e-2, ROUNDED_P),
    exception(Machine::CpuBf16, Precision::Bf16, "head_kl", "kl", 1e-5, SMALL_P),
    exception(Machine::Cpu, Precision::F32, "head_bwd", "dh", 1e-5, SMALL_P),
    exception(Machine::Cpu, Precision::F32, "head_bwd", "dw", 1e-5, SMALL_P),
    exception(Machine::Cpu, Precision::F32, "head_fisher", "dh", 2e-5, CENTRED),
    exception(Machine::Cpu, Precision::F32, "head_fisher", "dw", 2e-5, CENTRED),
    exception(Machine::Cpu, Precision::F32, "head_kl", "kl", 1e-5, SMALL_P),
    exception(Machine::Cpu, Precision::Bf16, "head_kl", "kl", 1e-5, SMALL_P),
    exception(Machine::CpuBf16, Precision::Bf16, "head_fisher", "dh", 2e-2, ROUNDED_DZ),
    exception(Machine::CpuBf16, Precision::Bf16, "head_fisher", "dw", 2e-2, ROUNDED_DZ),
    exception(Machine::CpuBf16, Precision::Bf16, "head_bwd", "dh", 2e-2, ROUNDED_DZ),
    exception(Machine::CpuBf16, Precision::Bf16, "head_bwd", "dw", 2e-2, ROUNDED_DZ),
    exception(Machine::Cuda, Precision::F32, "head_bwd", "dh", 1e-5, SMALL_P),
    exception(Machine::Cuda, Precision::F32, "head_bwd", "dw", 1e-5, SMALL_P),
    exception(Machine::Cuda, Precision::F32, "head_fisher", "dh", 1e-5, CENTRED),
    exception(Machine::Cuda, Precision::F32, "head_fisher", "dw", 1e-5, CENTRED),
    exception(Machine::Cpu, Precision::Bf16, "adamw_narrow", "p", 8e-3, DITHERED),
    exception(Machine::Cpu, Precision::Bf16, "adamw_narrow", "m", 8e-3, DITHERED),
    exception(Machine::Cpu, Precision::Bf16, "adamw_narrow", "v", 8e-3, DITHERED),
    exception(Machine::Cpu, Precision::Bf16, "adamw_narrow", "matrix", 8e-3, DITHERED),
    exception(Machine::CpuBf16, Precision::Bf16, "adamw_narrow", "p", 8e-3, DITHERED),
    exception(Machine::CpuBf16, Precision::Bf16, "adamw_narrow", "m", 8e-3, DITHERED),
    exception(Machine::CpuBf16, Precision::Bf16, "adamw_narrow", "v", 8e-3, DITHERED),
    exception(Machine::CpuBf16, Precision::Bf16, "adamw_narrow", "matrix", 8e-3, DITHERED),
    exception(Machine::Cuda, Precision::Bf16, "adamw_narrow", "p", 8e-3, DITHERED),
    exception(Machine::Cuda, Precision::Bf16, "adamw_narrow", "m", 8e-3, DITHERED),
    exception(Machine::Cuda, Precision::Bf16, "adamw_narrow", "v", 8e-3, DITHERED),
    exception(Machine::Cuda, Precision::Bf16, "adamw_narrow", "matrix", 8e-3, DITHERED),
    exception(Machine::Cuda, Precision::Bf16, "linear_each_bwd_x", "dx", 1.2e-2, ROUNDED_EACH),
    exception(Machine::Cuda, Precision::Bf16, "head_fisher", "dw", 2e-5, SPLIT_DZ),
    exception(Machine::Cuda, Precision::Bf16, "head_bwd", "dw", 2e-5, SPLIT_DZ),
];

const fn exception(
    machine: Machine,
    precision: Precision,
    method: &'static str,
    output: &'static str,
    tolerance: f64,
    reason: &'static str,
) -> Exception {
    Exception {
        machine,
        precision,
        method,
        output,
        tolerance,
        reason,
    }
}

/// The error allowed in an output of a case.
pub fn tolerance<B: Backend>(device: &Device<B>, case: &Case, output: &Output) -> f64 {
    let (machine, precision) = (device.machine, device.precision);
    let exception = EXCEPTIONS.iter().filter(|e| e.method == case.method());
    let exception = exception
        .filter(|e| e.machine == machine && e.precision == precision && e.output == output.name)
        .map(|e| e.tolerance);
    let row = TABLE
        .iter()
        .find(|t| t.precision == precision)
        .map(|t| match output.kind {
            Kind::Acc => t.acc,
            Kind::Buf | Kind::Weight => t.buf,
        });
    exception.chain(row).next().expect("a row for every precision")
}

/// What the error of each number of x is measured against: its own size, the root mean square of x, or the floor.
pub fn size_allowed_for(x: &Host) -> Host {
    let mean = x.data.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64;
    let size = |x: &f64| x.abs().max(mean.sqrt()).max(FLOOR);
    Host::new(x.data.iter().map(size).collect(), x.rows, x.cols)
}

/// The largest error of `got` against `want`, and where it is; NaN counts as infinitely wrong.
pub fn worst(got: &Host, want: &Host) -> (f64, String) {
    assert_eq!(got.shape(), want.shape());
    let mut worst = (0.0, String::from("nowhere"));
    let sizes = size_allowed_for(want);
    for (i, ((&got, &x), scale)) in got.data.iter().zip(&want.data).zip(&sizes.data).enumerate() {
        let error = match (got - x).abs() / scale {
            _ if got == x => 0.0,
            e if e.is_nan() => f64::INFINITY,
            e => e,
        };
        if error > worst.0 {
            let at = (i / want.cols, i % want.cols);
            worst = (error, format!("at {at:?} found {got:e}, expected {x:e}"));
        }
    }
    worst
}

/// What is wrong with the results of a case, a line for each output beyond its tolerance.
pub fn check<B: Backend>(device: &Device<B>, case: &Case, got: &[Host], want: &[Host]) -> Vec<String> {
    let mut lines = Vec::new();
    for ((y, got), want) in case.outputs.iter().zip(got).zip(want) {
        let (error, place) = worst(got, want);
        let tolerance = tolerance(device, case, y);
        if error > tolerance {
            lines.push(format!(
                "{}: {} {place}: error {error:.1e} > {tolerance:.0e}",
                case.name(),
                y.name
            ));
        }
    }
    lines
}

/// Panics with the first of `lines`, if there are any.
pub fn report(device: &str, lines: &[String]) {
    let shown = lines.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(
        lines.is_empty(),
        "{device}: {} outputs are wrong:\n  {shown}",
        lines.len()
    );
}

#[cfg(test)]
mod tests;
