//! Special inputs by the ISA's tables; elsewhere within the error it allows, which for these implementations is far.

use super::{Arith, f, lanes, one, op};
use crate::arith::float32::NAN;

const INF: u32 = 0x7f80_0000;
const NEG: u32 = 0x8000_0000;
const ONE: u32 = 0x3f80_0000;

#[test]
fn tables_of_special_inputs() {
    one(
        "rcp.approx.f32",
        &[
            (INF | NEG, NEG),
            (NEG, INF | NEG),
            (0, INF),
            (INF, 0),
            (NAN, NAN),
            (f(4.0), f(0.25)),
        ],
    );
    one(
        "sqrt.approx.f32",
        &[
            (INF | NEG, NAN),
            (f(-1.0), NAN),
            (NEG, NEG),
            (0, 0),
            (INF, INF),
            (NAN, NAN),
            (f(4.0), f(2.0)),
        ],
    );
    one(
        "rsqrt.approx.f32",
        &[
            (INF | NEG, NAN),
            (f(-1.0), NAN),
            (NEG, INF | NEG),
            (0, INF),
            (INF, 0),
            (NAN, NAN),
            (f(4.0), f(0.5)),
        ],
    );
    one(
        "sin.approx.f32",
        &[(INF | NEG, NAN), (NEG, NEG), (0, 0), (INF, NAN), (NAN, NAN)],
    );
    one(
        "cos.approx.f32",
        &[(INF | NEG, NAN), (NEG, ONE), (0, ONE), (INF, NAN), (NAN, NAN)],
    );
    one(
        "lg2.approx.f32",
        &[
            (INF | NEG, NAN),
            (f(-1.0), NAN),
            (NEG, INF | NEG),
            (0, INF | NEG),
            (INF, INF),
            (NAN, NAN),
            (f(8.0), f(3.0)),
            (1, f(-149.0)),
        ],
    );
    one(
        "ex2.approx.f32",
        &[
            (INF | NEG, 0),
            (NEG, ONE),
            (0, ONE),
            (INF, INF),
            (NAN, NAN),
            (f(3.0), f(8.0)),
            (f(-149.0), 1),
            (f(-151.0), 0),
            (f(128.0), INF),
            (f(1e30), INF),
            (f(-1e30), 0),
        ],
    );
    one(
        "tanh.approx.f32",
        &[(INF | NEG, f(-1.0)), (NEG, NEG), (0, 0), (INF, ONE), (NAN, NAN), (1, 1)],
    );
}

#[test]
fn flushing() {
    one(
        "rcp.approx.ftz.f32",
        &[(1, INF), (NEG | 1, INF | NEG), (0x7f00_0000, 0)],
    );
    one("sqrt.approx.ftz.f32", &[(1, 0), (NEG | 1, NEG)]);
    one("rsqrt.approx.ftz.f32", &[(1, INF), (NEG | 1, INF | NEG)]);
    one("sin.approx.ftz.f32", &[(1, 0)]);
    one("cos.approx.ftz.f32", &[(1, ONE)]);
    one("lg2.approx.ftz.f32", &[(1, INF | NEG)]);
    one("ex2.approx.ftz.f32", &[(f(-127.0), 0), (f(-126.0), 0x0080_0000)]);
}

#[test]
fn within_the_error_the_isa_allows() {
    // Opcode, function, whether the bound is relative, the bound, the range of inputs.
    type Row = (&'static str, fn(f64) -> f64, bool, f64, (f32, f32));
    let rows: [Row; 8] = [
        ("ex2.approx.f32", f64::exp2, true, 2f64.powi(-22), (-125.0, 127.0)),
        ("lg2.approx.f32", f64::log2, false, 2f64.powi(-22), (0.5, 2.0)),
        ("lg2.approx.f32", f64::log2, true, 2f64.powi(-22), (2.0, 1e30)),
        ("sin.approx.f32", f64::sin, false, 2f64.powi(-20), (-6.2, 6.2)),
        ("cos.approx.f32", f64::cos, false, 2f64.powi(-20), (-6.2, 6.2)),
        ("tanh.approx.f32", f64::tanh, true, 2f64.powi(-11), (-9.0, 9.0)),
        (
            "rsqrt.approx.f32",
            |x| 1.0 / x.sqrt(),
            true,
            2f64.powi(-22),
            (1e-30, 1e30),
        ),
        ("sqrt.approx.f32", f64::sqrt, true, 2f64.powi(-23), (1e-30, 1e30)),
    ];
    for (opcode, function, relative, bound, (least, most)) in rows {
        let Arith::Unary32(op) = op(opcode) else { panic!() };
        for i in 0..1000u32 {
            let a = lanes((0..32).map(|lane| {
                let share = ((i * 32 + lane) as f32 + 0.37) / 32_000.0;
                f(least + (most - least) * share)
            }));
            for (a, d) in a.iter().zip(op.apply(&a)) {
                let (want, got) = (function(f32::from_bits(*a) as f64), f32::from_bits(d) as f64);
                let scale = if relative { want.abs() } else { 1.0 };
                assert!(
                    (got - want).abs() <= bound * scale,
                    "{opcode} {}: {got}, not {want}",
                    f32::from_bits(*a)
                );
            }
        }
    }
}

/// Numbers from tables, not from the functions that this machine computes with.
#[test]
fn numbers_known_otherwise() {
    let close = |opcode: &str, cases: &[(f32, f64)], bound: f64| {
        let Arith::Unary32(op) = op(opcode) else {
            panic!("{opcode}")
        };
        for &(x, want) in cases {
            let got = f64::from(f32::from_bits(op.apply(&[f(x); 32])[7]));
            assert!(
                (got - want).abs() <= bound * want.abs().max(0.5),
                "{opcode} {x}: {got}, not {want}"
            );
        }
    };
    let fine = 2f64.powi(-21);
    close(
        "ex2.approx.f32",
        &[
            (0.25, 1.189_207_115_00),
            (-1.5, 0.353_553_390_59),
            (10.25, 1_217.748_085_76),
            (0.1, 1.071_773_462_54),
        ],
        fine,
    );
    close(
        "lg2.approx.f32",
        &[
            (3.0, 1.584_962_500_72),
            (5.0, 2.321_928_094_89),
            (0.7, -0.514_573_172_83),
        ],
        fine,
    );
    close(
        "sin.approx.f32",
        &[
            (1.0, 0.841_470_984_81),
            (3.0, 0.141_120_008_06),
            (-2.0, -0.909_297_426_83),
        ],
        fine,
    );
    close(
        "cos.approx.f32",
        &[
            (1.0, 0.540_302_305_87),
            (3.0, -0.989_992_496_60),
            (-2.0, -0.416_146_836_55),
        ],
        fine,
    );
    close(
        "tanh.approx.f32",
        &[
            (0.5, 0.462_117_157_26),
            (1.0, 0.761_594_155_96),
            (-2.0, -0.964_027_580_08),
        ],
        2f64.powi(-11),
    );
    close(
        "rcp.approx.f32",
        &[(3.0, 0.333_333_333_33), (-7.0, -0.142_857_142_86)],
        fine,
    );
    close(
        "sqrt.approx.f32",
        &[(5.0, 2.236_067_977_50), (10.0, 3.162_277_660_17)],
        fine,
    );
    close(
        "rsqrt.approx.f32",
        &[(5.0, 0.447_213_595_50), (10.0, 0.316_227_766_02)],
        fine,
    );
}

#[test]
fn ex2_is_the_nearest_number_almost_always() {
    let Arith::Unary32(ex2) = op("ex2.approx.f32") else {
        panic!()
    };
    let mut off = 0;
    for i in 0..2000u32 {
        let a = lanes((0..32).map(|lane| f(-140.0 + (i * 32 + lane) as f32 * 0.0041)));
        for (a, d) in a.iter().zip(ex2.apply(&a)) {
            let want = (f32::from_bits(*a) as f64).exp2() as f32;
            assert!(want.to_bits().abs_diff(d) <= 1);
            off += (want.to_bits() != d) as u32;
        }
    }
    assert!(off <= 2, "{off} of 64000");
}
