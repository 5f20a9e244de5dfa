use super::*;
use quickcheck::quickcheck;

#[test]
fn splitmix64_reference() {
    // The first outputs of Vigna's splitmix64.c from the state 1234567.
    let outputs: Vec<u64> = (0..5).map(|i| draw(1_234_567, i)).collect();
    let reference = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ];
    assert_eq!(outputs, reference);
}

quickcheck! {
    fn is_a_permutation(seed: u64, epoch: u64, n: u16) -> bool {
        let mut order = permutation(seed, epoch, n.into());
        order.sort_unstable();
        order == (0..u32::from(n)).collect::<Vec<_>>()
    }

    fn resumes_anywhere(seed: u64, len: u8, steps: u16) -> bool {
        let (len, steps) = (usize::from(len) + 1, usize::from(steps) % 2000);
        let order = Order::Shuffled { seed };
        let mut whole = Sampler::new(len, order, Cursor::default());
        let _ = whole.by_ref().take(steps).count();
        let resumed = Sampler::new(len, order, whole.cursor());
        whole.cursor() == Cursor { epoch: (steps / len) as u64, index: steps % len }
            && whole.take(3 * len).eq(resumed.take(3 * len))
    }
}

#[test]
fn fixed_for_ever() {
    // A checkpoint made by an older version must find its place: these never change.
    assert_eq!(permutation(42, 0, 8), FIXED[0]);
    assert_eq!(permutation(42, 1, 8), FIXED[1]);
    assert_eq!(permutation(43, 0, 8), FIXED[2]);
    assert_eq!(permutation(0, 0, 0), [0; 0]);
    assert_eq!(permutation(0, 0, 1), [0]);
}

#[test]
fn every_order_is_equally_likely() {
    // 24 orders of 4, 24,000 epochs: chi squared of 23 degrees of freedom is above 49.7 once in 1,000 keys.
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..24_000 {
        *counts.entry(permutation(7, epoch, 4)).or_insert(0i32) += 1;
    }
    let chi_squared: f64 = counts.values().map(|c| f64::from(c - 1000).powi(2) / 1000.0).sum();
    assert_eq!(counts.len(), 24);
    assert!(chi_squared < 49.7, "{chi_squared}");
}

#[test]
fn sequential_counts_and_epochs_differ() {
    let sequential: Vec<usize> = Sampler::new(3, Order::Sequential, Cursor { epoch: 4, index: 2 })
        .take(5)
        .collect();
    assert_eq!(sequential, [2, 0, 1, 2, 0]);
    let shuffled: Vec<usize> = Sampler::new(100, Order::Shuffled { seed: 1 }, Cursor::default())
        .take(200)
        .collect();
    assert_ne!(shuffled[..100], shuffled[100..]);
}

#[test]
#[should_panic(expected = "sampler: index 3 of 3 samples")]
fn a_cursor_of_other_data() {
    Sampler::new(3, Order::Sequential, Cursor { epoch: 0, index: 3 });
}

/// Worked out apart from the code above, from its description, in Python.
const FIXED: [[u32; 8]; 3] = [
    [3, 5, 6, 4, 7, 1, 0, 2],
    [4, 7, 2, 0, 3, 6, 5, 1],
    [5, 1, 0, 7, 3, 2, 6, 4],
];
