//! Which instruction set and how many threads.
use core::fmt;
use std::env;

/// An instruction set with microkernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with the bf16 dot product.
    Avx512Bf16,
    /// AVX-512 with tiles of bf16 (AMX), on Linux.
    Amx,
    /// 64-bit ARM.
    Neon,
}

impl Isa {
    const ALL: [Self; 6] = [
        Self::Portable,
        Self::Neon,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The name that `PROXIMAL_CPU` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Bf16.is_available() && super::simd::avx512::amx::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// All that this machine can run, the best last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    fn by_name(name: &str) -> Result<Self, SettingsError> {
        match Self::ALL.into_iter().find(|isa| isa.name() == name) {
            Some(isa) if isa.is_available() => Ok(isa),
            found => Err(SettingsError::Isa {
                name: name.into(),
                known: found.is_some(),
            }),
        }
    }
}

/// How many threads and which instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads, at least one.
    pub threads: usize,
    /// Instruction set.
    pub isa: Isa,
}

impl Settings {
    /// All cores and the best instruction set, unless `PROXIMAL_THREADS` or `PROXIMAL_CPU` say otherwise. Errors: one of
    /// them names what is not there.
    pub fn detect() -> Result<Self, SettingsError> {
        let var = |name| env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        Self::from_vars(var("PROXIMAL_CPU").as_deref(), var("PROXIMAL_THREADS").as_deref())
    }

    pub(super) fn from_vars(cpu: Option<&str>, threads: Option<&str>) -> Result<Self, SettingsError> {
        let isa = cpu.map_or(Ok(Isa::best()), Isa::by_name)?;
        let threads = match threads {
            None => std::thread::available_parallelism().map_or(1, |n| n.get()),
            Some(text) => match text.parse() {
                Ok(n @ 1..=1024) => n,
                _ => return Err(SettingsError::Threads { text: text.into() }),
            },
        };
        Ok(Self { threads, isa })
    }
}

/// Why the environment's settings cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// `PROXIMAL_CPU` names an instruction set that does not exist or that this machine does not have.
    Isa {
        /// What it says.
        name: String,
        /// Whether there is an instruction set of that name.
        known: bool,
    },
    /// `PROXIMAL_THREADS` is no number from 1 to 1024.
    Threads {
        /// What it says.
        text: String,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isa { name, known } => {
                let why = if *known {
                    "this machine does not have it"
                } else {
                    "unknown"
                };
                let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
                write!(f, "PROXIMAL_CPU={name}: {why}, expected one of {}", names.join(", "))
            }
            Self::Threads { text } => {
                write!(f, "PROXIMAL_THREADS={text}: expected a number from 1 to 1024")
            }
        }
    }
}

impl core::error::Error for SettingsError {}

/// An instruction set that the machine is known to have.
#[derive(Clone, Copy, Debug)]
pub struct Level(Isa);

impl Level {
    /// Panics where the machine does not have it: it would be undefined to go on.
    #[track_caller]
    pub(super) fn new(isa: Isa) -> Self {
        assert!(isa.is_available(), "this machine does not have {}", isa.name());
        Self(isa)
    }

    pub(super) fn isa(self) -> Isa {
        self.0
    }

    /// Whether bf16 matrices are stored as pairs along k.
    pub(super) fn pairs(self) -> bool {
        matches!(self.0, Isa::Avx512Bf16 | Isa::Amx)
    }

    /// Width of a panel, and rows of a tile.
    pub(super) fn tile(self) -> (usize, usize) {
        match self.0 {
            Isa::Portable => (8, 4),
            Isa::Avx2 => (16, 6),
            Isa::Avx512 | Isa::Avx512Bf16 => (32, 12),
            Isa::Amx => (32, 32),
            Isa::Neon => (8, 12),
        }
    }
}

#[cfg(test)]
mod tests;
