use super::*;

const HEAD: &str = ".version 9.0\n.target sm_80, debug\n.address_size 64\n";

fn body(text: &str) -> Function {
    let source = format!("{HEAD}.visible .entry k(.param .u64 k_param_0)\n{{\n{text}\n}}\n");
    parse(&source).unwrap().functions.remove(0)
}

#[test]
fn version_target_and_files() {
    let m = parse(&format!(
        "{HEAD}.file 1 \"a.cu\", 5, 6\n.section .debug_str {{ .b8 1 {{ }} }}"
    ))
    .unwrap();
    assert_eq!(m.version, (9, 0));
    assert_eq!(m.target, "sm_80");
    assert_eq!(m.files[&1], "a.cu");
}

#[test]
fn initialisers() {
    let m = parse(&format!(
        "{HEAD}.const .align 4 .f32 c[3] = {{0f3F800000, 2.0}};\n.global .align 8 .u64 p[2] = {{generic(c)+4, -1}};\n\
         .extern .shared .align 16 .b8 dyn[];\n.global .b8 grid[2][3] = {{{{1,2,3}},{{4}}}};"
    ))
    .unwrap();
    let bits = |v: u64| Initial::Bits(v);
    assert_eq!(m.variables[0].init, [bits(0x3f800000), bits(0x40000000)]);
    assert_eq!(m.variables[0].size, 12);
    assert_eq!(
        m.variables[1].init[0],
        Initial::Address {
            symbol: "c".into(),
            offset: 4,
            generic: true
        }
    );
    assert_eq!(m.variables[1].init[1], bits(u64::MAX));
    assert!(m.variables[2].external && m.variables[2].size == 0);
    assert_eq!(m.variables[3].size, 6);
}

#[test]
fn initialisers_of_negative_numbers_and_of_arrays_of_arrays() {
    // As NVIDIA's assembler lays them out.
    let m = parse(&format!(
        "{HEAD}.global .f32 a = -1.5;\n.global .f64 b = -1.5;\n.global .b8 c[2][3] = {{{{1}}, {{4,5,6}}}};\n\
         .global .v4 .f32 d[2] = {{{{1.0}}, {{2.0}}}};\n.global .b8 e[][3] = {{{{1}},{{4,5}}}};"
    ))
    .unwrap();
    let init = |n: usize, values: &[u64]| {
        let values: Vec<Initial> = values.iter().map(|v| Initial::Bits(*v)).collect();
        assert_eq!(m.variables[n].init, values, "{}", m.variables[n].name);
    };
    init(0, &[0xbfc0_0000]);
    init(1, &[0xbff8_0000_0000_0000]);
    init(2, &[1, 0, 0, 4, 5, 6]);
    init(3, &[0x3f80_0000, 0, 0, 0, 0x4000_0000]);
    init(4, &[1, 0, 0, 4, 5, 0]);
    assert_eq!((m.variables[3].size, m.variables[4].size), (32, 6));
}

#[test]
fn declarations_that_cannot_be_are_refused() {
    for (text, what) in [
        (".global .f32 x = 1;", "a whole number"),
        (".global .u32 x = 1.5;", "a fraction"),
        (".global .f16 x = 1.0;", "a fraction"),
        (".global .b32 x = y;", "an address"),
        (".global .b32 x = {1};", "'{'"),
        (".global .b8 g[2][3] = {1,2,3,4,5,6};", "'{'"),
        (".global .b8 g[2][3] = {{1,2,3,4},{5}};", "more initial values"),
        (".global .b8 g[2] = {1,2,3};", "more initial values"),
        (".global .b8 g[2][];", "inner dimension"),
        (".global .align 3 .b8 g[4];", "alignment 3"),
        (".global .align 9223372036854775808 .b8 g[4];", "alignment"),
        (".global .b8 g[18446744073709551615][3];", "bytes"),
        (".global .b64 g[9223372036854775807];", "bytes"),
        (".global .b8 g[2][134217728] = {{1},{2}};", "too large"),
        (".func f(.param .b8 p[9223372036854775807]) { ret; }", "bytes"),
        (".entry k() .maxntid 4294967296 { ret; }", "the number 4294967296"),
        (".entry k() { .reg .b32 %r<4294967297>; ret; }", "the number 4294967297"),
        (".entry k() { .reg .b32 %r<4294967295>; ret; }", "registers"),
        (".global .f32 x = 0f1;", "the number 0f1"),
    ] {
        let e = parse(&format!("{HEAD}{text}")).unwrap_err();
        assert!(e.line == 4 && e.message.contains(what), "{text}: {e:?}");
    }
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let many = |s: &str| s.repeat(1_000_000);
    for text in [
        format!("mov.b32 x, {};", many("{")),
        format!("mov.b32 x, {};", many("(")),
        format!("ld.b32 x, {};", many("[")),
        format!("mov.b32 x, {};", many("1|")),
        many("{"),
    ] {
        let e = parse(&format!("{HEAD}.entry k() {{ {text}")).unwrap_err();
        assert!(e.message.contains("one in another"), "{}", e.message);
    }
    let e = parse(&format!("{HEAD}.global .b8 x[2] = {}", many("{"))).unwrap_err();
    assert!(e.message.contains("initial value"), "{}", e.message);
}

#[test]
fn numbers() {
    let f = body(
        ".reg .b32 %r<2>; mov.u32 %r1, 0x1F; mov.u32 %r1, 017; mov.u32 %r1, 0b101; mov.u32 %r1, -3; mov.f32 %r1, 0fBF800000;",
    );
    let values: Vec<_> = f.body.iter().map(|i| i.operands[1].clone()).collect();
    let expected = [
        Operand::Int(31),
        Operand::Int(15),
        Operand::Int(5),
        Operand::Int(3u64.wrapping_neg()),
        Operand::F32(0xbf800000),
    ];
    assert_eq!(values, expected);
}

#[test]
fn operands_of_every_form() {
    let f = body(
        ".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<3>;\n\
         @!%p1 shfl.sync.bfly.b32 %r1|%p2, %r2, 1, 31, -1;\n\
         ld.global.nc.L2::128B.v2.u32 {%r1, _}, [%rd1+-8];\n\
         mov.u32 %r1, %tid.x; mov.u64 %rd1, sym+12; st.shared.u32 [sym+4], %r1; call.uni (r), f, (a, b); selp.b32 %r1, %r2, 3, !%p1;",
    );
    assert_eq!(f.body[0].guard, Some((1, true)));
    assert!(matches!(&f.body[0].operands[0], Operand::Pair(..)));
    assert_eq!(f.body[1].op, ["ld", "global", "nc", "L2::128B", "v2", "u32"]);
    assert!(matches!(&f.body[1].operands[1], Operand::Address(_, -8)));
    assert_eq!(f.body[2].operands[1], Operand::Special("%tid.x".into()));
    assert_eq!(f.body[3].operands[1], Operand::Symbol("sym".into(), 12));
    assert_eq!(
        f.body[4].operands[0],
        Operand::Address(Box::new(Operand::Symbol("sym".into(), 0)), 4)
    );
    assert!(matches!(&f.body[5].operands[2], Operand::List(l) if l.len() == 2));
    assert!(matches!(f.body[6].operands[3], Operand::Not(_)));
}

#[test]
fn labels_of_inner_scopes_hide_outer_ones() {
    let f = body("L: bra L; { bra L; L: bra L; } { .reg .b32 x; mov.b32 x, 1; L: bra L; }");
    let targets: Vec<_> = f.body.iter().filter_map(|i| i.target).collect();
    assert_eq!(targets, [0, 2, 2, 4]);
}

#[test]
fn branch_targets() {
    let f = body(".reg .b32 %r<2>;\nts: .branchtargets A, B;\nbrx.idx %r1, ts;\nA: ret;\nB: ret;");
    assert_eq!(f.branch_targets["ts"], [1, 2]);
}

#[test]
fn lines_of_source() {
    let f = body(".loc 1 7 3\nret;\n.loc 2 9 1, function_name $L__info0, inlined_at 1 8 5\nret;\n.loc 1 0 3\nret;");
    assert_eq!(
        f.body[0].source,
        Source {
            file: 1,
            line: 7,
            inlined_at: (0, 0)
        }
    );
    assert_eq!(
        f.body[1].source,
        Source {
            file: 2,
            line: 9,
            inlined_at: (1, 8)
        }
    );
    assert_eq!(f.body[2].source, f.body[1].source);
    assert_eq!(f.body[0].line, 7);
}

#[test]
fn what_cannot_be_read_names_its_line() {
    let e = parse(&format!("{HEAD}.entry k()\n{{\nbra NOWHERE;\n}}")).unwrap_err();
    assert_eq!((e.line, e.message.as_str()), (6, "no label NOWHERE"));
    let e = parse(&format!("{HEAD}.tex .u64 t;")).unwrap_err();
    assert_eq!((e.line, e.message.as_str()), (4, "the directive .tex"));
}
