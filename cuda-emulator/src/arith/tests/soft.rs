//! The exact arithmetic against literals and against the host's, which rounds to nearest.

use crate::arith::Round;
use crate::arith::soft::{BF16, Exact, F16, F32, F64, TF32, add, divide, integer, multiply_add, root};

#[test]
fn rounding_to_each_format() {
    let exact = |magnitude, exponent| Exact {
        negative: false,
        magnitude,
        exponent,
    };
    // 1 + 2^-11: half a unit of f16.
    let tie = exact((1 << 11) + 1, -11);
    assert_eq!(F16.round(tie, Round::Near), 0x3c00);
    assert_eq!(F16.round(tie, Round::Away), 0x3c01);
    assert_eq!(F16.round(tie, Round::Zero), 0x3c00);
    assert_eq!(F16.round(tie, Round::Down), 0x3c00);
    assert_eq!(F16.round(tie, Round::Up), 0x3c01);
    let negative = Exact { negative: true, ..tie };
    assert_eq!(F16.round(negative, Round::Down), 0xbc01);
    assert_eq!(F16.round(negative, Round::Up), 0xbc00);
    // The largest f16 is 65504; from 65520 on the nearest is infinity.
    assert_eq!(F16.round(integer(65519), Round::Near), 0x7bff);
    assert_eq!(F16.round(integer(65520), Round::Near), 0x7c00);
    assert_eq!(F16.round(integer(1 << 40), Round::Zero), 0x7bff);
    assert_eq!(F16.round(integer(-(1 << 40)), Round::Down), 0xfc00);
    assert_eq!(F16.round(integer(-(1 << 40)), Round::Up), 0xfbff);
    // Subnormals: 2^-24 is the smallest f16; half of it is a tie to zero.
    assert_eq!(F16.round(exact(1, -24), Round::Near), 1);
    assert_eq!(F16.round(exact(1, -25), Round::Near), 0);
    assert_eq!(F16.round(exact(3, -26), Round::Near), 1);
    assert_eq!(F16.round(exact(1, -200), Round::Up), 1);
    assert_eq!(
        F16.round(exact(0x7ff, -25), Round::Near),
        0x0400,
        "rounds up to the smallest normal"
    );
    assert_eq!(BF16.round(exact((1 << 8) + 1, -8), Round::Near), 0x3f80);
    assert_eq!(BF16.round(exact((3 << 7) + 1, -8), Round::Near), 0x3fc0);
    assert_eq!(TF32.round(exact((1 << 11) + 1, -11), Round::Away) << 13, 0x3f80_2000);
    assert_eq!(F32.round(integer(16_777_217), Round::Near), 0x4b80_0000);
    assert_eq!(F32.round(integer(16_777_219), Round::Near), 0x4b80_0002);
    assert_eq!(F64.round(integer(-3), Round::Near), (-3.0f64).to_bits());
    assert_eq!(F64.round(exact(u128::MAX, 0), Round::Near), 2f64.powi(128).to_bits());
    assert_eq!(F64.round(exact(u128::MAX, -1202), Round::Near), 1, "just below 2^-1074");
}

/// Numbers of every magnitude from a counter.
fn numbers(count: u64) -> impl Iterator<Item = u64> {
    let mut state = 1u64;
    (0..count).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    })
}

#[test]
fn agrees_with_the_host_in_f32() {
    let bits: Vec<u32> = numbers(6000)
        .map(|x| (x >> 20) as u32)
        .filter(|&x| f32::from_bits(x).is_finite())
        .collect();
    for triple in bits.windows(3) {
        let [x, y, z] = [0, 1, 2].map(|i| f32::from_bits(triple[i]));
        // Near enough for cancellation and alignment to matter.
        let y = f32::from_bits(y.to_bits() & 0x807f_ffff | x.to_bits() & 0x7f80_0000);
        let exact = |x: f32| F32.unpack(x.to_bits() as u64);
        let round = |e| F32.round(e, Round::Near) as u32;
        assert_eq!(
            round(add(exact(x), exact(y), Round::Near)),
            (x + y).to_bits(),
            "{x:e} + {y:e}"
        );
        assert_eq!(
            round(multiply_add(exact(x), exact(y), exact(z), Round::Near)),
            x.mul_add(y, z).to_bits()
        );
        if z != 0.0 {
            assert_eq!(round(divide(exact(x), exact(z))), (x / z).to_bits(), "{x:e} / {z:e}");
        }
        assert_eq!(round(root(exact(x.abs()))), x.abs().sqrt().to_bits(), "root of {x:e}");
    }
}

#[test]
fn agrees_with_the_host_in_f64() {
    let bits: Vec<u64> = numbers(6000).filter(|&x| f64::from_bits(x).is_finite()).collect();
    for triple in bits.windows(3) {
        let [x, y, z] = [0, 1, 2].map(|i| f64::from_bits(triple[i]));
        let near = f64::from_bits(y.to_bits() & 0x800f_ffff_ffff_ffff | x.to_bits() & 0x7ff0_0000_0000_0000);
        let exact = |x: f64| F64.unpack(x.to_bits());
        let round = |e| F64.round(e, Round::Near);
        assert_eq!(
            round(add(exact(x), exact(near), Round::Near)),
            (x + near).to_bits(),
            "{x:e} + {near:e}"
        );
        assert_eq!(
            round(multiply_add(exact(x), exact(y), exact(z), Round::Near)),
            x.mul_add(y, z).to_bits()
        );
        // A product and a sum that cancel: what fma is for.
        let product = x * y;
        if product.is_finite() {
            let got = round(multiply_add(exact(x), exact(y), exact(-product), Round::Near));
            assert_eq!(got, x.mul_add(y, -product).to_bits());
        }
        if y != 0.0 {
            assert_eq!(round(divide(exact(x), exact(y))), (x / y).to_bits(), "{x:e} / {y:e}");
        }
        assert_eq!(round(root(exact(x.abs()))), x.abs().sqrt().to_bits(), "root of {x:e}");
    }
}

#[test]
fn directed_results_bracket_the_exact_one() {
    for x in numbers(500) {
        let (x, y) = (f64::from_bits(x & 0x7fff_ffff_ffff_ffff), 3.0f64);
        if !x.is_finite() {
            continue;
        }
        let quotient = divide(F64.unpack(x.to_bits()), F64.unpack(y.to_bits()));
        let [down, near, up] = [Round::Down, Round::Near, Round::Up].map(|round| F64.round(quotient, round));
        assert!(near == down || near == up);
        assert!(up - down <= 1);
        assert_eq!(F64.round(quotient, Round::Zero), down);
    }
}
