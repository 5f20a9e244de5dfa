//! Races within a block.

use super::*;

#[test]
fn shared_memory_needs_a_barrier() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, shared(0), &row(0, 4)).unwrap();
    fails(
        r.load(0, shared(1), &row(0, 4)),
        FaultKind::SharedRace,
        0,
        "read after write",
    );
    fails(
        r.store(0, shared(1), &row(64, 4)),
        FaultKind::SharedRace,
        0,
        "write after write",
    );
    fails(
        r.load(0, shared(1), &row(64, 4)),
        FaultKind::SharedRace,
        0,
        "thread (16,0,0) of block (0,0,0) wrote it",
    );
    r.barrier(0);
    r.load(0, shared(1), &row(0, 4)).unwrap();
    r.load(0, shared(2), &row(0, 4)).unwrap();
    fails(
        r.store(0, shared(0), &row(0, 4)),
        FaultKind::SharedRace,
        0,
        "write after read",
    );
    // The reader's own words are not the matter: the other reader's are.
    fails(
        r.store(0, shared(2), &row(0, 4)),
        FaultKind::SharedRace,
        0,
        "write after read",
    );
    r.barrier(0);
    r.store(0, shared(0), &row(0, 4)).unwrap();
}

#[test]
fn a_warp_may_use_its_own_part_as_it_likes() {
    let b = Bed::new();
    let mut r = b.run(1);
    for space in [Space::Shared, Space::Global] {
        let base = if space == Space::Global { b.empty } else { 0 };
        for w in 0..4 {
            for _ in 0..3 {
                let at = row(base + 128 * u64::from(w), 4);
                r.store(0, access(space, w, ALL, 4), &at).unwrap();
                r.load(0, access(space, w, ALL, 4), &at).unwrap();
            }
        }
    }
}

#[test]
fn lanes_of_a_warp_need_syncwarp() {
    let b = Bed::new();
    for space in [Space::Shared, Space::Global] {
        let kind = if space == Space::Global {
            FaultKind::GlobalRace
        } else {
            FaultKind::SharedRace
        };
        let base = if space == Space::Global { b.empty } else { 0 };
        let mut r = b.run(1);
        let a = access(space, 1, ALL, 4);
        let back: [u64; 32] = std::array::from_fn(|i| base + 4 * (31 - i as u64));
        r.store(0, a, &row(base, 4)).unwrap();
        fails(r.load(0, a, &back), kind, 0, "no __syncwarp");
        r.blocks[0].warp_sync(1, ALL);
        r.load(0, a, &back).unwrap();
        fails(r.store(0, a, &row(base, 4)), kind, 0, "write after read");
        r.blocks[0].warp_sync(1, ALL);
        r.store(0, a, &row(base, 4)).unwrap();
    }
}

#[test]
fn part_of_a_warp_may_synchronise() {
    let b = Bed::new();
    let mut r = b.run(1);
    let half = |lanes: u32| Access {
        mask: lanes,
        ..shared(0)
    };
    let back: [u64; 32] = std::array::from_fn(|i| 4 * (i as u64 ^ 15));
    r.store(0, shared(0), &row(0, 4)).unwrap();
    r.blocks[0].warp_sync(0, 0xffff);
    r.load(0, half(0xffff), &back).unwrap();
    // The other half has not synchronised, neither among themselves nor with the first.
    fails(
        r.load(0, half(0xffff_0000), &back),
        FaultKind::SharedRace,
        16,
        "__syncwarp",
    );
    let across: [u64; 32] = std::array::from_fn(|i| 4 * (i as u64 ^ 16));
    fails(r.load(0, half(0xffff), &across), FaultKind::SharedRace, 0, "__syncwarp");
    r.blocks[0].warp_sync(0, 0xffff_0000);
    r.load(0, half(0xffff_0000), &back).unwrap();
    fails(r.load(0, half(0xffff), &across), FaultKind::SharedRace, 0, "__syncwarp");
    r.blocks[0].warp_sync(0, ALL);
    r.load(0, half(0xffff), &across).unwrap();
}

#[test]
fn a_tree_of_partial_synchronisations_orders() {
    // Lanes 0 and 1, then 1 and 2: what lane 0 wrote is ordered for lane 2.
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, one(shared(0), 0), &[0; 32]).unwrap();
    r.blocks[0].warp_sync(0, 0b11);
    r.blocks[0].warp_sync(0, 0b110);
    r.load(0, one(shared(0), 2), &[0; 32]).unwrap();
    fails(
        r.load(0, one(shared(0), 3), &[0; 32]),
        FaultKind::SharedRace,
        3,
        "__syncwarp",
    );
}

#[test]
fn lanes_that_write_one_place_must_agree() {
    let b = Bed::new();
    let mut r = b.run(1);
    fails(
        r.store(0, shared(0), &[8; 32]),
        FaultKind::SharedRace,
        1,
        "lanes 0 and 1 write different values",
    );
    fails(
        r.store(0, global(0), &[b.empty; 32]),
        FaultKind::GlobalRace,
        1,
        "different values",
    );
    // The same value: any of them may win.
    let same = [[5; 32]; 4];
    r.worker.store(&mut r.blocks[0], shared(0), &[8; 32], &same).unwrap();
    r.worker
        .store(&mut r.blocks[0], global(0), &[b.empty; 32], &same)
        .unwrap();
    assert_eq!(r.load(0, one(shared(0), 31), &[8; 32]).unwrap()[0][31], 5);
}

#[test]
fn halves_of_a_word_are_their_owners() {
    let b = Bed::new();
    for space in [Space::Shared, Space::Global] {
        let kind = if space == Space::Global {
            FaultKind::GlobalRace
        } else {
            FaultKind::SharedRace
        };
        let base = if space == Space::Global { b.empty } else { 0 };
        let mut r = b.run(1);
        let narrow = |w: u32, bytes: u32, mask: u32| access(space, w, mask, bytes);
        // Neighbouring lanes own the halves of a word, read and write them in place.
        for bytes in [2, 1] {
            let at = row(base + 256 * u64::from(bytes), bytes.into());
            for _ in 0..3 {
                r.store(0, narrow(0, bytes, ALL), &at).unwrap();
                r.load(0, narrow(0, bytes, ALL), &at).unwrap();
            }
            // An odd number of lanes, or lanes with gaps.
            r.store(0, narrow(0, bytes, 0x7fff), &at).unwrap();
            r.load(0, narrow(0, bytes, 0x5555), &at).unwrap();
            r.store(0, narrow(0, bytes, 0x5555), &at).unwrap();
            // Another lane's half.
            let next = row(base + 256 * u64::from(bytes) + u64::from(bytes), bytes.into());
            fails(r.load(0, narrow(0, bytes, 1), &next), kind, 0, "__syncwarp");
        }
        // Warps that share a word.
        r.store(0, narrow(1, 2, 1), &[base; 32]).unwrap();
        r.store(0, narrow(2, 2, 1), &[base + 2; 32]).unwrap();
        r.load(0, narrow(2, 2, 1), &[base + 2; 32]).unwrap();
        r.store(0, narrow(2, 2, 1), &[base + 2; 32]).unwrap();
        fails(r.load(0, narrow(1, 2, 1), &[base + 2; 32]), kind, 0, "read after write");
    }
}

#[test]
fn named_barriers_order_those_who_meet() {
    // A producer (warp 0) and consumers (1 and 2); warp 3 has no part in it.
    let b = Bed::new();
    let mut r = b.run(1);
    for _ in 0..3 {
        r.store(0, shared(0), &row(0, 4)).unwrap();
        r.blocks[0].arrive(0, 1);
        for w in [1, 2] {
            r.blocks[0].arrive(w, 1);
        }
        r.blocks[0].complete(1, 0b110);
        r.load(0, shared(1), &row(0, 4)).unwrap();
        r.load(0, shared(2), &row(0, 4)).unwrap();
        fails(
            r.load(0, shared(3), &row(0, 4)),
            FaultKind::SharedRace,
            0,
            "read after write",
        );
        // The consumers say that the tile is free; the producer waits.
        for w in [1, 2] {
            r.blocks[0].arrive(w, 2);
        }
        r.blocks[0].arrive(0, 2);
        r.blocks[0].complete(2, 0b001);
    }
    r.store(0, shared(0), &row(0, 4)).unwrap();
    // A consumer that goes on after it has said so reads too late.
    r.blocks[0].arrive(0, 1);
    r.meet(0, 1, 0b110);
    r.load(0, shared(1), &row(0, 4)).unwrap();
    r.blocks[0].arrive(1, 2);
    r.load(0, shared(1), &row(0, 4)).unwrap();
    r.blocks[0].arrive(0, 2);
    r.blocks[0].complete(2, 0b001);
    fails(
        r.store(0, shared(0), &row(0, 4)),
        FaultKind::SharedRace,
        0,
        "write after read",
    );
}

#[test]
fn a_reader_that_no_barrier_names_is_seen() {
    // Warps 1 and 2 read; only 2 meets the writer.
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, shared(0), &row(0, 4)).unwrap();
    r.barrier(0);
    r.load(0, shared(1), &row(0, 4)).unwrap();
    r.load(0, shared(2), &row(0, 4)).unwrap();
    r.meet(0, 3, 0b101);
    fails(
        r.store(0, shared(0), &row(0, 4)),
        FaultKind::SharedRace,
        0,
        "write after read",
    );
}

#[test]
fn warps_that_ended_are_no_hindrance() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, shared(3), &row(0, 4)).unwrap();
    r.blocks[0].exit(3);
    r.meet(0, 0, 0b0111);
    r.load(0, shared(1), &row(0, 4)).unwrap();
}

#[test]
fn volatile_flags_and_atomics() {
    let b = Bed::new();
    let strong = |a: Access| Access {
        order: Order::Relaxed,
        ..a
    };
    for space in [Space::Shared, Space::Global] {
        let kind = if space == Space::Global {
            FaultKind::GlobalRace
        } else {
            FaultKind::SharedRace
        };
        let base = if space == Space::Global { b.full } else { 0 };
        let mut r = b.run(1);
        let a = |w| access(space, w, 1, 4);
        r.store(0, strong(a(0)), &[base; 32]).unwrap();
        r.load(0, strong(a(1)), &[base; 32]).unwrap();
        r.store(0, strong(a(2)), &[base; 32]).unwrap();
        r.add(0, a(3), &[base; 32]).unwrap();
        r.add(0, a(1), &[base; 32]).unwrap();
        fails(r.load(0, a(0), &[base; 32]), kind, 0, "read after write");
        r.barrier(0);
        r.load(0, a(0), &[base; 32]).unwrap();
        fails(r.add(0, a(1), &[base; 32]), kind, 0, "write after read");
    }
}

#[test]
fn a_flag_in_shared_memory_with_fences() {
    let b = Bed::new();
    let strong = |w| Access {
        order: Order::Relaxed,
        ..access(Space::Shared, w, 1, 4)
    };
    let run = |fence: bool, learn: bool| {
        let mut r = b.run(1);
        r.store(0, shared(0), &row(0, 4)).unwrap();
        if fence {
            r.blocks[0].fence(0, Scope::Block);
        }
        r.store(0, strong(0), &[512; 32]).unwrap();
        r.load(0, strong(1), &[512; 32]).unwrap();
        if learn {
            r.blocks[0].fence(1, Scope::Block);
        }
        r.load(0, shared(1), &row(0, 4))
    };
    run(true, true).unwrap();
    fails(run(false, true), FaultKind::SharedRace, 0, "read after write");
    fails(run(true, false), FaultKind::SharedRace, 0, "read after write");
}

#[test]
fn barriers_order_device_memory_within_the_block() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, global(0), &row(b.empty, 4)).unwrap();
    fails(
        r.load(0, global(1), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "no barrier lies between",
    );
    r.barrier(0);
    r.load(0, global(1), &row(b.empty, 4)).unwrap();
    r.load(0, global(2), &row(b.empty, 4)).unwrap();
    fails(
        r.store(0, global(1), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "write after read",
    );
    r.barrier(0);
    r.store(0, global(1), &row(b.empty, 4)).unwrap();
}

#[test]
fn without_the_check_nothing_is_said() {
    let b = Bed::new();
    let checks = Checks {
        race: false,
        init: false,
        ..Checks::ALL
    };
    let mut worker = Worker::new(&b.device, checks, [1, 1, 1], [128, 1, 1]);
    let mut m = BlockMemory::new(checks, 4, 1024, 0);
    m.start(0);
    let mut out = [[0; 32]; 4];
    worker.store(&mut m, shared(0), &row(0, 4), &out).unwrap();
    worker.load(&mut m, shared(1), &row(64, 4), &mut out).unwrap();
    assert_eq!((out[0][0], out[0][31]), (0, 0xcbcb_cbcb));
}

#[test]
fn writers_of_parts_of_a_word_are_all_remembered() {
    let b = Bed::new();
    for (space, kind, at) in [
        (Space::Shared, FaultKind::SharedRace, 64),
        (Space::Global, FaultKind::GlobalRace, b.empty + 64),
    ] {
        let byte = |warp: u32| one(access(space, warp, ALL, 1), 0);
        // Warps 0, 1 and 2 write a byte each; warp 3 touches each of them, or the word, and none of the writers is ordered before it.
        for k in 0..3u32 {
            let mut r = b.run(1);
            for w in 0..3 {
                r.store(0, byte(w), &[at + u64::from(w); 32]).unwrap();
            }
            let who = format!("thread ({},0,0)", 32 * k);
            fails(r.load(0, byte(3), &[at + u64::from(k); 32]), kind, 0, &who);
            fails(r.store(0, byte(3), &[at + u64::from(k); 32]), kind, 0, &who);
            // A byte that nobody wrote.
            r.store(0, byte(3), &[at + 3; 32]).unwrap();
        }
        // What is overwritten in order is forgotten.
        let mut r = b.run(1);
        for w in 0..3 {
            r.store(0, byte(w), &[at + u64::from(w); 32]).unwrap();
        }
        r.barrier(0);
        r.store(0, one(access(space, 1, ALL, 4), 0), &[at; 32]).unwrap();
        fails(r.load(0, byte(3), &[at; 32]), kind, 0, "thread (32,0,0)");
        r.barrier(0);
        r.load(0, byte(3), &[at; 32]).unwrap();
    }
}

#[test]
fn a_word_that_was_whole_keeps_its_writer_beside_a_part() {
    let b = Bed::new();
    let mut r = b.run(1);
    let at = b.empty + 64;
    r.store(0, one(global(0), 0), &[at; 32]).unwrap();
    // Warps 0 and 1 meet: warp 1 may overwrite a byte. Warp 2 knows of neither.
    r.meet(0, 1, 0b0011);
    r.store(0, one(access(Space::Global, 1, ALL, 1), 0), &[at; 32]).unwrap();
    let byte = |k: u64| (one(access(Space::Global, 2, ALL, 1), 0), [at + k; 32]);
    let (access, at) = byte(0);
    fails(r.load(0, access, &at), FaultKind::GlobalRace, 0, "thread (32,0,0)");
    let (access, at) = byte(2);
    fails(r.load(0, access, &at), FaultKind::GlobalRace, 0, "thread (0,0,0)");
}

#[test]
fn memory_read_as_constant_must_not_be_written_by_the_kernel() {
    let b = Bed::new();
    let constant = |warp| Access {
        order: Order::ReadOnly,
        ..global(warp)
    };
    let mut r = b.run(1);
    r.load(0, constant(0), &row(b.full, 4)).unwrap();
    r.store(0, global(0), &row(b.empty, 4)).unwrap();
    r.barrier(0);
    r.load(0, global(1), &row(b.empty, 4)).unwrap();
    fails(
        r.load(0, constant(1), &row(b.empty, 4)),
        FaultKind::GlobalRace,
        0,
        "ld.global.nc",
    );
    fails(
        r.load(0, constant(1), &[b.empty + 8; 32]),
        FaultKind::GlobalRace,
        0,
        "thread (2,0,0)",
    );
}
