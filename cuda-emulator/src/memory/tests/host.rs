//! What the host does.

use super::*;

#[test]
fn memory_is_what_was_written() {
    let mut b = Bed::new();
    let mut out = [0; 8];
    b.device.read(b.full + 4, &mut out).unwrap();
    assert_eq!(out, [1, 0, 0, 0, 2, 0, 0, 0]);
    b.device.fill(b.empty, &[1, 2], 3).unwrap();
    b.device.copy(b.empty + 2, b.empty, 6).unwrap();
    b.device.read(b.empty, &mut out).unwrap();
    assert_eq!(out, [1, 2, 1, 2, 1, 2, 1, 2]);
    // New memory is poison.
    b.device.read(b.empty + 64, &mut out).unwrap();
    assert_eq!(out, [0xcb; 8]);
}

#[test]
fn what_was_not_written_is_known() {
    let mut b = Bed::new();
    assert_eq!(b.device.uninitialised(b.full, 4096).unwrap(), (0, None));
    assert_eq!(b.device.uninitialised(b.empty, 100).unwrap(), (100, Some(0)));
    b.device.fill(b.empty, &[0], 60).unwrap();
    assert_eq!(b.device.uninitialised(b.empty, 100).unwrap(), (40, Some(60)));
    // A copy brings what is initialised and what is not.
    b.device.copy(b.full, b.empty, 100).unwrap();
    assert_eq!(b.device.uninitialised(b.full, 100).unwrap(), (40, Some(60)));
}

#[test]
fn sizes_are_kept() {
    let mut d = Device::new(1000);
    let a = d.allocate(600, Kind::Plain).unwrap();
    assert_eq!(d.allocate(401, Kind::Plain), None);
    let b = d.allocate(400, Kind::Constant).unwrap();
    assert_eq!((d.used(), d.peak(), d.capacity()), (1000, 1000, 1000));
    // CUDA promises multiples of 256, and no more than that.
    assert_eq!((a % 256, a % 512), (0, 256));
    assert_eq!(
        d.leaks().iter().map(|l| (l.address, l.bytes)).collect::<Vec<_>>(),
        [(a, 600)]
    );
    d.free(a).unwrap();
    d.free(b).unwrap();
    assert_eq!((d.used(), d.peak(), d.leaks().len()), (0, 1000, 0));
    // Addresses are not used again.
    assert!(d.allocate(600, Kind::Plain).unwrap() > b);
}

#[test]
fn frees_that_are_wrong() {
    let mut b = Bed::new();
    let kind = |r: Result<(), super::super::Misuse>| r.unwrap_err().kind;
    assert_eq!(kind(b.device.free(b.full + 16)), FaultKind::OutOfBounds);
    assert_eq!(kind(b.device.free(0x1234)), FaultKind::OutOfBounds);
    b.device.free(0).unwrap();
    b.device.free(b.full).unwrap();
    let again = b.device.free(b.full).unwrap_err();
    assert_eq!(again.kind, FaultKind::Freed);
    assert!(again.message.contains("freed before"), "{}", again.message);
    assert_eq!(b.device.read(b.full, &mut [0]).unwrap_err().kind, FaultKind::Freed);
    assert!(b.device.find(b.full + 5).is_some_and(|a| !a.live && a.bytes == 4096));
}

#[test]
fn copies_beyond_the_end() {
    let mut b = Bed::new();
    let cases = [
        b.device.read(b.full + 4090, &mut [0; 7]),
        b.device.write(b.full - 1, &[0; 4]),
        b.device.fill(b.full, &[0; 4], 1025),
        b.device.copy(b.empty, b.full + 1, 4096),
        b.device.copy(b.empty + 1, b.full, 4096),
    ];
    for (i, c) in cases.into_iter().enumerate() {
        assert_eq!(c.unwrap_err().kind, FaultKind::OutOfBounds, "case {i}");
    }
    // All of it is fine.
    b.device.copy(b.empty, b.full, 4096).unwrap();
}

#[test]
fn memory_of_the_host() {
    let mut b = Bed::new();
    let mut mine = vec![5u8; 256];
    let address = mine.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: `mine` lives until the end of the test.
    unsafe { b.device.map_host(mine.as_mut_ptr(), 256) };
    let mut r = b.run(1);
    let at = row(address & !3, 4);
    r.store(0, one(global(0), 1), &at).unwrap();
    assert_eq!(r.load(0, one(global(0), 1), &at).unwrap()[0][1], 1);
    fails(
        r.load(0, one(global(0), 0), &row(address + 256, 4)),
        FaultKind::OutOfBounds,
        0,
        "behind the end",
    );
    drop(r);
    b.device.free(address).unwrap();
    assert!(b.device.find(address).is_none());
    assert_eq!(mine[(address & !3) as usize + 4 - address as usize], 1);
}
