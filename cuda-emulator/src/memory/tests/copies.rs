//! Asynchronous copies.

use super::*;

impl Run<'_> {
    fn copy(&mut self, warp: u32, to: u64, from: u64) -> Result<(), Box<Cause>> {
        let a = access(Space::Global, warp, ALL, 16);
        self.worker
            .copy(&mut self.blocks[0], a, &row(to, 16), &row(from, 16), None)
    }

    fn commit(&mut self, warp: u32) {
        self.blocks[0].copy_commit(warp, ALL);
    }

    fn wait(&mut self, warp: u32, keep: Option<u32>) -> Result<(), Box<Cause>> {
        self.worker.copy_wait(&mut self.blocks[0], warp, ALL, keep)
    }
}

fn tile(warp: u32) -> Access {
    access(Space::Shared, warp, ALL, 16)
}

#[test]
fn double_buffering() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.copy(0, 0, b.full).unwrap();
    r.commit(0);
    for i in 0..4 {
        r.copy(0, 512 * ((i + 1) % 2), b.full + 512 * (i + 1)).unwrap();
        r.commit(0);
        r.wait(0, Some(1)).unwrap();
        r.barrier(0);
        for w in 0..4 {
            let out = r.load(0, tile(w), &row(512 * (i % 2), 16)).unwrap();
            assert_eq!((out[0][0], out[3][31]), (128 * i as u32, 128 * i as u32 + 127));
        }
        r.barrier(0);
    }
}

#[test]
fn in_flight() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.copy(0, 0, b.full).unwrap();
    r.commit(0);
    fails(
        r.load(0, shared(0), &row(0, 4)),
        FaultKind::InFlight,
        0,
        "was not waited for",
    );
    fails(
        r.store(0, shared(1), &row(508, 4)),
        FaultKind::InFlight,
        0,
        "write of shared memory at 0x1fc",
    );
    assert_eq!(r.copy(0, 256, b.full).unwrap_err().kind, FaultKind::InFlight);
    // A barrier alone changes nothing, and a wait that leaves one group neither.
    r.barrier(0);
    r.wait(0, Some(1)).unwrap();
    fails(r.load(0, shared(0), &row(0, 4)), FaultKind::InFlight, 0, "cp.async");
    r.wait(0, Some(0)).unwrap();
    r.load(0, shared(0), &row(0, 4)).unwrap_err();
    r.blocks[0].warp_sync(0, ALL);
    r.load(0, shared(0), &row(0, 4)).unwrap();
}

#[test]
fn each_thread_waits_for_its_own() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.copy(0, 0, b.full).unwrap();
    r.wait(0, None).unwrap();
    // The lane's own 16 bytes.
    r.load(0, tile(0), &row(0, 16)).unwrap();
    fails(
        r.load(0, tile(1), &row(0, 16)),
        FaultKind::SharedRace,
        0,
        "read after write",
    );
    r.barrier(0);
    r.load(0, tile(1), &row(0, 16)).unwrap();
}

#[test]
fn the_destination_must_be_free() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, shared(1), &row(0, 4)).unwrap();
    let kind = |r: Result<(), Box<Cause>>| r.unwrap_err().kind;
    assert_eq!(kind(r.copy(0, 0, b.full)), FaultKind::SharedRace);
    r.barrier(0);
    r.load(0, shared(2), &row(0, 4)).unwrap();
    assert_eq!(kind(r.copy(0, 0, b.full)), FaultKind::SharedRace);
    assert_eq!(kind(r.copy(0, 768, b.full)), FaultKind::OutOfBounds);
    assert_eq!(kind(r.copy(0, 8, b.full)), FaultKind::Misaligned);
    assert_eq!(kind(r.copy(3, 512, b.full + 8)), FaultKind::Misaligned);
    assert_eq!(kind(r.copy(3, 512, b.full + 4096 - 256)), FaultKind::OutOfBounds);
    assert_eq!(kind(r.copy(3, 512, b.empty)), FaultKind::Uninitialised);
}

#[test]
fn fewer_bytes_are_read_and_the_rest_is_zero() {
    let b = Bed::new();
    let mut r = b.run(1);
    // Lanes 2 and above read nothing: their addresses may be anything.
    let from: [u64; 32] = std::array::from_fn(|i| if i < 2 { b.full + 16 } else { b.full + 4096 });
    let sizes: [u32; 32] = std::array::from_fn(|i| [16, 8].get(i).copied().unwrap_or(0));
    let a = access(Space::Global, 0, ALL, 16);
    r.worker
        .copy(&mut r.blocks[0], a, &row(0, 16), &from, Some(&sizes))
        .unwrap();
    r.wait(0, None).unwrap();
    let out = r.load(0, tile(0), &row(0, 16)).unwrap();
    assert_eq!([out[0][0], out[1][0], out[2][0], out[3][0]], [4, 5, 6, 7]);
    assert_eq!([out[0][1], out[1][1], out[2][1], out[3][1]], [4, 5, 0, 0]);
    assert_eq!([out[0][9], out[3][31]], [0, 0]);
    let c = r.counters();
    assert_eq!((c.copy_bytes, c.load.useful_bytes, c.load.sectors), (24, 24, 1));
}

#[test]
fn the_source_must_stay() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.copy(0, 0, b.full).unwrap();
    r.commit(0);
    r.store(0, access(Space::Global, 0, 1 << 3, 16), &row(b.full, 16))
        .unwrap();
    let cause = r.wait(0, Some(0)).unwrap_err();
    assert_eq!((cause.kind, cause.lane), (FaultKind::InFlight, 3));
    // Another warp's write is a race.
    let mut r = b.run(1);
    r.copy(0, 0, b.full).unwrap();
    fails(
        r.store(0, global(1), &row(b.full, 4)),
        FaultKind::GlobalRace,
        0,
        "write after read",
    );
}

#[test]
fn groups_are_each_lanes_own() {
    let b = Bed::new();
    let mut r = b.run(1);
    let low = Access {
        mask: 1,
        ..access(Space::Global, 0, 1, 16)
    };
    r.worker
        .copy(&mut r.blocks[0], low, &row(0, 16), &row(b.full, 16), None)
        .unwrap();
    r.blocks[0].copy_commit(0, 1);
    // Lane 1 commits an older group of its own, and one that is empty.
    let high = Access { mask: 2, ..low };
    r.worker
        .copy(&mut r.blocks[0], high, &row(0, 16), &row(b.full, 16), None)
        .unwrap();
    r.blocks[0].copy_commit(0, 2);
    r.blocks[0].copy_commit(0, 2);
    r.wait(0, Some(1)).unwrap();
    r.load(0, one(tile(0), 1), &row(0, 16)).unwrap();
    fails(
        r.load(0, one(tile(0), 0), &row(0, 16)),
        FaultKind::InFlight,
        0,
        "cp.async",
    );
    assert_eq!(r.blocks[0].copies_in_flight(0), 1);
}
