use super::super::matrix::{Matrices, transpose};
use super::{Tensor, op};
use crate::arith::Lanes;

/// Element (row, column) of matrix q is `100 q + 10 row + column`.
fn rows() -> [Lanes; 4] {
    core::array::from_fn(|word| {
        core::array::from_fn(|lane| {
            let (q, row) = (lane as u32 / 8, lane as u32 % 8);
            let element = |column: u32| 100 * q + 10 * row + column;
            element(2 * word as u32) | element(2 * word as u32 + 1) << 16
        })
    })
}

fn load(opcode: &str) -> Matrices {
    match op(opcode) {
        Tensor::Load(matrices) | Tensor::Store(matrices) => matrices,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lanes_that_give_addresses() {
    for (count, lanes) in [("x1", 0xff), ("x2", 0xffff), ("x4", 0xffff_ffff)] {
        assert_eq!(
            load(&format!("ldmatrix.sync.aligned.m8n8.{count}.shared.b16")).lanes(),
            lanes
        );
    }
}

#[test]
fn rows_are_spread_over_the_warp() {
    let x4 = load("ldmatrix.sync.aligned.m8n8.x4.shared.b16");
    assert_eq!(x4.count, 4);
    let registers = x4.distribute(&rows());
    // The ISA's figure: row 0 lies in lanes 0 to 3, row 1 in lanes 4 to 7, two elements in each.
    let first: [(usize, u32, u32); 6] = [(0, 0, 1), (1, 2, 3), (3, 6, 7), (4, 10, 11), (5, 12, 13), (31, 76, 77)];
    for (lane, low, high) in first {
        for (q, register) in registers.iter().enumerate() {
            assert_eq!(
                register[lane],
                (low | high << 16) + q as u32 * 0x64_0064,
                "matrix {q}, lane {lane}"
            );
        }
    }
    let x1 = load("ldmatrix.sync.aligned.m8n8.x1.shared::cta.b16").distribute(&rows());
    assert_eq!(x1[0], registers[0]);
    assert_eq!(x1[1], [0; 32]);
}

#[test]
fn transposed() {
    let x2 = load("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16");
    let registers = x2.distribute(&rows());
    let first: [(usize, u32, u32); 6] = [
        (0, 0, 10),
        (1, 20, 30),
        (3, 60, 70),
        (4, 1, 11),
        (5, 21, 31),
        (31, 67, 77),
    ];
    for (lane, low, high) in first {
        assert_eq!(registers[0][lane], low | high << 16, "lane {lane}");
        assert_eq!(registers[1][lane], (low + 100) | (high + 100) << 16, "lane {lane}");
    }
    let straight = load("ldmatrix.sync.aligned.m8n8.x2.shared.b16").distribute(&rows());
    assert_eq!(transpose(&straight[0]), registers[0]);
    assert_eq!(transpose(&registers[1]), straight[1]);
    assert_eq!(op("movmatrix.sync.aligned.m8n8.trans.b16"), Tensor::Transpose);
}

#[test]
fn stores_are_the_inverse() {
    for order in ["", ".trans"] {
        let load = load(&format!("ldmatrix.sync.aligned.m8n8.x4{order}.shared.b16"));
        let Tensor::Store(store) = op(&format!("stmatrix.sync.aligned.m8n8.x4{order}.shared.b16")) else {
            panic!()
        };
        let registers = load.distribute(&rows());
        assert_eq!(store.collect(&registers.each_ref()), rows());
    }
}
