use super::*;

const KEY: DrawKey = DrawKey {
    seed: 1,
    prompt: 0,
    completion: 0,
    position: 0,
};

fn frequencies(logits: &[f32], how: Sampling) -> Vec<f64> {
    let mut count = alloc::vec![0.0; logits.len()];
    let mut sampler = Sampler::default();
    for position in 0..20_000 {
        let id = sampler.draw(logits, &[], &how, DrawKey { position, ..KEY });
        count[id.unwrap() as usize] += 1.0 / 20_000.0;
    }
    count
}

fn close(a: &[f64], b: &[f64]) {
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() < 0.015, "{a:?} {b:?}");
    }
}

/// Logits whose softmax is .5 .3 .15 .05.
fn logits() -> [f32; 4] {
    [0.15, 0.5, 0.05, 0.3].map(|p: f64| libm::log(p) as f32)
}

const ALL: Sampling = Sampling {
    temperature: 1.0,
    ..Sampling::GREEDY
};

#[test]
fn filters_leave_the_renormalised_rest() {
    close(&frequencies(&logits(), ALL), &[0.15, 0.5, 0.05, 0.3]);
    let k = Sampling { top_k: 2, ..ALL };
    close(&frequencies(&logits(), k), &[0.0, 0.625, 0.0, 0.375]);
    let p = Sampling { top_p: 0.81, ..ALL };
    close(&frequencies(&logits(), p), &[0.15 / 0.95, 0.5 / 0.95, 0.0, 0.3 / 0.95]);
    let m = Sampling { min_p: 0.2, ..ALL };
    close(&frequencies(&logits(), m), &[0.15 / 0.95, 0.5 / 0.95, 0.0, 0.3 / 0.95]);
    let cold = Sampling {
        temperature: 0.5,
        ..ALL
    };
    let sum = 0.25 + 0.09 + 0.0225 + 0.0025;
    close(
        &frequencies(&logits(), cold),
        &[0.0225 / sum, 0.25 / sum, 0.0025 / sum, 0.09 / sum],
    );
}

#[test]
fn greedy_takes_the_first_of_equals_and_survives_infinities() {
    let mut s = Sampler::default();
    assert_eq!(s.draw(&[0.0f32, 2.0, 2.0], &[], &Sampling::GREEDY, KEY), Some(1));
    assert_eq!(
        s.draw(&[f32::NEG_INFINITY, f32::NAN, -1.0], &[], &Sampling::GREEDY, KEY),
        Some(2)
    );
    assert_eq!(s.draw(&[f32::NEG_INFINITY, f32::NAN], &[], &ALL, KEY), None);
    assert_eq!(s.draw(&[0.0, f32::INFINITY, 1.0], &[], &Sampling::GREEDY, KEY), Some(1));
    assert_eq!(s.draw(&[0.0, f32::INFINITY, 1.0], &[], &ALL, KEY), None);
}

#[test]
fn repetition_penalty_counts_a_token_once() {
    let mut s = Sampler::default();
    let how = Sampling {
        repetition_penalty: 2.0,
        ..Sampling::GREEDY
    };
    assert_eq!(s.draw(&[3.0f32, 2.0, 1.0], &[0], &how, KEY), Some(1));
    assert_eq!(s.draw(&[3.0f32, 1.0, 0.9], &[0, 0], &how, KEY), Some(0));
    assert_eq!(s.draw(&[-1.0f32, -1.5], &[0], &how, KEY), Some(1));
}

#[test]
fn a_key_fixes_the_draw() {
    let z: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
    let draw = |s: &mut Sampler, key| s.draw(&z, &[], &ALL, key);
    let mut s = Sampler::default();
    let first = draw(&mut s, KEY);
    draw(&mut s, DrawKey { position: 5, ..KEY });
    assert_eq!(draw(&mut s, KEY), first);
    let others = (1..20).map(|completion| draw(&mut s, DrawKey { completion, ..KEY }));
    assert!(others.into_iter().any(|o| o != first));
}
