use super::super::wmma::{Layout, Transfer};
use super::super::{Element, Matrix, Shape};
use super::{Tensor, op};
use crate::arith::half::{to_bf16, to_f16};
use crate::arith::{Lanes, Wide};

fn transfer(opcode: &str) -> Transfer {
    match op(opcode) {
        Tensor::WmmaLoad(transfer) | Tensor::WmmaStore(transfer) => transfer,
        other => panic!("{opcode}: {other:?}"),
    }
}

/// Loads from a memory of one cell an element, as the engine would.
fn load(transfer: Transfer, memory: &[u64], stride: u32) -> Vec<Wide> {
    let bytes = transfer.element.bytes();
    let (pieces, width) = transfer.pieces();
    (0..transfer.registers())
        .map(|register| {
            let mut value = [0; 32];
            for piece in 0..pieces {
                let offsets = transfer.offsets(register % transfer.loads(), piece, stride);
                for lane in 0..32 {
                    for i in 0..width / bytes {
                        let element = memory[offsets[lane] as usize / bytes + i];
                        value[lane] |= element << (8 * (piece * width + i * bytes));
                    }
                }
            }
            value
        })
        .collect()
}

fn store(transfer: Transfer, memory: &mut [u64], registers: &[Wide], stride: u32) {
    let bytes = transfer.element.bytes();
    let (pieces, width) = transfer.pieces();
    for (register, value) in registers.iter().enumerate().take(transfer.loads()) {
        for piece in 0..pieces {
            let offsets = transfer.offsets(register, piece, stride);
            for lane in 0..32 {
                for i in 0..width / bytes {
                    let bits = value[lane] >> (8 * (piece * width + i * bytes));
                    memory[offsets[lane] as usize / bytes + i] = bits & (u64::MAX >> (64 - 8 * bytes));
                }
            }
        }
    }
}

fn encode(element: Element, value: i64) -> u64 {
    match element {
        Element::F16 => to_f16(value as f32) as u64,
        Element::Bf16 => to_bf16(value as f32) as u64,
        Element::Tf32 | Element::F32 => (value as f32).to_bits() as u64,
        Element::F64 => (value as f64).to_bits(),
        Element::S8 | Element::U8 => value as u8 as u64,
        Element::S32 => value as u32 as u64,
    }
}

/// Every shape, type and layout: a product of small integers through load, multiply and store against the loops.
#[test]
fn products_through_memory() {
    let rows = [
        ("m16n16k16", "bf16", "f32", "f32"),
        ("m32n8k16", "bf16", "f32", "f32"),
        ("m8n32k16", "bf16", "f32", "f32"),
        ("m16n16k16", "f16", "f32", "f32"),
        ("m32n8k16", "f16", "f32", "f32"),
        ("m8n32k16", "f16", "f32", "f32"),
        ("m16n16k16", "f16", "f16", "f16"),
        ("m32n8k16", "f16", "f16", "f16"),
        ("m8n32k16", "f16", "f16", "f16"),
        ("m16n16k16", "f16", "f16", "f32"),
        ("m16n16k16", "f16", "f32", "f16"),
        ("m16n16k8", "tf32", "f32", "f32"),
        ("m8n8k4", "f64", "f64", "f64"),
        ("m16n16k16", "s8", "s32", "s32"),
        ("m32n8k16", "s8", "s32", "s32"),
        ("m8n32k16", "s8", "s32", "s32"),
        ("m16n16k16", "u8", "s32", "s32"),
    ];
    for (shape, input, d_type, c_type) in rows {
        let Shape { m, n, k } = Shape::parse(shape).unwrap();
        for (a_layout, b_layout, c_layout) in [
            ("row", "col", "row"),
            ("row", "row", "row"),
            ("col", "col", "col"),
            ("col", "row", "col"),
        ] {
            let multiply = if input == "f16" {
                format!("wmma.mma.sync.aligned.{a_layout}.{b_layout}.{shape}.{d_type}.{c_type}")
            } else {
                format!("wmma.mma.sync.aligned.{a_layout}.{b_layout}.{shape}.{d_type}.{input}.{input}.{c_type}")
            };
            let Tensor::WmmaMultiply(multiply) = op(&multiply) else {
                panic!("{multiply}")
            };
            let matrix = |which: &str, layout: &str, element: &str| {
                transfer(&format!(
                    "wmma.load.{which}.sync.aligned.{layout}.{shape}.global.{element}"
                ))
            };
            let (a, b, c) = (
                matrix("a", a_layout, input),
                matrix("b", b_layout, input),
                matrix("c", c_layout, c_type),
            );
            let value_a = |i: usize, l: usize| (i * 3 + l * 5) as i64 % 7 - if input == "u8" { 0 } else { 3 };
            let value_b = |l: usize, j: usize| (l * 2 + j * 3) as i64 % 5 - if input == "u8" { 0 } else { 2 };
            let value_c = |i: usize, j: usize| (i + 2 * j) as i64 % 9;
            // A stride larger than the matrix.
            let stride = 40;
            let fill = |t: Transfer, rows: usize, columns: usize, f: &dyn Fn(usize, usize) -> i64| {
                let mut memory = vec![0; 40 * 40];
                for i in 0..rows {
                    for j in 0..columns {
                        let at = if t.layout == Layout::Row {
                            i * 40 + j
                        } else {
                            j * 40 + i
                        };
                        memory[at] = encode(t.element, f(i, j));
                    }
                }
                load(t, &memory, stride)
            };
            let (ra, rb, rc) = (
                fill(a, m, k, &value_a),
                fill(b, k, n, &value_b),
                fill(c, m, n, &value_c),
            );
            assert_eq!(
                [ra.len(), rb.len(), rc.len()],
                multiply.registers()[..3],
                "{shape} {input}"
            );
            let rd: Vec<Wide> = if multiply.is_wide() {
                multiply
                    .apply_wide(
                        &ra.iter().collect::<Vec<_>>(),
                        &rb.iter().collect::<Vec<_>>(),
                        &rc.iter().collect::<Vec<_>>(),
                    )
                    .to_vec()
            } else {
                let narrow = |r: &[Wide]| -> Vec<Lanes> { r.iter().map(|r| r.map(|x| x as u32)).collect() };
                let (ra, rb, rc) = (narrow(&ra), narrow(&rb), narrow(&rc));
                let d = multiply.apply(
                    &ra.iter().collect::<Vec<_>>(),
                    &rb.iter().collect::<Vec<_>>(),
                    &rc.iter().collect::<Vec<_>>(),
                );
                d.iter().map(|r| r.map(|x| x as u64)).collect()
            };
            let d = transfer(&format!("wmma.store.d.sync.aligned.{c_layout}.{shape}.shared.{d_type}"));
            assert_eq!(d.registers(), multiply.registers()[3]);
            let mut memory = vec![0; 40 * 40];
            store(d, &mut memory, &rd[..d.registers()], stride);
            for i in 0..m {
                for j in 0..n {
                    let want = value_c(i, j) + (0..k).map(|l| value_a(i, l) * value_b(l, j)).sum::<i64>();
                    let at = if d.layout == Layout::Row {
                        i * 40 + j
                    } else {
                        j * 40 + i
                    };
                    assert_eq!(
                        memory[at],
                        encode(d.element, want),
                        "{shape} {input} {a_layout} {b_layout}: {i}, {j}"
                    );
                }
            }
        }
    }
}

/// The numbers of registers of the ISA's table for wmma.
#[test]
fn registers_of_fragments() {
    let count = |opcode: &str| transfer(opcode).registers();
    for shape in ["m16n16k16", "m32n8k16", "m8n32k16"] {
        assert_eq!(count(&format!("wmma.load.a.sync.aligned.row.{shape}.f16")), 8);
        assert_eq!(count(&format!("wmma.load.b.sync.aligned.row.{shape}.f16")), 8);
        assert_eq!(count(&format!("wmma.load.c.sync.aligned.row.{shape}.f16")), 4);
        assert_eq!(count(&format!("wmma.load.c.sync.aligned.row.{shape}.f32")), 8);
        assert_eq!(count(&format!("wmma.load.c.sync.aligned.row.{shape}.s32")), 8);
    }
    for (shape, a, b) in [("m16n16k16", 4, 4), ("m32n8k16", 8, 2), ("m8n32k16", 2, 8)] {
        assert_eq!(count(&format!("wmma.load.a.sync.aligned.row.{shape}.bf16")), a);
        assert_eq!(count(&format!("wmma.load.b.sync.aligned.row.{shape}.bf16")), b);
        assert_eq!(count(&format!("wmma.load.a.sync.aligned.row.{shape}.s8")), a / 2);
        assert_eq!(count(&format!("wmma.load.b.sync.aligned.row.{shape}.u8")), b / 2);
    }
    assert_eq!(count("wmma.load.a.sync.aligned.row.m16n16k8.tf32"), 4);
    assert_eq!(count("wmma.load.b.sync.aligned.col.m16n16k8.tf32"), 4);
    assert_eq!(count("wmma.load.c.sync.aligned.col.m16n16k8.f32"), 8);
    assert_eq!(count("wmma.load.a.sync.aligned.row.m8n8k4.f64"), 1);
    assert_eq!(count("wmma.load.c.sync.aligned.row.m8n8k4.f64"), 2);
    assert!(transfer("wmma.load.c.sync.aligned.row.m8n8k4.f64").is_wide());
}

/// Every element is held once (or twice, where registers repeat).
#[test]
fn fragments_cover_their_matrix() {
    for (matrix, element, times) in [
        (Matrix::A, Element::Bf16, 1),
        (Matrix::B, Element::F16, 2),
        (Matrix::C, Element::F32, 1),
    ] {
        for (m, n) in [(16, 16), (32, 8), (8, 32)] {
            let shape = Shape { m, n, k: 16 };
            let transfer = Transfer::new(matrix, shape, element, Layout::Row).unwrap();
            let mut held = std::collections::HashMap::new();
            for lane in 0..32 {
                for i in 0..transfer.registers() * element.per_register() {
                    *held.entry(transfer.place(lane, i)).or_insert(0) += 1;
                }
            }
            let size = match matrix {
                Matrix::A => m * 16,
                Matrix::B => n * 16,
                Matrix::C => m * n,
            };
            // f16 fragments of 8 registers hold 512 elements.
            let times = if element == Element::F16 { 512 / size } else { times };
            assert_eq!(held.len(), size);
            assert!(held.values().all(|&count| count == times), "{matrix:?} {m} {n}");
        }
    }
}
