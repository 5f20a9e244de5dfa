use super::*;

const STREAM: Stream = Stream(100);
const CONTEXT: Context = Context(1);

fn push(queue: &mut Queue, after: &[OpId]) -> OpId {
    queue.push(STREAM, CONTEXT, Work::Nothing, after, 0)
}

/// Runs all operations; their order.
fn drain(queue: &mut Queue) -> Vec<OpId> {
    let all: Vec<OpId> = queue.iter().map(|(id, _)| id).collect();
    let needed = queue.closure(&all);
    let mut ready = queue.ready(&needed);
    let mut order = Vec::new();
    while let Some(id) = queue.pick(&mut ready) {
        let end = queue.get(id).unwrap().ready + 100;
        queue.finish(id, end);
        ready.extend(queue.woken());
        order.push(id);
    }
    order
}

/// Two chains of eight, and one operation after both.
fn chains(seed: u64) -> (Queue, Vec<Vec<OpId>>, OpId) {
    let mut queue = Queue::new(seed);
    let mut chains = vec![Vec::new(), Vec::new()];
    for _ in 0..8 {
        for chain in &mut chains {
            let after: Vec<OpId> = chain.last().copied().into_iter().collect();
            chain.push(push(&mut queue, &after));
        }
    }
    let last = push(&mut queue, &[chains[0][7], chains[1][7]]);
    (queue, chains, last)
}

#[test]
fn every_seed_keeps_the_order_and_runs_everything() {
    for seed in 0..20 {
        let (mut queue, chains, last) = chains(seed);
        let order = drain(&mut queue);
        assert_eq!(order.len(), 17);
        assert_eq!(order.last(), Some(&last));
        for chain in chains {
            let seen: Vec<OpId> = order.iter().copied().filter(|id| chain.contains(id)).collect();
            assert_eq!(seen, chain);
        }
        assert_eq!(queue.len(), 0);
    }
}

#[test]
fn a_seed_gives_one_order_and_another_seed_another() {
    let order = |seed| drain(&mut chains(seed).0);
    assert_eq!(order(7), order(7));
    assert_ne!(order(7), order(8));
    // Seed 0 takes what was issued last.
    assert_eq!(order(0)[..3], [2, 4, 6]);
}

#[test]
fn a_wait_needs_what_it_names_and_what_that_depends_on() {
    let (queue, chains, last) = chains(0);
    assert_eq!(
        queue.closure(&[chains[0][2]]).into_iter().collect::<Vec<_>>(),
        chains[0][..3]
    );
    assert_eq!(queue.closure(&[last]).len(), 17);
    assert_eq!(
        queue.later(chains[1][6]).into_iter().collect::<Vec<_>>(),
        [chains[1][7], last]
    );
}

#[test]
fn time_is_that_of_the_longest_path() {
    let mut after = Queue::new(0);
    let a = push(&mut after, &[]);
    let b = push(&mut after, &[a]);
    let start = after.get(a).unwrap().ready;
    after.finish(a, start + 1_000_000);
    assert_eq!(after.get(b).unwrap().ready, start + 1_000_000);
    // An operation cannot start before it was issued.
    let c = push(&mut after, &[]);
    assert!(after.get(c).unwrap().ready > start);
}

#[test]
fn a_host_function_that_runs_is_not_picked_and_holds_up_what_waits_for_it() {
    let mut queue = Queue::new(0);
    let a = push(&mut queue, &[]);
    let b = push(&mut queue, &[a]);
    let needed = queue.closure(&[b]);
    queue.get_mut(a).unwrap().running = true;
    assert_eq!(queue.ready(&needed), BTreeSet::new());
    queue.finish(a, 5);
    assert_eq!(queue.woken(), [b]);
    assert_eq!(queue.ready(&needed), BTreeSet::from([b]));
}

#[test]
fn patience_ends() {
    let mut queue = Queue::new(0);
    let a = push(&mut queue, &[]);
    let answers: Vec<bool> = (0..5).map(|_| queue.ask(a)).collect();
    assert_eq!(answers, [false, false, false, true, true]);
}

#[test]
fn only_other_seeds_run_what_nobody_waits_for() {
    let early = |seed: u64| {
        let (mut queue, _, _) = chains(seed);
        queue.early().len()
    };
    assert_eq!(early(0), 0);
    assert!((1..10).map(early).sum::<usize>() > 0);
}

#[test]
fn an_allocation_runs_when_nothing_else_can() {
    for seed in 0..8 {
        let mut queue = Queue::new(seed);
        let allocation = queue.push(STREAM, CONTEXT, Work::Allocate(256), &[], 0);
        let others: BTreeSet<OpId> = (0..4).map(|_| push(&mut queue, &[])).collect();
        assert!(!queue.early().contains(&allocation));
        let order = drain(&mut queue);
        assert_eq!(order[4], allocation);
        assert!(order[..4].iter().all(|id| others.contains(id)));
    }
}
