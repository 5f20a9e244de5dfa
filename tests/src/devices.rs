//! The backends under test.
use cpu_backend::Cpu;

use crate::device::{Backend, Device, Precision, Promise};

/// Something to do with every backend.
pub trait Visit {
    /// Does it with this one.
    fn visit<B: Backend>(&mut self, device: &Device<B>);
}

/// The oracle.
pub fn oracle() -> Device<Cpu<f64>> {
    Device {
        backend: Cpu::oracle(),
        name: "Cpu<f64>".into(),
        family: "Cpu<f64>".into(),
        precision: Precision::F64,
        promise: Promise::BatchInvariant,
    }
}

/// Visits every backend that this machine can run. A new backend is added here and nowhere else.
pub fn each(visit: &mut impl Visit) {
    visit.visit(&oracle());
}
