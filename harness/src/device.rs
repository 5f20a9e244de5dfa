//! The device that work is done on: the one match on the backend.
use anyhow::{Context, Result, bail, ensure};
use cpu_backend::{Cpu, Settings};
use cuda_backend::Cuda;
use half::bf16;
use kernel::backend::{Decode, Tangent, Vector};
use model_qwen2::tensors::Element;

use crate::config::DeviceKind;
use crate::dtype::Dtype;

/// A backend with everything that this program asks of one.
pub trait Device: Decode<Real: Element> + Vector + Tangent {}
impl<B: Decode<Real: Element> + Vector + Tangent> Device for B {}

/// Work on whatever device the user names.
pub trait Job {
    /// Its result.
    type Output;
    /// Does it.
    fn run<B: Device>(self, b: &B, place: &Place) -> Result<Self::Output>;
}

/// Where work is done, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What decides the bits: an instruction set, or a GPU.
    pub arithmetic: String,
    /// The same with the number of threads, for people.
    pub words: String,
}

/// The device, found but not opened.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The CPU, with its threads and instruction set.
    Cpu(Settings),
    /// The first NVIDIA GPU.
    Cuda,
}

impl Target {
    /// The device of this kind; the CPU with all cores where `threads` is unset. Errors: a number of threads out of range.
    pub fn new(kind: DeviceKind, threads: Option<usize>) -> Result<Self> {
        if kind == DeviceKind::Cuda {
            return Ok(Self::Cuda);
        }
        let mut settings = Settings::detect()?;
        if let Some(threads) = threads {
            ensure!(
                (1..=1024).contains(&threads),
                "--threads: expected a number from 1 to 1024, found {threads}"
            );
            settings.threads = threads;
        }
        Ok(Self::Cpu(settings))
    }

    /// Runs `job` here. Errors: there is no such device, it does not compute in `dtype`, and the job's own.
    pub fn run<J: Job>(self, dtype: Dtype, job: J) -> Result<J::Output> {
        match (self, dtype) {
            (Self::Cpu(settings), Dtype::F64) => job.run(&Cpu::<f64>::oracle(), &cpu_place(settings)),
            (Self::Cpu(settings), Dtype::F32) => job.run(&Cpu::<f32>::new(settings), &cpu_place(settings)),
            (Self::Cpu(settings), Dtype::Bf16) => job.run(&Cpu::<bf16>::new(settings), &cpu_place(settings)),
            (Self::Cuda, Dtype::F64) => bail!("device cuda computes in f32 and bf16; f64 is the CPU's"),
            (Self::Cuda, Dtype::F32) => on_cuda(&cuda::<f32>()?, job),
            (Self::Cuda, Dtype::Bf16) => on_cuda(&cuda::<bf16>()?, job),
        }
    }
}

fn cpu_place(settings: Settings) -> Place {
    let isa = settings.isa.name();
    Place {
        arithmetic: isa.to_owned(),
        words: format!("{} thread(s) ({isa})", settings.threads),
    }
}

fn cuda<T: cuda_backend::Element>() -> Result<Cuda<T>> {
    Cuda::new(0).context("device cuda")
}

fn on_cuda<T: cuda_backend::Element, J: Job>(b: &Cuda<T>, job: J) -> Result<J::Output>
where
    Cuda<T>: Device,
{
    let name = b.name();
    let place = Place {
        arithmetic: format!("cuda, {name}"),
        words: name,
    };
    job.run(b, &place)
}
