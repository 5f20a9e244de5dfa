use super::*;

/// One thread applies an operation to the first 64 bits; the old value goes to the next.
fn one(op: &str, old: u64, b: u64, c: u64) -> (u64, u64) {
    let wide = op.contains("64");
    let short = op.ends_with("16");
    let bank = match (wide, short) {
        (true, _) => "d",
        (_, true) => "h",
        _ => "r",
    };
    let register = |n: u32| format!("%{bank}{n}");
    let cas = if op.starts_with("cas") {
        format!(", {}", register(3))
    } else {
        String::new()
    };
    let ty = match (wide, short) {
        (true, _) => "b64",
        (_, true) => "b16",
        _ => "b32",
    };
    let t = Test::new(&format!(
        "mov.b64 %d2, {b}; mov.b64 %d3, {c}; mov.b64 {{%r2, _}}, %d2; mov.b64 {{%r3, _}}, %d3; mov.b32 {{%h2, _}}, %r2; mov.b32 {{%h3, _}}, %r3; atom.global.{op} {}, [%out], {}{cas}; st.global.{ty} [%out+8], {};",
        register(1),
        register(2),
        register(1)
    ));
    let w = t.block(1).words(4).init(&[old as u32, (old >> 32) as u32, 0, 0]).ok();
    (
        u64::from(w[0]) | u64::from(w[1]) << 32,
        u64::from(w[2]) | u64::from(w[3]) << 32,
    )
}

#[test]
fn integers() {
    let minus = |x: u32| u64::from(x.wrapping_neg());
    for (op, old, b, new) in [
        ("add.u32", 0xffff_ffff, 2, 1),
        ("add.s32", 5, minus(7), minus(2)),
        ("min.u32", 5, minus(1), 5),
        ("min.s32", 5, minus(1), minus(1)),
        ("max.u32", 5, minus(1), minus(1)),
        ("max.s32", 5, minus(1), 5),
        ("and.b32", 0b1100, 0b1010, 0b1000),
        ("or.b32", 0b1100, 0b1010, 0b1110),
        ("xor.b32", 0b1100, 0b1010, 0b0110),
        ("exch.b32", 3, 9, 9),
        ("inc.u32", 3, 9, 4),
        ("inc.u32", 9, 9, 0),
        ("dec.u32", 3, 9, 2),
        ("dec.u32", 0, 9, 9),
        ("dec.u32", 10, 9, 9),
        ("add.u64", u64::MAX, 2, 1),
        ("min.s64", 5, u64::MAX, u64::MAX),
        ("min.u64", 5, u64::MAX, 5),
        ("max.s64", 5, u64::MAX, 5),
        ("max.u64", 5, u64::MAX, u64::MAX),
        ("and.b64", 12, 10, 8),
        ("or.b64", 12, 10, 14),
        ("xor.b64", 12, 10, 6),
        ("exch.b64", 3, 1 << 40, 1 << 40),
    ] {
        assert_eq!(one(op, old, b, 0), (new, old), "{op} {old} {b}");
    }
    for (op, old, b, c, new) in [
        ("cas.b32", 3, 3, 8, 8),
        ("cas.b32", 3, 4, 8, 3),
        ("cas.b64", 1 << 40, 1 << 40, 8, 8),
        ("cas.b16", 7, 7, 9, 9),
    ] {
        assert_eq!(one(op, old, b, c), (new, old), "{op}");
    }
}

#[test]
fn floats() {
    let f = |x: f32| u64::from(x.to_bits());
    assert_eq!(one("add.f32", f(1.5), f(2.25), 0).0, f(3.75));
    assert_eq!(
        one("add.f64", 1.5f64.to_bits(), 2.25f64.to_bits(), 0).0,
        3.75f64.to_bits()
    );
    // "atom.add.f32 on global memory flushes subnormal inputs and results to sign-preserving zero."
    assert_eq!(one("add.f32", 1, 1, 0).0, 0);
    // 1 + 2 and 2 + 3 in f16 and bf16.
    assert_eq!(one("add.noftz.f16x2", 0x4000_3c00, 0x4200_4000, 0).0, 0x4500_4200);
    assert_eq!(one("add.noftz.f16", 0x3c00, 0x4000, 0).0, 0x4200);
    assert_eq!(one("add.noftz.bf16x2", 0x4000_3f80, 0x4040_4000, 0).0, 0x40a0_4040);
    assert_eq!(one("add.noftz.bf16", 0x3f80, 0x4000, 0).0, 0x4040);
}

#[test]
fn lanes_at_one_address_come_one_after_another() {
    let t = Test::new(
        "atom.global.add.u32 %r1, [%out], 1; add.u32 %r2, %r1, 1; mul.wide.u32 %d1, %r2, 4; add.u64 %d1, %out, %d1; st.global.u32 [%d1], 1;",
    );
    let mut expected = each(33, |_| 1);
    expected[0] = 32;
    assert_eq!(t.words(33).ok(), expected);
}

#[test]
fn reductions_and_shared_memory() {
    let t = Test::new(
        ".shared .align 8 .b8 s[16]; st.shared.u64 [s], 0; st.shared.u64 [s+8], 0; bar.sync 0; red.shared.add.u32 [s], %me; atom.shared.max.s32 %r1, [s+4], %me; mov.u64 %d1, s; cvta.shared.u64 %d1, %d1; red.add.f32 [%d1+8], 0f00000001;\n\
         red.relaxed.gpu.global.or.b32 [%out+12], 4; bar.sync 0; ld.shared.v2.u32 {%r2, %r3}, [s]; ld.shared.u32 %r4, [s+8]; st.global.v2.u32 [%out], {%r2, %r3}; st.global.u32 [%out+8], %r4;",
    );
    // On shared memory subnormals are numbers like others.
    assert_eq!(t.words(4).ok(), [31 * 16, 31, 32, 4]);
}

#[test]
fn vectors_and_128_bits() {
    let t = Test::new(
        "mov.f32 %r1, 0f3F800000; red.global.v2.f32.add [%out], {%r1, %r1}; atom.global.v2.f32.add {%r2, %r3}, [%out], {%r1, %r1}; st.global.u32 [%out+8], %r2;",
    );
    assert_eq!(
        t.block(1).words(4).ok(),
        [2.0f32.to_bits(), 2.0f32.to_bits(), 1.0f32.to_bits(), 0]
    );
    let t = Test::new(
        ".reg .b128 %q<4>; mov.b64 %d1, 1; mov.b64 %d2, 2; mov.b128 %q0, {%d1, %d2}; mov.b128 %q1, {%d2, %d1}; atom.global.cas.b128 %q2, [%out], %q0, %q1; atom.global.exch.b128 %q3, [%out+16], %q2;",
    );
    assert_eq!(t.block(1).words(8).init(&[1, 0, 2, 0]).ok(), [2, 0, 1, 0, 1, 0, 2, 0]);
}

#[test]
fn what_the_table_does_not_have_is_refused() {
    for op in ["min.f32", "exch.u16", "inc.u64", "and.u16"] {
        let e = Test::new(&format!("atom.global.{op} %r1, [%out], %r2;")).load_error();
        assert!(e.contains("atom.global"), "{op}: {e}");
    }
}
