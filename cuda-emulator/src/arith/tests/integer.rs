use super::{Arith, lanes, one, one64, op, s, same, sl, three, three64, two, two64, wide};
use crate::arith::int64;

const MIN: u32 = 0x8000_0000;
const MAX: u32 = 0x7fff_ffff;
const ALL: u32 = 0xffff_ffff;
const MIN64: u64 = 1 << 63;

#[test]
fn add_and_sub() {
    for opcode in ["add.s32", "add.u32"] {
        two(opcode, &[(1, 2, 3), (ALL, 1, 0), (MAX, 1, MIN), (s(-5), 3, s(-2))]);
    }
    two("add.sat.s32", &[(MAX, 1, MAX), (MIN, s(-1), MIN), (3, s(-4), s(-1))]);
    for opcode in ["add.s16", "add.u16"] {
        two(
            opcode,
            &[(0xffff, 1, 0), (0xdead_0001, 0xbeef_0002, 3), (0x7fff, 1, 0x8000)],
        );
    }
    two(
        "add.u16x2",
        &[(0xffff_0001, 0x0001_ffff, 0), (0x0001_0002, 0x0003_0004, 0x0004_0006)],
    );
    two("sub.s32", &[(1, 2, s(-1)), (MIN, 1, MAX)]);
    two("sub.u32", &[(0, 1, ALL)]);
    two("sub.sat.s32", &[(MIN, 1, MIN), (MAX, s(-1), MAX), (3, 4, s(-1))]);
    two("sub.s16", &[(0, 1, 0xffff), (0x1_0000, 0, 0)]);
    two("sub.u16", &[(5, 7, 0xfffe)]);
    two64("add.s64", &[(u64::MAX, 1, 0), (0xffff_ffff, 1, 0x1_0000_0000)]);
    two64("add.u64", &[(1 << 63, 1 << 63, 0)]);
    two64("sub.s64", &[(0, 1, u64::MAX)]);
    two64("sub.u64", &[(0x1_0000_0000, 1, 0xffff_ffff)]);
}

#[test]
fn products() {
    for opcode in ["mul.lo.s32", "mul.lo.u32"] {
        two(
            opcode,
            &[(0x1_0001, 0x1_0001, 0x2_0001), (s(-3), 5, s(-15)), (MIN, 2, 0)],
        );
    }
    two(
        "mul.hi.s32",
        &[
            (s(-1), s(-1), 0),
            (s(-1), 1, ALL),
            (MIN, MIN, 0x4000_0000),
            (MIN, 2, ALL),
        ],
    );
    two("mul.hi.u32", &[(ALL, ALL, 0xffff_fffe), (MIN, 2, 1), (3, 4, 0)]);
    two(
        "mul.lo.s16",
        &[(0xffff, 0xffff, 1), (0x100, 0x100, 0), (0x5_0003, 7, 21)],
    );
    two("mul.lo.u16", &[(0xffff, 2, 0xfffe)]);
    two(
        "mul.hi.s16",
        &[(0xffff, 1, 0xffff), (0x8000, 0x8000, 0x4000), (0x4000, 4, 1)],
    );
    two("mul.hi.u16", &[(0xffff, 0xffff, 0xfffe), (0x8000, 2, 1)]);
    two("mul.wide.s16", &[(0xffff, 2, s(-2)), (0x8000, 0x8000, 0x4000_0000)]);
    two("mul.wide.u16", &[(0xffff, 0xffff, 0xfffe_0001)]);
    two64("mul.lo.s64", &[(sl(-3), 5, sl(-15)), (1 << 32, 1 << 32, 0)]);
    two64("mul.lo.u64", &[(u64::MAX, u64::MAX, 1)]);
    two64("mul.hi.s64", &[(sl(-1), 1, u64::MAX), (MIN64, MIN64, 1 << 62)]);
    two64("mul.hi.u64", &[(u64::MAX, u64::MAX, u64::MAX - 1), (MIN64, 2, 1)]);
    let (a, b) = (lanes([ALL, MIN, 7]), lanes([ALL, 2, s(-7)]));
    for (opcode, want) in [
        ("mul.wide.u32", [0xffff_fffe_0000_0001, 1 << 32, 7 * 0xffff_fff9]),
        ("mul.wide.s32", [1, sl(-1 << 32), sl(-49)]),
    ] {
        let Arith::MulWide(sign) = op(opcode) else { panic!() };
        same(opcode, &int64::mul_wide(sign, &a, &b), &wide(want));
    }
    // 24 bits: the factors are sign- or zero-extended from them; .hi is bits 16 to 47 of the product.
    two("mul24.lo.s32", &[(0xff_ffff, 2, s(-2)), (0x1200_0003, 5, 15)]);
    two(
        "mul24.lo.u32",
        &[(0xff_ffff, 2, 0x1ff_fffe), (0xff_ffff, 0xff_ffff, 0xfe00_0001)],
    );
    two(
        "mul24.hi.s32",
        &[(0xff_ffff, 1, ALL), (0x80_0000, 0x80_0000, 0x4000_0000)],
    );
    two(
        "mul24.hi.u32",
        &[(0xff_ffff, 0xff_ffff, 0xffff_fe00), (0x1_0000, 0x1_0000, 0x1_0000)],
    );
}

#[test]
fn multiply_add() {
    for opcode in ["mad.lo.s32", "mad.lo.u32"] {
        three(opcode, &[(3, 4, 5, 17), (s(-3), 4, 5, s(-7)), (MIN, 2, 1, 1)]);
    }
    three("mad.hi.s32", &[(s(-1), 1, 1, 0), (MIN, MIN, 1, 0x4000_0001)]);
    three(
        "mad.hi.sat.s32",
        &[(MIN, MIN, MAX, MAX), (MIN, MAX, MIN, MIN), (s(-1), 1, 1, 0)],
    );
    three("mad.hi.u32", &[(ALL, ALL, 3, 1)]);
    three("mad.lo.s16", &[(0xffff, 3, 5, 2), (0x100, 0x100, 7, 7)]);
    three("mad.lo.u16", &[(3, 4, 0xffff, 11)]);
    three("mad.hi.s16", &[(0xffff, 1, 3, 2)]);
    three("mad.hi.u16", &[(0xffff, 0xffff, 1, 0xffff)]);
    three("mad.wide.s16", &[(0xffff, 2, 0x1_0000, 0xfffe)]);
    three("mad.wide.u16", &[(0xffff, 2, 1, 0x1_ffff)]);
    three64("mad.wide.s32", &[(0xffff_ffff, 2, 5, 3), (7, 7, u64::MAX, 48)]);
    three64("mad.wide.u32", &[(0xffff_ffff, 2, 5, 0x2_0000_0003)]);
    three64("mad.lo.s64", &[(sl(-3), 4, 5, sl(-7))]);
    three64("mad.lo.u64", &[(1 << 63, 2, 9, 9)]);
    three64("mad.hi.s64", &[(u64::MAX, 1, 1, 0)]);
    three64("mad.hi.u64", &[(u64::MAX, u64::MAX, 3, 1)]);
    three("mad24.lo.s32", &[(0xff_ffff, 2, 5, 3)]);
    three("mad24.lo.u32", &[(0xff_ffff, 2, 2, 0x200_0000)]);
    three("mad24.hi.s32", &[(0xff_ffff, 1, 1, 0)]);
    three(
        "mad24.hi.sat.s32",
        &[(0x80_0000, 0x80_0000, MAX, MAX), (0xff_ffff, 1, 1, 0)],
    );
    three("mad24.hi.u32", &[(0x1_0000, 0x1_0000, 1, 0x1_0001)]);
}

#[test]
fn quotients() {
    two(
        "div.s32",
        &[(7, s(-2), s(-3)), (s(-7), 2, s(-3)), (MIN, s(-1), MIN), (5, 0, ALL)],
    );
    two("div.u32", &[(7, 2, 3), (ALL, 2, MAX), (5, 0, ALL)]);
    two(
        "div.s16",
        &[(0xfff9, 2, 0xfffd), (0x8000, 0xffff, 0x8000), (0xdead_0007, 2, 3)],
    );
    two("div.u16", &[(0xfff9, 2, 0x7ffc), (1, 0, 0xffff)]);
    two("rem.s32", &[(7, s(-2), 1), (s(-7), 2, s(-1)), (MIN, s(-1), 0)]);
    two("rem.u32", &[(7, 2, 1), (ALL, 10, 5)]);
    two("rem.s16", &[(0xfff9, 2, 0xffff)]);
    two("rem.u16", &[(0xfff9, 10, 9)]);
    two64(
        "div.s64",
        &[(sl(-7), 2, sl(-3)), (MIN64, u64::MAX, MIN64), (1, 0, u64::MAX)],
    );
    two64("div.u64", &[(u64::MAX, 2, u64::MAX >> 1)]);
    two64("rem.s64", &[(sl(-7), 2, sl(-1)), (MIN64, u64::MAX, 0)]);
    two64("rem.u64", &[(u64::MAX, 10, 5)]);
}

#[test]
fn signs_and_extrema() {
    one("abs.s32", &[(s(-5), 5), (5, 5), (MIN, MIN)]);
    one("abs.s16", &[(0xfffb, 5), (0x8000, 0x8000), (0xdead_0005, 5)]);
    one64("abs.s64", &[(sl(-5), 5), (MIN64, MIN64)]);
    one("neg.s32", &[(5, s(-5)), (MIN, MIN), (0, 0)]);
    one("neg.s16", &[(5, 0xfffb), (0x8000, 0x8000)]);
    one64("neg.s64", &[(5, sl(-5))]);
    two("min.s32", &[(s(-1), 1, s(-1)), (MIN, MAX, MIN)]);
    two("min.u32", &[(ALL, 1, 1)]);
    two("max.s32", &[(s(-1), 1, 1)]);
    two("max.u32", &[(ALL, 1, ALL)]);
    two("min.relu.s32", &[(s(-1), 1, 0), (3, 2, 2)]);
    two("max.relu.s32", &[(s(-1), s(-2), 0), (3, 2, 3)]);
    two("min.s16", &[(0xffff, 1, 0xffff)]);
    two("min.u16", &[(0xffff, 1, 1)]);
    two("max.s16", &[(0xffff, 1, 1)]);
    two("max.u16", &[(0xffff, 1, 0xffff)]);
    two("min.s16x2", &[(0xffff_0001, 0x0001_ffff, 0xffff_ffff)]);
    two("max.s16x2", &[(0xffff_0001, 0x0001_ffff, 0x0001_0001)]);
    two("min.u16x2", &[(0xffff_0001, 0x0001_ffff, 0x0001_0001)]);
    two("max.u16x2", &[(0xffff_0001, 0x0001_ffff, 0xffff_ffff)]);
    two64("min.s64", &[(u64::MAX, 1, u64::MAX)]);
    two64("min.u64", &[(u64::MAX, 1, 1)]);
    two64("max.s64", &[(u64::MAX, 1, 1)]);
    two64("max.u64", &[(u64::MAX, 1, u64::MAX)]);
}

#[test]
fn absolute_differences() {
    three("sad.s32", &[(s(-3), 4, 10, 17), (MIN, MAX, 1, 0)]);
    three("sad.u32", &[(s(-3), 4, 10, 3), (4, 9, 1, 6)]);
    three("sad.s16", &[(0xfffd, 4, 10, 17)]);
    three("sad.u16", &[(0xfffd, 4, 10, 3)]);
    three64("sad.s64", &[(sl(-3), 4, 10, 17)]);
    three64("sad.u64", &[(4, 9, 1, 6)]);
}

#[test]
fn dot_products() {
    // Bytes from the top: a = -1 2 3 4 (or 255 2 3 4), b = 5 6 7 -8 (or 248).
    let (a, b) = (0xff02_0304, 0x0506_07f8);
    three("dp4a.s32.s32", &[(a, b, 100, 100 - 5 + 12 + 21 - 32)]);
    three("dp4a.u32.s32", &[(a, b, 100, 100 + 1275 + 12 + 21 - 32)]);
    three("dp4a.s32.u32", &[(a, b, 100, 100 - 5 + 12 + 21 + 992)]);
    three("dp4a.u32.u32", &[(a, b, 100, 100 + 1275 + 12 + 21 + 992)]);
    // Halves of a: -2 (65534) and 3. Lower bytes of b: 7 and -8 (248); upper: 5 and 6, the lower byte with the lower half.
    let a = 0xfffe_0003;
    three("dp2a.lo.s32.s32", &[(a, b, 1, s(1 - 2 * 7 - 3 * 8))]);
    three("dp2a.lo.u32.u32", &[(a, b, 1, 1 + 65534 * 7 + 3 * 248)]);
    three("dp2a.hi.s32.u32", &[(a, b, 1, 1 + 3 * 6 - 2 * 5)]);
    three("dp2a.hi.u32.s32", &[(a, b, 1, 1 + 65534 * 5 + 3 * 6)]);
}

#[test]
fn logic() {
    for suffix in ["b16", "b32"] {
        two(&format!("and.{suffix}"), &[(0xf0f0, 0xff00, 0xf000)]);
        two(&format!("or.{suffix}"), &[(0xf0f0, 0xff00, 0xfff0)]);
        two(&format!("xor.{suffix}"), &[(0xf0f0, 0xff00, 0x0ff0)]);
    }
    two64("and.b64", &[(u64::MAX, 5 << 40, 5 << 40)]);
    two64("or.b64", &[(1 << 40, 1, (1 << 40) | 1)]);
    two64("xor.b64", &[(u64::MAX, 1, u64::MAX - 1)]);
    one("not.b32", &[(0, ALL), (0xf0f0_f0f0, 0x0f0f_0f0f)]);
    one("not.b16", &[(0, 0xffff), (0xdead_f0f0, 0x0f0f)]);
    one64("not.b64", &[(0, u64::MAX)]);
    one("cnot.b32", &[(0, 1), (5, 0), (MIN, 0)]);
    one("cnot.b16", &[(0xdead_0000, 1), (5, 0)]);
    one64("cnot.b64", &[(0, 1), (MIN64, 0)]);
}

#[test]
fn shifts_clamp_their_amount() {
    two("shl.b32", &[(1, 31, MIN), (1, 32, 0), (1, ALL, 0), (3, 1, 6)]);
    two(
        "shl.b16",
        &[(1, 15, 0x8000), (1, 16, 0), (0xffff, 4, 0xfff0), (1, 33, 0)],
    );
    for opcode in ["shr.u32", "shr.b32"] {
        two(opcode, &[(MIN, 31, 1), (MIN, 32, 0), (MIN, 256, 0)]);
    }
    two(
        "shr.s32",
        &[
            (MIN, 31, ALL),
            (MIN, 32, ALL),
            (MIN, ALL, ALL),
            (MAX, 40, 0),
            (s(-8), 1, s(-4)),
        ],
    );
    for opcode in ["shr.u16", "shr.b16"] {
        two(opcode, &[(0xdead_8000, 15, 1), (0x8000, 16, 0), (0x8000, 32, 0)]);
    }
    two(
        "shr.s16",
        &[
            (0x8000, 15, 0xffff),
            (0x8000, 99, 0xffff),
            (0x7fff, 99, 0),
            (0xfff8, 1, 0xfffc),
        ],
    );
    two64("shl.b64", &[(1, 63, MIN64), (1, 64, 0), (1, 0xffff_ffff, 0)]);
    for opcode in ["shr.u64", "shr.b64"] {
        two64(opcode, &[(MIN64, 63, 1), (MIN64, 64, 0)]);
    }
    two64("shr.s64", &[(MIN64, 63, u64::MAX), (MIN64, 64, u64::MAX), (1, 64, 0)]);
}

#[test]
fn carries() {
    let run = |opcode: &str, flag: u32, active: u32, a: u32, b: u32, c: u32| {
        let Arith::Carry32(op) = op(opcode) else {
            panic!("{opcode}")
        };
        let mut flag = flag;
        let d = op.apply32(&mut flag, active, &lanes([a]), &lanes([b]), &lanes([c]));
        (d[3], flag)
    };
    assert_eq!(run("add.cc.u32", 0, ALL, ALL, 1, 0), (0, ALL));
    assert_eq!(run("add.cc.s32", ALL, ALL, 1, 1, 0), (2, 0));
    assert_eq!(
        run("add.cc.u32", 0, 0xf0, ALL, 1, 0),
        (0, 0xf0),
        "flags of inactive lanes stay"
    );
    assert_eq!(run("addc.u32", ALL, ALL, 1, 1, 0), (3, ALL));
    assert_eq!(run("addc.u32", 0, ALL, 1, 1, 0), (2, 0));
    assert_eq!(run("addc.cc.u32", ALL, ALL, ALL, 0, 0), (0, ALL));
    assert_eq!(run("sub.cc.u32", 0, ALL, 0, 1, 0), (ALL, ALL), "the flag is the borrow");
    assert_eq!(run("sub.cc.u32", ALL, ALL, 1, 1, 0), (0, 0));
    assert_eq!(run("subc.u32", ALL, ALL, 5, 1, 0), (3, ALL));
    assert_eq!(run("subc.cc.u32", ALL, ALL, 0, 0, 0), (ALL, ALL));
    assert_eq!(run("mad.lo.cc.u32", 0, ALL, MIN, 2, 7), (7, 0));
    assert_eq!(run("mad.hi.cc.u32", 0, ALL, ALL, ALL, 2), (0, ALL));
    assert_eq!(run("madc.hi.u32", ALL, ALL, ALL, ALL, 0), (ALL, ALL));
    assert_eq!(run("madc.lo.cc.s32", ALL, ALL, 3, 4, s(-13)), (0, ALL));
    assert_eq!(run("madc.hi.s32", 0, ALL, ALL, 1, 1), (0, 0));
}

#[test]
fn carries_of_64_bits() {
    let Arith::Carry64(add) = op("add.cc.u64") else {
        panic!()
    };
    let (zero, ones) = (wide([0]), wide([u64::MAX]));
    let mut flag = 0;
    assert_eq!(add.apply64(&mut flag, ALL, &ones, &wide([1]), &zero)[0], 0);
    assert_eq!(flag, ALL);
    let Arith::Carry64(addc) = op("addc.u64") else { panic!() };
    assert_eq!(addc.apply64(&mut flag, ALL, &wide([5]), &wide([6]), &zero)[0], 12);
    let Arith::Carry64(sub) = op("sub.cc.s64") else {
        panic!()
    };
    assert_eq!(sub.apply64(&mut flag, ALL, &wide([5]), &wide([6]), &zero)[0], u64::MAX);
    let Arith::Carry64(mad) = op("madc.hi.cc.u64") else {
        panic!()
    };
    assert_eq!(mad.apply64(&mut flag, ALL, &ones, &ones, &wide([1]))[31], 0);
    assert_eq!(flag, ALL);
}
