use super::{Arith, d, f, lanes, one, one64, op, same, three, three64, two, two64, wide};
use crate::arith::compare::{Kind, Testp};
use crate::arith::{Type, float32};

const NAN: u32 = float32::NAN;
const INF: u32 = 0x7f80_0000;
const NEG: u32 = 0x8000_0000;
/// The smallest and the largest subnormal, the smallest normal, the largest number.
const TINY: u32 = 1;
const SUB: u32 = 0x007f_ffff;
const NORMAL: u32 = 0x0080_0000;
const MAX: u32 = 0x7f7f_ffff;
const ONE: u32 = 0x3f80_0000;
/// Half a unit in the last place of 1.
const HALF_ULP: u32 = 0x3380_0000;

#[test]
fn add_rounds_as_asked() {
    let exact = [
        (f(1.5), f(2.25), f(3.75)),
        (ONE, f(-1.0), 0),
        (NEG, NEG, NEG),
        (0, NEG, 0),
    ];
    for opcode in ["add.f32", "add.rn.f32", "add.rz.f32", "add.rp.f32"] {
        two(opcode, &exact);
    }
    two(
        "add.rm.f32",
        &[
            (f(1.5), f(2.25), f(3.75)),
            (ONE, f(-1.0), NEG),
            (NEG, NEG, NEG),
            (0, 0, 0),
            (0, NEG, NEG),
        ],
    );
    // 1 + 2^-24 is a tie: to even, down, up. -1 - 2^-24 likewise; 1 - 2^-26 lies next to 1 below.
    let (a, b) = (ONE, HALF_ULP);
    let negative = |x: u32| x | NEG;
    two("add.rn.f32", &[(a, b, ONE), (a + 1, b, ONE + 2), (MAX, MAX, INF)]);
    two(
        "add.rz.f32",
        &[
            (a, b, ONE),
            (a | NEG, b | NEG, ONE | NEG),
            (MAX, MAX, MAX),
            (a, f(-1.0 / 67108864.0), ONE - 1),
        ],
    );
    two(
        "add.rm.f32",
        &[
            (a, b, ONE),
            (a | NEG, b | NEG, negative(ONE + 1)),
            (MAX, MAX, MAX),
            (MAX | NEG, MAX | NEG, INF | NEG),
        ],
    );
    two(
        "add.rp.f32",
        &[
            (a, b, ONE + 1),
            (a | NEG, b | NEG, negative(ONE)),
            (MAX, MAX, INF),
            (a, TINY, ONE + 1),
        ],
    );
}

#[test]
fn special_values() {
    two(
        "add.f32",
        &[
            (INF, INF | NEG, NAN),
            (INF, ONE, INF),
            (0x7fc0_1234, ONE, NAN),
            (0xffc0_0000, ONE, NAN),
        ],
    );
    two("add.rz.f32", &[(INF, INF | NEG, NAN), (INF, MAX, INF)]);
    two(
        "sub.f32",
        &[
            (ONE, ONE, 0),
            (INF, INF, NAN),
            (0, 0, 0),
            (NEG, 0, NEG),
            (f(3.0), f(1.0), f(2.0)),
        ],
    );
    two("sub.rm.f32", &[(ONE, ONE, NEG), (ONE, TINY, ONE - 1)]);
    two("sub.rp.f32", &[(ONE, TINY, ONE)]);
    two(
        "mul.f32",
        &[
            (INF, 0, NAN),
            (ONE, NEG, NEG),
            (f(1.5), f(-2.0), f(-3.0)),
            (MAX, f(2.0), INF),
            (NORMAL, f(0.5), 0x0040_0000),
        ],
    );
    two(
        "mul.rz.f32",
        &[
            (MAX, f(2.0), MAX),
            (TINY, f(0.5), 0),
            (0, f(-1.0), NEG),
            (f(0.1), f(0.1), 0x3c23_d70a),
        ],
    );
    two(
        "mul.rp.f32",
        &[
            (TINY, f(0.5), TINY),
            (TINY, f(-0.5), NEG),
            (0, f(-1.0), NEG),
            (f(0.1), f(0.1), 0x3c23_d70b),
        ],
    );
    two(
        "mul.rm.f32",
        &[(TINY, f(-0.5), TINY | NEG), (MAX, f(2.0), MAX), (0, ONE, 0)],
    );
}

#[test]
fn subnormals_are_kept_or_flushed() {
    two("add.f32", &[(TINY, TINY, 2), (SUB, TINY, NORMAL)]);
    two(
        "add.ftz.f32",
        &[
            (TINY, TINY, 0),
            (TINY | NEG, TINY | NEG, NEG),
            (SUB, ONE, ONE),
            (NORMAL, NORMAL, 0x0100_0000),
        ],
    );
    two("sub.ftz.f32", &[(NORMAL + 1, NORMAL, 0), (NORMAL, NORMAL + 1, NEG)]);
    two("mul.f32", &[(NORMAL, f(0.5), 0x0040_0000)]);
    two(
        "mul.ftz.f32",
        &[(NORMAL, f(0.5), 0), (NORMAL, f(-0.5), NEG), (SUB, f(4.0), 0)],
    );
    two("mul.rz.ftz.f32", &[(NORMAL, f(0.5), 0)]);
    two("div.rn.ftz.f32", &[(NORMAL, f(2.0), 0), (ONE, TINY, INF)]);
    two("min.ftz.f32", &[(TINY, ONE, 0), (TINY | NEG, 0, NEG)]);
    one("neg.ftz.f32", &[(TINY, NEG), (ONE, f(-1.0))]);
    one("abs.ftz.f32", &[(TINY | NEG, 0)]);
    one("sqrt.rn.ftz.f32", &[(TINY, 0), (f(4.0), f(2.0))]);
    one("rcp.rn.ftz.f32", &[(TINY | NEG, INF | NEG), (0x7f00_0000, 0)]);
    three(
        "fma.rn.ftz.f32",
        &[(TINY, ONE, 0, 0), (ONE, ONE, TINY, ONE), (NORMAL, f(0.5), 0, 0)],
    );
    three("fma.rn.f32", &[(TINY, ONE, 0, TINY)]);
}

#[test]
fn saturation() {
    two(
        "add.sat.f32",
        &[
            (ONE, ONE, ONE),
            (f(-3.0), ONE, 0),
            (f(0.25), f(0.5), f(0.75)),
            (INF, INF | NEG, 0),
            (NEG, NEG, 0),
        ],
    );
    two("sub.sat.f32", &[(ONE, f(3.0), 0), (ONE, f(0.25), f(0.75))]);
    two(
        "mul.sat.f32",
        &[(f(3.0), f(3.0), ONE), (f(0.5), f(0.5), f(0.25)), (NAN, ONE, 0)],
    );
    two("add.rz.ftz.sat.f32", &[(ONE, HALF_ULP, ONE), (TINY, TINY, 0)]);
    three(
        "fma.rn.sat.f32",
        &[
            (f(2.0), f(2.0), 0, ONE),
            (f(-2.0), f(2.0), 0, 0),
            (INF, 0, 0, 0),
            (f(0.5), f(0.5), f(0.5), f(0.75)),
        ],
    );
    three("fma.rn.ftz.sat.f32", &[(TINY, ONE, 0, 0)]);
}

#[test]
fn fma_rounds_once() {
    // (1 + 2^-22)^2 - 1 = 2^-21 + 2^-44: kept whole; as product and sum it were 2^-21.
    let x = ONE + 2;
    for opcode in ["fma.rn.f32", "fma.rz.f32", "fma.rm.f32", "mad.rn.f32"] {
        three(
            opcode,
            &[(x, x, f(-1.0), 0x3500_0001), (f(2.0), f(3.0), f(4.0), f(10.0))],
        );
    }
    // 1 + 2^-60: next to a representable number.
    let small = f(2.0f32.powi(-30));
    three("fma.rn.f32", &[(small, small, ONE, ONE)]);
    three("fma.rp.f32", &[(small, small, ONE, ONE + 1)]);
    three(
        "fma.rm.f32",
        &[(small, small, f(-1.0), f(-1.0)), (ONE, ONE, f(-1.0), NEG)],
    );
    three(
        "fma.rz.f32",
        &[(small, small, f(-1.0), (ONE - 1) | NEG), (MAX, f(2.0), 0, MAX)],
    );
    three(
        "fma.rn.f32",
        &[
            (INF, 0, ONE, NAN),
            (INF, ONE, INF | NEG, NAN),
            (0, INF, NAN, NAN),
            (NEG, ONE, NEG, NEG),
        ],
    );
}

#[test]
fn quotients_and_roots() {
    two(
        "div.rn.f32",
        &[
            (ONE, f(3.0), 0x3eaa_aaab),
            (ONE, 0, INF),
            (0, 0, NAN),
            (f(-1.0), INF, NEG),
            (f(6.0), f(-2.0), f(-3.0)),
        ],
    );
    two(
        "div.rz.f32",
        &[
            (ONE, f(3.0), 0x3eaa_aaaa),
            (f(-1.0), f(3.0), 0xbeaa_aaaa),
            (ONE, 0, INF),
            (MAX, f(0.5), MAX),
        ],
    );
    two(
        "div.rm.f32",
        &[(ONE, f(3.0), 0x3eaa_aaaa), (f(-1.0), f(3.0), 0xbeaa_aaab)],
    );
    two(
        "div.rp.f32",
        &[
            (ONE, f(3.0), 0x3eaa_aaab),
            (f(-1.0), f(3.0), 0xbeaa_aaaa),
            (TINY, f(2.0), TINY),
        ],
    );
    two("div.full.f32", &[(f(6.0), f(3.0), f(2.0))]);
    // |b| in (2^126, 2^128): a zero that keeps the sign; NaN of an infinite dividend.
    let huge = 0x7e80_0001;
    two(
        "div.approx.f32",
        &[
            (f(6.0), f(3.0), f(2.0)),
            (MAX, huge, 0),
            (f(-1.0), huge, NEG),
            (INF, huge, NAN),
            (ONE, INF, 0),
            (ONE, 0, INF),
        ],
    );
    two("div.approx.ftz.f32", &[(TINY, ONE, 0), (ONE, TINY, INF)]);
    one(
        "sqrt.rn.f32",
        &[
            (f(4.0), f(2.0)),
            (f(2.0), 0x3fb5_04f3),
            (f(-1.0), NAN),
            (NEG, NEG),
            (INF, INF),
            (TINY, 0x1a35_04f3),
        ],
    );
    one(
        "sqrt.rz.f32",
        &[(f(2.0), 0x3fb5_04f3), (f(3.0), 0x3fdd_b3d7), (f(9.0), f(3.0))],
    );
    one("sqrt.rm.f32", &[(f(2.0), 0x3fb5_04f3), (f(-1.0), NAN)]);
    one(
        "sqrt.rp.f32",
        &[(f(2.0), 0x3fb5_04f4), (f(9.0), f(3.0)), (INF, INF), (NEG, NEG)],
    );
    one(
        "rcp.rn.f32",
        &[
            (f(3.0), 0x3eaa_aaab),
            (f(4.0), f(0.25)),
            (NEG, INF | NEG),
            (INF, 0),
            (NAN, NAN),
        ],
    );
    one("rcp.rz.f32", &[(f(3.0), 0x3eaa_aaaa), (0, INF)]);
    one("rcp.rm.f32", &[(f(-3.0), 0xbeaa_aaab)]);
    one("rcp.rp.f32", &[(f(-3.0), 0xbeaa_aaaa)]);
}

#[test]
fn minima_and_maxima() {
    two(
        "min.f32",
        &[
            (ONE, f(2.0), ONE),
            (NEG, 0, NEG),
            (0, NEG, NEG),
            (NAN, ONE, ONE),
            (ONE, NAN, ONE),
            (NAN, NAN, NAN),
            (INF | NEG, ONE, INF | NEG),
        ],
    );
    two(
        "max.f32",
        &[
            (ONE, f(2.0), f(2.0)),
            (NEG, 0, 0),
            (0, NEG, 0),
            (NAN, ONE, ONE),
            (ONE, NAN, ONE),
            (0xffc0_0001, NAN, NAN),
        ],
    );
    two("min.NaN.f32", &[(NAN, ONE, NAN), (ONE, NAN, NAN), (ONE, f(2.0), ONE)]);
    two(
        "max.NaN.f32",
        &[(NAN, ONE, NAN), (ONE, 0xffc0_0000, NAN), (ONE, f(2.0), f(2.0))],
    );
    two(
        "min.xorsign.abs.f32",
        &[
            (f(-3.0), f(2.0), f(-2.0)),
            (f(-3.0), f(-2.0), f(2.0)),
            (NAN, f(-2.0), f(2.0) | ((NAN ^ f(-2.0)) & NEG)),
            (NAN, NAN, NAN),
        ],
    );
    two(
        "max.xorsign.abs.f32",
        &[(f(-3.0), f(2.0), f(-3.0)), (f(3.0), f(2.0), f(3.0))],
    );
    two(
        "min.NaN.xorsign.abs.f32",
        &[(f(-3.0), f(2.0), f(-2.0)), (NAN, f(-2.0), NAN)],
    );
    two(
        "max.NaN.xorsign.abs.f32",
        &[(f(-3.0), f(-2.0), f(3.0)), (f(-2.0), NAN, NAN)],
    );
    two64(
        "min.f64",
        &[
            (d(1.0), d(2.0), d(1.0)),
            (d(-0.0), 0, d(-0.0)),
            (0, d(-0.0), d(-0.0)),
            (d(f64::NAN), d(1.0), d(1.0)),
        ],
    );
    two64(
        "max.f64",
        &[(d(1.0), d(2.0), d(2.0)), (d(-0.0), 0, 0), (d(1.0), d(f64::NAN), d(1.0))],
    );
}

#[test]
fn signs() {
    one("neg.f32", &[(ONE, f(-1.0)), (0, NEG), (TINY, TINY | NEG)]);
    one("abs.f32", &[(f(-1.0), ONE), (NEG, 0), (TINY | NEG, TINY)]);
    two(
        "copysign.f32",
        &[(f(-2.0), ONE, f(-1.0)), (f(2.0), f(-1.0), ONE), (NEG, NAN, NAN | NEG)],
    );
    one64("neg.f64", &[(d(1.0), d(-1.0)), (0, d(-0.0))]);
    one64("abs.f64", &[(d(-1.0), d(1.0)), (d(-0.0), 0)]);
    two64("copysign.f64", &[(d(-2.0), d(1.0), d(-1.0))]);
}

#[test]
fn double_precision_rounds_as_asked() {
    let (one, ulp) = (d(1.0), 1u64);
    let (half, neg) = (d(2f64.powi(-53)), 1u64 << 63);
    let (inf, max, tiny) = (d(f64::INFINITY), d(f64::MAX), 1);
    two64(
        "add.f64",
        &[(one, half, one), (one + ulp, half, one + 2), (max, max, inf), (1, 1, 2)],
    );
    two64("add.rn.f64", &[(d(1.5), d(2.25), d(3.75))]);
    two64(
        "add.rz.f64",
        &[(one, half, one), (max, max, max), (one, d(-(2f64.powi(-60))), one - 1)],
    );
    two64("add.rm.f64", &[(one, neg | one, neg), (one, neg | tiny, one - 1)]);
    two64(
        "add.rp.f64",
        &[(one, half, one + 1), (one, tiny, one + 1), (max, max, inf)],
    );
    two64("sub.f64", &[(one, one, 0), (d(3.0), d(1.0), d(2.0))]);
    two64("sub.rp.f64", &[(one, tiny, one)]);
    two64("sub.rm.f64", &[(one, one, neg)]);
    two64("sub.rz.f64", &[(one, tiny, one - 1)]);
    two64(
        "mul.f64",
        &[(d(1.5), d(-2.0), d(-3.0)), (d(0.1), d(0.1), 0x3f84_7ae1_47ae_147c)],
    );
    two64(
        "mul.rz.f64",
        &[
            (d(0.1), d(0.1), 0x3f84_7ae1_47ae_147b),
            (tiny, d(0.5), 0),
            (max, d(2.0), max),
        ],
    );
    two64("mul.rp.f64", &[(tiny, d(0.5), 1), (0, d(-1.0), neg)]);
    two64("mul.rm.f64", &[(tiny, d(-0.5), neg | 1)]);
    two64("div.rn.f64", &[(one, d(3.0), 0x3fd5_5555_5555_5555), (one, 0, inf)]);
    two64("div.rp.f64", &[(one, d(3.0), 0x3fd5_5555_5555_5556)]);
    two64(
        "div.rz.f64",
        &[
            (one, d(3.0), 0x3fd5_5555_5555_5555),
            (d(2.0), d(3.0), 0x3fe5_5555_5555_5555),
        ],
    );
    two64("div.rm.f64", &[(d(-1.0), d(3.0), neg | 0x3fd5_5555_5555_5556)]);
    one64(
        "sqrt.rn.f64",
        &[(d(4.0), d(2.0)), (d(2.0), 0x3ff6_a09e_667f_3bcd), (neg, neg)],
    );
    one64("sqrt.rz.f64", &[(d(2.0), 0x3ff6_a09e_667f_3bcc), (d(9.0), d(3.0))]);
    one64("sqrt.rm.f64", &[(d(2.0), 0x3ff6_a09e_667f_3bcc)]);
    one64("sqrt.rp.f64", &[(d(2.0), 0x3ff6_a09e_667f_3bcd), (d(9.0), d(3.0))]);
    one64("rcp.rn.f64", &[(d(4.0), d(0.25)), (d(3.0), 0x3fd5_5555_5555_5555)]);
    one64("rcp.rp.f64", &[(d(3.0), 0x3fd5_5555_5555_5556)]);
    one64("rcp.rz.f64", &[(0, inf)]);
    one64("rcp.rm.f64", &[(d(-3.0), neg | 0x3fd5_5555_5555_5556)]);
    let x = one + 2;
    three64(
        "fma.rn.f64",
        &[
            (x, x, d(-1.0), 0x3cd0_0000_0000_0001),
            (d(2.0), d(3.0), d(4.0), d(10.0)),
        ],
    );
    three64("fma.rp.f64", &[(d(2f64.powi(-100)), d(2f64.powi(-100)), one, one + 1)]);
    three64("fma.rm.f64", &[(one, one, d(-1.0), neg)]);
    three64(
        "fma.rz.f64",
        &[(d(2f64.powi(-100)), d(2f64.powi(-100)), d(-1.0), neg | (one - 1))],
    );
}

#[test]
fn gross_approximations_of_f64() {
    let inf = d(f64::INFINITY);
    let neg = 1u64 << 63;
    // Only the upper halves are read and written.
    one64(
        "rcp.approx.ftz.f64",
        &[
            (d(2.0), d(0.5)),
            (d(2.0) | 0xffff_ffff, d(0.5)),
            (inf | neg, neg),
            (neg, inf | neg),
            (neg | 1 << 40, inf | neg),
            (0, inf),
            (inf, 0),
            (0x7ff8_0000_0000_0000, 0x7fff_ffff_0000_0000),
            (d(3.0), 0x3fd5_5555_0000_0000),
        ],
    );
    one64(
        "rsqrt.approx.ftz.f64",
        &[
            (d(4.0), d(0.5)),
            (inf | neg, 0x7fff_ffff_0000_0000),
            (neg | 1 << 40, inf | neg),
            (1 << 40, inf),
            (inf, 0),
        ],
    );
    one64("rsqrt.approx.f64", &[(d(4.0), d(0.5)), (0, inf), (inf, 0)]);
}

#[test]
fn kinds_of_number() {
    let a = lanes([0, NEG, TINY, ONE, INF, NAN, SUB | NEG, MAX]);
    let b = wide([0, 1 << 63, 1, d(1.0), d(f64::INFINITY), d(f64::NAN), 1, d(1.0)]);
    for (name, kind, want) in [
        ("finite", Kind::Finite, 0b1100_1111u32),
        ("infinite", Kind::Infinite, 0b0001_0000),
        ("number", Kind::Number, 0b1101_1111),
        ("notanumber", Kind::NotANumber, 0b0010_0000),
        // Zeros are normal.
        ("normal", Kind::Normal, 0b1000_1011),
        ("subnormal", Kind::Subnormal, 0b0100_0100),
    ] {
        assert_eq!(
            op(&format!("testp.{name}.f32")),
            Arith::Testp(Testp { kind, ty: Type::F32 })
        );
        let Arith::Testp(wide_test) = op(&format!("testp.{name}.f64")) else {
            panic!()
        };
        same(name, &[Testp { kind, ty: Type::F32 }.apply32(&a) & 0xff], &[want]);
        same(name, &[wide_test.apply64(&b) & 0xff], &[want]);
    }
}
