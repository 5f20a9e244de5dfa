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
