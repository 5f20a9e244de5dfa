use std::sync::atomic::AtomicU32;

use super::*;

#[test]
fn every_item_is_done_once() {
    for threads in [1, 2, 3, 16] {
        let mut pool = Pool::new(threads);
        for items in [0, 1, 2, 7, 1000] {
            for _ in 0..50 {
                let counts: Vec<AtomicU32> = (0..items).map(|_| AtomicU32::new(0)).collect();
                pool.run(items, &|i, _| {
                    counts[i].fetch_add(1, SeqCst);
                });
                assert!(
                    counts.iter().all(|c| c.load(SeqCst) == 1),
                    "{threads} threads, {items} items"
                );
            }
        }
    }
}

#[test]
fn workers_that_sleep_are_woken() {
    let mut pool = Pool::new(3);
    for _ in 0..5 {
        std::thread::sleep(20 * SPIN);
        // Only another thread can come to the second item while the first waits for it.
        let both = std::sync::Barrier::new(2);
        pool.run(2, &|_, _| {
            both.wait();
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
    let mut pool = Pool::new(2);
    for bad in 0..20 {
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(20, &|i, _| assert_ne!(i, bad));
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(20, &|i, _| {
            sum.fetch_add(i, SeqCst);
        });
        assert_eq!(sum.into_inner(), 190);
    }
}

#[test]
fn scratch_is_a_threads_own() {
    let mut pool = Pool::new(4);
    pool.run(200, &|i, scratch| {
        let room = scratch.a.get::<u64>(100);
        room.fill(i as u64);
        std::thread::yield_now();
        assert!(room.iter().all(|&x| x == i as u64));
    });
}
