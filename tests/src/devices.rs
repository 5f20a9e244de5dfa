//! The backends under test.
use cpu_backend::{Cpu, Isa, Settings};
use half::bf16;

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
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let settings = Settings { threads, isa };
            visit.visit(&fast(Cpu::<f32>::new(settings), settings, Precision::F32));
            visit.visit(&fast(Cpu::<bf16>::new(settings), settings, Precision::Bf16));
        }
    }
}

fn fast<B: Backend>(backend: B, settings: Settings, precision: Precision) -> Device<B> {
    let family = format!("Cpu<{precision:?}> on {}", settings.isa.name());
    Device {
        backend,
        name: format!("{family}, {} threads", settings.threads),
        family,
        precision,
        promise: Promise::BatchInvariant,
    }
}
