//! Tokens drawn on the device against the host's sampler, with ==: every filter alone and together, ties, -infinity, NaN, rows
//! without a token. Needs a driver, as `cuda.rs` does.
use kernel::backend::{Decode, Memory};
use kernel::mat::Mat;
use kernel::sample::{Draw, DrawKey, Sampler, Sampling};
use tests::devices::cuda;
use tests::host::Rng;

const ALL: Sampling = Sampling {
    temperature: 1.0,
    ..Sampling::GREEDY
};

/// Every filter alone, some together, and their extremes.
fn ways() -> Vec<Sampling> {
    let top_k = |top_k| Sampling { top_k, ..ALL };
    let top_p = |top_p| Sampling { top_p, ..ALL };
    let min_p = |min_p| Sampling { min_p, ..ALL };
    let penalty = |repetition_penalty| Sampling {
        repetition_penalty,
        ..ALL
    };
    let together = Sampling {
        temperature: 0.6,
        top_k: 20,
        top_p: 0.95,
        min_p: 0.05,
        repetition_penalty: 1.1,
    };
    let mut ways = vec![ALL, Sampling::GREEDY, together];
    ways.extend([0.01, 0.7, 3.0].map(|temperature| Sampling { temperature, ..ALL }));
    ways.extend([1, 2, 7, 50, 100_000].map(top_k));
    ways.extend([0.0, 0.1, 0.5, 0.9, 0.999].map(top_p));
    ways.extend([0.01, 0.3, 1.0, 1.5].map(min_p));
    ways.extend([0.5, 1.3].map(penalty));
    ways.push(Sampling {
        repetition_penalty: 1.5,
        ..Sampling::GREEDY
    });
    ways.push(Sampling {
        top_k: 5,
        top_p: 0.5,
        ..ALL
    });
    ways.push(Sampling {
        temperature: 1.2,
        ..together
    });
    ways
}

/// Rows of every kind: smooth, coarse (many ties, zeros of both signs), nearly all -infinity, with NaN, equal, without a token,
/// with an infinite one.
fn logits(rng: &mut Rng, rows: usize, vocab: usize) -> Vec<f32> {
    let mut z = Vec::with_capacity(rows * vocab);
    for row in 0..rows {
        for _ in 0..vocab {
            let x = 2.5 * rng.normal();
            let rare = rng.below(50) == 0;
            z.push(match row % 8 {
                0 | 1 => x as f32,
                2 => (x.round() * 0.5 * if rng.below(2) == 0 { 1.0 } else { -1.0 }) as f32,
                3 if !rare => f32::NEG_INFINITY,
                4 if rare => f32::NAN,
                5 => 1.5,
                6 if row % 16 == 6 => [f32::NAN, f32::NEG_INFINITY][rng.below(2)],
                7 if rare && row % 16 == 7 => f32::INFINITY,
                _ => x as f32,
            });
        }
    }
    z
}

#[test]
fn the_device_draws_what_the_host_draws() {
    let Some(b) = cuda::<f32>() else { return };
    let mut rng = Rng::new("draws");
    let (mut draws_made, mut without) = (0, 0);
    for (rows, vocab, ways) in [(64, 333, ways()), (16, 2050, ways()), (16, 1, vec![ALL])] {
        for how in ways {
            let host = logits(&mut rng, rows, vocab);
            let mut z: Mat<_> = b.acc(rows, vocab).expect("room for the logits");
            b.upload(&mut z, &host).expect("no fault on the device");
            let contexts: Vec<Vec<u32>> = (0..rows).map(|row| rng.index(row % 5 * 10, vocab)).collect();
            let draws: Vec<Draw<'_>> = (0..rows)
                .map(|i| Draw {
                    // Not in order, and some rows twice.
                    row: rng.below(rows),
                    context: &contexts[i],
                    key: DrawKey {
                        seed: (1 << 40) + rng.below(1000) as u64,
                        prompt: rng.below(1000) as u32,
                        completion: i as u32,
                        position: rng.below(1000) as u32,
                    },
                })
                .collect();
            let drawn = b.sample(&z, &draws, &how).expect("no fault on the device");
            let mut sampler = Sampler::default();
            for (d, &token) in draws.iter().zip(&drawn) {
                let row = &host[d.row * vocab..][..vocab];
                let expected = sampler.draw(row, d.context, &how, d.key);
                assert_eq!(token, expected, "{d:?} of {vocab}, {how:?}");
                without += usize::from(expected.is_none());
            }
            draws_made += draws.len();
        }
    }
    println!("{draws_made} draws, {without} without a token");
    assert!(without > 0 && without < draws_made / 2);
}
