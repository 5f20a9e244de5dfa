use kernel::backend::Decode;
use kernel::mat::Mat;
use kernel::sample::{Draw, DrawKey, Sampler, Sampling};

use crate::Cpu;
use crate::fast::tests::{acc, numbers};
use crate::fast::{Isa, Settings};

/// Logits of ten rows: wide, flat, with ties, with what is no number, with nothing else.
fn rows(vocab: usize) -> Vec<f64> {
    let mut z: Vec<f64> = numbers(3, 10 * vocab).iter().map(|x| 9.0 * x).collect();
    for (i, z) in z.iter_mut().enumerate() {
        let (row, column) = (i / vocab, i % vocab);
        *z = match row {
            2 => *z * 0.01,
            3 => (*z).round(),
            4 if column % 3 == 0 => f64::NAN,
            5 if column % 2 == 0 => f64::NEG_INFINITY,
            6 => *z * 12.0,
            7 => f64::NAN,
            8 if column == vocab / 2 => f64::INFINITY,
            9 => 0.0,
            _ => *z,
        };
    }
    z
}

#[test]
fn the_tokens_are_those_of_the_sampler() {
    let ways = [
        (0.0, 0, 1.0, 0.0, 1.0),
        (1.0, 0, 1.0, 0.0, 1.0),
        (0.7, 0, 1.0, 0.0, 1.3),
        (0.9, 20, 1.0, 0.0, 1.0),
        (1.5, 0, 0.9, 0.0, 1.0),
        (1.0, 40, 0.8, 0.05, 1.1),
        (2.0, 0, 1.0, 0.1, 1.0),
        (1.0, 100_000, 0.999_999, 0.0, 1.0),
    ];
    let mut sampler = Sampler::default();
    for vocab in [1, 7, 100, 4999] {
        let z = rows(vocab);
        for isa in Isa::available() {
            let b = Cpu::<f32>::new(Settings { threads: 2, isa });
            let device: Mat<_> = acc(&b, &z, vocab);
            for (temperature, top_k, top_p, min_p, repetition_penalty) in ways {
                let how = Sampling {
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    repetition_penalty,
                };
                let context = [0, 2, 2, vocab as u32 - 1, 1_000_000];
                let key = |position| DrawKey {
                    seed: 5,
                    prompt: 1,
                    completion: 2,
                    position,
                };
                let draws: Vec<Draw<'_>> = (0..200)
                    .map(|i| Draw {
                        row: i % 10,
                        context: &context,
                        key: key(i as u32),
                    })
                    .collect();
                let got = b.sample(&device, &draws, &how).unwrap();
                for (draw, got) in draws.iter().zip(got) {
                    let row: Vec<f32> = z[draw.row * vocab..][..vocab].iter().map(|&z| z as f32).collect();
                    let want = sampler.draw(&row, &context, &how, draw.key);
                    assert_eq!(got, want, "{}, {vocab} tokens, row {}, {how:?}", isa.name(), draw.row);
                }
            }
        }
    }
}
