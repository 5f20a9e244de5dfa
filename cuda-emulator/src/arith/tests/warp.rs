use super::{lanes, wide};
use crate::arith::warp::*;

const ALL: u32 = 0xffff_ffff;

fn ids() -> [u32; 32] {
    core::array::from_fn(|i| 100 + i as u32)
}

fn run(mode: Shuffle, b: u32, c: u32) -> Shuffled {
    shuffle(mode, &ids(), &lanes([b]), &lanes([c]), ALL)
}

#[test]
fn shuffles_of_a_whole_warp() {
    let up = run(Shuffle::Up, 1, 0);
    assert_eq!(up.value[..3], [100, 100, 101]);
    assert_eq!(up.value[31], 130);
    assert_eq!(up.within, 0xffff_fffe);
    let down = run(Shuffle::Down, 2, 31);
    assert_eq!(down.value[0], 102);
    assert_eq!(down.value[29..], [131, 130, 131]);
    assert_eq!(down.within, 0x3fff_ffff);
    let butterfly = run(Shuffle::Butterfly, 16, 31);
    assert_eq!(butterfly.value[0], 116);
    assert_eq!(butterfly.value[20], 104);
    assert_eq!(butterfly.within, ALL);
    let index = run(Shuffle::Index, 5, 31);
    assert_eq!(index.value, [105; 32]);
    assert_eq!(index.within, ALL);
    assert_eq!(index.undefined, 0);
}

#[test]
fn shuffles_within_segments() {
    // Segments of 8 lanes: the mask 0x18 in bits 8 to 12.
    let clamp = |bound: u32| 0x1800 | bound;
    let up = run(Shuffle::Up, 3, clamp(0));
    assert_eq!(up.value[8..16], [108, 109, 110, 108, 109, 110, 111, 112]);
    assert_eq!(up.within, 0xf8f8_f8f8);
    let down = run(Shuffle::Down, 3, clamp(7));
    assert_eq!(down.value[8..16], [111, 112, 113, 114, 115, 113, 114, 115]);
    assert_eq!(down.within, 0x1f1f_1f1f);
    let index = run(Shuffle::Index, 11, clamp(7));
    assert_eq!(index.value[8..16], [111; 8], "the index is modulo the segment");
    assert_eq!(index.value[..8], [103; 8]);
    assert_eq!(index.within, ALL);
    // A bound of 3 within the segment of 8.
    let bounded = run(Shuffle::Index, 5, clamp(3));
    assert_eq!(bounded.within, 0);
    assert_eq!(bounded.value, ids(), "out of bounds a lane keeps its own");
    let butterfly = run(Shuffle::Butterfly, 8, clamp(7));
    assert_eq!(butterfly.value[..8], [100, 101, 102, 103, 104, 105, 106, 107]);
    // The bound is from above only: the lower neighbour is within reach, the upper one is not.
    assert_eq!(butterfly.within, 0xff00_ff00);
    assert_eq!(butterfly.value[8..16], [100, 101, 102, 103, 104, 105, 106, 107]);
}

#[test]
fn only_the_lower_bits_of_b_count() {
    assert_eq!(run(Shuffle::Index, 32 + 7, 31).value, [107; 32]);
    assert_eq!(run(Shuffle::Up, 32, 0).value, ids());
}

#[test]
fn a_source_that_does_not_take_part_is_undefined() {
    let got = shuffle(Shuffle::Down, &ids(), &lanes([1]), &lanes([31]), 0x0000_ff0f);
    assert_eq!(got.undefined, 0x0000_8008);
}

#[test]
fn votes() {
    assert!(vote(Vote::All, 0xf0f, 0x00f));
    assert!(!vote(Vote::All, 0xf0e, 0x00f));
    assert!(vote(Vote::Any, 0x001, 0x00f));
    assert!(!vote(Vote::Any, 0xf00, 0x00f));
    assert!(vote(Vote::Uniform, 0xf0f, 0x00f));
    assert!(vote(Vote::Uniform, 0xf00, 0x00f));
    assert!(!vote(Vote::Uniform, 0x001, 0x00f));
    assert_eq!(ballot(0xf0f5, 0x00ff), 0x00f5);
}

#[test]
fn matches() {
    let a = lanes([7, 8, 7, 9]);
    assert_eq!(match_any32(&a, 0xff)[..4], [0x55, 0x22, 0x55, 0x88]);
    assert_eq!(match_any32(&a, 0x0d)[..4], [0x05, 0, 0x05, 0x08]);
    assert_eq!(match_all32(&a, 0x55), (0x55, true));
    assert_eq!(match_all32(&a, 0xff), (0, false));
    let a = wide([1 << 40, 0, 1 << 40, 0]);
    assert_eq!(match_any64(&a, ALL)[0], 0x5555_5555);
    assert_eq!(match_all64(&a, 0b1010), (0b1010, true));
    assert_eq!(match_all64(&a, 0b0011), (0, false));
}

#[test]
fn reductions() {
    let a = lanes([5, 0xffff_ffff, 12, 6]);
    assert_eq!(reduce(Reduce::Add, &a, 0b1111), 22);
    assert_eq!(reduce(Reduce::Add, &a, ALL), 22 * 8);
    assert_eq!(reduce(Reduce::MinU, &a, 0b1111), 5);
    assert_eq!(reduce(Reduce::MinS, &a, 0b1111), 0xffff_ffff);
    assert_eq!(reduce(Reduce::MaxU, &a, 0b1111), 0xffff_ffff);
    assert_eq!(reduce(Reduce::MaxS, &a, 0b1111), 12);
    assert_eq!(reduce(Reduce::And, &a, 0b1101), 4);
    assert_eq!(reduce(Reduce::Or, &a, 0b1101), 15);
    assert_eq!(reduce(Reduce::Xor, &a, 0b1101), 15);
    assert_eq!(reduce(Reduce::MaxS, &a, 0b0010), 0xffff_ffff);
    assert_eq!(elect(0b1100), 2);
}
