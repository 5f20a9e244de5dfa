//! Races between blocks, and what orders them.

use super::*;

fn atomic(warp: u32) -> Access {
    access(Space::Global, warp, 1, 4)
}

#[test]
fn blocks_have_outputs_of_their_own() {
    let b = Bed::new();
    let mut r = b.run(3);
    for block in 0..3 {
        r.load(block, global(0), &row(b.full, 4)).unwrap();
        r.store(block, global(0), &row(b.empty + 128 * block as u64, 4))
            .unwrap();
        r.blocks[block].exit(0);
    }
    fails(
        r.store(1, global(2), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "no fence and atomic orders the two",
    );
    fails(
        r.load(1, global(2), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "of block (0,0,0) wrote it",
    );
    fails(
        r.store(2, global(0), &row(b.full, 4)),
        FaultKind::GlobalRace,
        0,
        "write after read",
    );
}

#[test]
fn one_reader_of_many_is_enough() {
    let b = Bed::new();
    for last in 0..3 {
        let mut r = b.run(3);
        for block in [0, 1, 2].into_iter().filter(|&k| k != last).chain([last]) {
            r.load(block, one(global(1), 4), &[b.full; 32]).unwrap();
        }
        for block in 0..3 {
            fails(
                r.store(block, one(global(1), 4), &[b.full; 32]),
                FaultKind::GlobalRace,
                4,
                "write after read",
            );
        }
    }
}

#[test]
fn words_of_two_blocks() {
    // bf16: the boundary between two blocks' outputs is inside a word.
    let b = Bed::new();
    let mut r = b.run(2);
    let half = access(Space::Global, 0, 0x7f, 2);
    for _ in 0..2 {
        r.store(0, half, &row(b.empty, 2)).unwrap();
        r.store(1, half, &row(b.empty + 14, 2)).unwrap();
        r.load(0, half, &row(b.empty, 2)).unwrap();
        r.load(1, half, &row(b.empty + 14, 2)).unwrap();
    }
    fails(
        r.store(1, half, &row(b.empty + 8, 2)),
        FaultKind::GlobalRace,
        0,
        "write after",
    );
}

/// Every block writes, and the last to count reads all.
fn last_block(fence: Option<Scope>, barrier: bool, learn: bool) -> Outcome {
    let b = Bed::new();
    let mut r = b.run(3);
    let counter = [b.full; 32];
    for block in 0..3 {
        for w in 0..4 {
            r.store(
                block,
                global(w),
                &row(b.empty + 512 * block as u64 + 128 * u64::from(w), 4),
            )?;
            if let Some(scope) = fence {
                r.blocks[block].fence(w, scope);
            }
        }
        if barrier {
            r.barrier(block);
        }
        r.add(block, atomic(0), &counter)?;
        if learn {
            r.barrier(block);
        }
    }
    let mut out = r.load(2, global(1), &row(b.empty, 4))?;
    for block in 0..2 {
        for w in 0..4 {
            out = r.load(2, global(1), &row(b.empty + 512 * block + 128 * w, 4))?;
        }
    }
    Ok(out)
}

#[test]
fn the_last_block_sees_what_was_fenced() {
    last_block(Some(Scope::Device), true, true).unwrap();
    fails(
        last_block(None, true, true),
        FaultKind::GlobalRace,
        0,
        "no fence and atomic",
    );
    fails(
        last_block(Some(Scope::Block), true, true),
        FaultKind::GlobalRace,
        0,
        "no fence and atomic",
    );
    // Without the barrier only what warp 0 wrote is published; without a barrier or fence after it warp 1 does not know.
    fails(
        last_block(Some(Scope::Device), false, true),
        FaultKind::GlobalRace,
        0,
        "thread (32,0,0)",
    );
    fails(
        last_block(Some(Scope::Device), true, false),
        FaultKind::GlobalRace,
        0,
        "thread (0,0,0) of block (0,0,0)",
    );
}

#[test]
fn a_fence_before_the_write_does_not_publish_it() {
    let b = Bed::new();
    let mut r = b.run(2);
    r.blocks[0].fence(0, Scope::Device);
    r.store(0, global(0), &row(b.empty, 4)).unwrap();
    r.add(0, atomic(0), &[b.full; 32]).unwrap();
    r.add(1, atomic(0), &[b.full; 32]).unwrap();
    r.blocks[1].fence(0, Scope::Device);
    fails(
        r.load(1, global(0), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "read after write",
    );
}

#[test]
fn release_and_acquire() {
    let b = Bed::new();
    let run = |release, acquire| {
        let mut r = b.run(2);
        r.store(0, global(0), &row(b.empty, 4)).unwrap();
        r.store(
            0,
            Access {
                order: release,
                ..atomic(0)
            },
            &[b.full; 32],
        )
        .unwrap();
        r.load(
            1,
            Access {
                order: acquire,
                ..atomic(0)
            },
            &[b.full; 32],
        )
        .unwrap();
        r.load(1, global(0), &row(b.empty, 4))
    };
    run(Order::Release, Order::Acquire).unwrap();
    fails(
        run(Order::Relaxed, Order::Acquire),
        FaultKind::GlobalRace,
        0,
        "read after write",
    );
    fails(
        run(Order::Release, Order::Relaxed),
        FaultKind::GlobalRace,
        0,
        "read after write",
    );
}

#[test]
fn order_goes_on_from_block_to_block() {
    // 0 tells 1 by one flag, 1 tells 2 by another: 2 knows of 0.
    let b = Bed::new();
    let mut r = b.run(3);
    let flag = |order| Access { order, ..atomic(0) };
    let places = [[b.full; 32], [b.full + 64; 32]];
    r.store(0, global(0), &row(b.empty, 4)).unwrap();
    r.store(0, flag(Order::Release), &places[0]).unwrap();
    r.load(1, flag(Order::Acquire), &places[0]).unwrap();
    r.store(1, flag(Order::Release), &places[1]).unwrap();
    r.load(2, flag(Order::Acquire), &places[1]).unwrap();
    r.load(2, global(0), &row(b.empty, 4)).unwrap();
    // And may write it, and tell no one.
    r.store(2, global(0), &row(b.empty, 4)).unwrap();
    fails(
        r.load(1, global(0), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "block (2,0,0) wrote it",
    );
}

#[test]
fn a_barrier_of_the_grid() {
    // As cooperative groups do it: barrier; one thread fences, adds and waits; fences; barrier.
    let b = Bed::new();
    let mut r = b.run(3);
    for phase in 0..3u64 {
        for block in 0..3u64 {
            // Each phase every block writes what another one had.
            let mine = b.empty + 512 * ((block + phase) % 3);
            for w in 0..4 {
                r.store(block as usize, global(w), &row(mine + 128 * u64::from(w), 4))
                    .unwrap();
            }
            r.barrier(block as usize);
            r.blocks[block as usize].fence(0, Scope::Device);
            r.add(block as usize, atomic(0), &[b.full; 32]).unwrap();
        }
        for block in 0..3 {
            r.load(
                block,
                Access {
                    order: Order::Relaxed,
                    ..atomic(0)
                },
                &[b.full; 32],
            )
            .unwrap();
            r.blocks[block].fence(0, Scope::Device);
            r.barrier(block);
        }
        // All read everything, and the next phase writes it again.
        for block in 0..3 {
            for part in 0..3 {
                r.load(block, global(1), &row(b.empty + 512 * part, 4)).unwrap();
            }
        }
        for block in 0..3 {
            r.barrier(block);
            r.blocks[block].fence(0, Scope::Device);
            r.add(block, atomic(0), &[b.full; 32]).unwrap();
        }
        for block in 0..3 {
            r.add(block, atomic(0), &[b.full; 32]).unwrap();
            r.barrier(block);
        }
    }
}

#[test]
fn launches_are_ordered() {
    let b = Bed::new();
    for _ in 0..3 {
        let mut r = b.run(2);
        r.store(0, global(0), &row(b.empty, 4)).unwrap();
        drop(r);
        let mut r = b.run(2);
        r.load(1, global(0), &row(b.empty, 4)).unwrap();
    }
}

#[test]
fn workers_are_compared_at_the_end() {
    let b = Bed::new();
    let joined = |second: u64, write: bool| {
        let mut one = b.run(2);
        let mut two = b.run(2);
        one.store(0, global(0), &row(b.empty, 4)).unwrap();
        one.load(0, global(0), &row(b.full, 4)).unwrap();
        let at = row(b.empty + second, 4);
        let done = if write {
            two.store(1, global(2), &at)
        } else {
            two.load(1, global(2), &at)
        };
        done.unwrap();
        Worker::join(vec![one.worker, two.worker])
    };
    assert_eq!(joined(256, true).1, None);
    for write in [true, false] {
        let found = joined(124, write).1.unwrap();
        assert_eq!((found.address, found.block, found.thread), (b.empty + 124, 0, (0, 31)));
        // The block runs again and is stopped where it did it.
        let mut r = b.run(2);
        r.worker.watch(Conflict { ..found });
        r.load(0, global(0), &row(b.empty + 256, 4)).unwrap();
        fails(
            r.store(0, global(0), &row(b.empty, 4)),
            FaultKind::GlobalRace,
            31,
            "thread (31,0,0) of block (0,0,0) writes",
        );
    }
    // Distinct sectors are those of the union: 4 + 4 stored, of which one may be common.
    assert_eq!(joined(256, true).0.store.distinct, 8);
    assert_eq!(joined(96, true).0.store.distinct, 7);
}

#[test]
fn atomics_of_the_blocks_scope_are_none_for_other_blocks() {
    let b = Bed::new();
    let narrow = |warp| Access {
        scope: Scope::Block,
        ..atomic(warp)
    };
    for (first, second) in [(narrow(0), narrow(0)), (narrow(0), atomic(0)), (atomic(0), narrow(0))] {
        let mut r = b.run(2);
        r.add(0, first, &[b.full; 32]).unwrap();
        // Within the block, with any of its warps.
        r.add(0, narrow(1), &[b.full; 32]).unwrap();
        fails(
            r.add(1, second, &[b.full; 32]),
            FaultKind::GlobalRace,
            0,
            "no fence and atomic",
        );
    }
    let mut r = b.run(2);
    r.add(0, atomic(0), &[b.full; 32]).unwrap();
    r.add(1, atomic(0), &[b.full; 32]).unwrap();
}

#[test]
fn a_release_and_an_acquire_reach_as_far_as_their_scopes() {
    let b = Bed::new();
    let flag = [b.full; 32];
    // Warp 0 of block 0 writes, counts and lets go; warp 1 of block 0 or 1 counts, knows, and reads.
    let pass = |release: Scope, acquire: Scope, reader: usize| {
        let mut r = b.run(2);
        r.store(0, global(0), &row(b.empty, 4)).unwrap();
        let ordered = |order, scope, warp| Access {
            order,
            scope,
            ..atomic(warp)
        };
        r.add(0, ordered(Order::Release, release, 0), &flag).unwrap();
        r.add(reader, ordered(Order::Acquire, acquire, 1), &flag)?;
        r.load(reader, global(1), &row(b.empty, 4))
    };
    for (release, acquire) in [
        (Scope::Block, Scope::Block),
        (Scope::Block, Scope::Device),
        (Scope::Device, Scope::Block),
        (Scope::Device, Scope::Device),
    ] {
        pass(release, acquire, 0).unwrap();
        let other = pass(release, acquire, 1);
        let reaches = release == Scope::Device && acquire == Scope::Device;
        assert_eq!(other.is_ok(), reaches, "{release:?} {acquire:?}");
    }
}

#[test]
fn a_race_of_two_host_threads_is_one_whoever_is_first() {
    // The reader comes before the writer, and finds nothing written: that must not be all that is known of it.
    let b = Bed::new();
    for reader_first in [true, false] {
        let (mut one, mut two) = (b.run(2), b.run(2));
        let at = row(b.empty + 2048 * u64::from(reader_first), 4);
        if reader_first {
            fails(
                two.load(1, global(2), &at),
                FaultKind::Uninitialised,
                0,
                "nothing has written",
            );
            one.store(0, global(0), &at).unwrap();
        } else {
            one.store(0, global(0), &at).unwrap();
            two.load(1, global(2), &at).unwrap();
        }
        let conflict = Worker::join(vec![one.worker, two.worker]).1.unwrap();
        assert_eq!((conflict.address, conflict.block), (at[0], 0));
    }
}

#[test]
fn parts_of_words_written_in_two_host_threads() {
    let b = Bed::new();
    let byte = |warp: u32| one(access(Space::Global, warp, ALL, 1), 0);
    for k in 0..2 {
        let (mut one, mut two) = (b.run(2), b.run(2));
        one.store(0, byte(0), &[b.full; 32]).unwrap();
        one.store(0, byte(1), &[b.full + 1; 32]).unwrap();
        two.load(1, byte(0), &[b.full + k; 32]).unwrap();
        let conflict = Worker::join(vec![one.worker, two.worker]).1.unwrap();
        assert_eq!((conflict.block, conflict.thread), (0, (k as u32, 0)));
    }
}
