//! Checkpoints of a learner, and the model folder at the end.
//!
//! A checkpoint is a model folder that transformers loads (the masters), with `optimizer.safetensors` (the moments) and
//! `trainer_state.json` beside it; both are f32, or bf16 where they are kept as that.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernel::backend::{Memory, Ops, Vector};
use kernel::optim::{Kept, Learner, State};
use kernel::params::{Params, Spec};
use kernel::real::Real;
use kernel::transformer::Accs;
use model_qwen2::folder::{self, Folder, file_specs};
use model_qwen2::tensors::{Dtype, Element, Tensors, write_safetensors};
use model_qwen2::{Error, tensors};
use serde::{Deserialize, Serialize};

use super::Meter;
use crate::assets::Assets;
use crate::checkpoint::{Best, Checkpoint, Writer};
use crate::config::{Config, Trainer};

const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const MOMENTS: [(Kept, &str); 2] = [(Kept::First, "exp_avg"), (Kept::Second, "exp_avg_sq")];

/// What a run needs beside the learner to go on bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Optimizer steps done: the data's cursor too.
    pub step: u64,
    /// Updates of the parameters: fewer than steps where a trainer left some out.
    pub updates: u64,
    /// Updates of a critic of its own.
    #[serde(default)]
    pub critic_updates: u64,
    /// Tokens seen.
    pub num_tokens: u64,
    /// Sums since the last line of the log.
    pub meter: Meter,
    /// The last update: a line of the log says it, also where the steps since the line before had none.
    #[serde(default)]
    pub last_update: Option<LastUpdate>,
    /// Whether the evaluation after this step is still to be made, since it failed.
    #[serde(default)]
    pub owes_evaluation: bool,
    /// The best evaluation.
    pub best: Option<Best>,
    /// CRC-32 of the tokenised data: other data is another run.
    pub data: String,
    /// The instruction set that computed it: on another one the run goes on within rounding, not bit for bit.
    pub isa: String,
    /// The configuration of the run.
    pub config: toml::Table,
}

/// What the log says of an update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastUpdate {
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Where there is such a thing.
    pub learning_rate: Option<f64>,
}

/// A checkpoint, read.
pub struct Restored {
    /// Its folder, for what a trainer itself put there.
    pub path: PathBuf,
    /// The trainer's part.
    pub state: TrainerState,
    /// The parameters.
    pub folder: Folder,
    moments: Tensors,
}

/// Reads the checkpoint in `path`. Errors: a file that is missing or broken.
pub fn read_state(path: &Path) -> Result<Restored> {
    let file = path.join(STATE);
    let text = std::fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
    let state =
        serde_json::from_str(&text).map_err(|e| Error::invalid(&file, "JSON", "a trainer's state", e.to_string()))?;
    Ok(Restored {
        path: path.into(),
        state,
        folder: Folder::open(path)?,
        moments: Tensors::open_file(path.join(OPTIMIZER))?,
    })
}

impl Restored {
    /// Puts moments and step into a learner whose parameters were loaded from [`Restored::folder`].
    pub fn restore<B: Ops + Vector>(&self, b: &B, learner: &mut Learner<B>) -> Result<()>
    where
        B::Real: Element,
    {
        for (what, prefix) in MOMENTS {
            for (i, spec) in file_specs(learner.specs(), Dtype::F32).iter().enumerate() {
                let view = self.moments.get(&format!("{prefix}.{}", spec.name), &spec.shape)?;
                learner.write(b, what, i, &view.to_vec::<B::Real>()?)?;
            }
        }
        learner.steps = self.state.updates;
        Ok(())
    }
}

/// Writes `checkpoint-<step>` into `output`, whole or not at all; `extra` adds what the trainer itself needs.
pub fn save_checkpoint<B: Ops + Vector>(
    b: &B,
    output: &Path,
    assets: &Assets,
    learner: &Learner<B>,
    state: &TrainerState,
    extra: impl FnOnce(&mut Writer) -> Result<()>,
) -> Result<Checkpoint>
where
    B::Real: Element,
{
    let writer = Writer::begin(output, state.step)?;
    let dtype = kept_as(learner);
    save_model(b, writer.path(), assets, learner, dtype, Heads::All)?;
    let named = |(_, prefix)| {
        let name = move |s: tensors::Spec| tensors::Spec {
            name: format!("{prefix}.{}", s.name),
            ..s
        };
        file_specs(learner.specs(), dtype).into_iter().map(name)
    };
    let specs: Vec<tensors::Spec> = MOMENTS.into_iter().flat_map(named).collect();
    let mut moments = MOMENTS
        .into_iter()
        .flat_map(|(what, _)| numbers(learner).map(move |i| (what, i)));
    write_safetensors(writer.path().join(OPTIMIZER), &specs, |_, sink| {
        let Some((what, i)) = moments.next() else {
            unreachable!("one moment for each of the specs made from them")
        };
        sink.put(&kept(b, learner, what, i)?)
    })?;
    let mut writer = writer;
    let text = serde_json::to_vec_pretty(state).context("the trainer's state as JSON")?;
    writer.write(STATE, &text)?;
    extra(&mut writer)?;
    Ok(writer.commit()?)
}

/// Whether a model folder gets the learner's value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Yes: a checkpoint, a critic.
    All,
    /// No, it goes into value_head.safetensors beside the model: a trained policy.
    Language,
}

/// Writes the learner's parameters as a model folder: config.json, weights, tokenizer.
pub fn save_model<B: Ops + Vector>(
    b: &B,
    path: &Path,
    assets: &Assets,
    learner: &Learner<B>,
    dtype: Dtype,
    heads: Heads,
) -> Result<()>
where
    B::Real: Element,
{
    let (config, generation) = (&assets.folder.config, assets.folder.generation.as_ref());
    let mut specs = learner.specs().clone();
    if heads == Heads::Language {
        specs.value = None;
    }
    folder::save(path, config, generation, &specs, dtype, |i| {
        kept(b, learner, Kept::Value, i)
    })?;
    // The value head comes last.
    let written = specs.iter().count();
    let rest = file_specs(learner.specs(), dtype).split_off(written);
    if !rest.is_empty() {
        let mut i = written..;
        write_safetensors(path.join("value_head.safetensors"), &rest, |_, sink| {
            let Some(i) = i.next() else {
                unreachable!("one number for each spec")
            };
            sink.put(&kept(b, learner, Kept::Value, i)?)
        })?;
    }
    assets.tokenizer.save(path)?;
    Ok(())
}

/// Writes what is kept of a learner's parameters, without loss, under their names.
pub fn write_kept<B: Ops + Vector>(b: &B, path: &Path, learner: &Learner<B>, what: Kept) -> Result<()>
where
    B::Real: Element,
{
    let mut all = numbers(learner);
    Ok(write_safetensors(
        path,
        &file_specs(learner.specs(), kept_as(learner)),
        |_, sink| {
            let Some(i) = all.next() else {
                unreachable!("one number for each spec")
            };
            sink.put(&kept(b, learner, what, i)?)
        },
    )?)
}

/// Reads what [`write_kept`] wrote.
pub fn read_kept<B: Ops + Vector>(b: &B, path: &Path, learner: &mut Learner<B>, what: Kept) -> Result<()>
where
    B::Real: Element,
{
    let tensors = Tensors::open_file(path)?;
    for (i, spec) in file_specs(learner.specs(), Dtype::F32).iter().enumerate() {
        let values = tensors.get(&spec.name, &spec.shape)?.to_vec::<B::Real>()?;
        learner.write(b, what, i, &values)?;
    }
    Ok(())
}

/// How a learner's values and moments are stored without loss.
fn kept_as<B: Ops>(learner: &Learner<B>) -> Dtype {
    match learner.state {
        State::Full { .. } => Dtype::F32,
        State::Narrow { .. } => Dtype::Bf16,
    }
}

/// The parameters by number.
fn numbers<B: Ops + Vector>(learner: &Learner<B>) -> std::ops::Range<usize> {
    0..learner.specs().iter().count()
}

fn kept<B: Ops + Vector>(b: &B, learner: &Learner<B>, what: Kept, i: usize) -> Result<Vec<B::Real>, Error> {
    learner.read(b, what, i).map_err(device_error)
}

/// Writes one set of matrices, those of `specs`, as f32 under the parameters' names.
pub fn write_accs<B: Memory>(b: &B, path: &Path, specs: &Params<Spec>, accs: &Accs<B>) -> Result<()>
where
    B::Real: Element,
{
    let mut all = accs.iter();
    Ok(write_safetensors(path, &file_specs(specs, Dtype::F32), |_, sink| {
        let Some(acc) = all.next() else {
            unreachable!("one matrix for each spec")
        };
        sink.put(&host(b, acc)?)
    })?)
}

/// Reads what [`write_accs`] wrote.
pub fn read_accs<B: Memory>(b: &B, path: &Path, specs: &Params<Spec>, accs: &mut Accs<B>) -> Result<()>
where
    B::Real: Element,
{
    let tensors = Tensors::open_file(path)?;
    for (spec, acc) in file_specs(specs, Dtype::F32).iter().zip(accs.iter_mut()) {
        let values = tensors.get(&spec.name, &spec.shape)?.to_vec::<B::Real>()?;
        b.upload(acc, &values)?;
    }
    Ok(())
}

fn host<B: Memory>(b: &B, acc: &kernel::mat::Mat<B::Acc>) -> Result<Vec<B::Real>, Error> {
    let mut host = vec![B::Real::ZERO; acc.len()];
    b.download(&mut host, acc).map_err(device_error)?;
    Ok(host)
}

fn device_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::io("device", "read")(std::io::Error::other(error))
}

/// The resolved configuration, beside the results.
pub fn write_config<K: Trainer>(config: &Config<K>) -> Result<()> {
    let text = toml::to_string(&config.to_toml()).context("the configuration as TOML")?;
    let path = config.shared.output_dir.join("config.toml");
    Ok(tensors::write_atomic(&path, |out| {
        use std::io::Write;
        out.write_all(text.as_bytes()).map_err(Error::io(&path, "write"))
    })?)
}
