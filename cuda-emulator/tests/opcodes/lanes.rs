//! What lanes tell each other: shfl, vote, match, redux, activemask, elect; predicates with two results; carries.

use super::harness::{Column, column, run, try_run};
use cuda_emulator::fault::FaultKind;

const ALL: u64 = 0xffff_ffff;

/// `shfl.sync` of the lane's number plus 100; outputs: the value, the predicate.
fn shuffle(mode: &str, by: &str, bound: &str) -> (Column, Column) {
    let body = format!(
        "add.u32 %r0, %lane, 100;\nshfl.sync.{mode}.b32 %r1|%p0, %r0, {by}, {bound}, 0xffffffff;\n\
         cvt.u64.u32 %out0, %r1;\nselp.u64 %out1, 1, 0, %p0;\n"
    );
    let out = run(&format!("shfl.sync.{mode}.b32 {by} {bound}"), &body, &[], 2);
    (out[0], out[1])
}

#[test]
fn shuffles() {
    let within = |from: u64, in_bounds: bool, lane: u64| if in_bounds { 100 + from } else { 100 + lane };
    let (value, p) = shuffle("up", "3", "0");
    assert_eq!(value, column(|l| within(l.wrapping_sub(3), l >= 3, l)));
    assert_eq!(p, column(|l| (l >= 3).into()));
    let (value, p) = shuffle("down", "3", "31");
    assert_eq!(value, column(|l| within(l + 3, l < 29, l)));
    assert_eq!(p, column(|l| (l < 29).into()));
    let (value, p) = shuffle("bfly", "5", "31");
    assert_eq!(value, column(|l| 100 + (l ^ 5)));
    assert_eq!(p, [1; 32]);
    let (value, _) = shuffle("idx", "7", "31");
    assert_eq!(value, [107; 32]);
    // Segments of 8 lanes: 0x18 in bits 8 to 12 of c.
    let (value, p) = shuffle("up", "3", "0x1800");
    assert_eq!(value, column(|l| within(l.wrapping_sub(3), l % 8 >= 3, l)));
    assert_eq!(p, column(|l| (l % 8 >= 3).into()));
    let (value, p) = shuffle("down", "3", "0x1807");
    assert_eq!(value, column(|l| within(l + 3, l % 8 < 5, l)));
    assert_eq!(p, column(|l| (l % 8 < 5).into()));
    let (value, _) = shuffle("idx", "11", "0x1807");
    assert_eq!(value, column(|l| 100 + l / 8 * 8 + 3));
    // The lane's own index as the source, without a predicate.
    let body = "add.u32 %r0, %lane, 100;\nxor.b32 %r2, %lane, 31;\n\
                shfl.sync.idx.b32 %r1, %r0, %r2, 31, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\n";
    assert_eq!(run("shfl.sync.idx.b32 own", body, &[], 1)[0], column(|l| 131 - l));
}

#[test]
fn a_shuffle_of_some_lanes() {
    // Lanes 8 to 15 only, in divergent code.
    let body = "mov.u32 %r1, 7;\nshr.u32 %r2, %lane, 3;\nsetp.ne.u32 %p0, %r2, 1;\n@%p0 bra skip;\n\
                shfl.sync.bfly.b32 %r1, %lane, 1, 31, 0xff00;\nskip:\ncvt.u64.u32 %out0, %r1;\n";
    let want = column(|l| if l / 8 == 1 { l ^ 1 } else { 7 });
    assert_eq!(run("shfl.sync.bfly.b32 some", body, &[], 1)[0], want);
    let wrong = body.replace("0xff00", "0x00ff");
    let fault = try_run("shfl.sync.bfly.b32 wrong", &wrong, &[], 1).unwrap_err();
    assert_eq!(fault.kind, FaultKind::WarpSync);
}

fn with_predicate(name: &str, instruction: &str, select: &str) -> Column {
    // The predicate holds in lanes 0, 3, 6, …
    let body = format!("rem.u32 %r0, %lane, 3;\nsetp.eq.u32 %p0, %r0, 0;\n{instruction}\n{select}\n");
    run(name, &body, &[], 1)[0]
}

#[test]
fn votes() {
    let thirds = (0..32).filter(|l| l % 3 == 0).map(|l| 1u64 << l).sum::<u64>();
    let number = "cvt.u64.u32 %out0, %r1;";
    let predicate = "selp.u64 %out0, 1, 0, %p1;";
    let ballot = |source: &str| format!("vote.sync.ballot.b32 %r1, {source}, 0xffffffff;");
    assert_eq!(
        with_predicate("vote.sync.ballot.b32", &ballot("%p0"), number),
        [thirds; 32]
    );
    assert_eq!(
        with_predicate("vote.sync.ballot.b32 not", &ballot("!%p0"), number),
        [!thirds & ALL; 32]
    );
    for (mode, want) in [("all", 0), ("any", 1), ("uni", 0)] {
        let vote = format!("vote.sync.{mode}.pred %p1, %p0, 0xffffffff;");
        assert_eq!(
            with_predicate(&format!("vote.sync.{mode}.pred"), &vote, predicate),
            [want; 32],
            "{mode}"
        );
    }
    // Lanes 3 and 6 only: the predicate holds in both.
    for mode in ["all", "uni"] {
        let vote = format!(
            "setp.eq.u32 %p1, %lane, %lane;\nsetp.eq.u32 %p2, %lane, 3;\nsetp.eq.or.u32 %p2, %lane, 6, %p2;\n\
             @%p2 vote.sync.{mode}.pred %p1, %p0, 0x48;"
        );
        assert_eq!(
            with_predicate(&format!("vote.sync.{mode}.pred some"), &vote, predicate),
            [1; 32],
            "{mode}"
        );
    }
    let active = "and.b32 %r2, %lane, 1;\nsetp.eq.u32 %p1, %r2, 1;\nmov.u32 %r1, 0;\n@%p1 activemask.b32 %r1;";
    assert_eq!(
        with_predicate("activemask.b32", active, number),
        column(|l| if l % 2 == 1 { 0xaaaa_aaaa } else { 0 })
    );
}

#[test]
fn matches() {
    let fours = column(|l| l % 4);
    let narrow = "cvt.u32.u64 %r0, %in0;\n";
    let any = format!("{narrow}match.any.sync.b32 %r1, %r0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\n");
    assert_eq!(
        run("match.any.sync.b32", &any, &[fours], 1)[0],
        column(|l| 0x1111_1111 << (l % 4))
    );
    let any = "match.any.sync.b64 %r1, %in0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\n";
    let high = column(|l| (l % 2) << 40);
    assert_eq!(
        run("match.any.sync.b64", any, &[high], 1)[0],
        column(|l| 0x5555_5555 << (l % 2))
    );
    let all = format!(
        "{narrow}match.all.sync.b32 %r1|%p0, %r0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\nselp.u64 %out1, 1, 0, %p0;\n"
    );
    assert_eq!(run("match.all.sync.b32", &all, &[fours], 2), [[0; 32]; 2]);
    assert_eq!(run("match.all.sync.b32", &all, &[[9; 32]], 2), [[ALL; 32], [1; 32]]);
    let all = "match.all.sync.b64 %r1|%p0, %in0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\nselp.u64 %out1, 1, 0, %p0;\n";
    assert_eq!(run("match.all.sync.b64", all, &[high], 2), [[0; 32]; 2]);
}

#[test]
fn reductions() {
    let values = column(|l| if l == 5 { ALL } else { l + 1 });
    let sum: u64 = (1..=32).sum::<u64>() - 6 - 1;
    for (op, want) in [
        ("add.s32", sum),
        ("add.u32", sum),
        ("min.s32", ALL),
        ("min.u32", 1),
        ("max.s32", 32),
        ("max.u32", ALL),
        ("and.b32", 0),
        ("or.b32", ALL),
        ("xor.b32", (0..32).map(|l| values[l]).fold(0, |x, y| x ^ y)),
    ] {
        let body = format!("cvt.u32.u64 %r0, %in0;\nredux.sync.{op} %r1, %r0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\n");
        assert_eq!(
            run(&format!("redux.sync.{op}"), &body, &[values], 1)[0],
            [want; 32],
            "{op}"
        );
    }
}

#[test]
fn election() {
    let body = "elect.sync %r1|%p0, 0xffffffff;\ncvt.u64.u32 %out0, %r1;\nselp.u64 %out1, 1, 0, %p0;\n";
    let out = run("elect.sync", body, &[], 2);
    assert_eq!(out[0], [0; 32]);
    assert_eq!(out[1], column(|l| (l == 0).into()));
}

#[test]
fn two_predicates() {
    let body = |opcode: &str, third: &str| {
        format!(
            "cvt.u32.u64 %r0, %in0;\ncvt.u32.u64 %r1, %in1;\nsetp.gt.u32 %p2, %lane, 15;\n\
             {opcode} %p0|%p1, %r0, %r1{third};\nselp.u64 %out0, 1, 0, %p0;\nselp.u64 %out1, 1, 0, %p1;\n"
        )
    };
    let (a, b) = (column(|l| l % 3), [1; 32]);
    let out = run("setp two results", &body("setp.lt.s32", ""), &[a, b], 2);
    assert_eq!(out, [column(|l| (l % 3 < 1).into()), column(|l| (l % 3 >= 1).into())]);
    let out = run(
        "setp two results, combined",
        &body("setp.lt.and.s32", ", !%p2"),
        &[a, b],
        2,
    );
    assert_eq!(
        out,
        [
            column(|l| (l % 3 < 1 && l <= 15).into()),
            column(|l| (l % 3 >= 1 && l <= 15).into())
        ]
    );
    // Of a pair, the lower halves and the upper ones: 1 < 2 below, 2 < 1 above.
    for (ty, a, b) in [
        ("f16x2", 0x4000_3c00, 0x3c00_4000),
        ("bf16x2", 0x4000_3f80, 0x3f80_4000),
    ] {
        let out = run(
            &format!("setp.lt.{ty}"),
            &body(&format!("setp.lt.{ty}"), ""),
            &[[a; 32], [b; 32]],
            2,
        );
        assert_eq!(out, [[1; 32], [0; 32]]);
    }
}

#[test]
fn carries_run_through_several_instructions() {
    // 128 bits by four words of 32.
    let body = |first: &str, next: &str, last: &str| {
        let mut body = String::new();
        for i in 0..8 {
            body += &format!("cvt.u32.u64 %r{i}, %in{i};\n");
        }
        body +=
            &format!("{first} %r8, %r0, %r4;\n{next} %r9, %r1, %r5;\n{next} %r10, %r2, %r6;\n{last} %r11, %r3, %r7;\n");
        (0..4).fold(body, |body, i| body + &format!("cvt.u64.u32 %out{i}, %r{};\n", i + 8))
    };
    let words = |x: u128| -> Vec<Column> { (0..4).map(|i| [(x >> (32 * i)) as u64 & ALL; 32]).collect() };
    let (x, y) = (
        0x0123_4567_ffff_ffff_89ab_cdef_ffff_fff0u128,
        0x1000_0000_0000_0000_8000_0000_0000_0011u128,
    );
    let inputs: Vec<Column> = words(x).into_iter().chain(words(y)).collect();
    let sum = run("add.cc", &body("add.cc.u32", "addc.cc.u32", "addc.u32"), &inputs, 4);
    assert_eq!(sum, words(x.wrapping_add(y)));
    let difference = run("sub.cc", &body("sub.cc.u32", "subc.cc.u32", "subc.u32"), &inputs, 4);
    assert_eq!(difference, words(x.wrapping_sub(y)));
    // The product of two 64-bit numbers as four of 32, as compilers make it.
    let product = "cvt.u32.u64 %r0, %in0;\nshr.u64 %rd0, %in0, 32;\ncvt.u32.u64 %r1, %rd0;\n\
        cvt.u32.u64 %r2, %in1;\nshr.u64 %rd1, %in1, 32;\ncvt.u32.u64 %r3, %rd1;\n\
        mul.lo.u32 %r4, %r0, %r2;\nmul.hi.u32 %r5, %r0, %r2;\n\
        mad.lo.cc.u32 %r5, %r0, %r3, %r5;\nmadc.hi.u32 %r6, %r0, %r3, 0;\n\
        mad.lo.cc.u32 %r5, %r1, %r2, %r5;\nmadc.hi.cc.u32 %r6, %r1, %r2, %r6;\naddc.u32 %r7, 0, 0;\n\
        mad.lo.cc.u32 %r6, %r1, %r3, %r6;\nmadc.hi.u32 %r7, %r1, %r3, %r7;\n\
        mov.b64 %out0, {%r4, %r5};\nmov.b64 %out1, {%r6, %r7};\n";
    let (x, y) = (0xfedc_ba98_7654_3210u64, 0xffff_fffe_0000_0003u64);
    let wide = u128::from(x) * u128::from(y);
    assert_eq!(
        run("madc", product, &[[x; 32], [y; 32]], 2),
        [[wide as u64; 32], [(wide >> 64) as u64; 32]]
    );
    let wide = "add.cc.u64 %out0, %in0, %in1;\naddc.u64 %out1, %in2, %in3;\nsub.cc.s64 %out2, %in2, %in0;\nsubc.s64 %out3, %in3, %in2;\n";
    let out = run("add.cc.u64", wide, &[[u64::MAX; 32], [2; 32], [5; 32], [7; 32]], 4);
    assert_eq!(out, [[1; 32], [13; 32], [6; 32], [1; 32]]);
}
