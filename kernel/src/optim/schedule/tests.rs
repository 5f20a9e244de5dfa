use super::*;

/// transformers 5.23, get_{linear,cosine}_schedule_with_warmup(optimizer, 2, 10).
#[test]
fn equals_transformers() {
    let linear = Schedule {
        shape: Shape::Linear,
        warmup: 2,
        total: 10,
    };
    let want = [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0];
    for (step, want) in want.into_iter().enumerate() {
        assert_eq!(linear.factor(step as u64), want);
    }
    let cosine = Schedule {
        shape: Shape::Cosine,
        ..linear
    };
    let want = [
        0.0,
        0.5,
        1.0,
        0.9619397662556434,
        0.8535533905932737,
        0.6913417161825449,
        0.5,
    ];
    for (step, want) in want.into_iter().enumerate() {
        assert!((cosine.factor(step as u64) - want).abs() < 1e-15);
    }
    let constant = Schedule {
        shape: Shape::Constant,
        ..linear
    };
    assert_eq!(
        [constant.factor(1), constant.factor(2), constant.factor(99)],
        [0.5, 1.0, 1.0]
    );
}
