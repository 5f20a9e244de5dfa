//! Decode gives the bits of training, whatever stands beside.
#![allow(clippy::unwrap_used)]

use cpu_backend::{Cpu, Isa, Settings};
use half::bf16;
use kernel::backend::{Decode, Tangent, Vector};
use kernel::batch::Batch;
use kernel::mat::Use;
use kernel::real::Real;
use kernel::transformer::{Decoder, Keep, Model, SeqId, Workspace};
use tests::host::Rng;
use tests::whole::{Ask, biased, every_backend, model, tied, tokens};

/// Logits (n, V) after each token of `text` but the last, as training computes them.
fn training_logits<B: Decode + Vector>(b: &B, model: &Model<B>, text: &[u32]) -> (Vec<B::Real>, Vec<B::Real>) {
    let mut batch = Batch::new(model.config.vocab);
    batch.sequence(text, |_| true).unwrap();
    let mut ws = Workspace::new(b, model, Keep::Nothing, 1, 1).unwrap();
    model.score(b, &mut ws, &batch, 1.0).unwrap();
    let logits = model.logits(b, &mut ws, text.len() - 1).unwrap();
    (logits, ws.scores.logp)
}

fn row<R>(logits: &[R], i: usize, vocab: usize) -> &[R] {
    &logits[i * vocab..][..vocab]
}

/// Text after text, first its prompt at once, then token by token, alone: the logits that follow each token of it.
fn decode_alone<B: Decode + Vector>(b: &B, model: &Model<B>, text: &[u32], prompt: usize) -> Vec<Vec<B::Real>> {
    let mut decoder = Decoder::new(b, model, text.len()).unwrap();
    let seq = decoder.prefill(b, model, &[&text[..prompt]]).unwrap()[0];
    let mut rows = vec![decoder.logits(b).unwrap()];
    for token in &text[prompt..] {
        decoder.step(b, model, &[seq], &[*token]).unwrap();
        rows.push(decoder.logits(b).unwrap());
    }
    rows
}

/// What a token's logits are does not depend on how they came about: in training, after a prefill of any length, or step
/// by step. So the log-prob of a rollout is the log-prob of training.
#[test]
fn decode_gives_the_logits_of_training() {
    struct Rollout;
    impl Ask for Rollout {
        fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
            for config in [biased(), tied()] {
                let vocab = config.vocab;
                let text = tokens("rollout", 71, vocab);
                let trained = model(b, config.clone(), Use::Training);
                let (logits, logp) = training_logits(b, &trained, &text);
                for (i, logp) in logp.iter().enumerate() {
                    let z: Vec<f64> = row(&logits, i, vocab).iter().map(|x| x.to_f64()).collect();
                    let log_sum = z.iter().map(|z| z.exp()).sum::<f64>().ln();
                    let expected = z[text[i + 1] as usize] - log_sum;
                    assert!(
                        (logp.to_f64() - expected).abs() < 1e-5,
                        "{name}: {logp} at {i}, {expected}"
                    );
                }
                let served = model(b, config, Use::Inference);
                for prompt in [1, 2, 31, 32, 33, 64, 70] {
                    let rows = decode_alone(b, &served, &text[..70], prompt);
                    for (i, z) in rows.iter().enumerate() {
                        let at = prompt + i - 1;
                        assert!(
                            z == row(&logits, at, vocab),
                            "{name}: logits {at} after a prefill of {prompt}"
                        );
                    }
                }
            }
        }
    }
    every_backend(&Rollout);
}

/// Sequences that come, fork and go beside each other have the logits that they have alone.
#[test]
fn logits_do_not_depend_on_what_stands_beside() {
    every_backend(&Beside(Use::Inference));
}

/// The same where integers are multiplied; and what they say is near what the model's own numbers say, and not the same.
#[test]
fn logits_of_integers_do_not_depend_on_what_stands_beside() {
    fn check<B: Decode + Tangent + Vector>(b: &B, name: &str) {
        Beside(Use::Int8).ask(b, name);
        for config in [biased(), tied()] {
            let text = tokens("integers", 30, config.vocab);
            let of = |usage| {
                let rows = decode_alone(b, &model(b, config.clone(), usage), &text, 1);
                rows.concat().iter().map(|x| x.to_f64()).collect::<Vec<_>>()
            };
            let (int8, own) = (of(Use::Int8), of(Use::Inference));
            let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
            let error = norm(&mut int8.iter().zip(&own).map(|(a, b)| a - b)) / norm(&mut own.iter().copied());
            assert!((1e-4..0.03).contains(&error), "{name}: {error}");
        }
    }
    for isa in Isa::available() {
        for threads in [1, 3] {
            let settings = Settings { threads, isa };
            check(
                &Cpu::<f32>::new(settings),
                &format!("f32 {}, {threads} threads", isa.name()),
            );
            check(
                &Cpu::<bf16>::new(settings),
                &format!("bf16 {}, {threads} threads", isa.name()),
            );
        }
    }
}

struct Beside(Use);

impl Ask for Beside {
    fn ask<B: Decode + Vector>(&self, b: &B, name: &str) {
        let config = biased();
        let vocab = config.vocab;
        let model = model(b, config, self.0);
        let prompts = [tokens("a", 40, vocab), tokens("b", 3, vocab), tokens("c", 17, vocab)];
        let mut decoder = Decoder::new(b, &model, 400).unwrap();
        let free = decoder.free_rows();
        let ids = decoder
            .prefill(b, &model, &[&prompts[0], &prompts[1], &prompts[2]])
            .unwrap();
        // Text so far of each live sequence.
        let mut live: Vec<(SeqId, Vec<u32>)> = ids.into_iter().zip(prompts).collect();
        let mut rng = Rng::new("steps");
        let check = |decoder: &Decoder<B>, live: &[(SeqId, Vec<u32>)], step: usize| {
            let logits = decoder.logits(b).unwrap();
            for (i, (_, text)) in live.iter().enumerate() {
                let alone = decode_alone(b, &model, text, text.len());
                let z = row(&logits, i, vocab);
                assert!(z == alone[0], "{name}: row {i} of {} in step {step}", live.len());
            }
        };
        check(&decoder, &live, 0);
        for step in 1..30 {
            match step {
                // Twice from a partly filled block, once from a fork.
                2 | 9 | 11 => {
                    let (parent, text) = live[step % 3].clone();
                    let fork = decoder.fork(parent);
                    assert_eq!(decoder.len(fork), text.len());
                    live.push((fork, text));
                }
                14 => decoder.release(live.remove(0).0),
                20 => {
                    let late = tokens("late", 5, vocab);
                    let id = decoder.prefill(b, &model, &[&late]).unwrap()[0];
                    live.push((id, late));
                }
                25 => live.reverse(),
                _ => {}
            }
            let next: Vec<u32> = live.iter().map(|_| rng.below(vocab) as u32).collect();
            let ids: Vec<SeqId> = live.iter().map(|(id, _)| *id).collect();
            decoder.step(b, &model, &ids, &next).unwrap();
            for ((_, text), token) in live.iter_mut().zip(&next) {
                text.push(*token);
            }
            check(&decoder, &live, step);
        }
        for (id, _) in live {
            decoder.release(id);
        }
        assert!(decoder.is_empty());
        assert_eq!(decoder.free_rows(), free, "{name}: rows were lost");
    }
}
