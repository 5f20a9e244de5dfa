//! The backends under test.
use cpu_backend::{Cpu, Isa, Settings};
use cuda_backend::{Cuda, Error};
use half::bf16;

use crate::device::{Backend, Device, Machine, Precision, Promise};

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
        machine: Machine::Cpu,
        promise: Promise::BatchInvariant,
    }
}

/// Visits every CPU backend that this machine can run. A new backend is added here and nowhere else.
pub fn each(visit: &mut impl Visit) {
    visit.visit(&oracle());
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let settings = Settings { threads, isa };
            visit.visit(&fast(Cpu::<f32>::new(settings), settings, Precision::F32));
            visit.visit(&fast(Cpu::<bf16>::new(settings), settings, Precision::Bf16));
        }
    }
}

/// Visits the CUDA backends, if there is a driver: a GPU's, or the emulated one. Returns whether there is.
pub fn each_cuda(visit: &mut impl Visit) -> bool {
    let (f32, bf16) = match (Cuda::<f32>::new(0), Cuda::<bf16>::new(0)) {
        (Ok(f32), Ok(bf16)) => (f32, bf16),
        (Err(Error::NoDriver), _) => return false,
        (Err(e), _) | (_, Err(e)) => panic!("there is a CUDA driver, but {e}"),
    };
    visit.visit(&cuda(f32, Precision::F32));
    visit.visit(&cuda(bf16, Precision::Bf16));
    true
}

fn cuda<B: Backend>(backend: B, precision: Precision) -> Device<B> {
    Device {
        backend,
        name: format!("Cuda<{precision:?}>"),
        family: format!("Cuda<{precision:?}>"),
        precision,
        machine: Machine::Cuda,
        promise: Promise::Deterministic,
    }
}

fn fast<B: Backend>(backend: B, settings: Settings, precision: Precision) -> Device<B> {
    let family = format!("Cpu<{precision:?}> on {}", settings.isa.name());
    Device {
        backend,
        name: format!("{family}, {} threads", settings.threads),
        family,
        precision,
        machine: Machine::Cpu,
        promise: Promise::BatchInvariant,
    }
}
