use super::{Arith, d, f, lanes, op, s, same, sl, wide};
use crate::arith::Lanes;

const NAN: u32 = 0x7fff_ffff;
const INF: u32 = 0x7f80_0000;
const NEG: u32 = 0x8000_0000;
const ALL: u32 = 0xffff_ffff;

/// Both types have at most 32 bits.
#[track_caller]
fn cvt(opcode: &str, cases: &[(u32, u32)]) {
    let Arith::Convert(convert) = op(opcode) else {
        panic!("{opcode}")
    };
    assert_eq!(convert.sources(), 1);
    let (a, want) = (lanes(cases.iter().map(|c| c.0)), lanes(cases.iter().map(|c| c.1)));
    same(opcode, &convert.apply32(&a, &[0; 32]), &want);
}

#[track_caller]
fn pack(opcode: &str, cases: &[(u32, u32, u32)]) {
    let Arith::Convert(convert) = op(opcode) else {
        panic!("{opcode}")
    };
    assert_eq!(convert.sources(), 2);
    let (a, b) = (lanes(cases.iter().map(|c| c.0)), lanes(cases.iter().map(|c| c.1)));
    same(opcode, &convert.apply32(&a, &b), &lanes(cases.iter().map(|c| c.2)));
}

/// One type has 64 bits, or both.
#[track_caller]
fn long(opcode: &str, cases: &[(u64, u64)]) {
    let Arith::Convert(convert) = op(opcode) else {
        panic!("{opcode}")
    };
    let (a, want) = (wide(cases.iter().map(|c| c.0)), wide(cases.iter().map(|c| c.1)));
    let narrow: Lanes = a.map(|a| a as u32);
    match (convert.to.bits() == 64, convert.from.bits() == 64) {
        (true, true) => same(opcode, &convert.apply64(&a), &want),
        (true, false) => same(opcode, &convert.apply32to64(&narrow), &want),
        (false, true) => same(opcode, &convert.apply64to32(&a), &want),
        (false, false) => panic!("{opcode}"),
    }
}

#[test]
fn integers_are_extended_or_cut() {
    cvt("cvt.u32.u16", &[(0xdead_ffff, 0xffff)]);
    cvt("cvt.s32.s16", &[(0xdead_ffff, ALL), (0x7fff, 0x7fff)]);
    cvt("cvt.u32.s16", &[(0xffff, ALL)]);
    cvt("cvt.s32.u8", &[(0x1ff, 0xff)]);
    cvt("cvt.u32.s8", &[(0x80, 0xffff_ff80)]);
    cvt("cvt.s16.s8", &[(0x80, 0xffff_ff80)]);
    cvt("cvt.u16.u32", &[(0x1234_5678, 0x5678)]);
    // A signed result is extended over its register.
    cvt("cvt.s16.s32", &[(0x1234_8678, 0xffff_8678)]);
    cvt("cvt.u8.u32", &[(0x1234_56f8, 0xf8)]);
    cvt("cvt.s8.s32", &[(0x1234_56f8, 0xffff_fff8)]);
    cvt("cvt.u16.u8", &[(0x1ff, 0xff)]);
    cvt("cvt.s8.u16", &[(0x1ff, ALL)]);
    cvt("cvt.u8.s16", &[(0xff80, 0x80)]);
    long("cvt.u64.u32", &[(0xffff_ffff, 0xffff_ffff)]);
    long("cvt.s64.s32", &[(0xffff_ffff, u64::MAX), (5, 5)]);
    long("cvt.u64.s32", &[(0xffff_ffff, u64::MAX)]);
    long("cvt.s64.u32", &[(0xffff_ffff, 0xffff_ffff)]);
    long("cvt.u64.u16", &[(0x1_ffff, 0xffff)]);
    long("cvt.s64.s8", &[(0x80, -128i64 as u64)]);
    long("cvt.u32.u64", &[(0x1_2345_6789, 0x2345_6789)]);
    long("cvt.s32.s64", &[(sl(-5), s(-5) as u64)]);
    long("cvt.u16.u64", &[(0x1_ffff_fffe, 0xfffe)]);
    long("cvt.s16.s64", &[(0x8000, 0xffff_8000)]);
}

#[test]
fn integers_saturate_if_asked() {
    cvt("cvt.sat.s16.s32", &[(40000, 32767), (s(-40000), s(-32768)), (5, 5)]);
    cvt("cvt.sat.u16.s32", &[(70000, 65535), (s(-1), 0)]);
    cvt("cvt.sat.u8.s32", &[(300, 255), (s(-3), 0), (77, 77)]);
    cvt("cvt.sat.s8.s32", &[(300, 127), (s(-300), s(-128))]);
    cvt("cvt.sat.u8.u32", &[(300, 255)]);
    cvt("cvt.sat.u32.s32", &[(s(-1), 0), (5, 5)]);
    cvt("cvt.sat.s32.u32", &[(ALL, 0x7fff_ffff)]);
    long(
        "cvt.sat.s32.s64",
        &[(1 << 40, 0x7fff_ffff), (sl(-1 << 40), 0x8000_0000)],
    );
    long("cvt.sat.u32.u64", &[(1 << 40, 0xffff_ffff)]);
    long("cvt.sat.u64.s64", &[(u64::MAX, 0)]);
    long("cvt.sat.s64.u64", &[(u64::MAX, i64::MAX as u64)]);
    long("cvt.sat.u64.s32", &[(0xffff_ffff, 0)]);
}

#[test]
fn floats_to_integers() {
    // 2.5, 3.5, -2.5, -0.5, and what is out of range, which is clamped without .sat too.
    let input = [f(2.5), f(3.5), f(-2.5), f(-0.5), f(3e9), f(-3e9), INF, INF | NEG, NAN];
    for (opcode, first) in [
        ("cvt.rni.s32.f32", [2, 4, s(-2), 0]),
        ("cvt.rzi.s32.f32", [2, 3, s(-2), 0]),
        ("cvt.rmi.s32.f32", [2, 3, s(-3), s(-1)]),
        ("cvt.rpi.s32.f32", [3, 4, s(-2), 0]),
    ] {
        let rest = [0x7fff_ffff, NEG, 0x7fff_ffff, NEG, 0];
        let want: Vec<u32> = first.into_iter().chain(rest).collect();
        cvt(opcode, &input.into_iter().zip(want).collect::<Vec<_>>());
    }
    cvt(
        "cvt.rzi.u32.f32",
        &[
            (f(-1.0), 0),
            (f(3e9), 3_000_000_000),
            (f(5e9), ALL),
            (INF, ALL),
            (NAN, 0),
            (f(2.9), 2),
        ],
    );
    cvt("cvt.rni.u32.f32", &[(f(2.5), 2), (f(0.5), 0), (f(1.5), 2)]);
    cvt("cvt.rzi.sat.u32.f32", &[(f(-1.0), 0), (INF, ALL)]);
    cvt("cvt.rpi.ftz.s32.f32", &[(1, 0), (f(0.1), 1)]);
    cvt("cvt.rpi.s32.f32", &[(1, 1)]);
    cvt(
        "cvt.rzi.s16.f32",
        &[(f(40000.0), 32767), (f(-40000.0), s(-32768)), (NAN, 0)],
    );
    cvt("cvt.rzi.u16.f32", &[(f(70000.0), 65535), (f(-5.0), 0)]);
    cvt("cvt.rni.u8.f32", &[(f(300.0), 255), (f(254.5), 254)]);
    cvt("cvt.rni.s8.f32", &[(f(-300.0), s(-128))]);
    cvt(
        "cvt.rni.s32.f16",
        &[(0x4100, 2), (0x7c00, 0x7fff_ffff), (0x7e00, 0), (0xc100, s(-2))],
    );
    cvt("cvt.rzi.u16.f16", &[(0x7bff, 65504), (0xbc00, 0)]);
    cvt("cvt.rzi.s32.bf16", &[(0x4049, 3)]);
    long(
        "cvt.rzi.s64.f32",
        &[
            (f(-1.5) as u64, u64::MAX),
            (INF as u64, i64::MAX as u64),
            (NAN as u64, 1 << 63),
        ],
    );
    long(
        "cvt.rzi.u64.f32",
        &[
            (f(1e19) as u64, 9_999_999_980_506_447_872),
            (NAN as u64, 1 << 63),
            (INF as u64, u64::MAX),
        ],
    );
    long(
        "cvt.rni.s32.f64",
        &[
            (d(2.5), 2),
            (d(1e300), 0x7fff_ffff),
            (d(f64::NAN), 1 << 31),
            (d(-0.6), s(-1) as u64),
        ],
    );
    long(
        "cvt.rzi.u32.f64",
        &[(d(-1.0), 0), (d(4294967295.5), 0xffff_ffff), (d(f64::NAN), 1 << 31)],
    );
    long(
        "cvt.rmi.s64.f64",
        &[(d(-0.5), u64::MAX), (d(-1e300), 1 << 63), (d(f64::NAN), 1 << 63)],
    );
    long("cvt.rpi.u64.f64", &[(d(0.5), 1), (d(1e300), u64::MAX)]);
}

#[test]
fn integers_to_floats() {
    cvt(
        "cvt.rn.f32.s32",
        &[
            (s(-5), f(-5.0)),
            (16_777_217, 0x4b80_0000),
            (16_777_219, 0x4b80_0002),
            (0, 0),
        ],
    );
    cvt(
        "cvt.rz.f32.s32",
        &[(16_777_219, 0x4b80_0001), (s(-16_777_219), 0xcb80_0001)],
    );
    cvt(
        "cvt.rm.f32.s32",
        &[(16_777_219, 0x4b80_0001), (s(-16_777_219), 0xcb80_0002)],
    );
    cvt(
        "cvt.rp.f32.s32",
        &[(16_777_217, 0x4b80_0001), (s(-16_777_219), 0xcb80_0001)],
    );
    cvt("cvt.rn.f32.u32", &[(ALL, 0x4f80_0000), (7, f(7.0))]);
    cvt("cvt.rz.f32.u32", &[(ALL, 0x4f7f_ffff)]);
    cvt("cvt.rn.f32.u16", &[(0xdead_ffff, f(65535.0))]);
    cvt("cvt.rn.f32.s16", &[(0xffff, f(-1.0))]);
    cvt("cvt.rn.f32.u8", &[(0x1ff, f(255.0))]);
    cvt("cvt.rn.f32.s8", &[(0x80, f(-128.0))]);
    cvt("cvt.rn.f16.s32", &[(65519, 0x7bff), (65520, 0x7c00), (s(-1), 0xbc00)]);
    cvt("cvt.rz.f16.u32", &[(100_000, 0x7bff)]);
    cvt("cvt.rn.bf16.s32", &[(257, 0x4380), (259, 0x4382)]);
    cvt("cvt.rn.f16.u16", &[(2049, 0x6800)]);
    long(
        "cvt.rn.f32.u64",
        &[(u64::MAX, 0x5f80_0000), (1 << 40, f(2f32.powi(40)) as u64)],
    );
    long("cvt.rz.f32.u64", &[(u64::MAX, 0x5f7f_ffff)]);
    long("cvt.rn.f32.s64", &[(sl(-3), f(-3.0) as u64)]);
    long("cvt.rn.f64.s32", &[(0xffff_ffff, d(-1.0))]);
    long("cvt.rn.f64.u32", &[(0xffff_ffff, d(4294967295.0))]);
    long(
        "cvt.rn.f64.s64",
        &[((1 << 53) + 1, d(9007199254740992.0)), (sl(-7), d(-7.0))],
    );
    long("cvt.rp.f64.s64", &[((1 << 53) + 1, d(9007199254740994.0))]);
    long("cvt.rm.f64.u64", &[(u64::MAX, d(18446744073709549568.0))]);
    long("cvt.rz.f64.u64", &[(u64::MAX, d(18446744073709549568.0))]);
    long("cvt.rn.f64.u64", &[(u64::MAX, d(18446744073709551616.0))]);
    long("cvt.rn.f16.s64", &[(3, 0x4200)]);
}

#[test]
fn floats_to_narrower_floats() {
    cvt(
        "cvt.rn.f16.f32",
        &[
            (f(1.0), 0x3c00),
            (f(65520.0), 0x7c00),
            (f(1.0 + 1.0 / 2048.0), 0x3c00),
            (NAN, 0x7fff),
            (INF | NEG, 0xfc00),
            (f(6e-8), 1),
        ],
    );
    cvt(
        "cvt.rz.f16.f32",
        &[(f(65520.0), 0x7bff), (f(1.9999), 0x3fff), (f(-1.9999), 0xbfff)],
    );
    cvt("cvt.rm.f16.f32", &[(f(-1.0001), 0xbc01), (f(1.0001), 0x3c00)]);
    cvt("cvt.rp.f16.f32", &[(f(-1.0001), 0xbc00), (f(1.0001), 0x3c01)]);
    cvt(
        "cvt.rn.sat.f16.f32",
        &[(f(2.0), 0x3c00), (f(-2.0), 0), (NAN, 0), (f(0.5), 0x3800), (NEG, 0)],
    );
    cvt("cvt.rn.ftz.f16.f32", &[(1, 0), (f(1.0), 0x3c00)]);
    cvt("cvt.rn.relu.f16.f32", &[(f(-2.0), 0), (f(2.0), 0x4000), (NAN, 0x7fff)]);
    cvt(
        "cvt.rn.satfinite.f16.f32",
        &[
            (f(1e9), 0x7bff),
            (f(-1e9), 0xfbff),
            (INF, 0x7bff),
            (f(1.0), 0x3c00),
            (NAN, 0x7fff),
        ],
    );
    cvt(
        "cvt.rn.bf16.f32",
        &[
            (f(1.0), 0x3f80),
            (0x3f80_8000, 0x3f80),
            (0x3f81_8000, 0x3f82),
            (0x7f7f_ffff, 0x7f80),
            (NAN, 0x7fff),
        ],
    );
    cvt(
        "cvt.rz.bf16.f32",
        &[(0x3f81_ffff, 0x3f81), (0x7f7f_ffff, 0x7f7f), (0xbf81_ffff, 0xbf81)],
    );
    cvt(
        "cvt.rn.relu.bf16.f32",
        &[(f(-1.0), 0), (f(1.0), 0x3f80), (NAN, 0x7fff), (NEG, 0)],
    );
    cvt(
        "cvt.rn.satfinite.bf16.f32",
        &[(0x7f7f_ffff, 0x7f7f), (INF | NEG, 0xff7f)],
    );
    cvt(
        "cvt.rna.tf32.f32",
        &[
            (0x3f80_1000, 0x3f80_2000),
            (0x3f80_0fff, 0x3f80_0000),
            (0xbf80_1000, 0xbf80_2000),
            (f(1.0), f(1.0)),
            (NAN, NAN),
            (INF | NEG, INF | NEG),
            (0x7f7f_ffff, INF),
        ],
    );
    cvt(
        "cvt.rna.satfinite.tf32.f32",
        &[(0x7f7f_ffff, 0x7f7f_e000), (INF | NEG, 0xff7f_e000)],
    );
    cvt(
        "cvt.rn.tf32.f32",
        &[(0x3f80_1000, 0x3f80_0000), (0x3f80_3000, 0x3f80_4000)],
    );
    cvt("cvt.rz.tf32.f32", &[(0x3f80_1fff, 0x3f80_0000)]);
    cvt("cvt.rn.relu.tf32.f32", &[(f(-1.0), 0)]);
    long(
        "cvt.rn.f32.f64",
        &[
            (d(0.1), 0x3dcc_cccd),
            (d(1e300), INF as u64),
            (d(f64::NAN), NAN as u64),
            (d(1e-45), 1),
            (d(-0.0), NEG as u64),
        ],
    );
    long("cvt.rz.f32.f64", &[(d(0.1), 0x3dcc_cccc), (d(1e300), 0x7f7f_ffff)]);
    long(
        "cvt.rm.f32.f64",
        &[(d(-0.1), 0xbdcc_cccd), (d(-1e300), (INF | NEG) as u64)],
    );
    long("cvt.rp.f32.f64", &[(d(0.1), 0x3dcc_cccd), (d(1e-300), 1)]);
    long("cvt.rn.ftz.f32.f64", &[(d(1e-40), 0), (d(-1e-40), NEG as u64)]);
    long("cvt.rn.sat.f32.f64", &[(d(7.0), f(1.0) as u64), (d(f64::NAN), 0)]);
    long("cvt.rn.f16.f64", &[(d(1.0 + 2f64.powi(-11) + 2f64.powi(-40)), 0x3c01)]);
}

#[test]
fn floats_to_wider_floats() {
    cvt(
        "cvt.f32.f16",
        &[
            (0xdead_3c00, f(1.0)),
            (1, f(2f32.powi(-24))),
            (0xfc00, INF | NEG),
            (0x7e00, NAN),
            (0x8000, NEG),
        ],
    );
    cvt(
        "cvt.f32.bf16",
        &[(0xdead_3f80, f(1.0)), (0x7fc0, NAN), (0x8000, NEG), (1, 0x0001_0000)],
    );
    cvt("cvt.sat.f32.f16", &[(0x4000, f(1.0)), (0xc000, 0)]);
    cvt("cvt.rn.bf16.f16", &[(0x3c01, 0x3f80), (0x3c00, 0x3f80)]);
    long(
        "cvt.f64.f32",
        &[
            (f(0.1) as u64, 0x3fb9_9999_a000_0000),
            (INF as u64, d(f64::INFINITY)),
            (1, d(2f64.powi(-149))),
        ],
    );
    long("cvt.ftz.f64.f32", &[(1, 0), (0x8000_0001, 1 << 63)]);
    long("cvt.f64.f16", &[(0x3800, d(0.5))]);
}

#[test]
fn floats_rounded_to_integers() {
    let input = [f(2.5), f(-2.5), f(0.4), f(-0.4), INF, f(1e30)];
    for (opcode, want) in [
        ("cvt.rni.f32.f32", [f(2.0), f(-2.0), 0, NEG, INF, f(1e30)]),
        ("cvt.rzi.f32.f32", [f(2.0), f(-2.0), 0, NEG, INF, f(1e30)]),
        ("cvt.rmi.f32.f32", [f(2.0), f(-3.0), 0, f(-1.0), INF, f(1e30)]),
        ("cvt.rpi.f32.f32", [f(3.0), f(-2.0), f(1.0), NEG, INF, f(1e30)]),
    ] {
        cvt(opcode, &input.into_iter().zip(want).collect::<Vec<_>>());
    }
    cvt("cvt.rpi.ftz.f32.f32", &[(1, 0)]);
    cvt("cvt.rni.sat.f32.f32", &[(f(2.5), f(1.0)), (f(-1.0), 0)]);
    cvt(
        "cvt.sat.f32.f32",
        &[(f(2.5), f(1.0)), (f(0.25), f(0.25)), (NAN, 0), (NEG, 0)],
    );
    cvt("cvt.ftz.f32.f32", &[(1, 0), (f(2.5), f(2.5))]);
    cvt("cvt.rni.f16.f16", &[(0x4100, 0x4000)]);
    long("cvt.rni.f64.f64", &[(d(2.5), d(2.0)), (d(-0.3), d(-0.0))]);
    long("cvt.sat.f64.f64", &[(d(2.5), d(1.0)), (d(f64::NAN), 0)]);
}

#[test]
fn packed_pairs() {
    // The first source becomes the upper half.
    pack(
        "cvt.rn.bf16x2.f32",
        &[
            (f(1.0), f(2.0), 0x3f80_4000),
            (NAN, INF, 0x7fff_7f80),
            (0x3f80_8000, 0x3f81_8000, 0x3f80_3f82),
        ],
    );
    pack(
        "cvt.rn.f16x2.f32",
        &[(f(1.0), f(2.0), 0x3c00_4000), (f(1e9), NAN, 0x7c00_7fff)],
    );
    pack("cvt.rz.bf16x2.f32", &[(0x3f81_ffff, 0xbf81_ffff, 0x3f81_bf81)]);
    pack("cvt.rz.f16x2.f32", &[(f(1e9), f(1.9999), 0x7bff_3fff)]);
    pack(
        "cvt.rn.relu.bf16x2.f32",
        &[(f(-1.0), f(2.0), 0x0000_4000), (NAN, NEG, 0x7fff_0000)],
    );
    pack("cvt.rn.relu.f16x2.f32", &[(f(-1.0), f(2.0), 0x0000_4000)]);
    pack("cvt.rn.satfinite.f16x2.f32", &[(f(1e9), f(-1e9), 0x7bff_fbff)]);
    pack("cvt.rn.satfinite.bf16x2.f32", &[(INF, INF | NEG, 0x7f7f_ff7f)]);
}
