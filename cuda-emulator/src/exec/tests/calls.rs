use super::*;

const ADD: &str = ".func (.param .b32 ret) plus(.param .b32 x, .param .b64 y)\n{\n.reg .b32 %a<3>; .reg .b64 %b;\n\
    ld.param.b32 %a0, [x]; ld.param.b64 %b, [y]; cvt.u32.u64 %a1, %b; add.u32 %a2, %a0, %a1; st.param.b32 [ret], %a2; ret;\n}\n";

fn call(guard: &str) -> String {
    format!(
        "{{ .param .b32 p0; .param .b64 p1; .param .b32 r0; st.param.b32 [p0], %me; mov.u64 %d1, 100; st.param.b64 [p1], %d1;\n\
         {guard} call.uni (r0), plus, (p0, p1); ld.param.b32 %r1, [r0]; }}"
    )
}

#[test]
fn a_function_with_parameters() {
    let t = Test::new(&format!("{} st.global.u32 [%at], %r1;", call(""))).outside(ADD);
    assert_eq!(t.ok(), each(32, |i| i + 100));
}

#[test]
fn lanes_call_from_different_places() {
    let body = format!(
        "setp.lt.u32 %p1, %me, 7; @%p1 bra A; {} add.u32 %r1, %r1, 1000; bra B; A: {} B: bar.warp.sync -1; st.global.u32 [%at], %r1;",
        call(""),
        call("").replace("100;", "200;")
    );
    let t = Test::new(&body).outside(ADD);
    assert_eq!(t.ok(), each(32, |i| if i < 7 { i + 200 } else { i + 1100 }));
}

#[test]
fn a_structure_by_value() {
    let f = ".func (.param .align 8 .b8 ret[12]) turn(.param .align 8 .b8 s[12])\n{\n.reg .b32 %a<4>; .reg .b16 %h; .reg .b64 %b;\n\
        ld.param.b64 %b, [s]; ld.param.u8 %a0, [s+9]; st.param.b32 [ret], %a0; st.param.b64 [ret+4], %b; ret;\n}\n";
    let t = Test::new(
        "{ .param .align 8 .b8 p[12]; .param .align 8 .b8 r[12]; mov.u64 %d1, 0x500000007; st.param.b64 [p], %d1; mov.u32 %r1, 0xAABBCCDD; st.param.b32 [p+8], %r1;\n\
         call (r), turn, (p); ld.param.b32 %r2, [r]; ld.param.v2.b32 {%r3, %r4}, [r+4]; }\n\
         st.global.u32 [%out], %r2; st.global.u32 [%out+4], %r3; st.global.u32 [%out+8], %r4;",
    );
    assert_eq!(t.block(1).words(3).outside(f).ok(), [0xcc, 7, 5]);
}

/// n! by recursion, with an array on the stack whose address goes down to the next call.
const FACTORIAL: &str = ".func (.param .b32 ret) fact(.param .b32 n, .param .b64 up)\n{\n.local .align 4 .b8 depot[8];\n\
    .reg .b32 %a<5>; .reg .pred %q; .reg .b64 %b<3>;\n\
    ld.param.b32 %a0, [n]; ld.param.b64 %b0, [up]; mov.u64 %b1, depot; st.local.u32 [%b1], %a0; cvta.local.u64 %b2, %b1;\n\
    setp.eq.u64 %q, %b0, 0; @%q bra N; ld.u32 %a4, [%b0]; sub.u32 %a4, %a4, 1; setp.ne.u32 %q, %a4, %a0; @%q trap;\n\
    N: setp.gt.u32 %q, %a0, 1; mov.u32 %a1, 1; @!%q bra E;\n\
    sub.u32 %a2, %a0, 1;\n\
    { .param .b32 p; .param .b64 u; .param .b32 r; st.param.b32 [p], %a2; st.param.b64 [u], %b2; call (r), fact, (p, u); ld.param.b32 %a3, [r]; }\n\
    ld.local.u32 %a0, [%b1]; mul.lo.u32 %a1, %a0, %a3;\n\
    E: st.param.b32 [ret], %a1; ret;\n}\n";

fn factorial(n: &str) -> Test {
    Test::new(&format!(
        "{n} {{ .param .b32 p; .param .b64 u; .param .b32 r; mov.u64 %d1, 0; st.param.b32 [p], %r1; st.param.b64 [u], %d1; call (r), fact, (p, u); ld.param.b32 %r2, [r]; }} st.global.u32 [%at], %r2;"
    ))
    .outside(FACTORIAL)
}

#[test]
fn recursion() {
    let t = factorial("rem.u32 %r1, %me, 12;");
    assert_eq!(t.ok(), each(32, |i| (1..=i % 12).product()));
}

#[test]
fn recursion_without_end() {
    let f = factorial("mov.u32 %r1, 1000000;").fault();
    assert_eq!(f.kind, FaultKind::Undefined);
    assert!(f.message.contains("stack"), "{}", f.message);
}

#[test]
fn two_functions_call_each_other() {
    let f = ".func (.param .b32 r) odd(.param .b32 n);\n\
        .func (.param .b32 r) even(.param .b32 n)\n{\n.reg .b32 %a<3>; .reg .pred %q; ld.param.b32 %a0, [n]; setp.eq.u32 %q, %a0, 0; mov.u32 %a1, 1; @%q bra E;\n\
        sub.u32 %a2, %a0, 1; { .param .b32 p; .param .b32 s; st.param.b32 [p], %a2; call (s), odd, (p); ld.param.b32 %a1, [s]; } E: st.param.b32 [r], %a1; ret;\n}\n\
        .func (.param .b32 r) odd(.param .b32 n)\n{\n.reg .b32 %a<3>; .reg .pred %q; ld.param.b32 %a0, [n]; setp.eq.u32 %q, %a0, 0; mov.u32 %a1, 0; @%q bra E;\n\
        sub.u32 %a2, %a0, 1; { .param .b32 p; .param .b32 s; st.param.b32 [p], %a2; call (s), even, (p); ld.param.b32 %a1, [s]; } E: st.param.b32 [r], %a1; ret;\n}\n";
    let t = Test::new(
        "{ .param .b32 p; .param .b32 s; st.param.b32 [p], %me; call (s), even, (p); ld.param.b32 %r1, [s]; } st.global.u32 [%at], %r1;",
    );
    assert_eq!(t.outside(f).ok(), each(32, |i| (i + 1) % 2));
}

#[test]
fn calls_through_a_register() {
    let f = ".func (.param .b32 r) one(.param .b32 x)\n{\n.reg .b32 %a; ld.param.b32 %a, [x]; add.u32 %a, %a, 1; st.param.b32 [r], %a; ret;\n}\n\
        .func (.param .b32 r) two(.param .b32 x)\n{\n.reg .b32 %a; ld.param.b32 %a, [x]; mul.lo.u32 %a, %a, 2; st.param.b32 [r], %a; ret;\n}\n";
    let body = |second: &str| {
        format!(
            "mov.u64 %d1, one; mov.u64 %d2, {second}; setp.lt.u32 %p1, %me, 9; selp.b64 %d3, %d1, %d2, %p1;\n\
             {{ .param .b32 p; .param .b32 s; st.param.b32 [p], %me;\nproto: .callprototype (.param .b32 _) _ (.param .b32 _);\n\
             call (s), %d3, (p), proto; ld.param.b32 %r1, [s]; }} st.global.u32 [%at], %r1;"
        )
    };
    assert_eq!(
        Test::new(&body("two")).outside(f).ok(),
        each(32, |i| if i < 9 { i + 1 } else { 2 * i })
    );
    assert_eq!(Test::new(&body("12345")).outside(f).kind(), FaultKind::Undefined);
}

#[test]
fn parameters_of_other_sizes_are_refused() {
    let t = Test::new("{ .param .b64 p; .param .b32 s; st.param.b64 [p], %d1; call (s), f, (p); }");
    let t = t.outside(".func (.param .b32 r) f(.param .b32 x)\n{\nret;\n}\n");
    assert!(t.load_error().contains("sizes"));
}

#[test]
fn printf_in_order_of_blocks() {
    let text = |s: &str| s.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(", ");
    let outside = format!(
        ".extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a);\n.global .align 1 .b8 fmt[15] = {{{}, 0}};\n",
        text("%d %s %5.2f\\n|").replace("92, 110", "10")
    );
    let t = Test::new(
        ".local .align 8 .b8 depot[24]; setp.ne.u32 %p1, %n, 3; @%p1 bra E;\n\
         mov.u32 %r1, %ctaid.x; st.local.u32 [depot], %r1; mov.u64 %d1, fmt; cvta.global.u64 %d1, %d1; add.u64 %d2, %d1, 2; st.local.u64 [depot+8], %d2; mov.f64 %d3, 0d3FF8000000000000; st.local.f64 [depot+16], %d3;\n\
         mov.u64 %d4, depot; cvta.local.u64 %d4, %d4; { .param .b64 p0; .param .b64 p1; .param .b32 r0; st.param.b64 [p0], %d1; st.param.b64 [p1], %d4; call.uni (r0), vprintf, (p0, p1); ld.param.b32 %r2, [r0]; } st.global.u32 [%at], %r2;\nE:",
    );
    let t = t.outside(&outside).grid(2).seed(3);
    let ran = t.run();
    ran.result.unwrap();
    let tail = " %s %5.2f\n|";
    assert_eq!(ran.text, format!("0 {tail}  1.50\n|1 {tail}  1.50\n|"));
    assert_eq!(ran.words[3], 3);
}

#[test]
fn assertions() {
    let t = Test::new(
        "setp.ne.u32 %p1, %me, 5; @%p1 bra E; mov.u64 %d1, what; cvta.global.u64 %d1, %d1; mov.u64 %d2, 1; mov.u32 %r1, 77;\n\
         { .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e; st.param.b64 [a], %d1; st.param.b64 [b], %d1; st.param.b32 [c], %r1; st.param.b64 [d], %d1; st.param.b64 [e], %d2;\n\
         call.uni __assertfail, (a, b, c, d, e); }\nE:",
    );
    let t = t.outside(
        ".extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n.global .align 1 .b8 what[4] = {120, 62, 48, 0};\n",
    );
    let f = t.fault();
    assert_eq!((f.kind, f.thread), (FaultKind::Assert, [5, 0, 0]));
    assert_eq!(f.message, "x>0:77: x>0: assertion `x>0` failed");
}

#[test]
fn parameters_of_calls_are_used_within_their_bounds() {
    for text in [
        "st.param.b32 [p+8], %me;",
        "st.param.b32 [p+-4], %me;",
        "st.param.b64 [p+4], %d1;",
        "st.param.v2.b32 [p+4], {%r1, %r2};",
        "ld.param.b32 %r1, [q+4];",
        "st.param.b32 [p+2], %me;",
        "st.param.b16 [p+1], %h1;",
    ] {
        let body = format!("{{ .param .align 8 .b8 p[8]; .param .b32 q; {text} call (q), f, (p); }}");
        let f = ".func (.param .b32 r) f(.param .align 8 .b8 s[8]) { ret; }";
        let e = Test::new(&body).outside(f).load_error();
        assert!(e.contains("of the parameter"), "{text}: {e}");
    }
    let f = ".func f(.param .b32 s) { .reg .b64 %b; .reg .b32 %a; mov.u64 %b, 0; ld.param.b32 %a, [%b]; ret; }";
    let e = Test::new("{ .param .b32 p; call f, (p); }").outside(f).load_error();
    assert!(e.contains("other than its name"), "{e}");
}
