//! Counters of memory, worked out by hand.

use super::*;
use crate::counters::{Banks, Traffic};

#[test]
fn sixteen_bytes_a_lane() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.load(0, access(Space::Global, 0, ALL, 16), &row(b.full, 16)).unwrap();
    r.store(0, access(Space::Shared, 0, ALL, 16), &row(0, 16)).unwrap();
    let c = r.counters();
    assert_eq!(
        c.load,
        Traffic {
            requests: 1,
            useful_bytes: 512,
            sectors: 16,
            distinct: 16
        }
    );
    assert_eq!(
        c.shared_store,
        Banks {
            requests: 1,
            wavefronts: 4,
            ideal: 4
        }
    );
    assert_eq!((c.store, c.shared_load), (Traffic::default(), Banks::default()));
}

#[test]
fn shapes_of_requests() {
    // step in bytes, bytes, offset: sectors
    for (step, bytes, offset, sectors) in [
        (4, 4, 0, 4),
        (4, 4, 4, 5),
        (8, 4, 0, 8),
        (32, 4, 0, 32),
        (64, 4, 0, 32),
        (0, 4, 0, 1),
        (2, 2, 0, 2),
        (2, 2, 30, 3),
        (8, 8, 0, 8),
        (16, 16, 16, 17),
        (32, 16, 0, 32),
    ] {
        let b = Bed::new();
        let mut r = b.run(1);
        r.load(0, access(Space::Global, 0, ALL, bytes), &row(b.full + offset, step))
            .unwrap();
        let c = r.counters().load;
        let expected = Traffic {
            requests: 1,
            useful_bytes: 32 * u64::from(bytes),
            sectors,
            distinct: sectors,
        };
        assert_eq!(c, expected, "{bytes} bytes every {step} from {offset}");
    }
}

#[test]
fn moved_and_distinct() {
    let b = Bed::new();
    let mut r = b.run(2);
    // Two blocks read the same 128 bytes, one of them twice; then half of it in the next 128.
    r.load(0, global(0), &row(b.full, 4)).unwrap();
    r.load(0, global(1), &row(b.full, 4)).unwrap();
    r.load(1, global(0), &row(b.full, 4)).unwrap();
    r.load(1, global(0), &row(b.full + 64, 4)).unwrap();
    // Loads and stores are counted apart.
    r.store(1, global(0), &row(b.empty, 4)).unwrap();
    let c = r.counters();
    assert_eq!(
        c.load,
        Traffic {
            requests: 4,
            useful_bytes: 512,
            sectors: 16,
            distinct: 6
        }
    );
    assert_eq!(
        c.store,
        Traffic {
            requests: 1,
            useful_bytes: 128,
            sectors: 4,
            distinct: 4
        }
    );
    // The next launch begins anew.
    let mut r = b.run(1);
    r.load(0, global(0), &row(b.full, 4)).unwrap();
    assert_eq!(r.counters().load.distinct, 4);
}

#[test]
fn part_of_a_warp() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.load(0, access(Space::Global, 0, 0x00ff_0000, 4), &row(b.full - 64, 4))
        .unwrap();
    r.load(0, access(Space::Global, 0, 0x8000_0001, 4), &row(b.full, 4))
        .unwrap();
    let c = r.counters();
    assert_eq!(
        c.load,
        Traffic {
            requests: 2,
            useful_bytes: 40,
            sectors: 1 + 2,
            distinct: 2
        }
    );
}

#[test]
fn constants_are_not_device_traffic() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.load(0, access(Space::Const, 0, ALL, 4), &[b.full; 32]).unwrap();
    assert_eq!(r.counters().load, Traffic::default());
}

#[test]
fn copies_count_on_both_sides() {
    let b = Bed::new();
    let mut r = b.run(1);
    let a = access(Space::Global, 0, ALL, 16);
    r.worker
        .copy(&mut r.blocks[0], a, &row(0, 16), &row(b.full, 16), None)
        .unwrap();
    r.worker.copy_wait(&mut r.blocks[0], 0, ALL, None).unwrap();
    let c = r.counters();
    assert_eq!(
        c.load,
        Traffic {
            requests: 1,
            useful_bytes: 512,
            sectors: 16,
            distinct: 16
        }
    );
    assert_eq!(
        c.shared_store,
        Banks {
            requests: 1,
            wavefronts: 4,
            ideal: 4
        }
    );
    assert_eq!(c.copy_bytes, 512);
}

#[test]
fn atomics_and_lanes_that_meet() {
    let b = Bed::new();
    let mut r = b.run(1);
    let out = r.add(0, global(0), &[b.full + 40; 32]).unwrap();
    assert_eq!(out[0], std::array::from_fn(|i| 10 + i as u32));
    r.add(0, global(0), &row(b.full, 4)).unwrap();
    // Pairs of lanes.
    let pairs: [u64; 32] = std::array::from_fn(|i| b.full + 4 * (i as u64 / 2));
    r.add(0, global(0), &pairs).unwrap();
    let c = r.counters();
    assert_eq!((c.atomics, c.atomic_serial), (3, 32 + 1 + 2));
}

#[test]
fn local_requests() {
    let b = Bed::new();
    let mut r = b.run(1);
    r.store(0, access(Space::Local, 0, ALL, 8), &[8; 32]).unwrap();
    let out = r.load(0, access(Space::Local, 0, ALL, 4), &[12; 32]).unwrap();
    assert_eq!(out[0][17], 17);
    assert_eq!(r.counters().local, 2);
}
