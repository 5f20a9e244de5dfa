//! The device that a run is on.
use anyhow::Result;
use kernel::optim::Storage;

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

/// How the optimizer keeps values and moments.
pub fn storage(shared: &Shared) -> Storage {
    match shared.master_dtype {
        ConfigDtype::F32 => Storage::Full,
        ConfigDtype::Bf16 => Storage::Narrow { seed: shared.seed },
    }
}

/// The precision of master weights and moments.
pub fn master_dtype(shared: &Shared) -> Dtype {
    match shared.master_dtype {
        ConfigDtype::F32 => Dtype::F32,
        ConfigDtype::Bf16 => Dtype::Bf16,
    }
}
