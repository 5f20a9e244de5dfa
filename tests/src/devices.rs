//! The backends under test.
use cpu_backend::{Cpu, Isa, Settings};
use cuda_backend::{Cuda, Element, Error};
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
    let (Some(f32), Some(bf16)) = (cuda::<f32>(), cuda::<bf16>()) else {
        return false;
    };
    visit.visit(&on_cuda(f32, Precision::F32));
    visit.visit(&on_cuda(bf16, Precision::Bf16));
    true
}

/// The CUDA backend; where there is no driver, none, and the test's output says so. Panics where there is none but `PROXIMAL_CUDA_REQUIRED` is set,
/// as `tests/cuda-env.sh` sets it.
pub fn cuda<T: Element>() -> Option<Cuda<T>> {
    match Cuda::new(0) {
        Ok(b) => Some(b),
        Err(Error::NoDriver) if std::env::var_os("PROXIMAL_CUDA_REQUIRED").is_none() => {
            println!("skipped: there is no CUDA driver");
            None
        }
        Err(e) => panic!("device cuda: {e}"),
    }
}

fn on_cuda<B: Backend>(backend: B, precision: Precision) -> Device<B> {
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
    let machine = match (precision, settings.isa) {
        (Precision::Bf16, Isa::Avx512Bf16 | Isa::Amx) => Machine::CpuBf16,
        _ => Machine::Cpu,
    };
    Device {
        backend,
        name: format!("{family}, {} threads", settings.threads),
        family,
        precision,
        machine,
        promise: Promise::BatchInvariant,
    }
}
