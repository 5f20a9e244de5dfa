use super::*;

#[test]
fn loads_of_every_width_extend() {
    // Two words: ...8182 8384, ...8586 8788 as bytes from low to high.
    let load = |ty: &str, register: &str, offset: u32| {
        let wide = register.starts_with("%d");
        let show = if wide {
            "mov.b64 {%r8, %r9}, %d1;"
        } else {
            "mov.u32 %r8, %r1; mov.u32 %r9, 0;"
        };
        let t = Test::new(&format!(
            "ld.global.{ty} {register}, [%out+{offset}]; {show} st.global.u32 [%out], %r8; st.global.u32 [%out+4], %r9;"
        ));
        let words = t.block(1).words(2).init(&[0x81828384, 0x05868788]).ok();
        u64::from(words[0]) | u64::from(words[1]) << 32
    };
    assert_eq!(load("u8", "%r1", 1), 0x83);
    assert_eq!(load("b8", "%r1", 1), 0x83);
    assert_eq!(load("s8", "%r1", 1), 0xffff_ff83);
    assert_eq!(load("u16", "%r1", 2), 0x8182);
    assert_eq!(load("s16", "%r1", 2), 0xffff_8182);
    assert_eq!(load("u32", "%r1", 0), 0x81828384);
    assert_eq!(load("s32", "%r1", 0), 0x81828384);
    assert_eq!(load("b64", "%d1", 0), 0x05868788_81828384);
    assert_eq!(load("f64", "%d1", 0), 0x05868788_81828384);
    // A destination wider than the type is extended by the type's sign.
    assert_eq!(load("u8", "%d1", 3), 0x81);
    assert_eq!(load("s8", "%d1", 3), 0xffff_ffff_ffff_ff81);
    assert_eq!(load("s16", "%d1", 2), 0xffff_ffff_ffff_8182);
    assert_eq!(load("u32", "%d1", 0), 0x81828384);
    assert_eq!(load("s32", "%d1", 0), 0xffff_ffff_8182_8384);
}

#[test]
fn stores_of_every_width_leave_the_rest() {
    let store = |what: &str| {
        let body = format!("mov.u32 %r1, 0xA1A2A3A4; mov.u64 %d1, 0xB1B2B3B4B5B6B7B8; {what}");
        Test::new(&body).block(1).words(2).init(&[0x11111111, 0x22222222]).ok()
    };
    assert_eq!(store("st.global.u8 [%out+1], %r1;"), [0x1111a411, 0x22222222]);
    assert_eq!(store("st.global.b16 [%out+2], %r1;"), [0xa3a41111, 0x22222222]);
    assert_eq!(store("st.global.u32 [%out+4], %r1;"), [0x11111111, 0xa1a2a3a4]);
    assert_eq!(store("st.global.u64 [%out], %d1;"), [0xb5b6b7b8, 0xb1b2b3b4]);
    assert_eq!(store("st.global.u16 [%out], %d1;"), [0x1111b7b8, 0x22222222]);
    assert_eq!(store("st.global.u32 [%out], 7;"), [7, 0x22222222]);
}

#[test]
fn vectors() {
    let init = [1, 2, 3, 4, 0, 0, 0, 0];
    let t = |body: &str| Test::new(body).block(1).words(8).init(&init).ok();
    let to = |list: &[u32]| [&init[..4], list].concat();
    assert_eq!(
        t("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%out]; st.global.v4.u32 [%out+16], {%r4, %r3, %r2, %r1};"),
        to(&[4, 3, 2, 1])
    );
    assert_eq!(
        t("ld.global.v4.u32 {_, %r2, _, _}, [%out]; st.global.v2.u32 [%out+16], {%r2, %r2};"),
        to(&[2, 2, 0, 0])
    );
    assert_eq!(
        t("ld.global.v2.f64 {%d1, %d2}, [%out]; st.global.v2.b64 [%out+16], {%d2, %d1};"),
        to(&[3, 4, 1, 2])
    );
    assert_eq!(
        t("ld.global.v2.u16 {%h1, %h2}, [%out+4]; st.global.v2.u16 [%out+16], {%h2, %h1};"),
        to(&[2 << 16, 0, 0, 0])
    );
    assert_eq!(
        t("ld.global.v4.u16 {%h1, %h2, %h3, %h4}, [%out+8]; st.global.v4.b16 [%out+16], {%h3, %h1, %h4, %h2};"),
        to(&[3 << 16 | 4, 0, 0, 0])
    );
    assert_eq!(
        t("ld.global.v4.u8 {%r1, %r2, %r3, %r4}, [%out]; st.global.v4.u8 [%out+16], {%r4, %r1, %r3, %r1};"),
        to(&[0x01000100, 0, 0, 0])
    );
}

#[test]
fn cache_operators_and_scopes_change_nothing() {
    for op in [
        "ld.global.nc.u32",
        "ld.global.ca.u32",
        "ld.global.cg.u32",
        "ld.global.cs.u32",
        "ld.global.lu.u32",
        "ld.global.cv.u32",
        "ld.volatile.global.u32",
        "ld.relaxed.gpu.global.u32",
        "ld.acquire.sys.global.u32",
        "ld.weak.global.u32",
        "ld.global.nc.L1::no_allocate.L2::128B.u32",
        "ldu.global.u32",
        "ld.global.L1::evict_last.u32",
    ] {
        let t = Test::new(&format!(
            "{op} %r1, [%at]; add.u32 %r1, %r1, 1; st.global.u32 [%at], %r1;"
        ));
        assert_eq!(t.init(&each(32, |i| i)).ok(), each(32, |i| i + 1), "{op}");
    }
    for op in [
        "st.global.wb.u32",
        "st.global.cg.u32",
        "st.global.cs.u32",
        "st.global.wt.u32",
        "st.volatile.global.u32",
        "st.relaxed.cta.global.u32",
        "st.release.gpu.global.u32",
        "st.weak.global.u32",
    ] {
        assert_eq!(Test::new(&format!("{op} [%at], %me;")).ok(), each(32, |i| i), "{op}");
    }
}

#[test]
fn shared_memory_static_and_dynamic() {
    let t = Test::new(
        ".shared .align 4 .b8 s[128]; mov.u32 %r1, s; shl.b32 %r2, %me, 2; add.u32 %r3, %r1, %r2; st.shared.u32 [%r3], %me;\n\
         mov.u32 %r4, dyn; add.u32 %r4, %r4, %r2; mul.lo.u32 %r5, %me, 3; st.shared.u32 [%r4], %r5; bar.sync 0;\n\
         sub.u32 %r6, 124, %r2; add.u32 %r3, %r1, %r6; ld.shared.u32 %r7, [%r3]; mov.u64 %d1, dyn; cvt.u64.u32 %d2, %r6; add.u64 %d1, %d1, %d2; ld.shared.u32 %r8, [%d1];\n\
         mad.lo.u32 %r7, %r8, 100, %r7; st.global.u32 [%at], %r7;",
    );
    let t = t.outside(".extern .shared .align 16 .b8 dyn[];").shared(128);
    assert_eq!(t.ok(), each(32, |i| (31 - i) * 301));
}

#[test]
fn generic_addresses() {
    let t = Test::new(
        ".shared .align 4 .b8 s[128]; .local .align 4 .b8 l[8];\n\
         mov.u64 %d1, s; cvta.shared.u64 %d2, %d1; mov.u64 %d3, l; cvta.local.u64 %d4, %d3; cvta.global.u64 %d5, %at;\n\
         st.shared.u32 [s], 5; add.u32 %r1, %me, 7; st.u32 [%d4+4], %r1; bar.warp.sync -1; ld.u32 %r2, [%d2]; ld.local.u32 %r3, [l+4]; add.u32 %r2, %r2, %r3;\n\
         cvta.to.shared.u64 %d6, %d2; sub.u64 %d6, %d6, %d1; cvt.u32.u64 %r4, %d6; add.u32 %r2, %r2, %r4; st.u32 [%d5], %r2;\n\
         isspacep.shared %p1, %d2; isspacep.local %p2, %d2; isspacep.local %p3, %d4; isspacep.global %p4, %d5; isspacep.global %p5, %d2; and.pred %p1, %p1, %p3; and.pred %p1, %p1, %p4; or.pred %p2, %p2, %p5; xor.pred %p1, %p1, %p2; @!%p1 trap;",
    );
    assert_eq!(t.ok(), each(32, |i| i + 12));
}

#[test]
fn local_memory_is_the_threads_own() {
    let t = Test::new(
        ".local .align 8 .b8 l[64]; and.b32 %r1, %me, 15; shl.b32 %r1, %r1, 2; mov.u32 %r2, l; add.u32 %r2, %r2, %r1; st.local.u32 [%r2], %me; bar.warp.sync -1; ld.local.u32 %r3, [%r2]; st.global.u32 [%at], %r3;",
    );
    assert_eq!(t.ok(), each(32, |i| i));
    assert_eq!(
        Test::new(".local .align 4 .b8 l[8]; ld.local.u32 %r1, [l+8];").kind(),
        FaultKind::OutOfBounds
    );
}

#[test]
fn initialised_variables() {
    let outside = ".const .align 4 .u32 c[4] = {7, 8, 9};\n.global .align 2 .u16 g[3] = {1, 0xFFFF, 3};\n.global .align 8 .u64 p = generic(c)+4;\n.global .f32 f = 0f3F800000;\n.global .u32 zero;\n";
    let t = Test::new(
        "ld.const.u32 %r1, [c+8]; ld.const.u32 %r2, [c+12]; ld.global.u16 %r3, [g+2]; ld.global.u64 %d1, [p]; ld.u32 %r4, [%d1]; ld.global.f32 %r5, [f]; ld.global.u32 %r6, [zero];\n\
         st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4}; st.global.v2.u32 [%out+16], {%r5, %r6};",
    );
    assert_eq!(
        t.outside(outside).block(1).words(6).ok(),
        [9, 0, 0xffff, 8, 0x3f800000, 0]
    );
}

#[test]
fn parameters_of_the_kernel_by_address() {
    let t = Test::new(
        "mov.b64 %d1, k_out; ld.param.u64 %d2, [%d1]; cvta.param.u64 %d3, %d1; ld.u64 %d4, [%d3]; setp.eq.u64 %p1, %d2, %d4; isspacep.param %p2, %d3; and.pred %p1, %p1, %p2; selp.u32 %r1, 1, 2, %p1; st.global.u32 [%d2], %r1;",
    );
    assert_eq!(t.block(1).ok(), [1]);
    assert_eq!(Test::new("ld.param.u64 %d1, [k_out+8];").kind(), FaultKind::OutOfBounds);
}

#[test]
fn constants_are_told_from_other_memory_by_their_address() {
    let t = Test::new(
        "mov.u64 %d1, c; mov.u64 %d2, g; isspacep.const %p1, %d1; isspacep.global %p2, %d1; isspacep.const %p3, %d2; isspacep.global %p4, %d2;\n\
         selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 1, 0, %p2; selp.u32 %r3, 1, 0, %p3; selp.u32 %r4, 1, 0, %p4; st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4};",
    );
    let outside = ".const .u32 c; .global .u32 g;";
    assert_eq!(t.outside(outside).block(1).words(4).ok(), [1, 0, 0, 1]);
}

#[test]
fn variables_lie_at_multiples_of_their_alignment() {
    for align in [256u32, 512, 4096, 32768] {
        let t = Test::new("mov.u64 %d1, g; cvt.u32.u64 %r1, %d1; st.global.u32 [%out], %r1;");
        let outside = format!(".global .u32 other; .global .align {align} .b8 g[4];");
        assert_eq!(t.outside(&outside).block(1).ok()[0] % align, 0);
    }
}

#[test]
fn sizes_beyond_the_hardwares_are_refused() {
    for (body, outside, what) in [
        (".shared .b8 s[49153];", "", "shared memory"),
        ("mov.u32 %r1, s;", ".shared .b8 s[49153];", "shared memory"),
        (".shared .b8 s[49152]; .shared .b8 t[1];", "", "shared memory"),
        (".local .b8 s[524289];", "", "local memory"),
        (".local .b8 s[268435456]; .local .b8 t[268435456];", "", "local memory"),
        ("", ".entry j(.param .b8 p[32765]) { ret; }", "parameters"),
        ("{ .param .b8 p[262145]; }", "", "parameters of calls"),
        ("", ".const .b8 c[65537];", "more memory"),
        ("", ".global .b8 a[268435456]; .global .b8 b[1];", "more memory"),
        ("", ".global .u32 a; .global .u32 a;", "a second time"),
        (
            ".reg .b32 %x<60000>; .reg .b64 %y<30000>; .reg .b128 %z<30000>;",
            "",
            "registers",
        ),
    ] {
        let e = Test::new(body).outside(outside).load_error();
        assert!(e.contains(what), "{body}{outside}: {e}");
    }
}

#[test]
fn addresses_of_shared_memory_that_wrap_are_outside() {
    for text in [
        "mov.u64 %d1, 0; ld.shared.u32 %r1, [%d1+-4];",
        "cvt.u64.u32 %d1, %me; mul.lo.u64 %d1, %d1, 4; st.shared.u32 [%d1+-4], 1;",
        "mov.u64 %d1, 0; atom.shared.add.u32 %r1, [%d1+-4], 1;",
    ] {
        assert_eq!(Test::new(text).kind(), FaultKind::OutOfBounds, "{text}");
    }
}

#[test]
fn copies_to_shared_memory() {
    let t = |how: &str| {
        Test::new(&format!(
            ".shared .align 16 .b8 s[512]; mov.u32 %r1, s; shl.b32 %r2, %me, 4; add.u32 %r1, %r1, %r2; and.b32 %r3, %me, 1; setp.eq.u32 %p1, %r3, 0; shl.b32 %r3, %r3, 3; \n\
             mul.wide.u32 %d1, %me, 16; add.u64 %d1, %out, %d1; {how} cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;\n\
             ld.shared.v4.u32 {{%r4, %r5, %r6, %r7}}, [%r1]; st.global.v4.u32 [%d1], {{%r7, %r6, %r5, %r4}};"
        ))
        .words(128)
        .init(&each(128, |i| i + 1))
        .ok()
    };
    let whole = each(128, |i| (i & !3) + 4 - (i & 3));
    assert_eq!(t("cp.async.cg.shared.global [%r1], [%d1], 16;"), whole);
    assert_eq!(
        t(
            "cp.async.ca.shared::cta.global.L2::128B [%r1], [%d1], 8; cp.async.ca.shared.global [%r1+8], [%d1+8], 4; cp.async.ca.shared.global [%r1+12], [%d1+12], 4;"
        ),
        whole
    );
    // The second thread of two reads 8 bytes, the first none; the rest is zero.
    let part = each(128, |i| {
        if i / 4 % 2 == 1 && i % 4 >= 2 {
            whole[i as usize]
        } else {
            0
        }
    });
    assert_eq!(t("cp.async.cg.shared.global [%r1], [%d1], 16, %r3;"), part);
    let odd = each(128, |i| if i / 4 % 2 == 1 { whole[i as usize] } else { 0 });
    assert_eq!(t("cp.async.ca.shared.global [%r1], [%d1], 16, %p1;"), odd);
}

#[test]
fn a_copy_arrives_when_it_is_waited_for() {
    let t = |wait: &str| {
        Test::new(&format!(
            ".shared .align 16 .b8 s[32]; mov.u32 %r1, s; cp.async.ca.shared.global [%r1], [%out], 4; cp.async.commit_group; cp.async.ca.shared.global [%r1+16], [%out+4], 4; cp.async.commit_group;\n\
             {wait} ld.shared.u32 %r2, [%r1]; ld.shared.u32 %r3, [%r1+16]; add.u32 %r2, %r2, %r3; st.global.u32 [%out+8], %r2;"
        ))
        .block(1)
        .words(3)
        .init(&[3, 4, 0])
    };
    assert_eq!(t("cp.async.wait_all;").ok()[2], 7);
    assert_eq!(t("cp.async.wait_group 0;").ok()[2], 7);
    assert_eq!(t("cp.async.wait_group 1;").kind(), FaultKind::InFlight);
    assert_eq!(t("").kind(), FaultKind::InFlight);
}

#[test]
fn faults_of_memory_name_the_lane() {
    let f = Test::new("setp.eq.u32 %p1, %me, 9; @%p1 ld.global.u32 %r1, [%out+4096];").fault();
    assert_eq!((f.kind, f.thread), (FaultKind::OutOfBounds, [9, 0, 0]));
    assert_eq!(Test::new("ld.global.u32 %r1, [%at+2];").kind(), FaultKind::Misaligned);
    assert_eq!(
        Test::new(".shared .align 4 .b8 s[4]; ld.shared.u32 %r1, [s];").kind(),
        FaultKind::Uninitialised
    );
    assert_eq!(Test::new("st.shared.u32 [%r1], 0;").kind(), FaultKind::OutOfBounds);
}

#[test]
fn some_things_are_looked_at_whatever_the_checks() {
    use crate::engine::Checks;
    for (text, kind) in [
        ("ld.global.u32 %r1, [%out+4096];", FaultKind::OutOfBounds),
        ("ld.global.u32 %r1, [%at+2];", FaultKind::Misaligned),
        (
            "setp.eq.u32 %p1, %me, 0; @%p1 bra E; bar.warp.sync 1; E:",
            FaultKind::WarpSync,
        ),
    ] {
        let mut t = Test::new(text);
        t.options.checks = Checks::NONE;
        assert_eq!(t.kind(), kind, "{text}");
    }
}

#[test]
fn accesses_that_cannot_be_are_refused() {
    for (text, what) in [
        ("st.const.u32 [c], 1;", "reading only"),
        ("st.param.u32 [k_out], 1;", "reading only"),
        ("ld.global.u32 %r1, [%r2];", "32 bits"),
        ("ld.global.v2.u32 {%r1, %r2, %r3}, [%at];", "registers"),
        ("ld.global.v4.u64 {%d1, %d2, %d3, %d4}, [%at];", "16 bytes"),
        ("cp.async.cg.shared.global [%r1], [%at], 12;", "12 bytes"),
        ("cp.async.bulk.commit_group;", "bulk"),
    ] {
        let e = Test::new(text).outside(".const .u32 c;").load_error();
        assert!(e.contains(what), "{text}: {e}");
    }
}
