//! `ldmatrix`, `stmatrix`, `movmatrix`: 8 x 8 matrices of 16-bit elements. A row is 16 bytes.
//!
//! In a register lane l holds elements `2 (l % 4)` and `2 (l % 4) + 1` of row `l / 4`; transposed, of column `l / 4`.

use crate::arith::Lanes;
use crate::arith::simd::vectorised;

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
    #[inline]
    pub fn distribute(self, rows: &[Lanes; 4]) -> [Lanes; 4] {
        match self.order {
            Order::Rows => straight(self.count, rows),
            Order::Transposed => turned(self.count, rows),
        }
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

vectorised! {
    /// Lane `4 g + t` gets word t of row g.
    fn straight(count: usize, rows: &[Lanes; 4]) -> [Lanes; 4] {
        let mut registers = [[0; 32]; 4];
        for (q, register) in registers.iter_mut().enumerate().take(count) {
            for g in 0..8 {
                for t in 0..4 {
                    register[4 * g + t] = rows[t][8 * q + g];
                }
            }
        }
        registers
    }
}

vectorised! {
    /// Lane `4 g + t` gets element g of rows 2 t and 2 t + 1: a half of word `g / 2`.
    fn turned(count: usize, rows: &[Lanes; 4]) -> [Lanes; 4] {
        let mut registers = [[0; 32]; 4];
        for (q, register) in registers.iter_mut().enumerate().take(count) {
            for (pair, words) in rows.iter().enumerate() {
                for t in 0..4 {
                    let (first, second) = (words[8 * q + 2 * t], words[8 * q + 2 * t + 1]);
                    register[8 * pair + t] = first & 0xffff | second << 16;
                    register[8 * pair + 4 + t] = first >> 16 | second & 0xffff_0000;
                }
            }
        }
        registers
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
