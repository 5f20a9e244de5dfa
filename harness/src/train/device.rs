//! The device that a run is on.
use anyhow::Result;
use cpu_backend::{Cpu, Settings};
use half::bf16;
use kernel::backend::{Decode, Vector};
use model_qwen2::tensors::Element;

use crate::config::{Dtype as ConfigDtype, Shared};
use crate::dtype::Dtype;

/// A backend that trainers run on.
pub trait Device: Decode<Real: Element> + Vector {}
impl<B: Decode<Real: Element> + Vector> Device for B {}

/// Work on whatever device the configuration names.
pub trait Job {
    /// Its result.
    type Output;
    /// Does it.
    fn run<B: Device>(self, b: &B, settings: Settings) -> Result<Self::Output>;
}

/// Runs `job` on the device and in the precision that the configuration names.
pub fn on_device<J: Job>(shared: &Shared, job: J) -> Result<J::Output> {
    let settings = settings(shared)?;
    match dtype(shared) {
        Dtype::Bf16 => job.run(&Cpu::<bf16>::new(settings), settings),
        Dtype::F32 | Dtype::F64 => job.run(&Cpu::<f32>::new(settings), settings),
    }
}

/// The machine's settings with the configuration's threads.
pub fn settings(shared: &Shared) -> Result<Settings> {
    let mut settings = Settings::detect()?;
    if let Some(threads) = shared.threads {
        settings.threads = threads;
    }
    Ok(settings)
}

/// The precision of weights and activations.
pub fn dtype(shared: &Shared) -> Dtype {
    match shared.precision() {
        Ok(ConfigDtype::Bf16) => Dtype::Bf16,
        _ => Dtype::F32,
    }
}
