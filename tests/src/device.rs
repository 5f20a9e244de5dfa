//! A backend under test. Every buffer is made with more rows than are used: those of an input hold NaN, so that a read
//! beyond its rows shows in the results; those of an output hold a sentinel that must still be there afterwards.
use kernel::backend::{Decode, Tangent, Vector};
use kernel::mat::{Mat, Use};
use kernel::real::Real;

use crate::case::{Case, Kind};
use crate::host::{Host, full};

/// Everything a backend has to offer.
pub trait Backend: Tangent + Vector + Decode {}
impl<B: Tangent + Vector + Decode> Backend for B {}

/// Rows behind every buffer's own.
const GUARD: usize = 3;
/// What the guard rows of an output hold; every precision can represent it.
const SENTINEL: f64 = -77.0;

/// What `Buf` and `Weight` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f64, accumulated in f64.
    F64,
    /// f32, accumulated in f32.
    F32,
    /// bf16, accumulated in f32.
    Bf16,
}

/// What kind of machine a backend is for: its rounding differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A CPU.
    Cpu,
    /// A CPU that multiplies bf16, and has to do with bf16: what it multiplies is rounded to it, as on tensor cores.
    CpuBf16,
    /// A GPU: its tensor cores take bf16 and add in f32.
    Cuda,
}

/// What a backend promises of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The value of an output never depends on the rows beside it, on threads, or on the mode it is computed in.
    BatchInvariant,
    /// The same call gives the same bits.
    Deterministic,
}

/// A backend under test.
pub struct Device<B> {
    /// The backend.
    pub backend: B,
    /// Its name in messages.
    pub name: String,
    /// Devices of one family give the same bits: they differ in threads only.
    pub family: String,
    /// What it computes in.
    pub precision: Precision,
    /// What it is for.
    pub machine: Machine,
    /// What it promises.
    pub promise: Promise,
}

impl<B: Backend> Device<B> {
    /// Acc to host.
    pub fn download(&self, x: &Mat<B::Acc>) -> Host {
        let mut host = vec![B::Real::ZERO; x.len()];
        self.backend
            .download(&mut host, x)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        Mat::new(host.into_iter().map(Real::to_f64).collect(), x.rows, x.cols)
    }

    /// Host to Acc, behind it guard rows full of `guard`.
    fn acc(&self, x: &Host, guard: f64) -> Mat<B::Acc> {
        let rows = x.rows + GUARD;
        let mut acc = self
            .backend
            .acc(rows, x.cols)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let real = |x: &f64| B::Real::from_f64(*x);
        let mut host: Vec<B::Real> = x.data.iter().map(real).collect();
        host.resize(rows * x.cols, B::Real::from_f64(guard));
        self.backend
            .upload(&mut acc, &host)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        acc.rows = x.rows;
        acc
    }

    fn buf(&self, x: &Host, guard: f64) -> Mat<B::Buf> {
        let rows = x.rows + GUARD;
        let mut buf = self
            .backend
            .buf(rows, x.cols)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let mut acc = self.acc(x, guard);
        acc.rows = rows;
        self.backend.narrow(&mut buf, &acc);
        buf.rows = x.rows;
        buf
    }

    /// An Acc to be read.
    pub fn input_acc(&self, x: &Host) -> Mat<B::Acc> {
        self.acc(x, f64::NAN)
    }

    /// A Buf to be read.
    pub fn input_buf(&self, x: &Host) -> Mat<B::Buf> {
        self.buf(x, f64::NAN)
    }

    /// A prepared weight.
    pub fn weight(&self, x: &Host, usage: Use) -> Mat<B::Weight> {
        let weight = self.backend.weight(x.rows, x.cols, usage);
        let mut weight = weight.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        self.backend.prepare(&mut weight, &self.input_acc(x));
        weight
    }

    /// An Acc to be written, with what it holds before.
    pub fn output_acc(&self, x: &Host) -> Mat<B::Acc> {
        self.acc(x, SENTINEL)
    }

    /// A Buf to be written, with what it holds before.
    pub fn output_buf(&self, x: &Host) -> Mat<B::Buf> {
        self.buf(x, SENTINEL)
    }

    /// What a written Acc holds; panics where a guard row was touched.
    pub fn read_acc(&self, what: &str, mut x: Mat<B::Acc>) -> Host {
        let rows = x.rows;
        x.rows += GUARD;
        let mut host = self.download(&x);
        let guard = host.data.split_off(rows * x.cols);
        host.rows = rows;
        assert!(
            guard.iter().all(|&g| g == SENTINEL),
            "{}: {what}: written beyond its {rows} rows: {guard:?}",
            self.name
        );
        host
    }

    /// What a written Buf holds; panics where a guard row was touched.
    pub fn read_buf(&self, what: &str, mut x: Mat<B::Buf>) -> Host {
        let rows = x.rows;
        x.rows += GUARD;
        let mut acc = self.acc(&full(x.rows, x.cols, f64::NAN), SENTINEL);
        self.backend.widen(&mut acc, &x);
        acc.rows = rows;
        // The guard rows of `acc` proper are dropped here: those behind `rows` are now the guard rows of `x`.
        self.read_acc(what, acc)
    }

    /// x as `kind` holds it.
    pub fn round(&self, kind: Kind, x: &Host) -> Host {
        match kind {
            Kind::Acc => self.read_acc("round", self.output_acc(x)),
            Kind::Buf | Kind::Weight => self.read_buf("round", self.output_buf(x)),
        }
    }

    /// The case with every number as this backend can represent it: so that both sides of a comparison start alike.
    pub fn round_case(&self, case: &Case) -> Case {
        let mut case = case.clone();
        for x in &mut case.inputs {
            x.value = self.round(x.kind, &x.value);
        }
        for y in &mut case.outputs {
            y.initial = self.round(y.kind, &y.initial);
        }
        case
    }
}

#[cfg(test)]
mod tests;
