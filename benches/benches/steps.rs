//! Whole steps of a model of SmolLM2-135M's sizes with random weights, made in memory: training, scores, trees, a product with the Fisher
//! matrix, decoding. In f32 and bf16; the Fisher matrix in f32, as TRPO.
//!
//! `cargo bench -p benches --bench steps -- [FILTER…]`: names that contain one of the filters; what is not named is not made. A line has
//! the median of the repeats, tokens (rows of the batch, or tokens generated) a second with the slowest and the fastest repeat; at the
//! end, after `=`, also GFLOP/s or GB/s beside the limit that rules. Operations are those of the model: each matrix once for each row
//! that it is applied to, the tied one as the head, three times that with the backward pass (6 x parameters x tokens where every row
//! predicts); attention is not counted, nor what is computed twice. Bytes are those of the weights and the cache, once a step of decoding.
use std::time::{Duration, Instant};

use benches::data::numbers;
use benches::limit::Limits;
use benches::measure::settings;
use benches::operation::{Backend, Cost};
use cpu_backend::Cpu;
use half::bf16;
use kernel::batch::Batch;
use kernel::config::{Bias, Config, Head, Rope, RopeScaling};
use kernel::mat::Use;
use kernel::objective::sft::SftLoss;
use kernel::optim::{Decay, Hyper, Learner, State};
use kernel::params::{Kind, Params, Spec, ValueHead};
use kernel::real::Real;
use kernel::sample::{Draw, DrawKey, Sampling};
use kernel::transformer::{Cotangent, Decoder, Keep, Model, SeqId};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Repeats that are measured, unless they would take longer than [`PATIENCE`]; one before them is not.
const REPEATS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(15);
/// Positions.
const CONTEXT: usize = 1024;
/// Tokens of a prompt to decode after, and tokens decoded.
const PROMPT: usize = 64;
const DECODED: usize = 32;

fn config() -> Config {
    Config {
        vocab: 49152,
        hidden: 576,
        intermediate: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        rms_eps: 1e-5,
        rope: Rope {
            theta: 1e5,
            scaling: RopeScaling::None,
        },
        bias: Bias::default(),
        head: Head::Tied,
        max_positions: CONTEXT,
    }
}

/// A parameter's random numbers.
fn fill<R: Real, E>(spec: &Spec, out: &mut [R]) -> std::result::Result<(), E> {
    match spec.kind {
        Kind::Vector => out.fill(R::from_f64(1.0)),
        Kind::Matrix => {
            let random = numbers(spec.shape.1 as u64, out.len());
            for (x, n) in out.iter_mut().zip(random) {
                *x = R::from_f64(0.035 * n);
            }
        }
    }
    Ok(())
}

/// Parameters of the blocks' matrices, and of the head's.
fn parameters(config: &Config) -> (usize, usize) {
    let head = config.vocab * config.hidden;
    (Params::specs(config, ValueHead::None).count() - head, head)
}

/// What is asked for, and how it is measured.
struct Steps {
    limits: Limits,
    filters: Vec<String>,
    precision: &'static str,
    width: usize,
    done: Vec<Done>,
}

/// A step that has been measured.
struct Done {
    line: String,
    cost: Cost,
    width: usize,
    seconds: f64,
}

/// What a step does: tokens, and the least that it takes.
struct Work {
    tokens: usize,
    cost: Cost,
}

impl Work {
    /// Of a batch, where a parameter takes `body` operations a row in a block and `head` a prediction in the head.
    fn of(batch: &Batch, body: usize, head: usize) -> Self {
        let (blocks, matrix) = parameters(&config());
        let flops = body * blocks * batch.tokens() + head * matrix * batch.predictions();
        Self {
            tokens: batch.tokens(),
            cost: Cost::products(flops, 0, 0),
        }
    }
}

impl Steps {
    fn wanted(&self, name: &str) -> bool {
        let name = format!("{} {name}", self.precision);
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str()))
    }

    /// Repeats a step; `prepare` is not in its time.
    fn measure<S>(
        &mut self,
        name: &str,
        work: &Work,
        state: &mut S,
        mut prepare: impl FnMut(&mut S) -> Result<()>,
        mut step: impl FnMut(&mut S) -> Result<()>,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < 3 || seconds.len() <= REPEATS && begin.elapsed() < PATIENCE {
            prepare(state)?;
            let begin = Instant::now();
            step(state)?;
            seconds.push(begin.elapsed().as_secs_f64());
        }
        let seconds = &mut seconds[1..];
        seconds.sort_by(f64::total_cmp);
        let rate = |s: f64| work.tokens as f64 / s;
        let (fastest, median, slowest) = (seconds[0], seconds[(seconds.len() - 1) / 2], seconds[seconds.len() - 1]);
        let line = format!(
            "{} {name}: {median:.3} s, {:.1} tokens/s ({:.1} .. {:.1})",
            self.precision,
            rate(median),
            rate(slowest),
            rate(fastest)
        );
        println!("{line}");
        // One look at the limit here; what is said at the end is the best of all.
        self.limits.ideal(work.cost, self.width);
        self.done.push(Done {
            line,
            cost: work.cost,
            width: self.width,
            seconds: median,
        });
        Ok(())
    }

    /// Says what share of the limit each has reached.
    fn finish(&self) {
        for d in &self.done {
            println!(
                "= {}, {}",
                d.line,
                self.limits.ideal(d.cost, d.width).reached(d.seconds)
            );
        }
    }
}

/// Token ids.
fn tokens(n: usize) -> Vec<u32> {
    benches::data::spread(n, config().vocab)
}

/// A sequence of n rows, each of which predicts.
fn sequence(n: usize) -> Result<Batch> {
    let mut batch = Batch::new(config().vocab);
    batch.sequence(&tokens(n + 1), |_| true)?;
    Ok(batch)
}

/// A prompt and so many completions of n rows.
fn tree(prompt: usize, completions: usize, n: usize) -> Result<Batch> {
    let mut batch = Batch::new(config().vocab);
    let root = batch.segment(None, &tokens(prompt))?;
    for i in 0..completions {
        let completion: Vec<u32> = tokens(n + 1).iter().map(|t| (t + 17 * i as u32) % 49152).collect();
        batch.completion(Some(root), &completion)?;
    }
    Ok(batch)
}

/// Scores a batch, and checks that random weights know nothing.
fn score<B: Backend>(b: &B, learner: &mut Learner<B>, batch: &Batch) -> Result<Vec<B::Real>>
where
    B::Error: 'static,
{
    let logp = learner.score(b, batch, 1.0)?.logp.clone();
    let mean = logp.iter().map(|x| x.to_f64()).sum::<f64>() / logp.len() as f64;
    let expected = -(config().vocab as f64).ln();
    assert!(
        (mean - expected).abs() < 1.0,
        "mean log-prob {mean}, expected about {expected}"
    );
    Ok(logp)
}

/// Forward, loss, backward; `weight` is the weight of the whole optimizer step.
fn gradient<B: Backend>(b: &B, learner: &mut Learner<B>, batch: &Batch, weight: f64) -> Result<()>
where
    B::Error: 'static,
{
    let logp = score(b, learner, batch)?;
    let (mut dlogp, mask) = (logp.clone(), vec![B::Real::from_f64(1.0); logp.len()]);
    let loss = SftLoss::Nll.loss(&mut dlogp, &logp, &mask, weight);
    assert!(loss.is_finite(), "loss {loss}");
    let cotangent = Cotangent {
        dlogp: &dlogp,
        dentropy: &[],
        dvalue: &[],
    };
    learner.backward(b, cotangent)?;
    Ok(())
}

fn training<B: Backend>(steps: &mut Steps, b: &B) -> Result<()>
where
    B::Error: 'static,
{
    let names = [
        "sft 1x512",
        "sft step 2x1x512",
        "scores 1x512",
        "dpo tree 256+2x128",
        "grpo tree 128+8x128",
        "fisher product 1x512",
    ];
    let fisher = steps.precision == "f32";
    if !names[..5 + fisher as usize].iter().any(|name| steps.wanted(name)) {
        return Ok(());
    }
    let [sft, step, scores, dpo, grpo, product] = names;
    let hyper = Hyper {
        learning_rate: 1e-5,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        decay: Decay::Matrices,
        max_grad_norm: 1.0,
    };
    let make = fill::<B::Real, B::Error>;
    let mut learner = Learner::load(b, config(), ValueHead::None, CONTEXT, Keep::Everything, make)?;
    let row = sequence(512)?;
    if steps.wanted(scores) {
        let work = Work::of(&row, 2, 2);
        steps.measure(scores, &work, &mut learner, |_| Ok(()), |l| score(b, l, &row).map(drop))?;
    }
    for (name, batch) in [
        (sft, row.clone()),
        (dpo, tree(256, 2, 128)?),
        (grpo, tree(128, 8, 128)?),
    ] {
        if steps.wanted(name) {
            let (work, weight) = (Work::of(&batch, 6, 6), batch.predictions() as f64);
            let run = |l: &mut Learner<B>| gradient(b, l, &batch, weight);
            steps.measure(name, &work, &mut learner, |_| Ok(()), run)?;
        }
    }
    if steps.wanted(step) {
        let mut work = Work::of(&row, 12, 12);
        work.tokens *= 2;
        let run = |l: &mut Learner<B>| {
            l.zero_grads(b);
            for _ in 0..2 {
                gradient(b, l, &row, 1024.0)?;
            }
            l.update(b, &hyper)?;
            Ok(())
        };
        steps.measure(step, &work, &mut learner, |_| Ok(()), run)?;
    }
    if fisher && steps.wanted(product) {
        let Learner {
            model,
            state: State::Full { masters, .. },
            grads,
            ..
        } = &mut learner
        else {
            unreachable!("`load` keeps masters")
        };
        let mut ws = kernel::transformer::Workspace::new(b, model, Keep::Everything, 1, 1)?;
        model.score(b, &mut ws, &row, 1.0)?;
        let mut direction = model.direction(b)?;
        let weight = vec![B::Real::from_f64(1.0 / 512.0); row.predictions()];
        // The tangent is two products for each of the forward pass, then the backward pass; of the head also the logits.
        let work = Work::of(&row, 8, 10);
        let run = |ws: &mut _| {
            grads.iter_mut().for_each(|g| b.zero(g));
            model.prepare_direction(b, &mut direction, masters);
            model.fisher(b, ws, grads, &direction, &weight)?;
            Ok(())
        };
        steps.measure(product, &work, &mut ws, |_| Ok(()), run)?;
    }
    Ok(())
}

/// Sequences that are decoded together, with the tokens that come next.
struct Decoding<B: Backend> {
    decoder: Decoder<B>,
    live: Vec<SeqId>,
    next: Vec<u32>,
}

impl<B: Backend> Decoding<B>
where
    B::Error: 'static,
{
    /// Runs the prompts.
    fn begin(&mut self, b: &B, model: &Model<B>, sequences: usize) -> Result<()> {
        for id in self.live.drain(..) {
            self.decoder.release(id);
        }
        let prompts: Vec<Vec<u32>> = (0..sequences).map(|i| tokens(PROMPT + i)[i..].to_vec()).collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        self.live = self.decoder.prefill(b, model, &prompts)?;
        self.draw(b)
    }

    /// The likeliest token of each.
    fn draw(&mut self, b: &B) -> Result<()> {
        let key = DrawKey {
            seed: 0,
            prompt: 0,
            completion: 0,
            position: 0,
        };
        let draws: Vec<_> = (0..self.live.len())
            .map(|row| Draw { row, context: &[], key })
            .collect();
        let drawn = self.decoder.sample(b, &draws, &Sampling::GREEDY)?;
        self.next = drawn
            .into_iter()
            .collect::<Option<_>>()
            .ok_or("a row without a finite logit")?;
        Ok(())
    }
}

fn decoding<B: Backend>(steps: &mut Steps, b: &B) -> Result<()>
where
    B::Error: 'static,
{
    for (usage, kind) in [(Use::Inference, "decode"), (Use::Int8, "decode-int8")] {
        decoding_as(steps, b, usage, kind)?;
    }
    Ok(())
}

fn decoding_as<B: Backend>(steps: &mut Steps, b: &B, usage: Use, kind: &str) -> Result<()>
where
    B::Error: 'static,
{
    let mut model = None;
    for sequences in [1, 8, 32] {
        let name = format!("{kind} {sequences}");
        if !steps.wanted(&name) {
            continue;
        }
        if model.is_none() {
            let make = fill::<B::Real, B::Error>;
            model = Some(Model::load(b, config(), ValueHead::None, CONTEXT, usage, make)?);
        }
        let Some(model) = &model else { continue };
        let (blocks, head) = parameters(&model.config);
        let c = &model.config;
        let positions = DECODED * (PROMPT + DECODED / 2) * sequences;
        let cached = positions * 2 * c.layers * c.kv_heads * c.head_dim;
        let tokens = DECODED * sequences;
        // Numbers of the precision's size: a byte of an integer is a part of one.
        let read = match usage {
            Use::Int8 => blocks / steps.width + head,
            Use::Inference | Use::Training => blocks + head,
        };
        let work = Work {
            tokens,
            cost: Cost {
                cold: true,
                ..Cost::products(2 * (blocks + head) * tokens, DECODED * read + cached, 0)
            },
        };
        let rows = sequences * Decoder::<B>::rows_for(PROMPT + DECODED);
        let mut state = Decoding {
            decoder: Decoder::new(b, model, rows)?,
            live: Vec::new(),
            next: Vec::new(),
        };
        let run = |s: &mut Decoding<B>| {
            for _ in 0..DECODED {
                s.decoder.step(b, model, &s.live, &s.next)?;
                s.draw(b)?;
            }
            Ok(())
        };
        steps.measure(&name, &work, &mut state, |s| s.begin(b, model, sequences), run)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let settings = settings();
    let mut steps = Steps {
        limits: Limits::new(settings),
        // Cargo's own flag is no filter.
        filters: std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect(),
        precision: "f32",
        width: 4,
        done: Vec::new(),
    };
    let b = Cpu::<f32>::new(settings);
    training(&mut steps, &b)?;
    decoding(&mut steps, &b)?;
    (steps.precision, steps.width) = ("bf16", 2);
    let b = Cpu::<bf16>::new(settings);
    training(&mut steps, &b)?;
    decoding(&mut steps, &b)?;
    steps.finish();
    Ok(())
}
