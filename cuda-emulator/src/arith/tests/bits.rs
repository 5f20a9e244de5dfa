use super::{Arith, lanes, one, one64, op, s, same, three, three64, two, wide};
use crate::arith::bits as fields;

const ALL: u32 = 0xffff_ffff;

#[test]
fn counts_and_positions() {
    one("popc.b32", &[(0, 0), (ALL, 32), (0x8000_0001, 2)]);
    one64("popc.b64", &[(0, 0), (u64::MAX, 64), (1 << 40, 1)]);
    one("clz.b32", &[(0, 32), (1, 31), (0x8000_0000, 0)]);
    one64("clz.b64", &[(0, 64), (1, 63), (1 << 63, 0)]);
    one("brev.b32", &[(1, 0x8000_0000), (0x0000_00f0, 0x0f00_0000)]);
    one64("brev.b64", &[(1, 1 << 63)]);
    one("bfind.u32", &[(0, ALL), (1, 0), (0x8000_0000, 31), (0x00ff_0000, 23)]);
    one(
        "bfind.s32",
        &[(0, ALL), (ALL, ALL), (0x8000_0000, 30), (0x00ff_0000, 23), (s(-2), 0)],
    );
    one("bfind.shiftamt.u32", &[(0, ALL), (1, 31), (0x8000_0000, 0)]);
    one("bfind.shiftamt.s32", &[(ALL, ALL), (1, 31), (0x8000_0000, 1)]);
    one64("bfind.u64", &[(0, 0xffff_ffff), (1 << 40, 40)]);
    one64("bfind.s64", &[(u64::MAX, 0xffff_ffff), (1 << 63, 62)]);
    one64("bfind.shiftamt.u64", &[(0, 0xffff_ffff), (1, 63)]);
    one64("bfind.shiftamt.s64", &[(1 << 63, 1)]);
}

#[test]
fn find_nth() {
    let mask = 0b0110_1000;
    three(
        "fns.b32",
        &[
            (mask, 3, 0, 3),
            (mask, 4, 0, ALL),
            (mask, 0, 1, 3),
            (mask, 0, 3, 6),
            (mask, 0, 4, ALL),
            (mask, 31, s(-1), 6),
            (mask, 6, s(-2), 5),
            (mask, 4, s(-1), 3),
            (mask, 4, 1, 5),
        ],
    );
}

#[test]
fn extract() {
    three(
        "bfe.u32",
        &[
            (0xdead_beef, 8, 8, 0xbe),
            (0xdead_beef, 0, 0, 0),
            (0xdead_beef, 28, 8, 0xd),
            (0xdead_beef, 32, 8, 0),
            (0xdead_beef, 0, 32, 0xdead_beef),
            (0xdead_beef, 0x108, 0x108, 0xbe),
            (0xdead_beef, 0, 255, 0xdead_beef),
        ],
    );
    three(
        "bfe.s32",
        &[
            (0x0000_0080, 4, 4, s(-8)),
            (0x0000_0070, 4, 4, 7),
            // Beyond the register the sign is bit 31.
            (0xd000_0000, 28, 8, s(-3)),
            (0x5000_0000, 28, 8, 5),
            (0x8000_0000, 40, 4, ALL),
            (0x7000_0000, 40, 4, 0),
            (ALL, 3, 0, 0),
            (0x8000_0000, 0, 32, 0x8000_0000),
        ],
    );
    three64(
        "bfe.u64",
        &[
            (0xdead << 40, 40, 16, 0xdead),
            (u64::MAX, 60, 10, 15),
            (1, 64, 1, 0),
            (u64::MAX, 0, 64, u64::MAX),
        ],
    );
    three64(
        "bfe.s64",
        &[
            (0x8 << 40, 40, 4, -8i64 as u64),
            (1 << 63, 60, 10, -8i64 as u64),
            (1 << 63, 70, 1, u64::MAX),
        ],
    );
}

#[test]
fn insert() {
    assert_eq!(op("bfi.b32"), Arith::Bfi32);
    let cases = [
        (0xab, 0xffff_ffff, 8, 8, 0xffff_abff),
        (0xff, 0, 28, 8, 0xf000_0000),
        (0xff, 0x1234, 32, 8, 0x1234),
        (0xff, 0x1234, 0, 0, 0x1234),
        (0xdead_beef, 0, 0, 32, 0xdead_beef),
        (0xab, 0, 0x104, 0x104, 0xb0),
    ];
    let column = |i: usize| lanes(cases.iter().map(|c| [c.0, c.1, c.2, c.3, c.4][i]));
    same(
        "bfi.b32",
        &fields::insert32(&column(0), &column(1), &column(2), &column(3)),
        &column(4),
    );
    assert_eq!(op("bfi.b64"), Arith::Bfi64);
    let got = fields::insert64(
        &wide([0xab, u64::MAX]),
        &wide([u64::MAX, 0]),
        &lanes([40, 62]),
        &lanes([8, 9]),
    );
    same("bfi.b64", &got, &wide([0xffff_abff_ffff_ffff, 3 << 62]));
}

#[test]
fn permute_bytes() {
    // Bytes 0 to 3 are of a, 4 to 7 of b.
    let (a, b) = (0x8322_1100, 0x7766_5544);
    three(
        "prmt.b32",
        &[
            (a, b, 0x3210, a),
            (a, b, 0x7654, b),
            (a, b, 0x0123, 0x0011_2283),
            (a, b, 0x5140, 0x5511_4400),
            // The top bit of a selector repeats the byte's sign.
            (a, b, 0xb8b0, 0xff00_ff00),
            (a, b, 0xffff_7777, 0x7777_7777),
        ],
    );
    // The table of the modes, from the upper byte to the lower, for c = 0 to 3.
    let b7 = |i: u32| {
        if i < 4 {
            a >> (8 * i) & 0xff
        } else {
            b >> (8 * (i - 4)) & 0xff
        }
    };
    let table: [(&str, [[u32; 4]; 4]); 6] = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, rows) in table {
        for (c, row) in rows.iter().enumerate() {
            let want = row.iter().fold(0, |word, &i| word << 8 | b7(i));
            three(
                &format!("prmt.b32.{mode}"),
                &[(a, b, c as u32, want), (a, b, c as u32 + 4, want)],
            );
        }
    }
}

#[test]
fn funnel_shifts() {
    let (a, b) = (0x89ab_cdef, 0x0123_4567);
    three(
        "shf.l.clamp.b32",
        &[(a, b, 8, 0x2345_6789), (a, b, 0, b), (a, b, 32, a), (a, b, 40, a)],
    );
    three(
        "shf.l.wrap.b32",
        &[(a, b, 8, 0x2345_6789), (a, b, 32, b), (a, b, 40, 0x2345_6789)],
    );
    three(
        "shf.r.clamp.b32",
        &[(a, b, 8, 0x6789_abcd), (a, b, 0, a), (a, b, 32, b), (a, b, 40, b)],
    );
    three(
        "shf.r.wrap.b32",
        &[(a, b, 8, 0x6789_abcd), (a, b, 32, a), (a, b, 40, 0x6789_abcd)],
    );
}

#[test]
fn truth_tables() {
    assert_eq!(op("lop3.b32"), Arith::Lop3);
    // The ISA's table: ta = 0xF0, tb = 0xCC, tc = 0xAA.
    let (a, b, c) = (0xffff_0000, 0xff00_ff00, 0xf0f0_f0f0);
    let run = |table| fields::lop3(table, &lanes([a]), &lanes([b]), &lanes([c]))[5];
    assert_eq!(run(0xf0), a);
    assert_eq!(run(0xcc), b);
    assert_eq!(run(0xaa), c);
    assert_eq!(run(0x80), a & b & c);
    assert_eq!(run(0xfe), a | b | c);
    assert_eq!(run(0x40), a & b & !c);
    assert_eq!(run(0x1a), (a & b | c) ^ a);
    assert_eq!(run(0x96), a ^ b ^ c);
    assert_eq!(run(0), 0);
    assert_eq!(run(0xff), ALL);
}

#[test]
fn masks_and_extensions() {
    two(
        "bmsk.clamp.b32",
        &[
            (4, 8, 0xff0),
            (0, 32, ALL),
            (28, 8, 0xf000_0000),
            (32, 4, 0),
            (5, 0, 0),
            (0, 40, ALL),
        ],
    );
    two(
        "bmsk.wrap.b32",
        &[(4, 8, 0xff0), (36, 40, 0xff0), (0, 32, 0), (28, 8, 0xf000_0000)],
    );
    two(
        "szext.clamp.s32",
        &[
            (0x80, 8, s(-128)),
            (0x7f, 8, 0x7f),
            (0xff, 0, 0),
            (ALL, 32, ALL),
            (0x1_80, 8, s(-128)),
        ],
    );
    two("szext.clamp.u32", &[(0x180, 8, 0x80), (ALL, 40, ALL), (ALL, 0, 0)]);
    two("szext.wrap.s32", &[(0x80, 40, s(-128)), (ALL, 32, 0)]);
    two("szext.wrap.u32", &[(0x180, 40, 0x80)]);
}
