//! The device that a run is on.
use anyhow::Result;

use crate::config::{Dtype as ConfigDtype, Shared};
use crate::device::{Job, Target};
use crate::dtype::Dtype;

/// Runs `job` on the device and in the precision that the configuration names.
pub fn on_configured<J: Job>(shared: &Shared, job: J) -> Result<J::Output> {
    Target::new(shared.device, shared.threads)?.run(dtype(shared), job)
}

/// The precision of weights and activations.
pub fn dtype(shared: &Shared) -> Dtype {
    match shared.precision() {
        Ok(ConfigDtype::Bf16) => Dtype::Bf16,
        _ => Dtype::F32,
    }
}
