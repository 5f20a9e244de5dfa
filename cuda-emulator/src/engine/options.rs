//! The engine's settings and the environment variables they come from.

use std::path::PathBuf;

/// Which parts of the sanitizer run. Bounds, alignment, freed memory, divergent barriers and masks of warp synchronisations are always looked at:
/// what a kernel does after those has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Races in shared and global memory.
    pub race: bool,
    /// Reads of memory that nothing has written.
    pub init: bool,
    /// Allocations that live at the end.
    pub leak: bool,
}

impl Checks {
    /// Everything on.
    pub const ALL: Checks = Checks {
        race: true,
        init: true,
        leak: true,
    };
    /// Everything off.
    pub const NONE: Checks = Checks {
        race: false,
        init: false,
        leak: false,
    };
}

/// Settings of an [`Engine`](crate::engine::Engine).
#[derive(Clone, Debug)]
pub struct Options {
    /// `CUDA_EMULATOR_SEED`: order of blocks and warps; 0 is the natural order.
    pub seed: u64,
    /// `CUDA_EMULATOR_THREADS`: worker threads over blocks, 2 unless said.
    pub threads: usize,
    /// `CUDA_EMULATOR_CHECKS`: names joined by commas, `all` or `none`.
    pub checks: Checks,
    /// `CUDA_EMULATOR_MEMORY_GB`: size of device memory, in bytes here; 16 GB unless said.
    pub memory_bytes: u64,
    /// `CUDA_EMULATOR_ARCH`: compute capability times ten, 80 unless said.
    pub arch: u32,
    /// `CUDA_EMULATOR_PTXAS`: path of NVIDIA's assembler, for real register counts.
    pub ptxas: Option<PathBuf>,
    /// `CUDA_EMULATOR_MAX_STEPS`: warp instructions of one block before it is a
    /// [`Timeout`](crate::fault::FaultKind::Timeout); 2^32 unless said, some minutes.
    pub max_steps: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 0,
            threads: 2,
            checks: Checks::ALL,
            memory_bytes: 16 << 30,
            arch: 80,
            ptxas: None,
            max_steps: 1 << 32,
        }
    }
}

impl Options {
    /// Reads the `CUDA_EMULATOR_` variables.
    ///
    /// # Errors
    /// A value that cannot be read, with the variable's name.
    pub fn from_env() -> Result<Options, String> {
        let mut o = Options::default();
        let get = |name: &str| {
            std::env::var(format!("CUDA_EMULATOR_{name}"))
                .ok()
                .filter(|v| !v.is_empty())
        };
        let number = |name: &str, default: u64| match get(name) {
            None => Ok(default),
            Some(v) => v
                .trim()
                .parse()
                .map_err(|_| format!("CUDA_EMULATOR_{name}: {v:?} is no whole number")),
        };
        o.seed = number("SEED", o.seed)?;
        o.threads = number("THREADS", o.threads as u64)?.clamp(1, 64) as usize;
        o.memory_bytes = number("MEMORY_GB", o.memory_bytes >> 30)?.clamp(1, 1 << 10) << 30;
        o.arch = number("ARCH", o.arch as u64)? as u32;
        o.max_steps = number("MAX_STEPS", o.max_steps)?;
        o.ptxas = get("PTXAS").map(PathBuf::from);
        if let Some(list) = get("CHECKS") {
            o.checks = checks(&list)?;
        }
        Ok(o)
    }
}

fn checks(list: &str) -> Result<Checks, String> {
    let mut c = Checks::NONE;
    for name in list.split(',').map(str::trim) {
        match name {
            "all" => c = Checks::ALL,
            "none" => c = Checks::NONE,
            "race" => c.race = true,
            "init" => c.init = true,
            "leak" => c.leak = true,
            _ => {
                return Err(format!(
                    "CUDA_EMULATOR_CHECKS: {name:?} is none of race, init, leak, all, none"
                ));
            }
        }
    }
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_name() {
        let none = Checks::NONE;
        for (list, expected) in [
            ("race", Checks { race: true, ..none }),
            ("init", Checks { init: true, ..none }),
            ("leak", Checks { leak: true, ..none }),
            ("race, init,leak", Checks::ALL),
            ("all", Checks::ALL),
            ("all,none", none),
        ] {
            assert_eq!(checks(list), Ok(expected), "{list}");
        }
        for list in ["", "races", "race,memory"] {
            let error = checks(list).unwrap_err();
            assert!(error.starts_with("CUDA_EMULATOR_CHECKS: "), "{error}");
        }
    }
}
