use super::super::{Element, Fragment, Matrix, Mma};
use super::{Numbers, mma};
use crate::arith::half::{from_f16, to_bf16, to_f16};
use crate::arith::{Lanes, Wide};

const NARROW: [&str; 14] = [
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
    "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32",
    "mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32",
    "mma.sync.aligned.m16n8k16.row.col.s32.u8.u8.s32",
    "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32",
    "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32",
];

fn registers(numbers: &mut Numbers, fragment: Fragment) -> Vec<Lanes> {
    (0..fragment.registers())
        .map(|_| numbers.register(fragment.element))
        .collect()
}

fn run(mma: Mma, a: &[Lanes], b: &[Lanes], c: &[Lanes]) -> [[Lanes; 4]; 2] {
    let (a, b, c): (Vec<&Lanes>, Vec<&Lanes>, Vec<&Lanes>) =
        (a.iter().collect(), b.iter().collect(), c.iter().collect());
    [mma.apply(&a, &b, &c), mma.plain(&a, &b, &c)]
}

#[test]
fn every_type_agrees_with_the_product_element_by_element() {
    for opcode in NARROW {
        let mma = mma(opcode);
        let mut numbers = Numbers(5);
        for _ in 0..20 {
            let a = registers(&mut numbers, mma.fragment(Matrix::A));
            let b = registers(&mut numbers, mma.fragment(Matrix::B));
            let c = registers(&mut numbers, mma.fragment(Matrix::C));
            let [fast, plain] = run(mma, &a, &b, &c);
            assert_eq!(fast, plain, "{opcode}");
        }
    }
}

/// Any bits at all: infinities, NaNs, subnormals.
#[test]
fn special_numbers_agree_too() {
    for opcode in &NARROW[..8] {
        let mma = mma(opcode);
        let mut numbers = Numbers(9);
        for _ in 0..50 {
            let mut any = |fragment: Fragment| -> Vec<Lanes> {
                (0..fragment.registers())
                    .map(|_| numbers.register(Element::S32))
                    .collect()
            };
            let (a, b) = (any(mma.fragment(Matrix::A)), any(mma.fragment(Matrix::B)));
            let c = any(mma.fragment(Matrix::C));
            let [fast, plain] = run(mma, &a, &b, &c);
            assert_eq!(fast, plain, "{opcode}");
        }
    }
}

/// A is one at (row, k), B is 3 at (k, column): D is 3 at (row, column) only, plus C.
#[test]
fn a_single_product_lands_where_it_belongs() {
    for opcode in NARROW {
        let mma = mma(opcode);
        let put = |fragment: Fragment, place: (usize, usize), value: u32| -> Vec<Lanes> {
            let p = fragment.element.per_register();
            let mut registers: Vec<Lanes> = vec![[0; 32]; fragment.registers()];
            for i in 0..fragment.elements() {
                for (lane, cell) in registers[i / p].iter_mut().enumerate() {
                    if fragment.place(lane, i) == place {
                        *cell |= value << (32 / p * (i % p));
                    }
                }
            }
            registers
        };
        let number = |element: Element, value: f32| match element {
            Element::F16 => to_f16(value),
            Element::Bf16 => to_bf16(value),
            Element::Tf32 | Element::F32 => value.to_bits(),
            _ => value as u32,
        };
        for (row, k, column) in [(0, 0, 0), (5, 3, 7), (mma.shape.m - 1, mma.shape.k - 1, 4)] {
            let a = put(mma.fragment(Matrix::A), (row, k), number(mma.a, 1.0));
            let b = put(mma.fragment(Matrix::B), (k, column), number(mma.b, 3.0));
            let c = put(mma.fragment(Matrix::C), (row, column), number(mma.c, 4.0));
            let want = put(mma.result(), (row, column), number(mma.d, 7.0));
            for got in run(mma, &a, &b, &c) {
                assert_eq!(&got[..want.len()], want, "{opcode}: {row} {k} {column}");
            }
        }
    }
}

/// A literal case of m16n8k16: A[i][k] = i + 1, B[k][j] = j where k = 0, else 0; C = 0.5: D[i][j] = (i + 1) j + 0.5.
#[test]
fn a_product_by_hand() {
    for element in [Element::F16, Element::Bf16] {
        let name = if element == Element::F16 { "f16" } else { "bf16" };
        let mma = mma(&format!("mma.sync.aligned.m16n8k16.row.col.f32.{name}.{name}.f32"));
        let to = |x: usize| {
            if element == Element::F16 {
                to_f16(x as f32)
            } else {
                to_bf16(x as f32)
            }
        };
        let row = |high: usize| -> Lanes { core::array::from_fn(|lane| to(lane / 4 + high + 1) * 0x1_0001) };
        let a = [row(0), row(8), row(0), row(8)];
        // Row 0 of B is in lanes 0, 4, 8, …: the lower half of the first register.
        let b = [
            core::array::from_fn(|lane| if lane % 4 == 0 { to(lane / 4) } else { 0 }),
            [0; 32],
        ];
        let c = [[0.5f32.to_bits(); 32]; 4];
        for d in run(mma, &a, &b, &c) {
            // Lane 13: group 3, t 1: rows 3 and 11, columns 2 and 3.
            let lane = |i: usize| f32::from_bits(d[i][13]);
            assert_eq!([lane(0), lane(1), lane(2), lane(3)], [8.5, 12.5, 24.5, 36.5]);
        }
    }
}

#[test]
fn tf32_ignores_the_lower_bits() {
    let mma = mma("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
    let (a, b, c) = ([[0x3f80_1fff; 32]; 4], [[0x3f80_0000; 32]; 2], [[0; 32]; 4]);
    assert_eq!(run(mma, &a, &b, &c), [[[8f32.to_bits(); 32]; 4]; 2]);
}

#[test]
fn sums_go_in_the_order_of_k_in_f32() {
    let mma = mma("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32");
    // 2^24, then eight times 1: each is lost in f32. In f64 or pairwise it were not.
    let ones = [[0x3c00_3c00; 32]; 2];
    let c = [[16_777_216f32.to_bits(); 32]; 4];
    let [d, _] = run(mma, &ones, &ones[..1], &c);
    assert_eq!(d, c);
    let f16 = super::mma("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16");
    // 2048 + 16 ones: the sum is rounded to f16 once, not after each.
    let ones = [[0x3c00_3c00; 32]; 4];
    let c = [[to_f16(2048.0) * 0x1_0001; 32]; 2];
    let [d, _] = run(f16, &ones, &ones[..2], &c);
    assert_eq!(from_f16(d[0][0] & 0xffff), 2064.0);
}

#[test]
fn integers_wrap_or_saturate() {
    let wrap = mma("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32");
    let saturate = mma("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32");
    let (a, b) = ([[0x7f7f_7f7f; 32]; 4], [[0x7f7f_7f7f; 32]; 2]);
    let c = [[0x7fff_ffff; 32]; 4];
    let sum = 0x7fff_ffffu32.wrapping_add(32 * 127 * 127);
    assert_eq!(run(wrap, &a, &b, &c)[0], [[sum; 32]; 4]);
    assert_eq!(run(saturate, &a, &b, &c)[0], [[0x7fff_ffff; 32]; 4]);
    let signs = mma("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32");
    let (a, b, c) = ([[0xffff_ffff; 32]; 4], [[0xffff_ffff; 32]; 2], [[0; 32]; 4]);
    assert_eq!(run(signs, &a, &b, &c)[0], [[(-32i32 * 255) as u32; 32]; 4]);
}

#[test]
fn double_precision() {
    for (opcode, k) in [("m8n8k4", 4), ("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16)] {
        let mma = mma(&format!("mma.sync.aligned.{opcode}.row.col.f64.f64.f64.f64"));
        assert!(mma.is_wide());
        assert_eq!(mma.shape.k, k);
        // A[i][k] = i, B[k][j] = j + 1, C = 0.25: D = k i (j + 1) + 0.25.
        let fill = |fragment: Fragment, f: &dyn Fn(usize, usize) -> f64| -> Vec<Wide> {
            (0..fragment.elements())
                .map(|i| {
                    core::array::from_fn(|lane| {
                        let (row, column) = fragment.place(lane, i);
                        f(row, column).to_bits()
                    })
                })
                .collect()
        };
        let a = fill(mma.fragment(Matrix::A), &|row, _| row as f64);
        let b = fill(mma.fragment(Matrix::B), &|_, column| column as f64 + 1.0);
        let c = fill(mma.fragment(Matrix::C), &|_, _| 0.25);
        let want = fill(mma.result(), &|row, column| (k * row * (column + 1)) as f64 + 0.25);
        let (a, b, c): (Vec<&Wide>, Vec<&Wide>, Vec<&Wide>) =
            (a.iter().collect(), b.iter().collect(), c.iter().collect());
        let d = mma.apply_wide(&a, &b, &c);
        assert_eq!(&d[..want.len()], want);
    }
}
