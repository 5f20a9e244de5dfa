//! Computes what a case asks for, on any backend.
use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use kernel::backend::{Decode, Tangent, Vector};
use kernel::batch::Batch;
use kernel::mat::Mat;
use kernel::optim::{Decay, Hyper, Learner};
use kernel::params::{Kind, Spec};
use kernel::real::Real;
use kernel::transformer::{Cotangent, Keep};
use model_qwen2::Error;
use model_qwen2::tensors::{Dtype as FileDtype, Element};

use super::Options;
use super::case::{Case, Optimizer};
use super::compare::{Row, Tolerance};
use super::settings::Objective;
use super::share::{Metrics, Micro, Scored, Step};
use crate::dtype::Dtype;

/// What was computed, by the names of expected.safetensors.
type Found = BTreeMap<String, Vec<f64>>;

/// Everything that the case's reference names, compared.
pub fn run<B: Decode + Tangent + Vector>(b: &B, case: &Case, options: &Options) -> Result<Vec<Row>>
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
    if case.objective == Objective::Fisher {
        fisher(b, &mut learner, case, options, &mut found)?;
    }
    if let Some(optimizer) = &case.optimizer {
        steps(b, &mut learner, case, options, optimizer, loss, &mut found)?;
    }
    compare(case, options, &found)
}

/// F v for the v of the reference file: mean over the masked tokens, no damping. A parameter without a `v.NAME` has v = 0.
fn fisher<B: Decode + Tangent + Vector>(
    b: &B,
    learner: &mut Learner<B>,
    case: &Case,
    options: &Options,
    found: &mut Found,
) -> Result<()>
where
    B::Real: Element,
{
    if !case.expected.iter().any(|(name, _)| name.starts_with("v.")) {
        let file = case.path.join("expected.safetensors");
        return Err(Error::invalid(file, "v.NAME", "a direction, which fisher needs", "none").into());
    }
    let mut v = learner.specs().try_map(zeros(b), zeros(b))?;
    for (v, spec) in v.iter_mut().zip(learner.specs().iter()) {
        let name = format!("v.{}", spec.name);
        if !case.expected.contains(&name) {
            continue;
        }
        // A vector's shape in the file has one number, as in the model folder.
        let (rows, cols) = spec.shape;
        let shape = match spec.kind {
            Kind::Matrix => vec![rows, cols],
            Kind::Vector => vec![cols],
        };
        let host: Vec<B::Real> = case.expected.get(&name, &shape)?.to_vec()?;
        b.upload(v, &host)?;
        // What was given is what is asked about.
        found.insert(name, to_f64(&host));
    }
    let mut direction = learner.model.direction(b)?;
    learner.model.prepare_direction(b, &mut direction, &v);
    let mut out = learner.specs().try_map(zeros(b), zeros(b))?;
    let all: Vec<usize> = (0..case.sequences.len()).collect();
    for members in all.chunks(micro_batch(options)) {
        let batch = pack(case.folder.config.kernel.vocab, case, members)?;
        learner.score(b, &batch, case.temperature)?;
        let masks = members.iter().flat_map(|&i| case.sequences[i].weights());
        let weight: Vec<B::Real> = masks.map(|m| <B::Real as Real>::from_f64(m / case.weight())).collect();
        learner.fisher(b, &mut out, &direction, &weight)?;
    }
    for (out, spec) in out.iter().zip(learner.specs().iter()) {
        let mut host = vec![B::Real::ZERO; out.len()];
        b.download(&mut host, out)?;
        found.insert(format!("fv.{}", spec.name), to_f64(&host));
    }
    Ok(())
}

fn zeros<B: Tangent>(b: &B) -> impl Fn(&Spec) -> Result<Mat<B::Acc>, B::Error> {
    |spec| b.acc(spec.shape.0, spec.shape.1)
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
    let scored = if Step::<B::Real>::looks_ahead(case) {
        Some(score_all(b, learner, case, options)?)
    } else {
        None
    };
    let step = Step::new(case, scored.as_ref())?;
    let mut metrics = Metrics::new();
    let (mut loss, mut rated) = (0.0, 0.0);
    let mut columns: [Vec<Vec<f64>>; 3] = [0; 3].map(|_| vec![Vec::new(); case.sequences.len()]);
    for (i, units) in step.units().chunks(micro_batch(options)).enumerate() {
        let members: Vec<usize> = units.concat();
        let batch = pack(case.folder.config.kernel.vocab, case, &members)?;
        let scores = learner.score(b, &batch, case.temperature)?.clone();
        let log_sum_sq = if step.weighs() {
            learner.log_sum_sq(b)?
        } else {
            Vec::new()
        };
        if let (Some(found), 0) = (&mut found, i) {
            let z = learner.logits(b, case.sequences[0].predictions())?;
            found.insert("logits_first".into(), to_f64(&z));
        }
        let members = ranges(case, &members);
        let zeros = |n: usize| vec![B::Real::ZERO; n];
        let mut d = [
            zeros(scores.logp.len()),
            zeros(scores.logp.len()),
            zeros(scores.value.len()),
        ];
        let [dlogp, dentropy, dvalue] = &mut d;
        let mut micro = Micro {
            members: &members,
            scores: &scores,
            log_sum_sq: &log_sum_sq,
            d: [dlogp, dentropy, dvalue],
        };
        loss += step.share(&mut micro, &mut metrics);
        learner.backward(
            b,
            Cotangent {
                dlogp: &d[0],
                dentropy: &d[1],
                dvalue: &d[2],
            },
        )?;
        for (i, range) in members {
            let mask = case.sequences[i].weights();
            for (m, t) in mask.iter().zip(range.clone()) {
                *metrics.entry("entropy").or_default() += m * scores.entropy[t].to_f64() / case.weight();
                if step.rates(i) {
                    let right = (scores.logp[t] >= scores.best[t]) as u8 as f64;
                    *metrics.entry("mean_token_accuracy").or_default() += m * right;
                    rated += m;
                }
            }
            for (column, xs) in columns.iter_mut().zip([&scores.logp, &scores.entropy, &scores.value]) {
                column[i] = to_f64(xs.get(range.clone()).unwrap_or_default());
            }
        }
    }
    if let Some(right) = metrics.get_mut("mean_token_accuracy") {
        *right /= rated;
    }
    if let Some(found) = found {
        for (name, column) in ["logps", "entropy", "values"].into_iter().zip(columns) {
            found.insert(name.into(), column.concat());
        }
        found.extend(metrics.into_iter().map(|(name, x)| (format!("metric.{name}"), vec![x])));
    }
    Ok(loss)
}

/// Units in a micro-batch: sequences, or pairs of them.
fn micro_batch(options: &Options) -> usize {
    options.micro_batch.unwrap_or(usize::MAX).max(1)
}

/// Scores every sequence, changing nothing.
fn score_all<B: Decode + Vector>(
    b: &B,
    learner: &mut Learner<B>,
    case: &Case,
    options: &Options,
) -> Result<Scored<B::Real>> {
    let (mut logp, mut entropy) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..case.sequences.len()).collect();
    for members in all.chunks(micro_batch(options)) {
        let batch = pack(case.folder.config.kernel.vocab, case, members)?;
        let scores = learner.score(b, &batch, case.temperature)?;
        for (_, range) in ranges(case, members) {
            logp.push(scores.logp[range.clone()].to_vec());
            entropy.push(scores.entropy[range].to_vec());
        }
    }
    Ok(Scored { logp, entropy })
}

/// Each sequence with the numbers of its predictions in the batch.
fn ranges(case: &Case, members: &[usize]) -> Vec<(usize, Range<usize>)> {
    let mut next = 0;
    let one = |&i: &usize| {
        let start = next;
        next += case.sequences[i].predictions();
        (i, start..next)
    };
    members.iter().map(one).collect()
}

/// The sequences as one prefix tree: neighbours with the same prompt share it.
fn pack(vocab: usize, case: &Case, members: &[usize]) -> Result<Batch> {
    let mut batch = Batch::new(vocab);
    let mut last: Option<(&[u32], usize)> = None;
    for s in members.iter().map(|&i| &case.sequences[i]) {
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
