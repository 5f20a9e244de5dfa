//! Computes what a case asks for, on any backend.
use std::collections::BTreeMap;

use anyhow::Result;
use kernel::backend::{Decode, Vector};
use kernel::batch::Batch;
use kernel::optim::{Decay, Hyper, Learner};
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep};
use model_qwen2::tensors::{Dtype as FileDtype, Element};

use super::Options;
use super::case::{Case, Objective, Optimizer, Sequence};
use super::compare::{Row, Tolerance};
use crate::dtype::Dtype;

/// What was computed, by the names of expected.safetensors.
type Found = BTreeMap<String, Vec<f64>>;

/// Everything that the case's reference names, compared.
pub fn run<B: Decode + Vector>(b: &B, case: &Case, options: &Options) -> Result<Vec<Row>>
where
    B::Real: Element,
{
    let config = case.folder.config.kernel.clone();
    let mut learner = Learner::load(
        b,
        config,
        case.folder.value_head,
        case.context(),
        // Half of the cases take the recomputing path when run in pieces: both are held to the same numbers.
        if options.micro_batch.is_some() {
            Keep::Inputs
        } else {
            Keep::Everything
        },
        |spec, out| anyhow::Ok(case.folder.fill(spec, out)?),
    )?;
    let mut found = Found::new();
    let loss = pass(b, &mut learner, case, options, Some(&mut found))?;
    found.insert("loss".into(), vec![loss]);
    for (spec, grad) in learner.specs().iter().zip(learner.grads.iter()) {
        let mut host = vec![B::Real::ZERO; grad.len()];
        b.download(&mut host, grad)?;
        found.insert(format!("grad.{}", spec.name), to_f64(&host));
    }
    if let Some(optimizer) = &case.optimizer {
        steps(b, &mut learner, case, options, optimizer, loss, &mut found)?;
    }
    compare(case, options, &found)
}

/// K AdamW steps: as many as the reference has. `loss` is the first step's, whose gradient is there.
fn steps<B: Decode + Vector>(
    b: &B,
    learner: &mut Learner<B>,
    case: &Case,
    options: &Options,
    optimizer: &Optimizer,
    mut loss: f64,
    found: &mut Found,
) -> Result<()> {
    let hyper = Hyper {
        learning_rate: optimizer.learning_rate,
        betas: optimizer.betas,
        eps: optimizer.eps,
        weight_decay: optimizer.weight_decay,
        decay: Decay::All,
        max_grad_norm: optimizer.max_grad_norm.unwrap_or(f64::INFINITY),
    };
    for k in 1.. {
        let names = [format!("step.{k}.loss"), format!("step.{k}.grad_norm")];
        if !names.iter().any(|name| case.expected.contains(name)) {
            break;
        }
        if k > 1 {
            loss = pass(b, learner, case, options, None)?;
        }
        let norm = learner.update(b, &hyper)?;
        for (name, x) in names.into_iter().zip([loss, norm]) {
            found.insert(name, vec![x]);
        }
    }
    Ok(())
}

/// Loss and gradients of the whole case, micro-batch by micro-batch.
fn pass<B: Decode + Vector>(
    b: &B,
    learner: &mut Learner<B>,
    case: &Case,
    options: &Options,
    mut found: Option<&mut Found>,
) -> Result<f64> {
    learner.zero_grads(b);
    let weight = case.weight();
    let mut loss = 0.0;
    let (mut entropy, mut right) = (0.0, 0.0);
    let size = options.micro_batch.unwrap_or(case.sequences.len()).max(1);
    for (i, sequences) in case.sequences.chunks(size).enumerate() {
        let batch = pack(case.folder.config.kernel.vocab, sequences)?;
        let scores = learner.score(b, &batch, case.temperature)?.clone();
        let mask: Vec<B::Real> = sequences
            .iter()
            .flat_map(Sequence::weights)
            .map(B::Real::from_f64)
            .collect();
        for (j, &m) in mask.iter().enumerate() {
            entropy += m.to_f64() * scores.entropy[j].to_f64();
            right += m.to_f64() * (scores.logp[j] >= scores.best[j]) as u8 as f64;
        }
        let mut dlogp = vec![B::Real::ZERO; scores.logp.len()];
        match case.objective {
            Objective::Logprobs => {}
            Objective::Sft(kind) => loss += kind.loss(&mut dlogp, &scores.logp, &mask, weight),
        }
        if let Some(found) = &mut found {
            for (name, xs) in [
                ("logps", &scores.logp),
                ("entropy", &scores.entropy),
                ("values", &scores.value),
            ] {
                found.entry(name.into()).or_default().extend(to_f64(xs));
            }
            if i == 0 {
                let z = learner.logits(b, sequences[0].predictions())?;
                found.insert("logits_first".into(), to_f64(&z));
            }
        }
        let cotangent = Cotangent {
            dlogp: &dlogp,
            dentropy: &[],
            dvalue: &[],
        };
        learner.backward(b, cotangent)?;
    }
    if let Some(found) = found {
        found.insert("metric.entropy".into(), vec![entropy / weight]);
        found.insert("metric.mean_token_accuracy".into(), vec![right / weight]);
    }
    Ok(loss)
}

/// The sequences as one prefix tree: neighbours with the same prompt share it.
fn pack(vocab: usize, sequences: &[Sequence]) -> Result<Batch> {
    let mut batch = Batch::new(vocab);
    let mut last: Option<(&[u32], usize)> = None;
    for s in sequences {
        let parent = match last {
            _ if s.prompt.is_empty() => None,
            Some((prompt, segment)) if prompt == s.prompt => Some(segment),
            _ => Some(batch.segment(None, &s.prompt)?),
        };
        batch.completion(parent, &s.completion)?;
        last = parent.map(|p| (s.prompt.as_slice(), p));
    }
    Ok(batch)
}

fn compare(case: &Case, options: &Options, found: &Found) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, shape) in case.expected.iter() {
        let view = case.expected.get(name, shape)?;
        let expected: Vec<f64> = view.to_vec()?;
        rows.push(match found.get(name) {
            Some(ours) => {
                let tolerance = tolerance(name, options, view.dtype());
                Row::compare(name, shape, &expected, ours, tolerance)
            }
            None => Row::missing(name, shape, "nothing here has this name".into()),
        });
    }
    Ok(rows)
}

/// The one table of tolerances. bf16 has about 2 digits: log-probs are held absolutely, since sums of them are what an
/// objective sees.
fn tolerance(name: &str, options: &Options, reference: FileDtype) -> Tolerance {
    let (relative, absolute) = match options.dtype {
        Dtype::F64 if reference == FileDtype::F64 => (1e-9, 0.0),
        Dtype::F64 => (1e-5, 0.0),
        Dtype::F32 => (1e-4, 0.0),
        Dtype::Bf16 if name == "loss" || name.ends_with(".loss") => (2e-2, 0.0),
        Dtype::Bf16 if name == "logps" => (0.0, 5e-2),
        Dtype::Bf16 => (1e-1, 0.0),
    };
    match (options.rtol, options.atol) {
        (None, None) => Tolerance { relative, absolute },
        (rtol, atol) => Tolerance {
            relative: rtol.unwrap_or(0.0),
            absolute: atol.unwrap_or(0.0),
        },
    }
}

fn to_f64<R: Real>(xs: &[R]) -> Vec<f64> {
    xs.iter().map(|x| Real::to_f64(*x)).collect()
}
