use super::*;

#[test]
fn an_epoch_sees_every_example_once_and_the_next_another_order() {
    let plan = Plan::new(11, (2, 2), Some(7), 2.0, None);
    assert_eq!((plan.steps_per_epoch(), plan.steps()), (3, 6));
    let epoch = |e: u64| -> Vec<usize> { (0..3).flat_map(|s| plan.micro_batches(3 * e + s).concat()).collect() };
    let (first, second) = (epoch(0), epoch(1));
    assert_ne!(first, second);
    for order in [first, second] {
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..11).collect::<Vec<_>>());
    }
    assert_eq!(plan.micro_batches(2).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_step_does_not_depend_on_those_before() {
    let a = Plan::new(100, (4, 2), Some(1), 3.0, None);
    let b = Plan::new(100, (4, 2), Some(1), 3.0, None);
    let forwards: Vec<_> = (0..a.steps()).map(|s| a.micro_batches(s)).collect();
    let mut backwards: Vec<_> = (0..b.steps()).rev().map(|s| b.micro_batches(s)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
}

#[test]
fn max_steps_wins_and_file_order_is_kept() {
    let plan = Plan::new(3, (1, 1), None, 9.0, Some(4));
    assert_eq!(plan.steps(), 4);
    assert_eq!(
        (0..4).map(|s| plan.micro_batches(s)[0][0]).collect::<Vec<_>>(),
        [0, 1, 2, 0]
    );
}
