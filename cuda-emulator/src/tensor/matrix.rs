//! `ldmatrix`, `stmatrix`, `movmatrix`: 8 x 8 matrices of 16-bit elements. A row is 16 bytes.
//!
//! In a register lane l holds elements `2 (l % 4)` and `2 (l % 4) + 1` of row `l / 4`; transposed, of column `l / 4`.

use crate::arith::Lanes;

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// As it is held.
    Rows,
    /// `.trans`
    Transposed,
}

/// `ldmatrix.sync.aligned.m8n8.num{.trans}.shared.b16` or `stmatrix` of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrices {
    /// 1, 2 or 4: as many registers, and 8 times as many rows.
    pub count: usize,
    /// `.trans`
    pub order: Order,
}

impl Matrices {
    /// The lanes whose addresses are used: lane `8 q + i` has that of row i of matrix q. The rows are of 16 bytes, aligned to it.
    pub fn lanes(self) -> u32 {
        if self.count == 4 {
            u32::MAX
        } else {
            (1 << (8 * self.count)) - 1
        }
    }

    /// From the rows, as four words of 16 bytes of the lane with the row's address, to registers.
    pub fn distribute(self, rows: &[Lanes; 4]) -> [Lanes; 4] {
        let mut registers = [[0; 32]; 4];
        for (q, register) in registers.iter_mut().enumerate().take(self.count) {
            for (lane, value) in register.iter_mut().enumerate() {
                let (group, t) = (lane / 4, lane % 4);
                *value = match self.order {
                    Order::Rows => rows[t][8 * q + group],
                    Order::Transposed => {
                        let element = |row: usize| rows[group / 2][8 * q + row] >> (16 * (group % 2)) & 0xffff;
                        element(2 * t) | element(2 * t + 1) << 16
                    }
                };
            }
        }
        registers
    }

    /// The inverse of [`Matrices::distribute`]: the rows that `stmatrix` stores.
    pub fn collect(self, registers: &[&Lanes]) -> [Lanes; 4] {
        let mut rows = [[0; 32]; 4];
        for (q, register) in registers.iter().enumerate().take(self.count) {
            for (lane, &value) in register.iter().enumerate() {
                let (group, t) = (lane / 4, lane % 4);
                match self.order {
                    Order::Rows => rows[t][8 * q + group] = value,
                    Order::Transposed => {
                        for (row, element) in [(2 * t, value & 0xffff), (2 * t + 1, value >> 16)] {
                            rows[group / 2][8 * q + row] |= element << (16 * (group % 2));
                        }
                    }
                }
            }
        }
        rows
    }
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`: transposes a matrix held in a register.
pub fn transpose(a: &Lanes) -> Lanes {
    core::array::from_fn(|lane| {
        let (group, t) = (lane / 4, lane % 4);
        let element = |row: usize| a[4 * row + group / 2] >> (16 * (group % 2)) & 0xffff;
        element(2 * t) | element(2 * t + 1) << 16
    })
}
