//! How the matrices of `mma` are spread over a warp (PTX ISA, "Matrix Fragments for mma").
//!
//! For every shape m8 or m16, n8 it is one rule. A register holds p elements that lie side by side along k (p = 1 for tf32 and f64, 2 for
//! f16 and bf16, 4 for 8-bit integers). With `group = lane / 4` and `t = lane % 4`:
//!
//! - A: register r holds row `group + 8 (r % 2)` (m16; of m8 always row `group`), columns `p t .. p t + p`, plus `4 p (r / 2)` (m16) or `4 p r` (m8);
//! - B: register r holds column `group`, rows `p t .. p t + p`, plus `4 p r`;
//! - C, D: elements 2 i and 2 i + 1 are row `group + 8 i`, columns `2 t` and `2 t + 1`; as f16 they share a register.

/// A type of the elements of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Element {
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    S8,
    U8,
    S32,
}

impl Element {
    /// The type a modifier names, without its dot.
    pub fn parse(name: &str) -> Option<Element> {
        Some(match name {
            "f16" => Element::F16,
            "bf16" => Element::Bf16,
            "tf32" => Element::Tf32,
            "f32" => Element::F32,
            "f64" => Element::F64,
            "s8" => Element::S8,
            "u8" => Element::U8,
            "s32" => Element::S32,
            _ => return None,
        })
    }

    /// Bytes of an element in memory.
    pub fn bytes(self) -> usize {
        match self {
            Element::S8 | Element::U8 => 1,
            Element::F16 | Element::Bf16 => 2,
            Element::Tf32 | Element::F32 | Element::S32 => 4,
            Element::F64 => 8,
        }
    }

    /// Elements in a register: of 64 bits for f64, of 32 for all others.
    pub fn per_register(self) -> usize {
        4usize.div_ceil(self.bytes())
    }
}

/// A is m x k, B is k x n, C and D are m x n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// `m16n8k16`
    pub fn parse(name: &str) -> Option<Shape> {
        let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        Some(Shape {
            m: m.parse().ok()?,
            n: n.parse().ok()?,
            k: k.parse().ok()?,
        })
    }
}

/// Which matrix of `D = A B + C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// m x k
    A,
    /// k x n
    B,
    /// C or D: m x n
    C,
}

/// A matrix of an `mma` in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Which matrix.
    pub matrix: Matrix,
    /// The shape of the product.
    pub shape: Shape,
    /// The type of its elements.
    pub element: Element,
}

impl Fragment {
    /// Elements of a lane: a0, a1, … of the ISA's text.
    pub fn elements(self) -> usize {
        let Shape { m, n, k } = self.shape;
        let all = match self.matrix {
            Matrix::A => m * k,
            Matrix::B => k * n,
            Matrix::C => m * n,
        };
        all / 32
    }

    /// Registers of a lane.
    pub fn registers(self) -> usize {
        self.elements() / self.element.per_register()
    }

    /// Row and column of an element of a lane. Element i is in register `i / p`, from its lower bits up.
    pub fn place(self, lane: usize, i: usize) -> (usize, usize) {
        let (group, t) = (lane / 4, lane % 4);
        let p = self.element.per_register();
        let (register, within) = (i / p, i % p);
        match self.matrix {
            Matrix::A if self.shape.m == 16 => (group + 8 * (register % 2), p * t + within + 4 * p * (register / 2)),
            Matrix::A => (group, p * t + within + 4 * p * register),
            Matrix::B => (p * t + within + 4 * p * register, group),
            Matrix::C => (group + 8 * (i / 2), 2 * t + i % 2),
        }
    }
}
