use super::{Arith, f, lanes, one, op, same, three, two};
use crate::arith::half::{from_bf16, from_f16, to_bf16, to_f16};
use crate::arith::soft::{BF16, F16, F32, multiply_add};
use crate::arith::{Binary32, Round, Ternary32};

// f16
const ONE: u32 = 0x3c00;
const INF: u32 = 0x7c00;
const MAX: u32 = 0x7bff;
const NEG: u32 = 0x8000;
const NAN: u32 = 0x7fff;
// bf16
const B_ONE: u32 = 0x3f80;
const B_INF: u32 = 0x7f80;

#[test]
fn formats() {
    for (bits, value) in [
        (0, 0.0),
        (ONE, 1.0),
        (0xc000, -2.0),
        (MAX, 65504.0),
        (1, 2f32.powi(-24)),
        (0x03ff, 1023.0 * 2f32.powi(-24)),
        (0x0400, 2f32.powi(-14)),
        (INF, f32::INFINITY),
        (0x3555, 0.333_251_95),
    ] {
        assert_eq!(from_f16(bits), value);
        assert_eq!(to_f16(value), bits);
    }
    assert!(from_f16(0x7c01).is_nan());
    assert_eq!(from_f16(NEG).to_bits(), 0x8000_0000);
    assert_eq!(to_f16(-0.0), NEG);
    assert_eq!(to_f16(f32::NAN), NAN);
    assert_eq!(to_f16(65520.0), INF);
    assert_eq!(to_f16(65519.996), MAX);
    assert_eq!(to_f16(-1e9), INF | NEG);
    assert_eq!(to_f16(2f32.powi(-25)), 0, "a tie, to even");
    assert_eq!(to_f16(f32::from_bits(f(2f32.powi(-25)) + 1)), 1);
    assert_eq!(to_f16(3.0 * 2f32.powi(-25)), 2, "a tie, to even");
    assert_eq!(to_f16(1.0 + 2f32.powi(-11)), ONE, "a tie, to even");
    assert_eq!(to_f16(1.0 + 3.0 * 2f32.powi(-11)), ONE + 2);
    assert_eq!(from_bf16(B_ONE), 1.0);
    assert_eq!(to_bf16(1.0 + 2f32.powi(-8)), B_ONE, "a tie, to even");
    assert_eq!(to_bf16(1.0 + 3.0 * 2f32.powi(-8)), B_ONE + 2);
    assert_eq!(to_bf16(f32::MAX), B_INF);
    assert_eq!(to_bf16(f32::NAN), NAN);
    assert_eq!(to_bf16(-f32::NAN), NAN);
    assert_eq!(to_bf16(f32::from_bits(0xffff_ffff)), NAN);
    assert_eq!(to_bf16(f32::from_bits(1)), 0);
}

#[test]
fn every_f16_and_bf16_comes_back() {
    for bits in 0..0x1_0000 {
        if bits & 0x7fff <= INF {
            assert_eq!(to_f16(from_f16(bits)), bits);
        }
        if bits & 0x7fff <= B_INF {
            assert_eq!(to_bf16(from_bf16(bits)), bits);
        }
    }
}

#[test]
fn rounding_agrees_with_the_exact_one() {
    for i in 0..200_000u32 {
        let bits = i.wrapping_mul(0x9e37_79b9);
        let x = f32::from_bits(bits);
        if x.is_finite() {
            let exact = F32.unpack(bits as u64);
            assert_eq!(to_f16(x) as u64, F16.round(exact, Round::Near), "{x:e}");
            assert_eq!(to_bf16(x) as u64, BF16.round(exact, Round::Near), "{x:e}");
        }
    }
}

#[test]
fn f16_arithmetic() {
    two(
        "add.f16",
        &[
            (ONE, ONE, 0x4000),
            (MAX, MAX, INF),
            (INF, INF | NEG, NAN),
            (1, 1, 2),
            (ONE, 0x1000, ONE),
            (NEG, NEG, NEG),
        ],
    );
    two("add.rn.f16", &[(0xdead_3c00, 0xbeef_3c00, 0x4000)]);
    two(
        "add.ftz.f16",
        &[(1, 1, 0), (0x8001, NEG, NEG), (0x0400, 0x0400, 0x0800)],
    );
    two(
        "add.sat.f16",
        &[(ONE, ONE, ONE), (0xbc00, 0, 0), (NAN, ONE, 0), (0x3400, 0x3800, 0x3a00)],
    );
    two("add.ftz.sat.f16", &[(1, 1, 0)]);
    two("sub.f16", &[(ONE, 0x4000, 0xbc00)]);
    two(
        "mul.f16",
        &[
            (0x4200, 0x4200, 0x4880),
            (1, 0x3800, 0),
            (INF, 0, NAN),
            (MAX, 0x4000, INF),
        ],
    );
    two("mul.ftz.f16", &[(0x0400, 0x3800, 0)]);
    two("mul.sat.f16", &[(0x4200, 0x4200, ONE)]);
    two(
        "add.f16x2",
        &[
            (0x3c00_4000, 0x3c00_3c00, 0x4000_4200),
            (0x7bff_0001, 0x7bff_0001, 0x7c00_0002),
        ],
    );
    two("add.ftz.f16x2", &[(0x3c00_0001, 0x3c00_0001, 0x4000_0000)]);
    two("sub.f16x2", &[(0x3c00_4000, 0x3c00_3c00, 0x0000_3c00)]);
    two("mul.rn.f16x2", &[(0x4200_3c00, 0x4200_c000, 0x4880_c000)]);
    // (1 + 2^-9)^2 - 1 = 2^-8 + 2^-18.
    three(
        "fma.rn.f16",
        &[(0x3c02, 0x3c02, 0xbc00, 0x1c01), (0x4000, 0x4200, 0x4400, 0x4900)],
    );
    three("fma.rn.ftz.f16", &[(1, ONE, 0, 0)]);
    three("fma.rn.sat.f16", &[(0x4000, 0x4200, 0x4400, ONE)]);
    three(
        "fma.rn.relu.f16",
        &[
            (0xc000, 0x4200, 0, 0),
            (0x4000, 0x4200, 0, 0x4600),
            (NAN, ONE, 0, NAN),
            (NEG, ONE, NEG, 0),
        ],
    );
    three("fma.rn.f16x2", &[(0x4000_3c02, 0x4200_3c02, 0x4400_bc00, 0x4900_1c01)]);
    three("fma.rn.relu.f16x2", &[(0xc000_4000, 0x4200_4200, 0, 0x0000_4600)]);
}

#[test]
fn bf16_arithmetic() {
    two(
        "add.bf16",
        &[
            (B_ONE, B_ONE, 0x4000),
            (0x7f7f, 0x7f7f, B_INF),
            (B_INF, B_INF | NEG, NAN),
            (1, 1, 2),
        ],
    );
    two("sub.bf16", &[(B_ONE, 0x4000, 0xbf80)]);
    two("mul.bf16", &[(0x4040, 0x4040, 0x4110), (1, 0x3f00, 0)]);
    two("add.rn.bf16x2", &[(0x3f80_4000, 0x3f80_3f80, 0x4000_4040)]);
    two("sub.bf16x2", &[(0x3f80_4000, 0x3f80_3f80, 0x0000_3f80)]);
    two("mul.bf16x2", &[(0x4040_3f80, 0x4040_c000, 0x4110_c000)]);
    // (1 + 2^-6)^2 - 1 = 2^-5 + 2^-12.
    three(
        "fma.rn.bf16",
        &[(0x3f82, 0x3f82, 0xbf80, 0x3d01), (0x4000, 0x4040, 0x4080, 0x4120)],
    );
    // A tie that a third number 2^-100 away decides: 1.5 * (1 + 2^-7) = 1.5 + 3 2^-8 lies half way between two bf16.
    three(
        "fma.rn.bf16",
        &[
            (0x3fc0, 0x3f81, 0, 0x3fc2),
            (0x3fc0, 0x3f81, 0x0d80, 0x3fc2),
            (0x3fc0, 0x3f81, 0x8d80, 0x3fc1),
        ],
    );
    three("fma.rn.relu.bf16", &[(0xc000, 0x4040, 0, 0), (NAN, B_ONE, 0, NAN)]);
    three("fma.rn.bf16x2", &[(0x4000_3f82, 0x4040_3f82, 0x4080_bf80, 0x4120_3d01)]);
    three("fma.rn.relu.bf16x2", &[(0xc000_4000, 0x4040_4040, 0, 0x0000_40c0)]);
}

#[test]
fn rounds_once_wherever_numbers_lie() {
    for (format, from, name, inf) in [
        (F16, from_f16 as fn(u32) -> f32, "fma.rn.f16", INF),
        (BF16, from_bf16, "fma.rn.bf16", B_INF),
    ] {
        let Arith::Ternary32(fma @ Ternary32::HalfFma(..)) = op(name) else {
            panic!()
        };
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..2000 {
            let [a, b, c] = [0; 3].map(|_: u32| lanes([0; 32].map(|_: u32| next())));
            let got = fma.apply(&a, &b, &c);
            for i in 0..32 {
                if [a[i], b[i], c[i]].iter().any(|x| x & 0x7fff >= inf) {
                    continue;
                }
                let exact = |x: u32| F32.unpack(from(x).to_bits() as u64);
                let want = format.round(
                    multiply_add(exact(a[i]), exact(b[i]), exact(c[i]), Round::Near),
                    Round::Near,
                );
                assert_eq!(got[i] as u64, want, "{name} {:#x} {:#x} {:#x}", a[i], b[i], c[i]);
            }
        }
    }
}

#[test]
fn extrema() {
    two(
        "min.f16",
        &[(ONE, 0x4000, ONE), (NEG, 0, NEG), (NAN, ONE, ONE), (NAN, NAN, NAN)],
    );
    two("max.f16", &[(ONE, 0x4000, 0x4000), (NEG, 0, 0), (NAN, ONE, ONE)]);
    two("min.ftz.f16", &[(1, ONE, 0)]);
    two("min.NaN.f16", &[(NAN, ONE, NAN)]);
    two("max.NaN.f16", &[(ONE, 0xfe00, NAN), (ONE, 0x4000, 0x4000)]);
    two(
        "min.xorsign.abs.f16",
        &[(0xc200, 0x4000, 0xc000), (0xc200, 0xc000, 0x4000)],
    );
    two("max.xorsign.abs.f16", &[(0xc200, 0x4000, 0xc200)]);
    two("min.NaN.xorsign.abs.f16", &[(0xc200, NAN, NAN)]);
    two("max.NaN.xorsign.abs.f16", &[(0xc200, 0x4000, 0xc200)]);
    two("max.f16x2", &[(0x3c00_c000, 0x4000_3c00, 0x4000_3c00)]);
    two(
        "min.bf16",
        &[(B_ONE, 0x4000, B_ONE), (NAN, B_ONE, B_ONE), (1, B_ONE, 1)],
    );
    two("max.bf16x2", &[(0x3f80_c000, 0x4000_3f80, 0x4000_3f80)]);
    two("min.NaN.bf16x2", &[(0x7fff_c000, 0x4000_3f80, 0x7fff_c000)]);
    two("max.NaN.bf16", &[(0x7fc0, B_ONE, NAN)]);
    two("min.xorsign.abs.bf16", &[(0xc040, 0x4000, 0xc000)]);
}

#[test]
fn signs_and_functions() {
    one("neg.f16", &[(ONE, 0xbc00), (0, NEG), (1, 0x8001)]);
    one("neg.ftz.f16", &[(1, NEG)]);
    one("neg.f16x2", &[(0x3c00_bc00, 0xbc00_3c00)]);
    one("abs.f16", &[(0xbc00, ONE)]);
    one("abs.ftz.f16x2", &[(0xbc00_8001, 0x3c00_0000)]);
    one("neg.bf16", &[(B_ONE, 0xbf80)]);
    one("neg.bf16x2", &[(0x3f80_bf80, 0xbf80_3f80)]);
    one("abs.bf16", &[(0xbf80, B_ONE)]);
    one("abs.bf16x2", &[(0xbf80_8001, 0x3f80_0001)]);
    one(
        "ex2.approx.f16",
        &[
            (0x4000, 0x4400),
            (NEG, ONE),
            (0xfc00, 0),
            (INF, INF),
            (NAN, NAN),
            (0xce00, 1),
        ],
    );
    one("ex2.approx.ftz.f16", &[(0xce00, 0)]);
    one("ex2.approx.f16x2", &[(0x4000_bc00, 0x4400_3800)]);
    one(
        "ex2.approx.ftz.bf16",
        &[(0x4000, 0x4080), (B_INF | NEG, 0), (0xc300, 0)],
    );
    one("ex2.approx.ftz.bf16x2", &[(0x4000_bf80, 0x4080_3f00)]);
    one(
        "tanh.approx.f16",
        &[
            (0, 0),
            (NEG, NEG),
            (INF, ONE),
            (INF | NEG, 0xbc00),
            (NAN, NAN),
            (ONE, 0x3a18),
        ],
    );
    one("tanh.approx.f16x2", &[(0x7c00_fc00, 0x3c00_bc00)]);
    one("tanh.approx.bf16", &[(B_INF, B_ONE), (B_ONE, 0x3f43)]);
    one("tanh.approx.bf16x2", &[(0x7f80_ff80, 0x3f80_bf80)]);
}

#[test]
fn a_single_value_leaves_the_upper_half_zero() {
    let Arith::Binary32(add @ Binary32::Half(..)) = op("add.f16") else {
        panic!()
    };
    same(
        "add.f16",
        &add.apply(&lanes([0xffff_3c00]), &lanes([0xffff_3c00])),
        &lanes([0x4000]),
    );
    three("fma.rn.f16", &[(0xffff_4000, 0x1234_4200, 0x4444_4400, 0x4900)]);
}
