//! Bounds, alignment, freed and uninitialised memory.

use super::*;

#[test]
fn lanes_get_what_lies_there() {
    let b = Bed::new();
    let mut r = b.run(1);
    for (bytes, step) in [(4, 4), (4, 8), (8, 8), (8, 32), (16, 16), (16, 64), (16, 0), (4, 0)] {
        let out = r
            .load(0, access(Space::Global, 0, ALL, bytes), &row(b.full, step))
            .unwrap();
        for (word, lanes) in out.iter().enumerate().take(bytes as usize / 4) {
            let expected = std::array::from_fn(|lane| (lane * step as usize / 4 + word) as u32);
            assert_eq!(*lanes, expected, "word {word} of {bytes} bytes every {step}");
        }
    }
    // Bytes of little-endian numbers below 256.
    let out = r
        .load(0, access(Space::Global, 0, 0xff, 1), &row(b.full + 8, 4))
        .unwrap();
    assert_eq!(out[0][..8], [2, 3, 4, 5, 6, 7, 8, 9]);
    let out = r.load(0, access(Space::Global, 0, ALL, 2), &row(b.full, 2)).unwrap();
    assert_eq!(out[0][..6], [0, 0, 1, 0, 2, 0]);
}

#[test]
fn generic_addresses_go_to_their_space() {
    let b = Bed::new();
    let mut r = b.run(1);
    let mut at = row(b.empty, 4);
    at[3] = super::super::SHARED_WINDOW + 64;
    at[5] = super::super::LOCAL_WINDOW + 8;
    r.store(0, access(Space::Generic, 1, ALL, 4), &at).unwrap();
    let out = r.load(0, access(Space::Generic, 1, ALL, 4), &at).unwrap();
    assert_eq!(out[0], std::array::from_fn(|i| i as u32));
    assert_eq!(r.load(0, one(shared(1), 3), &row(64 - 12, 4)).unwrap()[0][3], 3);
    assert_eq!(
        r.load(0, access(Space::Local, 1, 1 << 5, 4), &[8; 32]).unwrap()[0][5],
        5
    );
}

#[test]
fn out_of_bounds() {
    let b = Bed::new();
    let mut r = b.run(1);
    // Lane 31 reads the last word; one further and it is beyond.
    r.load(0, global(0), &row(b.full + 4096 - 128, 4)).unwrap();
    let beyond = r.load(0, global(0), &row(b.full + 4096 - 124, 4));
    fails(
        beyond,
        FaultKind::OutOfBounds,
        31,
        "ends 4 bytes behind the end of the nearest allocation, 4096 bytes",
    );
    fails(
        r.store(0, global(0), &row(b.full - 8, 4)),
        FaultKind::OutOfBounds,
        0,
        "8 bytes before the start",
    );
    fails(
        r.load(0, global(0), &row(b.full, 200)),
        FaultKind::OutOfBounds,
        21,
        "read of 4 bytes",
    );
    // A row of lanes in which a few are too much, whatever the shape.
    let mut mask = access(Space::Global, 0, 0x3ff, 16);
    r.load(0, mask, &row(b.full + 4096 - 160, 16)).unwrap();
    mask.mask = 0x7ff;
    fails(
        r.load(0, mask, &row(b.full + 4096 - 160, 16)),
        FaultKind::OutOfBounds,
        10,
        "behind",
    );
}

#[test]
fn odd_addresses() {
    let b = Bed::new();
    let mut r = b.run(1);
    fails(
        r.load(0, global(0), &[0; 32]),
        FaultKind::OutOfBounds,
        0,
        "null pointer",
    );
    fails(
        r.load(0, global(0), &[b.full - (1 << 32); 32]),
        FaultKind::OutOfBounds,
        0,
        "wrapped",
    );
    let window = super::super::SHARED_WINDOW + 4;
    fails(
        r.load(0, global(0), &[window; 32]),
        FaultKind::OutOfBounds,
        0,
        "shared memory, not of the device's",
    );
    fails(
        r.add(0, global(0), &[u64::MAX - 3; 32]),
        FaultKind::OutOfBounds,
        0,
        "atomic",
    );
}

#[test]
fn misaligned() {
    let b = Bed::new();
    let mut r = b.run(1);
    let wide = access(Space::Global, 0, ALL, 16);
    fails(
        r.load(0, wide, &row(b.full + 4, 16)),
        FaultKind::Misaligned,
        0,
        "4 beyond a multiple",
    );
    let mut at = row(b.full, 16);
    at[7] += 8;
    fails(r.load(0, wide, &at), FaultKind::Misaligned, 7, "16 bytes");
    fails(
        r.store(0, access(Space::Shared, 0, ALL, 8), &row(4, 8)),
        FaultKind::Misaligned,
        0,
        "shared",
    );
    fails(
        r.add(0, global(0), &[b.full + 2; 32]),
        FaultKind::Misaligned,
        0,
        "atomic",
    );
}

#[test]
fn freed() {
    let mut b = Bed::new();
    b.device.free(b.full).unwrap();
    let mut r = b.run(1);
    fails(
        r.load(0, global(2), &row(b.full + 8, 4)),
        FaultKind::Freed,
        0,
        "byte 8 of an allocation of 4096 bytes",
    );
    fails(
        r.store(0, global(2), &row(b.full, 12)),
        FaultKind::Freed,
        0,
        "was freed",
    );
}

#[test]
fn uninitialised() {
    let b = Bed::new();
    let mut r = b.run(1);
    fails(
        r.load(0, global(0), &row(b.empty, 4)),
        FaultKind::Uninitialised,
        0,
        "byte 0 of the allocation of 4096",
    );
    r.store(
        0,
        Access {
            mask: 0xffff,
            ..global(0)
        },
        &row(b.empty, 4),
    )
    .unwrap();
    r.load(
        0,
        Access {
            mask: 0xffff,
            ..global(0)
        },
        &row(b.empty, 4),
    )
    .unwrap();
    fails(
        r.load(0, global(0), &row(b.empty, 4)),
        FaultKind::Uninitialised,
        16,
        "byte 64",
    );
    // That the words are other lanes' would be a race, and comes first.
    r.barrier(0);
    fails(
        r.load(0, access(Space::Global, 0, 0xff, 16), &row(b.empty, 16)),
        FaultKind::Uninitialised,
        4,
        "byte 64",
    );
    r.barrier(0);
    fails(
        r.add(0, one(global(0), 9), &row(b.empty + 64, 4)),
        FaultKind::Uninitialised,
        9,
        "nothing has written",
    );
    // A half of a word.
    r.store(0, access(Space::Global, 0, 1, 2), &[b.empty + 128; 32])
        .unwrap();
    fails(
        r.load(0, one(global(0), 0), &[b.empty + 128; 32]),
        FaultKind::Uninitialised,
        0,
        "byte 130",
    );
}

#[test]
fn uninitialised_shared_memory() {
    let b = Bed::new();
    let mut r = b.run(2);
    fails(
        r.load(0, shared(0), &row(0, 4)),
        FaultKind::Uninitialised,
        0,
        "byte 0x0 of shared",
    );
    r.store(0, shared(0), &row(0, 4)).unwrap();
    r.load(0, shared(0), &row(0, 4)).unwrap();
    r.blocks[0].warp_sync(0, ALL);
    fails(
        r.load(0, shared(0), &row(64, 4)),
        FaultKind::Uninitialised,
        16,
        "byte 0x80",
    );
    // Each block begins without anything.
    r.blocks[0].start(1);
    fails(r.load(0, shared(0), &row(0, 4)), FaultKind::Uninitialised, 0, "shared");
}

#[test]
fn shared_and_local_bounds() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, shared(0), &row(1024 - 128, 4)).unwrap();
    fails(
        r.store(0, shared(0), &row(1024 - 124, 4)),
        FaultKind::OutOfBounds,
        31,
        "shared memory of 1024 bytes",
    );
    fails(
        r.load(0, shared(0), &row(u64::from(u32::MAX) - 3, 4)),
        FaultKind::OutOfBounds,
        0,
        "0xfffffffc",
    );
    let local = access(Space::Local, 0, ALL, 4);
    r.store(0, local, &[60; 32]).unwrap();
    fails(
        r.store(0, local, &[64; 32]),
        FaultKind::OutOfBounds,
        0,
        "a stack of 64 bytes",
    );
    fails(r.load(0, local, &[2; 32]), FaultKind::Misaligned, 0, "local");
}

#[test]
fn constants_are_for_reading() {
    let mut b = Bed::new();
    let c = b.device.allocate(64, Kind::Constant).unwrap();
    b.device.fill(c, &[7], 64).unwrap();
    let mut r = b.run(1);
    assert_eq!(
        r.load(0, access(Space::Const, 0, 1, 4), &[c; 32]).unwrap()[0][0],
        0x0707_0707
    );
    fails(
        r.store(0, one(global(0), 0), &[c; 32]),
        FaultKind::ReadOnly,
        0,
        "constant",
    );
    fails(
        r.add(0, one(global(0), 0), &[c; 32]),
        FaultKind::ReadOnly,
        0,
        "constant",
    );
}
