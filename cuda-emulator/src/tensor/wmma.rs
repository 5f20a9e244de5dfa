//! `wmma`: matrices of 16 x 16 (or 32 x 8, 8 x 32) in fragments whose layout the ISA leaves open.
//!
//! Here a fragment is a pair of `mma` fragments side by side: two of n8 for 16 x 16, two of m16 for 32 x 8; 8 x 32 is the transpose of 32 x 8.
//! Where the ISA gives an f16 fragment more registers than its elements need, the others repeat them.

use super::fragment::{Element, Fragment, Matrix, Shape};
use super::mma::{Mma, Overflow};
use crate::arith::{Lanes, Wide};

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `.row`: element (i, j) at `i stride + j`.
    Row,
    /// `.col`: at `j stride + i`.
    Column,
}

/// `wmma.load` or `wmma.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Which matrix.
    pub matrix: Matrix,
    /// The shape of the product.
    pub shape: Shape,
    /// The type of the elements.
    pub element: Element,
    /// In memory.
    pub layout: Layout,
}

/// How a product is made of those of `mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocks {
    /// m16n16: two of n8.
    N,
    /// m32n8: two of m16.
    M,
    /// m8n32: the transpose of m32n8.
    Transposed,
    /// m8n8k4 of f64: one.
    One,
}

fn blocks(shape: Shape) -> Option<(Blocks, Shape)> {
    let Shape { m, n, k } = shape;
    Some(match (m, n) {
        (16, 16) => (Blocks::N, Shape { m: 16, n: 8, k }),
        (32, 8) => (Blocks::M, Shape { m: 16, n: 8, k }),
        (8, 32) => (Blocks::Transposed, Shape { m: 16, n: 8, k }),
        (8, 8) => (Blocks::One, shape),
        _ => return None,
    })
}

impl Transfer {
    /// The transfer, if it is implemented.
    pub fn new(matrix: Matrix, shape: Shape, element: Element, layout: Layout) -> Option<Transfer> {
        use Element::*;
        let Shape { m, n, k } = shape;
        let sixteen = k == 16 && matches!((m, n), (16, 16) | (32, 8) | (8, 32));
        let accumulator = matrix == Matrix::C;
        let fine = match element {
            F16 => sixteen,
            Bf16 | S8 | U8 => sixteen && !accumulator,
            S32 => sixteen && accumulator,
            F32 => accumulator && (sixteen || (m, n, k) == (16, 16, 8)),
            Tf32 => !accumulator && (m, n, k) == (16, 16, 8),
            F64 => (m, n, k) == (8, 8, 4),
        };
        fine.then_some(Transfer {
            matrix,
            shape,
            element,
            layout,
        })
    }

    /// Registers of a lane.
    pub fn registers(self) -> usize {
        let doubled = self.element == Element::F16 && self.matrix != Matrix::C;
        if doubled { 8 } else { self.distinct() }
    }

    /// Whether they are of the 64-bit bank.
    pub fn is_wide(self) -> bool {
        self.element == Element::F64
    }

    /// Registers without repetition.
    fn distinct(self) -> usize {
        let Shape { m, n, k } = self.shape;
        let all = match self.matrix {
            Matrix::A => m * k,
            Matrix::B => k * n,
            Matrix::C => m * n,
        };
        all / 32 / self.element.per_register()
    }

    /// Row and column of an element of a lane; element i is in register `i / p`, from its lower bits up.
    pub fn place(self, lane: usize, i: usize) -> (usize, usize) {
        let p = self.element.per_register();
        let i = i % (self.distinct() * p);
        let Some((blocks, shape)) = blocks(self.shape) else {
            return (0, 0);
        };
        let matrix = match (blocks, self.matrix) {
            (Blocks::Transposed, Matrix::A) => Matrix::B,
            (Blocks::Transposed, Matrix::B) => Matrix::A,
            (_, matrix) => matrix,
        };
        let fragment = Fragment {
            matrix,
            shape,
            element: self.element,
        };
        let (block, within) = (i / fragment.elements(), i % fragment.elements());
        let (row, column) = fragment.place(lane, within);
        match blocks {
            // A second block is there only in the matrices that are cut.
            Blocks::N | Blocks::One => (row, column + 8 * block),
            Blocks::M => (row + 16 * block, column),
            Blocks::Transposed => (column, row + 16 * block),
        }
    }

    /// Into how many pieces a register falls in memory, and the bytes of one: all its elements are one piece where they lie side by side.
    pub fn pieces(self) -> (usize, usize) {
        let p = self.element.per_register();
        let ((row0, column0), (row1, column1)) = (self.place(0, 0), self.place(0, p - 1));
        let together = match self.layout {
            Layout::Row => row0 == row1 && column1 + 1 == column0 + p,
            Layout::Column => column0 == column1 && row1 + 1 == row0 + p,
        };
        if together {
            (1, p * self.element.bytes())
        } else {
            (p, self.element.bytes())
        }
    }

    /// For each lane the offset in bytes from the matrix's address to a piece of a register. The stride is in elements.
    /// Piece `i` of a register is its bits from `8 i bytes` on.
    pub fn offsets(self, register: usize, piece: usize, stride: u32) -> Wide {
        let p = self.element.per_register();
        core::array::from_fn(|lane| {
            let (row, column) = self.place(lane, register * p + piece);
            let (major, minor) = match self.layout {
                Layout::Row => (row, column),
                Layout::Column => (column, row),
            };
            (major as u64 * stride as u64 + minor as u64) * self.element.bytes() as u64
        })
    }

    /// The registers that are loaded from memory; the others repeat them: register r is register `r % loads()`.
    /// A store stores these only.
    pub fn loads(self) -> usize {
        self.distinct()
    }
}

/// `wmma.mma`: `D = A B + C`. The layouts of A and B concern their loads only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multiply {
    shape: Shape,
    block: Mma,
}

impl Multiply {
    /// The product, if it is implemented.
    pub fn new(shape: Shape, d: Element, a: Element, b: Element, c: Element, overflow: Overflow) -> Option<Multiply> {
        let (_, block) = blocks(shape)?;
        let (matrix_a, matrix_c) = (Matrix::A, Matrix::C);
        Transfer::new(matrix_a, shape, a, Layout::Row)?;
        Transfer::new(matrix_c, shape, c, Layout::Row)?;
        Transfer::new(matrix_c, shape, d, Layout::Row)?;
        (a == b).then_some(())?;
        Some(Multiply {
            shape,
            block: Mma::new(block, d, a, b, c, overflow)?,
        })
    }

    /// Multiplications and additions.
    pub fn flops(self) -> u64 {
        (2 * self.shape.m * self.shape.n * self.shape.k) as u64
    }

    /// Whether its registers are of the 64-bit bank.
    pub fn is_wide(self) -> bool {
        self.block.is_wide()
    }

    /// Registers of a lane of A, B, C and D.
    pub fn registers(self) -> [usize; 4] {
        let of = |matrix, element| {
            let transfer = Transfer {
                matrix,
                shape: self.shape,
                element,
                layout: Layout::Row,
            };
            transfer.registers()
        };
        let Mma { a, b, c, d, .. } = self.block;
        [of(Matrix::A, a), of(Matrix::B, b), of(Matrix::C, c), of(Matrix::C, d)]
    }

    /// All types but f64. The first registers of the result are D.
    pub fn apply(self, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> [Lanes; 8] {
        let cut = match blocks(self.shape) {
            Some((cut, _)) => cut,
            None => Blocks::One,
        };
        let (a, b) = if cut == Blocks::Transposed { (b, a) } else { (a, b) };
        let count = |fragment: Fragment| fragment.registers();
        let (na, nb) = (
            count(self.block.fragment(Matrix::A)),
            count(self.block.fragment(Matrix::B)),
        );
        let (nc, nd) = (count(self.block.fragment(Matrix::C)), count(self.block.result()));
        let mut d = [[0; 32]; 8];
        for block in 0..2 {
            let (from_a, from_b) = if cut == Blocks::N {
                (0, block * nb)
            } else {
                (block * na, 0)
            };
            let part = self.block.apply(
                &a[from_a..from_a + na],
                &b[from_b..from_b + nb],
                &c[block * nc..(block + 1) * nc],
            );
            d[block * nd..(block + 1) * nd].copy_from_slice(&part[..nd]);
        }
        d
    }

    /// f64.
    pub fn apply_wide(self, a: &[&Wide], b: &[&Wide], c: &[&Wide]) -> [Wide; 4] {
        self.block.apply_wide(a, b, c)
    }
}
