//! mma, ldmatrix, stmatrix, movmatrix. Matrices of small integers are put into registers by the formulas of the ISA, written out here
//! again, and the result is compared with three loops.

use super::harness::{Column, column, run};

/// How numbers of a type are written.
fn encode(ty: &str, value: i64) -> u64 {
    match ty {
        "f16" => half(value as f32),
        "bf16" => u64::from((value as f32).to_bits() >> 16),
        "tf32" | "f32" => u64::from((value as f32).to_bits()),
        "f64" => (value as f64).to_bits(),
        "s8" | "u8" => value as u8 as u64,
        _ => value as u32 as u64,
    }
}

/// f16 of an integer that it holds exactly.
fn half(value: f32) -> u64 {
    let bits = value.to_bits();
    let sign = u64::from(bits >> 16 & 0x8000);
    if value == 0.0 {
        sign
    } else {
        sign | u64::from((bits & 0x7fff_ffff) - (112 << 23)) >> 13
    }
}

fn bits(ty: &str) -> usize {
    match ty {
        "s8" | "u8" => 8,
        "f16" | "bf16" => 16,
        "f64" => 64,
        _ => 32,
    }
}

/// Row and column of element i of a lane, from the ISA's text for each shape and type.
fn place(which: char, shape: &str, ty: &str, lane: usize, i: usize) -> (usize, usize) {
    let (group, t) = (lane >> 2, lane % 4);
    let upper = |first: bool| if first { group } else { group + 8 };
    match (which, shape, bits(ty)) {
        ('a', "m16n8k16", 16) => (
            upper(i < 2 || (4..6).contains(&i)),
            if i < 4 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 },
        ),
        ('b', "m16n8k16", 16) => (if i < 2 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 }, group),
        ('a', "m16n8k8", 16) => (upper(i < 2), t * 2 + (i & 1)),
        ('b', "m16n8k8", 16) => (t * 2 + i, group),
        ('a', "m16n8k8", 32 | 64) => (upper(i == 0 || i == 2), if i < 2 { t } else { t + 4 }),
        ('b', "m16n8k8", 32 | 64) => (if i == 0 { t } else { t + 4 }, group),
        ('a', "m16n8k4", _) => (upper(i == 0), t),
        ('b', "m16n8k4" | "m8n8k4", _) => (t, group),
        ('a', "m8n8k4", 64) => (group, t),
        ('a', "m16n8k16", 64) => (upper(i.is_multiple_of(2)), i / 2 * 4 + t),
        ('b', "m16n8k16", 64) => (t + i * 4, group),
        ('a', "m8n8k16", 8) => (group, t * 4 + i),
        ('b', "m8n8k16" | "m16n8k16", 8) => (t * 4 + i, group),
        ('a', "m16n8k16", 8) => (upper(i < 4), t * 4 + (i & 3)),
        ('a', "m16n8k32", 8) => (
            upper(i < 4 || (8..12).contains(&i)),
            if i < 8 { t * 4 + (i & 3) } else { t * 4 + (i & 3) + 16 },
        ),
        ('b', "m16n8k32", 8) => (if i < 4 { t * 4 + (i & 3) } else { t * 4 + (i & 3) + 16 }, group),
        ('c', "m8n8k4" | "m8n8k16", _) => (group, t * 2 + (i & 1)),
        ('c', _, _) => (upper(i < 2), t * 2 + (i & 1)),
        other => panic!("{other:?}"),
    }
}

/// Columns of registers that hold a matrix.
fn spread(which: char, shape: &str, ty: &str, count: usize, value: impl Fn(usize, usize) -> i64) -> Vec<Column> {
    let per = (32 / bits(ty)).max(1);
    let mut registers = vec![[0; 32]; count / per];
    for lane in 0..32 {
        for i in 0..count {
            let (row, column) = place(which, shape, ty, lane, i);
            let register: &mut Column = &mut registers[i / per];
            register[lane] |= encode(ty, value(row, column)) << (bits(ty) * (i % per));
        }
    }
    registers
}

fn list(first: usize, count: usize, wide: bool) -> String {
    let names: Vec<String> = (first..first + count)
        .map(|i| format!("%{}{i}", if wide { "fd" } else { "r" }))
        .collect();
    format!("{{{}}}", names.join(", "))
}

#[test]
fn products() {
    // Shape, types of D, A, B, C.
    let rows = [
        ("m16n8k16", "f32", "bf16", "bf16", "f32"),
        ("m16n8k8", "f32", "bf16", "bf16", "f32"),
        ("m16n8k16", "f32", "f16", "f16", "f32"),
        ("m16n8k8", "f32", "f16", "f16", "f32"),
        ("m16n8k16", "f16", "f16", "f16", "f16"),
        ("m16n8k8", "f16", "f16", "f16", "f16"),
        ("m16n8k8", "f32", "tf32", "tf32", "f32"),
        ("m16n8k4", "f32", "tf32", "tf32", "f32"),
        ("m8n8k4", "f64", "f64", "f64", "f64"),
        ("m16n8k4", "f64", "f64", "f64", "f64"),
        ("m16n8k8", "f64", "f64", "f64", "f64"),
        ("m16n8k32", "s32", "s8", "s8", "s32"),
        ("m16n8k32", "s32", "u8", "s8", "s32"),
        ("m16n8k16", "s32", "s8", "u8", "s32"),
        ("m16n8k16", "s32", "u8", "u8", "s32"),
        ("m8n8k16", "s32", "s8", "s8", "s32"),
        ("m16n8k32", "satfinite.s32", "s8", "s8", "s32"),
    ];
    for (shape, d_modified, a_type, b_type, c_type) in rows {
        let (m, rest) = shape[1..].split_once('n').unwrap();
        let (n, k) = rest.split_once('k').unwrap();
        let [m, n, k] = [m, n, k].map(|x| x.parse::<usize>().unwrap());
        let d_type = d_modified.trim_start_matches("satfinite.");
        let shift = |ty: &str| if ty == "u8" { 0 } else { 3 };
        let value_a = |i: usize, l: usize| (i * 3 + l * 5) as i64 % 7 - shift(a_type);
        let value_b = |l: usize, j: usize| (l * 2 + j * 3) as i64 % 5 - shift(b_type);
        let value_c = |i: usize, j: usize| (i + 2 * j) as i64 % 9;
        let a = spread('a', shape, a_type, m * k / 32, value_a);
        let b = spread('b', shape, b_type, k * n / 32, value_b);
        let c = spread('c', shape, c_type, m * n / 32, value_c);
        let sum = |i, j| value_c(i, j) + (0..k).map(|l| value_a(i, l) * value_b(l, j)).sum::<i64>();
        let want = spread('c', shape, d_type, m * n / 32, sum);
        let wide = a_type == "f64";
        let opcode = format!("mma.sync.aligned.{shape}.row.col.{d_modified}.{a_type}.{b_type}.{c_type}");
        let mut body = String::new();
        let inputs: Vec<Column> = a.iter().chain(&b).chain(&c).copied().collect();
        for i in 0..inputs.len() {
            body += &if wide {
                format!("mov.b64 %fd{i}, %in{i};\n")
            } else {
                format!("cvt.u32.u64 %r{i}, %in{i};\n")
            };
        }
        // D in registers of its own, then once more over C.
        let (na, nb, nc) = (a.len(), b.len(), c.len());
        let from = list(0, na, wide) + ", " + &list(na, nb, wide) + ", " + &list(na + nb, nc, wide);
        for to in [na + nb + nc, na + nb] {
            if wide && to + want.len() > 16 {
                continue;
            }
            let mut body = body.clone() + &format!("{opcode} {}, {from};\n", list(to, want.len(), wide));
            for i in 0..want.len() {
                body += &if wide {
                    format!("mov.b64 %out{i}, %fd{};\n", to + i)
                } else {
                    format!("cvt.u64.u32 %out{i}, %r{};\n", to + i)
                };
            }
            assert_eq!(run(&opcode, &body, &inputs, want.len()), want, "{opcode}");
        }
    }
}

/// Fills shared memory with halves 0, 1, 2 …, 64 a lane: row r (of 16 bytes) starts with 8 r.
const FILL: &str = "mov.u32 %r40, tile;\nshl.b32 %r41, %lane, 6;\nadd.u32 %r42, %r40, %r41;\nshl.b32 %r43, %lane, 5;\n\
    shl.b32 %r44, %r43, 16;\nor.b32 %r43, %r43, %r44;\nadd.u32 %r43, %r43, 0x10000;\nmov.u32 %r45, 0;\nfill:\n\
    st.shared.u32 [%r42], %r43;\nadd.u32 %r42, %r42, 4;\nadd.u32 %r43, %r43, 0x20002;\nadd.u32 %r45, %r45, 1;\n\
    setp.lt.u32 %p15, %r45, 16;\n@%p15 bra fill;\nbar.sync 0;\n";

fn load(count: usize, order: &str, space: &str) -> Vec<Column> {
    // Lane l gives row 3 l modulo 32: a permutation, so that addresses count.
    let mut body = FILL.to_string();
    body += "mul.lo.u32 %r46, %lane, 48;\nand.b32 %r46, %r46, 511;\nadd.u32 %r46, %r40, %r46;\n";
    let registers = list(0, count, false);
    body += &format!("ldmatrix.sync.aligned.m8n8.x{count}{order}{space}.b16 {registers}, [%r46];\n");
    for i in 0..count {
        body += &format!("cvt.u64.u32 %out{i}, %r{i};\n");
    }
    run(&format!("ldmatrix.x{count}{order}{space}"), &body, &[], count)
}

#[test]
fn matrices_are_loaded() {
    // Element (row, column) of matrix q: the row's address is lane 8 q + row's.
    let element = |q: usize, row: usize, column: usize| ((8 * q + row) * 3 % 32 * 8 + column) as u64;
    for count in [1, 2, 4] {
        for space in [".shared", ".shared::cta"] {
            let straight: Vec<Column> = (0..count)
                .map(|q| {
                    column(|lane| {
                        let (row, c) = (lane as usize / 4, lane as usize % 4 * 2);
                        element(q, row, c) | element(q, row, c + 1) << 16
                    })
                })
                .collect();
            assert_eq!(load(count, "", space), straight, "x{count}");
            let transposed: Vec<Column> = (0..count)
                .map(|q| {
                    column(|lane| {
                        let (c, row) = (lane as usize / 4, lane as usize % 4 * 2);
                        element(q, row, c) | element(q, row + 1, c) << 16
                    })
                })
                .collect();
            assert_eq!(load(count, ".trans", space), transposed, "x{count}.trans");
        }
    }
}

#[test]
fn matrices_are_stored() {
    for (order, first) in [("", 0), (".trans", 1)] {
        for count in [1, 2, 4] {
            // Register q of the lane: halves 1000 q + 2 lane and the next. Row addresses: lane l gives row l.
            let mut body = "mov.u32 %r40, tile;\nshl.b32 %r41, %lane, 4;\nadd.u32 %r41, %r40, %r41;\n".to_string();
            for q in 0..count {
                body += &format!("cvt.u32.u64 %r{q}, %in{q};\n");
            }
            let registers = list(0, count, false);
            body += &format!(
                "stmatrix.sync.aligned.m8n8.x{count}{order}.shared.b16 [%r41], {registers};\nbar.warp.sync 0xffffffff;\n"
            );
            // Lane l reads back word l of each matrix.
            body += "shl.b32 %r42, %lane, 2;\nadd.u32 %r42, %r40, %r42;\n";
            for q in 0..count {
                body += &format!("ld.shared.u32 %r10, [%r42+{}];\ncvt.u64.u32 %out{q}, %r10;\n", 128 * q);
            }
            let half = |q: usize, i: u64| 1000 * q as u64 + i;
            let inputs: Vec<Column> = (0..count)
                .map(|q| column(|lane| half(q, 2 * lane) | half(q, 2 * lane + 1) << 16))
                .collect();
            let got = run(&format!("stmatrix.x{count}{order}"), &body, &inputs, count);
            for (q, got) in got.iter().enumerate() {
                // Straight, memory has the halves in order. Transposed, element (row, column) is half 8 column + row.
                let want = column(|lane| {
                    let (row, c) = (lane / 4, lane % 4 * 2);
                    let at = |c: u64| {
                        if first == 0 {
                            half(q, 8 * row + c)
                        } else {
                            half(q, 8 * c + row)
                        }
                    };
                    at(c) | at(c + 1) << 16
                });
                assert_eq!(*got, want, "x{count}{order}");
            }
        }
    }
}

#[test]
fn a_matrix_is_transposed_in_registers() {
    let body = "cvt.u32.u64 %r0, %in0;\nmovmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0;\ncvt.u64.u32 %out0, %r1;\n";
    let input = column(|lane| (2 * lane) | ((2 * lane + 1) << 16));
    let want = column(|lane| {
        let (c, row) = (lane / 4, lane % 4 * 2);
        (8 * row + c) | (8 * (row + 1) + c) << 16
    });
    assert_eq!(run("movmatrix", body, &[input], 1)[0], want);
}
