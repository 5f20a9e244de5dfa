use super::*;

const TIGHT: Tolerance = Tolerance {
    relative: 1e-3,
    absolute: 0.0,
};

#[test]
fn names_the_worst_element() {
    let row = Row::compare(
        "x",
        &[2, 3],
        &[1., 2., 3., 4., 5., 6.],
        &[1., 2., 3., 4., 5.5, 6.],
        TIGHT,
    );
    assert!(!row.ok);
    let worst = row.worst.unwrap();
    assert_eq!((worst.index, worst.expected, worst.found), (vec![1, 1], 5.0, 5.5));
}

#[test]
fn not_a_number_never_passes() {
    for (expected, found) in [(0.0, f64::NAN), (1.0, f64::NAN), (1.0, f64::INFINITY)] {
        let loose = Tolerance {
            relative: 1e9,
            absolute: 1e9,
        };
        assert!(!Row::compare("x", &[1], &[expected], &[found], loose).ok);
    }
}

#[test]
fn a_zero_reference_is_compared_absolutely() {
    assert!(Row::compare("x", &[2], &[0., 0.], &[1e-4, 0.], TIGHT).ok);
    assert!(!Row::compare("x", &[2], &[0., 0.], &[1e-2, 0.], TIGHT).ok);
}

#[test]
fn another_count_fails() {
    assert!(!Row::compare("x", &[2], &[0., 0.], &[0.], TIGHT).ok);
}
