//! Rollouts: a completion is the same whatever its batch, budget and thread count, and the log-prob recorded when a token
//! was drawn is, by `==`, the one that training computes for it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cpu_backend::{Cpu, Settings as Machine};
use half::bf16;
use kernel::backend::{Decode, Vector};
use kernel::batch::Batch;
use kernel::mat::Use;
use kernel::params::ValueHead;
use kernel::real::Real;
use kernel::sample::Sampling;
use kernel::transformer::{Keep, Model, Workspace};
use model_qwen2::folder::Folder;
use model_qwen2::generate::{Completion, Event, Finish, Generator, Record, Request, Settings};
use model_qwen2::tensors::Element;
use tests::whole::{Ask, biased, every_backend, model, tied};

const SAMPLING: Sampling = Sampling {
    temperature: 0.7,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
};

/// All completions, by (prompt, completion).
fn rollouts<B: Decode>(
    b: &B,
    model: &Model<B>,
    prompts: &[Vec<u32>],
    each: u32,
    settings: Settings<'_>,
    max_new_tokens: usize,
) -> BTreeMap<(u32, u32), Completion> {
    let mut generator = Generator::new(b, model, settings).unwrap();
    for (id, prompt) in prompts.iter().enumerate() {
        generator.submit(Request {
            id: id as u32,
            completions: each,
            prompt: prompt.clone(),
            max_new_tokens,
        });
    }
    let mut done = BTreeMap::new();
    while generator.pending() > 0 {
        for event in generator.step(b, model).unwrap() {
            match event {
                Event::Token { .. } => {}
                Event::Done(c) => assert!(done.insert((c.id, c.completion), c).is_none()),
                Event::Refused { reason, .. } => panic!("{reason}"),
            }
        }
    }
    done
}

fn settings(batch: usize, cache_rows: usize, stop: Vec<u32>) -> Settings<'static> {
    Settings {
        sampling: SAMPLING,
        seed: 7,
        stop,
        stop_when: None,
        record: Record::LogProbs,
        batch,
        cache_rows,
    }
}

/// What training says of the completions of one prompt: log-probs and entropies, the prompt shared or not.
fn training<B: Decode + Vector>(
    b: &B,
    model: &Model<B>,
    prompt: &[u32],
    completions: &[&Completion],
    shared: bool,
) -> Vec<(Vec<f64>, Vec<f64>)> {
    let mut ws = Workspace::new(b, model, Keep::Inputs, 1, 1).unwrap();
    let mut batch = Batch::new(model.config.vocab);
    let mut root = shared.then(|| batch.segment(None, prompt).unwrap());
    let mut ranges = Vec::new();
    for c in completions {
        if !shared {
            root = Some(batch.segment(None, prompt).unwrap());
        }
        ranges.push(batch.completion(root, &c.tokens).unwrap());
    }
    model.score(b, &mut ws, &batch, SAMPLING.temperature).unwrap();
    let wide = |x: &[B::Real]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let scores = &ws.scores;
    ranges
        .into_iter()
        .map(|r| (wide(&scores.logp[r.clone()]), wide(&scores.entropy[r])))
        .collect()
}

fn check<B: Decode + Vector>(
    name: &str,
    devices: &[&B],
    models: &[Model<B>],
    prompts: &[Vec<u32>],
    max: usize,
    stop: u32,
) {
    let each = 5;
    let rows = |groups: usize| groups * (128 + 6 * 64);
    let run = |i: usize, batch, rows| {
        let settings = settings(batch, rows, vec![stop]);
        rollouts(devices[i], &models[i], prompts, each, settings, max)
    };
    let wide = run(0, 64, rows(prompts.len()));
    assert_eq!(wide.len(), prompts.len() * each as usize);
    assert!(
        wide.values().any(|c| c.finish == Finish::Length),
        "{name}: none is long"
    );
    for (i, _) in devices.iter().enumerate() {
        for (batch, rows) in [(1, rows(1)), (3, rows(1)), (4, 160 + max), (16, rows(2))] {
            assert!(
                wide == run(i, batch, rows),
                "{name}: device {i}, batch {batch}, {rows} rows"
            );
        }
    }
    for (id, prompt) in prompts.iter().enumerate() {
        let of_prompt: Vec<&Completion> = wide.iter().filter(|(k, _)| k.0 == id as u32).map(|(_, c)| c).collect();
        for shared in [true, false] {
            let trained = training(devices[0], &models[0], prompt, &of_prompt, shared);
            for (c, (logps, entropies)) in of_prompt.iter().zip(trained) {
                assert_eq!(c.logps.len(), c.tokens.len());
                assert!(c.logps == logps, "{name}: log-probs of prompt {id}, shared: {shared}");
                assert!(
                    c.entropies == entropies,
                    "{name}: entropies of prompt {id}, shared: {shared}"
                );
            }
        }
    }
}

fn prompts(vocab: u32) -> Vec<Vec<u32>> {
    [1, 31, 32, 33, 70, 5]
        .iter()
        .map(|&len: &u32| (0..len).map(|i| (7 * i * i + 13 * len + i) % vocab).collect())
        .collect()
}

#[test]
fn rollouts_record_what_training_computes() {
    struct Rollout;
    impl Ask for Rollout {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            for config in [biased(), tied()] {
                let prompts = prompts(config.vocab as u32);
                check(name, &[b], &[model(b, config, Use::Training)], &prompts, 40, 3);
            }
        }
    }
    every_backend(&Rollout);
}

#[test]
fn rollouts_do_not_depend_on_threads() {
    fn on<B: Decode + Vector>(name: &str, new: impl Fn(Machine) -> B) {
        let best = Machine::detect().unwrap();
        let devices = [1, 2, 3].map(|threads| new(Machine { threads, ..best }));
        let models = devices.each_ref().map(|b| model(b, tied(), Use::Training));
        check(name, &devices.each_ref(), &models, &prompts(tied().vocab as u32), 40, 3);
    }
    on("f32", Cpu::<f32>::new);
    on("bf16", Cpu::<bf16>::new);
}

/// The same on real weights: `PROXIMAL_MODEL=FOLDER cargo test --release -p tests --test rollout -- --ignored`.
#[test]
#[ignore = "needs the folder of a real model in PROXIMAL_MODEL"]
fn rollouts_record_what_training_computes_on_a_real_model() {
    fn on<B: Decode<Real: Element> + Vector>(name: &str, b: B, folder: &Folder) {
        let config = folder.config.kernel.clone();
        let model = Model::load(&b, config, ValueHead::None, 512, Use::Training, |spec, out| {
            folder.fill(spec, out).map_err(|e| panic!("{e}"))
        });
        let model: Result<_, B::Error> = model;
        let vocab = folder.config.kernel.vocab as u32;
        check(
            name,
            &[&b],
            &[model.unwrap()],
            &prompts(vocab)[1..4],
            24,
            folder.eos_token_ids()[0],
        );
    }
    let folder = std::env::var("PROXIMAL_MODEL").expect("PROXIMAL_MODEL is the folder of a model");
    let folder = Folder::open(folder).unwrap();
    let machine = Machine::detect().unwrap();
    on("f32", Cpu::<f32>::new(machine), &folder);
    on("bf16", Cpu::<bf16>::new(machine), &folder);
}
