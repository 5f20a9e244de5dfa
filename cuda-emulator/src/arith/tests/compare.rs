use super::{Arith, d, f, lanes, op, wide};

const NAN: u32 = 0x7fff_ffff;
const ALL: u32 = 0xffff_ffff;

/// p and q of lanes 0 to 7.
#[track_caller]
fn setp(opcode: &str, a: [u32; 8], b: [u32; 8], c: u32) -> (u32, u32) {
    let Arith::Setp(setp) = op(opcode) else {
        panic!("{opcode}")
    };
    let (p, q) = setp.apply32(&lanes(a), &lanes(b), c);
    (p & 0xff, q & 0xff)
}

#[test]
fn integers() {
    let (a, b) = (
        [0, 1, 2, ALL, 5, 0x8000_0000, 7, 0],
        [0, 2, 1, 1, 5, 0x7fff_ffff, 8, ALL],
    );
    for (opcode, want) in [
        ("setp.eq.s32", 0b0001_0001),
        ("setp.ne.s32", 0b1110_1110),
        ("setp.lt.s32", 0b0110_1010),
        ("setp.le.s32", 0b0111_1011),
        ("setp.gt.s32", 0b1000_0100),
        ("setp.ge.s32", 0b1001_0101),
        ("setp.eq.u32", 0b0001_0001),
        ("setp.eq.b32", 0b0001_0001),
        ("setp.ne.b32", 0b1110_1110),
        ("setp.lt.u32", 0b1100_0010),
        ("setp.lo.u32", 0b1100_0010),
        ("setp.ls.u32", 0b1101_0011),
        ("setp.hi.u32", 0b0010_1100),
        ("setp.hs.u32", 0b0011_1101),
    ] {
        assert_eq!(setp(opcode, a, b, 0), (want, !want & 0xff), "{opcode}");
    }
    let (a, b) = (
        [0xdead_0001, 0x8000, 3, 0, 0, 0, 0, 0],
        [0xbeef_0001, 1, 2, 0xffff, 0, 0, 0, 0],
    );
    assert_eq!(setp("setp.eq.b16", a, b, 0).0, 0b1111_0001);
    assert_eq!(setp("setp.lt.s16", a, b, 0).0, 0b0000_0010);
    assert_eq!(setp("setp.lt.u16", a, b, 0).0, 0b0000_1000);
}

#[test]
fn wide_integers() {
    let (a, b) = (wide([1 << 63, 1, 5, 0]), wide([1, 1 << 63, 5, 1 << 40]));
    for (opcode, want) in [
        ("setp.lt.s64", 0b1001),
        ("setp.lt.u64", 0b1010),
        ("setp.eq.b64", 0b0100),
        ("setp.ge.s64", 0b0110),
        ("setp.hi.u64", 0b0001),
    ] {
        let Arith::Setp(setp) = op(opcode) else { panic!() };
        let (p, q) = setp.apply64(&a, &b, 0);
        assert_eq!((p & 15, q & 15), (want, !want & 15), "{opcode}");
    }
}

/// less, equal, greater, NaN on the left, on the right, on both; zeros of both signs.
const COMPARISONS: [(&str, u32); 14] = [
    ("eq", 0b100_0010),
    ("ne", 0b000_0101),
    ("lt", 0b000_0001),
    ("le", 0b100_0011),
    ("gt", 0b000_0100),
    ("ge", 0b100_0110),
    ("equ", 0b111_1010),
    ("neu", 0b011_1101),
    ("ltu", 0b011_1001),
    ("leu", 0b111_1011),
    ("gtu", 0b011_1100),
    ("geu", 0b111_1110),
    ("num", 0b100_0111),
    ("nan", 0b011_1000),
];

#[test]
fn ordered_and_unordered() {
    let a = [f(1.0), f(2.0), f(3.0), NAN, f(1.0), NAN, f(-0.0), 0];
    let b = [f(2.0), f(2.0), f(2.0), f(1.0), NAN, NAN, f(0.0), 0];
    let narrow = |a: [u32; 8]| {
        a.map(|x| {
            if x == NAN {
                0x7e00
            } else {
                crate::arith::half::to_f16(f32::from_bits(x))
            }
        })
    };
    let brain = |a: [u32; 8]| a.map(|x| x >> 16);
    let double = |a: [u32; 8]| wide(a.map(|x| d(f32::from_bits(x) as f64)));
    for (name, want) in COMPARISONS {
        assert_eq!(setp(&format!("setp.{name}.f32"), a, b, 0).0 & 0x7f, want, "{name}.f32");
        assert_eq!(
            setp(&format!("setp.{name}.f16"), narrow(a), narrow(b), 0).0 & 0x7f,
            want,
            "{name}.f16"
        );
        assert_eq!(
            setp(&format!("setp.{name}.bf16"), brain(a), brain(b), 0).0 & 0x7f,
            want,
            "{name}.bf16"
        );
        let Arith::Setp(wide_setp) = op(&format!("setp.{name}.f64")) else {
            panic!()
        };
        assert_eq!(
            wide_setp.apply64(&double(a), &double(b), 0).0 & 0x7f,
            want,
            "{name}.f64"
        );
    }
}

#[test]
fn packed_pairs_have_two_results() {
    let (a, b) = ([0x3c00_4000; 8], [0x4000_3c00; 8]);
    assert_eq!(setp("setp.lt.f16x2", a, b, 0), (0, 0xff));
    assert_eq!(setp("setp.gt.f16x2", a, b, 0), (0xff, 0));
    assert_eq!(setp("setp.gt.and.f16x2", a, b, 0x0f), (0x0f, 0));
    let (a, b) = ([0x3f80_4000; 8], [0x4000_3f80; 8]);
    assert_eq!(setp("setp.lt.bf16x2", a, b, 0), (0, 0xff));
}

#[test]
fn subnormals_flushed() {
    assert_eq!(setp("setp.gt.f32", [1; 8], [0; 8], 0).0, 0xff);
    assert_eq!(setp("setp.gt.ftz.f32", [1; 8], [0; 8], 0).0, 0);
    assert_eq!(setp("setp.gt.ftz.f16", [1; 8], [0; 8], 0).0, 0);
    assert_eq!(setp("setp.gt.f16", [1; 8], [0; 8], 0).0, 0xff);
}

#[test]
fn combined_with_a_predicate() {
    let (a, b, c) = ([1, 1, 2, 2, 1, 1, 2, 2], [1; 8], 0b0101_1010);
    // a == b in lanes 0, 1, 4, 5; the second result combines the negation.
    assert_eq!(setp("setp.eq.and.s32", a, b, c), (0b0001_0010, 0b0100_1000));
    assert_eq!(setp("setp.eq.or.s32", a, b, c), (0b0111_1011, 0b1101_1110));
    assert_eq!(setp("setp.eq.xor.s32", a, b, c), (0b0110_1001, 0b1001_0110));
}

#[test]
fn set_writes_numbers() {
    let run = |opcode: &str, a: u32, b: u32| {
        let Arith::Set(set) = op(opcode) else {
            panic!("{opcode}")
        };
        set.apply32(&lanes([a]), &lanes([b]), 0)[9]
    };
    assert_eq!(run("set.lt.u32.s32", ALL, 1), ALL);
    assert_eq!(run("set.lt.u32.u32", ALL, 1), 0);
    assert_eq!(run("set.gt.s32.f32", f(2.0), f(1.0)), ALL);
    assert_eq!(run("set.gt.f32.f32", f(2.0), f(1.0)), f(1.0));
    assert_eq!(run("set.gt.f32.u32", 1, 2), 0);
    assert_eq!(run("set.eq.ftz.f32.f32", 1, 0), f(1.0));
    assert_eq!(run("set.gt.f16.f16", 0x4000, 0x3c00), 0x3c00);
    assert_eq!(run("set.gt.u16.f16", 0x4000, 0x3c00), 0xffff);
    assert_eq!(run("set.gt.bf16.bf16", 0x4000, 0x3f80), 0x3f80);
    assert_eq!(run("set.gt.f16x2.f16x2", 0x4000_3c00, 0x3c00_4000), 0x3c00_0000);
    assert_eq!(run("set.lt.bf16x2.bf16x2", 0x4000_3f80, 0x3f80_4000), 0x0000_3f80);
    assert_eq!(run("set.lt.u32.f16x2", 0x4000_3c00, 0x3c00_4000), 0x0000_ffff);
    let Arith::Set(set) = op("set.lt.and.u32.s64") else {
        panic!()
    };
    assert_eq!(set.apply64(&wide([1]), &wide([2]), 0b101)[..3], [ALL, 0, ALL]);
}

#[test]
fn slct_selects_by_sign() {
    let takes = |opcode: &str, c: [u32; 4]| match op(opcode) {
        Arith::Slct32(slct) | Arith::Slct64(slct) => slct.takes_first(&lanes(c)) & 15,
        other => panic!("{other:?}"),
    };
    assert_eq!(takes("slct.u32.s32", [0, 1, ALL, 0x8000_0000]), 0b0011);
    assert_eq!(takes("slct.b64.s32", [0, 1, ALL, 0x8000_0000]), 0b0011);
    // -0 counts as 0; a NaN takes b.
    assert_eq!(takes("slct.f32.f32", [f(0.0), f(-0.0), f(-1.0), NAN]), 0b0011);
    assert_eq!(takes("slct.f32.f32", [0x8000_0001; 4]), 0);
    assert_eq!(takes("slct.ftz.f32.f32", [0x8000_0001; 4]), 15);
    assert!(matches!(op("slct.f64.f32"), Arith::Slct64(_)));
}
