use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::*;

fn value(bits: u16) -> f64 {
    f32::from_bits(u32::from(bits) << 16).into()
}

/// Over all 65536 draws the mean is x itself, not about x: as many go up as x is 65536ths of the way.
#[test]
fn the_mean_over_all_draws_is_the_number() {
    let xs = [
        1.0f32, 1.000_001, 1.003, -1.003, 3.140_625, 0.1, -1e-3, 6.1e-5, 1.2e-38, 9e-40, -3e-45, 2.5e38, -2.5e38,
    ];
    for x in xs {
        let mean = (0..=u16::MAX).map(|r| value(to_bf16(x, r))).sum::<f64>() / 65536.0;
        let x = f64::from(x);
        assert!((mean - x).abs() <= 1e-12 * x.abs(), "{x:e} became {mean:e}");
    }
}

#[test]
fn it_goes_to_a_neighbour_and_no_further() {
    let draws = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff];
    for x in [1.003f32, -1.003, 0.1, 1e-40, -7e-20, 3e38] {
        let low = (x.to_bits() >> 16) as u16;
        for random in draws {
            let found = to_bf16(x, random);
            assert!(
                found == low || found == low + 1,
                "{x:e} with {random:#x} became {:e}",
                value(found)
            );
        }
        assert_eq!(to_bf16(x, 0), low, "{x:e}");
        assert_eq!(to_bf16(x, 0xffff), low + 1, "{x:e}");
    }
}

/// Every number of bfloat16, whatever is drawn.
#[test]
fn what_bf16_can_represent_stays() {
    for bits in 0..=u16::MAX {
        let x = f32::from_bits(u32::from(bits) << 16);
        for random in [0, 1, 0x8000, 0xffff] {
            let found = to_bf16(x, random);
            match x.is_nan() {
                // Quiet, with its sign.
                true => assert_eq!(found, bits | 0x40),
                false => assert_eq!(found, bits, "{x:e} with {random:#x}"),
            }
        }
    }
}

#[test]
fn infinity_is_made_beyond_the_largest_number_alone_and_nan_never() {
    let largest = f32::from_bits(0x7f7f_0000);
    let next = f32::from_bits(largest.to_bits() - 1);
    assert!(value(to_bf16(next, 0xffff)).is_finite());
    for x in [f32::MAX, -f32::MAX] {
        assert!(value(to_bf16(x, 0)).is_finite());
        assert_eq!(value(to_bf16(x, 0xffff)), f64::from(x.signum()) * f64::INFINITY);
    }
    // All ones: a carry would leave the number.
    for bits in [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001] {
        assert!(value(to_bf16(f32::from_bits(bits), 0xffff)).is_nan());
    }
}

/// The bits of different numbers, moments, tensors, steps and seeds are drawn apart.
#[test]
fn every_number_has_bits_of_its_own() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (seed, tensor) in [(0, 0), (0, 1), (1, 0)] {
        for step in [1, 2, 1 << 32] {
            for what in Kept::ALL {
                for block in 0..4 {
                    let dither = Dither { seed, tensor };
                    seen.insert(philox(seed, dither.counter(step, what, block)));
                    count += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), count);
    // One counter's 128 bits go to eight numbers, low half first.
    let dither = Dither { seed: 3, tensor: 5 };
    let words = philox(3, [2, 3 * 5 + 1, 7, u32::MAX]);
    let bits: Vec<u16> = (16..24).map(|i| dither.bits(7, Kept::First, i)).collect();
    let expected = words.map(|w| [w as u16, (w >> 16) as u16]).concat();
    assert_eq!(bits, expected);
}

/// The mean of n draws of a number at p of the way is within four standard deviations of it, and so is their variance.
#[test]
fn draws_are_as_often_up_as_they_should_be() {
    let n = 200_000;
    for (seed, way) in [(1, 0.5), (2, 0.1), (3, 0.001), (4, 0.9)] {
        let x = 1.0 + (way * 65536.0f32).round() / 65536.0 / 128.0;
        let p = (f64::from(x) - 1.0) * 128.0;
        let dither = Dither { seed, tensor: 0 };
        let ups = (0..n)
            .filter(|&i| value(to_bf16(x, dither.bits(1, Kept::Value, i))) > 1.0)
            .count();
        let off = ups as f64 / n as f64 - p;
        assert!(off.abs() < 4.0 * (p * (1.0 - p) / n as f64).sqrt(), "{p}: {off:e}");
    }
}
