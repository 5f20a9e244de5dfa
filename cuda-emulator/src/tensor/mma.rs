//! `mma.sync`: `D = A B + C` by a whole warp.
//!
//! How sums are rounded the ISA leaves open. Here a float element starts as c and gets `fma(a, b, sum)` for k = 0, 1, … in this order, in
//! f32 (f64 for f64); with an f16 result the f32 sum is rounded once at the end. Products of f16, bf16 and tf32 are exact in f32.
//! Hardware adds several products at once with fewer roundings, so its last bits differ.

use super::fragment::{Element, Fragment, Matrix, Shape};
use super::product;
use crate::arith::float32::NAN;
use crate::arith::half::{from_bf16, from_f16, to_f16};
use crate::arith::{Lanes, Wide};

/// What becomes of an integer sum beyond 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The lower 32 bits.
    Wrap,
    /// `.satfinite`: the nearest number.
    Saturate,
}

/// An `mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mma {
    /// m, n, k.
    pub shape: Shape,
    /// The type of A.
    pub a: Element,
    /// The type of B.
    pub b: Element,
    /// The type of C.
    pub c: Element,
    /// The type of D.
    pub d: Element,
    /// `.satfinite`
    pub overflow: Overflow,
}

impl Mma {
    /// The product, if it is implemented.
    pub fn new(shape: Shape, d: Element, a: Element, b: Element, c: Element, overflow: Overflow) -> Option<Mma> {
        use Element::*;
        let mma = Mma {
            shape,
            a,
            b,
            c,
            d,
            overflow,
        };
        let Shape { m, n, k } = shape;
        let fine = match (a, b, c, d) {
            (F16, F16, F32 | F16, F32 | F16) | (Bf16, Bf16, F32, F32) => m == 16 && n == 8 && (k == 8 || k == 16),
            (Tf32, Tf32, F32, F32) => m == 16 && n == 8 && (k == 4 || k == 8),
            (F64, F64, F64, F64) => (m, n, k) == (8, 8, 4) || (m == 16 && n == 8 && matches!(k, 4 | 8 | 16)),
            (S8 | U8, S8 | U8, S32, S32) => (m, n, k) == (8, 8, 16) || (m == 16 && n == 8 && (k == 16 || k == 32)),
            _ => false,
        };
        let fine = fine && (overflow == Overflow::Wrap || d == S32);
        fine.then_some(mma)
    }

    /// A matrix of it in registers; `C` with the type of C.
    pub fn fragment(self, matrix: Matrix) -> Fragment {
        let element = match matrix {
            Matrix::A => self.a,
            Matrix::B => self.b,
            Matrix::C => self.c,
        };
        Fragment {
            matrix,
            shape: self.shape,
            element,
        }
    }

    /// D in registers.
    pub fn result(self) -> Fragment {
        Fragment {
            matrix: Matrix::C,
            shape: self.shape,
            element: self.d,
        }
    }

    /// Multiplications and additions.
    pub fn flops(self) -> u64 {
        (2 * self.shape.m * self.shape.n * self.shape.k) as u64
    }

    /// Whether its registers are of the 64-bit bank.
    pub fn is_wide(self) -> bool {
        self.a == Element::F64
    }

    /// All types but f64. The first [`Fragment::registers`] of the result are D.
    pub fn apply(self, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> [Lanes; 4] {
        if let Some(d) = product::fast(self, a, b, c) {
            return d;
        }
        self.plain(a, b, c)
    }

    /// The same element by element, by the maps alone.
    pub fn plain(self, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> [Lanes; 4] {
        let mut d = [[0; 32]; 4];
        if self.d == Element::S32 {
            let (a, b, c) = (
                self.integers(Matrix::A, a),
                self.integers(Matrix::B, b),
                self.integers(Matrix::C, c),
            );
            self.each(|lane, i, row, column| {
                let sum = c[row][column] + (0..self.shape.k).map(|k| a[row][k] * b[k][column]).sum::<i64>();
                d[i][lane] = match self.overflow {
                    Overflow::Wrap => sum as u32,
                    Overflow::Saturate => sum.clamp(i32::MIN as i64, i32::MAX as i64) as u32,
                };
            });
            return d;
        }
        let (a, b, c) = (
            self.numbers(Matrix::A, a),
            self.numbers(Matrix::B, b),
            self.numbers(Matrix::C, c),
        );
        self.each(|lane, i, row, column| {
            let sum = (0..self.shape.k).fold(c[row][column], |sum, k| a[row][k].mul_add(b[k][column], sum));
            if self.d == Element::F16 {
                d[i / 2][lane] |= to_f16(sum) << (16 * (i % 2));
            } else {
                d[i][lane] = if sum.is_nan() { NAN } else { sum.to_bits() };
            }
        });
        d
    }

    /// f64.
    pub fn apply_wide(self, a: &[&Wide], b: &[&Wide], c: &[&Wide]) -> [Wide; 4] {
        let read = |matrix, registers: &[&Wide]| {
            let mut dense = [[0.0; 16]; 16];
            let fragment = self.fragment(matrix);
            for (i, register) in registers.iter().enumerate() {
                for (lane, &bits) in register.iter().enumerate() {
                    let (row, column) = fragment.place(lane, i);
                    dense[row][column] = f64::from_bits(bits);
                }
            }
            dense
        };
        let (a, b, c) = (read(Matrix::A, a), read(Matrix::B, b), read(Matrix::C, c));
        let mut d = [[0; 32]; 4];
        self.each(|lane, i, row, column| {
            let sum = (0..self.shape.k).fold(c[row][column], |sum: f64, k| a[row][k].mul_add(b[k][column], sum));
            d[i][lane] = sum.to_bits();
        });
        d
    }

    /// Calls with lane, index, row and column of each element of D.
    fn each(self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let fragment = self.result();
        for lane in 0..32 {
            for i in 0..fragment.elements() {
                let (row, column) = fragment.place(lane, i);
                f(lane, i, row, column);
            }
        }
    }

    fn dense<T: Copy + Default>(self, matrix: Matrix, registers: &[&Lanes], read: impl Fn(u32) -> T) -> [[T; 32]; 32] {
        let mut dense = [[T::default(); 32]; 32];
        let fragment = self.fragment(matrix);
        let p = fragment.element.per_register();
        for i in 0..fragment.elements() {
            for (lane, bits) in registers[i / p].iter().enumerate() {
                let (row, column) = fragment.place(lane, i);
                dense[row][column] = read(bits >> (32 / p * (i % p)));
            }
        }
        dense
    }

    fn numbers(self, matrix: Matrix, registers: &[&Lanes]) -> [[f32; 32]; 32] {
        let element = self.fragment(matrix).element;
        self.dense(matrix, registers, |bits| match element {
            Element::F16 => from_f16(bits & 0xffff),
            Element::Bf16 => from_bf16(bits & 0xffff),
            // The lower 13 bits are not read.
            Element::Tf32 => f32::from_bits(bits & 0xffff_e000),
            _ => f32::from_bits(bits),
        })
    }

    fn integers(self, matrix: Matrix, registers: &[&Lanes]) -> [[i64; 32]; 32] {
        let element = self.fragment(matrix).element;
        self.dense(matrix, registers, |bits| match element {
            Element::S8 => bits as i8 as i64,
            Element::U8 => bits as u8 as i64,
            _ => bits as i32 as i64,
        })
    }
}
