//! Counts worked out by hand.

use super::report::{Report, Shape};
use super::{Banks, Bound, Class, Counters, Traffic, bound, wavefronts};
use crate::counters::bound::{SM_80, SM_90};

/// Lane i at `base + i * step`.
fn row(base: u64, step: u64) -> [u64; 32] {
    std::array::from_fn(|i| base + i as u64 * step)
}

#[test]
fn words_side_by_side_take_one_pass() {
    assert_eq!(wavefronts(u32::MAX, &row(0, 4), 4), (1, 1));
    // From any word on: 32 neighbours lie in 32 banks.
    assert_eq!(wavefronts(u32::MAX, &row(52, 4), 4), (1, 1));
    // Bytes and halves share words.
    assert_eq!(wavefronts(u32::MAX, &row(0, 1), 1), (1, 1));
    assert_eq!(wavefronts(u32::MAX, &row(0, 2), 2), (1, 1));
    // One word for all is given to all in one pass.
    assert_eq!(wavefronts(u32::MAX, &row(64, 0), 4), (1, 1));
}

#[test]
fn strides_of_words() {
    // Stride 2: lanes i and i + 16 meet in one bank. Stride 4: four of them. Stride 32: all. Odd strides: none.
    for (stride, passes) in [
        (2, 2),
        (4, 4),
        (8, 8),
        (16, 16),
        (32, 32),
        (33, 1),
        (3, 1),
        (5, 1),
        (6, 2),
        (12, 4),
    ] {
        assert_eq!(
            wavefronts(u32::MAX, &row(0, 4 * stride), 4),
            (passes, 1),
            "stride {stride}"
        );
    }
    // Half the lanes, half the conflict.
    assert_eq!(wavefronts(0xffff, &row(0, 128), 4), (16, 1));
}

#[test]
fn wide_accesses_go_by_halves_and_quarters() {
    assert_eq!(wavefronts(u32::MAX, &row(0, 8), 8), (2, 2));
    assert_eq!(wavefronts(u32::MAX, &row(0, 16), 16), (4, 4));
    // 16 bytes every 32: of the eight lanes of a quarter two and two meet in the same four banks.
    assert_eq!(wavefronts(u32::MAX, &row(0, 32), 16), (8, 4));
    // 8 bytes every 16: in a half lanes i and i + 8 meet.
    assert_eq!(wavefronts(u32::MAX, &row(0, 16), 8), (4, 2));
    // Only the lanes of one quarter.
    assert_eq!(wavefronts(0xff00, &row(0, 16), 16), (1, 1));
}

#[test]
fn rows_of_a_matrix() {
    // ldmatrix of one 8x8 matrix: eight rows of 16 bytes. Rows 128 bytes apart lie in the same banks; a swizzle spreads them.
    assert_eq!(wavefronts(0xff, &row(0, 128), 16), (8, 1));
    let swizzled: [u64; 32] = std::array::from_fn(|i| i as u64 * 128 + (i as u64 % 8) * 16);
    assert_eq!(wavefronts(0xff, &swizzled, 16), (1, 1));
    assert_eq!(wavefronts(u32::MAX, &swizzled, 16), (4, 4));
    // Rows of 80 bytes (64 and a padding of 16): banks 0, 20, 8, 28, 16, 4, 24, 12.
    assert_eq!(wavefronts(u32::MAX, &row(0, 80), 16), (4, 4));
}

fn some() -> Counters {
    let mut c = Counters {
        launches: 1,
        tensor_flops: 4096,
        ..Counters::default()
    };
    c.warp_instructions[Class::Int as usize] = 30;
    c.warp_instructions[Class::Fp32 as usize] = 8;
    c.warp_instructions[Class::Special as usize] = 2;
    c.load = Traffic {
        requests: 4,
        useful_bytes: 384,
        sectors: 16,
        distinct: 8,
    };
    c.store = Traffic {
        requests: 1,
        useful_bytes: 128,
        sectors: 4,
        distinct: 4,
    };
    c.shared_load = Banks {
        requests: 3,
        wavefronts: 6,
        ideal: 3,
    };
    c.shared_store = Banks {
        requests: 1,
        wavefronts: 1,
        ideal: 1,
    };
    c
}

#[test]
fn the_bound_model() {
    // 40 / 4; 4096 / 2048; 8 * 32 / 64; 2 * 32 / 16; 7; 20 * 32 / 64; 12 * 32 / 13.4
    let Bound { clocks } = bound(&some(), SM_80);
    let expected = [10.0, 2.0, 4.0, 4.0, 7.0, 10.0, 384.0 / 13.4];
    assert_eq!(clocks, expected);
    let b = bound(&some(), SM_80);
    assert_eq!(b.limit(), ("hbm", 384.0 / 13.4));
    assert!((b.tensor_share() - 2.0 * 13.4 / 384.0).abs() < 1e-15);
    // 4096 / 2540; 8 * 32 / 128
    let b = bound(&some(), SM_90);
    assert_eq!((b.clocks[1], b.clocks[2]), (4096.0 / 2540.0, 2.0));
    assert_eq!(bound(&Counters::default(), SM_80).tensor_share(), 0.0);
}

#[test]
fn sums_add_every_field() {
    let mut c = some();
    c.add(&some());
    let mut twice = some();
    twice.launches = 2;
    twice.tensor_flops = 8192;
    twice.warp_instructions = twice.warp_instructions.map(|n| 2 * n);
    twice.load = Traffic {
        requests: 8,
        useful_bytes: 768,
        sectors: 32,
        distinct: 16,
    };
    twice.store = Traffic {
        requests: 2,
        useful_bytes: 256,
        sectors: 8,
        distinct: 8,
    };
    twice.shared_load = Banks {
        requests: 6,
        wavefronts: 12,
        ideal: 6,
    };
    twice.shared_store = Banks {
        requests: 2,
        wavefronts: 2,
        ideal: 2,
    };
    assert_eq!(c, twice);
}

#[test]
fn launches_of_one_shape_are_one_line() {
    let shape = |grid| Shape {
        kernel: "k".into(),
        grid: [grid, 1, 1],
        block: [32, 1, 1],
        shared: 512,
        registers: Some(40),
        resident: 16,
    };
    let mut r = Report::new();
    r.add(shape(1), &some());
    r.add(shape(2), &some());
    r.add(shape(1), &some());
    let text = r.json(80);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        "{\"kernel\":\"k\",\"grid\":[1, 1, 1],\"block\":[32, 1, 1],\"shared_bytes\":512,\"registers\":40,\"resident_blocks\":16,\
         \"launches\":2,\"blocks\":0,\"warp_instructions\":{\"int\":60,\"fp32\":16,\"fp64\":0,\"half\":0,\"special\":4,\
         \"convert\":0,\"global\":0,\"shared\":0,\"local\":0,\"const\":0,\"tensor\":0,\"sync\":0,\"control\":0,\"atomic\":0,\
         \"other\":0},\"thread_instructions\":{\"int\":0,\"fp32\":0,\"fp64\":0,\"half\":0,\"special\":0,\"convert\":0,\
         \"global\":0,\"shared\":0,\"local\":0,\"const\":0,\"tensor\":0,\"sync\":0,\"control\":0,\"atomic\":0,\"other\":0},\
         \"fp32_flops\":0,\"tensor_flops\":8192,\"wgmma_flops\":0,\"load\":{\"requests\":8,\"useful_bytes\":768,\"sectors\":32,\"distinct\":16},\
         \"store\":{\"requests\":2,\"useful_bytes\":256,\"sectors\":8,\"distinct\":8},\"copy_bytes\":0,\
         \"shared_load\":{\"requests\":6,\"wavefronts\":12,\"ideal\":6},\"shared_store\":{\"requests\":2,\"wavefronts\":2,\
         \"ideal\":2},\"atomics\":0,\"atomic_serial\":0,\"local\":0,\"barriers\":0,\"divergent\":0,\"clocks\":{\"issue\":20.0,\
         \"tensor\":4.0,\"fp32\":8.0,\"special\":8.0,\"shared\":14.0,\"l2\":20.0,\"hbm\":57.3},\"bound\":\"hbm\",\
         \"tensor_share\":0.0698}"
    );
    let table = r.table(80);
    assert_eq!(table.lines().count(), 3);
    // 24 distinct sectors in two launches: 384 bytes each; 40 moved; 1024 of 1280 bytes useful; 14 passes instead of 8.
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "k", "1", "32", "2", "40", "0.000", "1.667", "0.800", "1.750", "0.070", "hbm"
        ]
    );
}
